// Runs every case with one client on the echo service, and gives each one's outcome: "ok", or what was wrong.
import { EchoService } from "./build/es/echo/v1/echo_pb.js";
import { EchoServiceClient } from "./build/ts/echo/v1/echo.client.js";
import { cases } from "./cases.mjs";
import { clients } from "./clients.mjs";

export const echo = { es: EchoService, Ts: EchoServiceClient };

export async function run(name, baseUrl) {
  const { make, incremental } = clients[name];
  const outcomes = {};
  for (const [title, check] of Object.entries(cases)) {
    const late = new Promise((_, reject) => setTimeout(() => reject(new Error("it took 20 s")), 20_000));
    try {
      await Promise.race([check(make(baseUrl, echo), { incremental }), late]);
      outcomes[title] = "ok";
    } catch (error) {
      outcomes[title] = error.code === undefined ? `${error.message}` : `status ${error.code}: ${error.message}`;
    }
  }
  return outcomes;
}

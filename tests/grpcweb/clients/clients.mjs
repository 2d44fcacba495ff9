// The clients by name, and a runner that gives each case's outcome: "ok", or what was wrong.
import { cases } from "./cases.mjs";
import { connectWeb } from "./connect.mjs";
import { googleGrpcWeb } from "./grpcweb.mjs";
import { protobufTs } from "./protobufts.mjs";

const clients = {
  "connect-web": { make: connectWeb, incremental: true },
  // Its binary format gives a stream's messages at the end: XMLHttpRequest has no binary progress.
  "grpc-web": { make: (baseUrl) => googleGrpcWeb(baseUrl, "binary"), incremental: false },
  "grpc-web-text": { make: (baseUrl) => googleGrpcWeb(baseUrl, "text"), incremental: true },
  "protobuf-ts": { make: (baseUrl) => protobufTs(baseUrl, "binary"), incremental: true },
  "protobuf-ts-text": { make: (baseUrl) => protobufTs(baseUrl, "text"), incremental: true },
};

export async function run(name, baseUrl) {
  const { make, incremental } = clients[name];
  const outcomes = {};
  for (const [title, check] of Object.entries(cases)) {
    const late = new Promise((_, reject) => setTimeout(() => reject(new Error("it took 20 s")), 20_000));
    try {
      await Promise.race([check(make(baseUrl), { incremental }), late]);
      outcomes[title] = "ok";
    } catch (error) {
      outcomes[title] = error.code === undefined ? `${error.message}` : `status ${error.code}: ${error.message}`;
    }
  }
  return outcomes;
}

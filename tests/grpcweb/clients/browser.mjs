// What the page of the browser tests offers to them.
import { connectWeb } from "./connect.mjs";
import { run } from "./clients.mjs";

globalThis.runClient = (name, baseUrl = location.origin) => run(name, baseUrl);

globalThis.echoAuthorization = async (baseUrl, metadata = {}) => {
  try {
    return (await connectWeb(baseUrl).unary("unary", {}, { metadata })).message.authorization;
  } catch (error) {
    return `status ${error.code}`;
  }
};

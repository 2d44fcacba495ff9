// What the pages of the browser tests offer to them.
import { clients } from "./clients.mjs";
import { echo, run } from "./echo.mjs";
import { book, visit } from "./visit.mjs";

globalThis.runClient = (name, baseUrl = location.origin) => run(name, baseUrl);

globalThis.visitService = (name, account) => visit(name, location.origin, account);

globalThis.book = book;

globalThis.echoAuthorization = async (baseUrl, metadata = {}) => {
  try {
    return (await clients["connect-web"].make(baseUrl, echo).unary("unary", {}, { metadata })).message.authorization;
  } catch (error) {
    return `status ${error.code}`;
  }
};

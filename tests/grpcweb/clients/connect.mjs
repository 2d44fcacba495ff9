// connect-web's gRPC-Web transport.
import { createClient, ConnectError } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { Failed } from "./failed.mjs";

export function connectWeb(baseUrl, service) {
  const withCookies = (input, init) => fetch(input, { ...init, credentials: "include" });
  const client = createClient(service, createGrpcWebTransport({ baseUrl, useBinaryFormat: true, fetch: withCookies }));

  function options({ metadata, timeoutMs, signal }, seen) {
    return {
      headers: metadata,
      timeoutMs,
      signal,
      onHeader: (headers) => (seen.headers = Object.fromEntries(headers)),
      onTrailer: (trailers) => (seen.trailers = Object.fromEntries(trailers)),
    };
  }

  function failed(error) {
    const { code, rawMessage, metadata } = ConnectError.from(error);
    throw new Failed(code, rawMessage, Object.fromEntries(metadata));
  }

  return {
    async unary(method, request, given = {}) {
      const seen = {};
      return { message: await client[method](request, options(given, seen)).catch(failed), ...seen };
    },
    async stream(method, request, onMessage, given = {}) {
      const seen = {};
      try {
        for await (const message of client[method](request, options(given, seen))) onMessage(message);
      } catch (error) {
        failed(error);
      }
      return seen;
    },
  };
}

// protobuf-ts' fetch transport, in either format.
import { GrpcStatusCode, GrpcWebFetchTransport } from "@protobuf-ts/grpcweb-transport";
import { Failed } from "./failed.mjs";

export function protobufTs(baseUrl, format, Client) {
  const transport = new GrpcWebFetchTransport({ baseUrl, format, fetchInit: { credentials: "include" } });
  const client = new Client(transport);
  const options = ({ metadata, timeoutMs, signal }) => ({ meta: metadata, timeout: timeoutMs, abort: signal });

  function start(name, request, given) {
    const method = client.methods.find((each) => each.localName === name);
    return client[name](method.I.create(request), options(given));
  }

  function failed(error) {
    // It shows grpc-message as it came.
    throw new Failed(GrpcStatusCode[error.code], decodeURIComponent(error.message), error.meta, error.message);
  }

  return {
    async unary(method, request, given = {}) {
      const call = start(method, request, given);
      const { response, headers, trailers } = await call.then((finished) => finished, failed);
      return { message: response, headers, trailers };
    },
    async stream(method, request, onMessage, given = {}) {
      const call = start(method, request, given);
      call.responses.onMessage(onMessage);
      const { headers, trailers } = await call.then((finished) => finished, failed);
      return { headers, trailers };
    },
  };
}

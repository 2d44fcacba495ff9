// Google's own client, in either format. Its code generator is a native program, so its descriptors are written here;
// the messages are protobuf-es'.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import grpcWeb from "grpc-web";
import { Failed } from "./failed.mjs";

const { GrpcWebClientBase, MethodDescriptor, MethodType } = grpcWeb;

function descriptor(service, method) {
  return new MethodDescriptor(
    `/${service.typeName}/${method.name}`,
    method.methodKind === "unary" ? MethodType.UNARY : MethodType.SERVER_STREAMING,
    Object,
    Object,
    (request) => toBinary(method.input, request),
    (bytes) => fromBinary(method.output, bytes),
  );
}

export function googleGrpcWeb(baseUrl, format, service) {
  const client = new GrpcWebClientBase({ format, withCredentials: true });

  function start(kind, name, request, { metadata, timeoutMs, signal }, callback) {
    const method = service.method[name];
    const deadline = timeoutMs === undefined ? {} : { deadline: String(Date.now() + timeoutMs) };
    const url = `${baseUrl}/${service.typeName}/${method.name}`;
    const headers = { ...metadata, ...deadline };
    const call = client[kind](url, create(method.input, request), headers, descriptor(service, method), callback);
    signal?.addEventListener("abort", () => call.cancel());
    return call;
  }

  const failed = (error) => new Failed(error.code, error.message, error.metadata);

  return {
    unary(method, request, given = {}) {
      return new Promise((resolve, reject) => {
        const seen = {};
        given.signal?.addEventListener("abort", () => reject(new Failed(1, "cancelled", {})));
        const call = start("rpcCall", method, request, given, (error, message) => {
          if (error) reject(failed(error));
          else seen.message = message;
        });
        call.on("metadata", (headers) => (seen.headers = headers));
        call.on("status", (status) => (seen.trailers = status.metadata));
        call.on("end", () => resolve(seen));
      });
    },
    stream(method, request, onMessage, given = {}) {
      return new Promise((resolve, reject) => {
        const seen = {};
        given.signal?.addEventListener("abort", () => reject(new Failed(1, "cancelled", {})));
        const call = start("serverStreaming", method, request, given);
        call.on("data", onMessage);
        call.on("metadata", (headers) => (seen.headers = headers));
        call.on("status", (status) => (seen.trailers = status.metadata));
        call.on("error", (error) => reject(failed(error)));
        call.on("end", () => resolve(seen));
      });
    },
  };
}

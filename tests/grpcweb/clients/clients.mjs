// The clients by name. Each is made for a service: `es` is what protobuf-es knows of it, `Ts` its client by protobuf-ts.
import { connectWeb } from "./connect.mjs";
import { googleGrpcWeb } from "./grpcweb.mjs";
import { protobufTs } from "./protobufts.mjs";

export const clients = {
  "connect-web": { make: (baseUrl, { es }) => connectWeb(baseUrl, es), incremental: true },
  // Its binary format gives a stream's messages at the end: XMLHttpRequest has no binary progress.
  "grpc-web": { make: (baseUrl, { es }) => googleGrpcWeb(baseUrl, "binary", es), incremental: false },
  "grpc-web-text": { make: (baseUrl, { es }) => googleGrpcWeb(baseUrl, "text", es), incremental: true },
  "protobuf-ts": { make: (baseUrl, { Ts }) => protobufTs(baseUrl, "binary", Ts), incremental: true },
  "protobuf-ts-text": { make: (baseUrl, { Ts }) => protobufTs(baseUrl, "text", Ts), incremental: true },
};

"""gRPC-Web over ASGI: any grpc.aio service, as a browser can call it (docs/adr/0004)."""

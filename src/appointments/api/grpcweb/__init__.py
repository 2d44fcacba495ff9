"""gRPC-Web over ASGI: lets a browser call any grpc.aio service (docs/adr/0004)."""

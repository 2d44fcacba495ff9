"""The doors: the only code that knows gRPC, HTTP or protobuf."""

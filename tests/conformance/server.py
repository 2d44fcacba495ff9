"""The program that the conformance suite starts: it learns what to serve, says where it does, and serves until SIGTERM.

gRPC is served by the engine that the command names, grpcio or native, and gRPC-Web by the front behind the service's
own listener, all set up as the service has them. Messages on standard input and output are preceded by their length in
four bytes.
"""

import asyncio
import signal
import socket
import struct
import sys
from typing import Any

import grpc

from appointments.api import native
from appointments.api.grpcweb.front import MAX_MESSAGE_BYTES, Front
from appointments.server import listener
from appointments.server.listener import Listener
from tests.conformance.service import ConformanceServicer
from tests.conformance.v1 import service_pb2_grpc
from tests.conformance.v1.config_pb2 import PROTOCOL_GRPC
from tests.conformance.v1.server_compat_pb2 import ServerCompatRequest, ServerCompatResponse

HOST = "127.0.0.1"
_LENGTH = struct.Struct(">I")


async def serve(wanted: ServerCompatRequest) -> None:
    """Serve what is wanted until the suite has enough."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    limit = wanted.message_receive_limit or MAX_MESSAGE_BYTES
    await (serve_native if wanted.protocol == PROTOCOL_GRPC else serve_web)(limit, stop)


async def serve_native(limit: int, stop: asyncio.Event) -> None:
    """Serve gRPC."""
    server: Any
    if sys.argv[1:] == ["native"]:
        server = native.Server(max_message_bytes=limit)
    else:
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", limit)])
    service_pb2_grpc.add_ConformanceServiceServicer_to_server(ConformanceServicer(), server)
    port = server.add_insecure_port(f"{HOST}:0")
    await server.start()
    announce(port)
    await stop.wait()
    await server.stop(None)


async def serve_web(limit: int, stop: asyncio.Event) -> None:
    """Serve gRPC-Web, over HTTP/1.1 and h2c."""
    front = Front(max_message_bytes=limit)
    service_pb2_grpc.add_ConformanceServiceServicer_to_server(ConformanceServicer(), front)
    listening = socket.create_server((HOST, 0))
    port = listening.getsockname()[1]
    server = Listener(front, listener.configure(f"fd://{listening.detach()}"))
    await server.start()
    announce(port)
    await stop.wait()
    await front.drain(0)
    await server.close(1)


def announce(port: int) -> None:
    """Tell the suite where the server is."""
    answer = ServerCompatResponse(host=HOST, port=port).SerializeToString()
    sys.stdout.buffer.write(_LENGTH.pack(len(answer)) + answer)
    sys.stdout.buffer.flush()


def main() -> None:
    """Read what is wanted, and serve it."""
    (length,) = _LENGTH.unpack(sys.stdin.buffer.read(_LENGTH.size))
    asyncio.run(serve(ServerCompatRequest.FromString(sys.stdin.buffer.read(length))))


if __name__ == "__main__":
    main()

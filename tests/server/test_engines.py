"""Both engines of the native port, frame by frame: what a client does to it must not reach the others.

``APPOINTMENTS_CONNECTIONS`` makes the crowd of idle connections larger than it is by default.
"""

import asyncio
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hpack import Encoder, NeverIndexedHeaderTuple

from appointments.v1 import appointments_pb2 as pb
from tests import service
from tests.clients import Person, person
from tests.service import Server

CONNECTIONS = int(os.environ.get("APPOINTMENTS_CONNECTIONS", "500"))
FRAMES = 10_000
MIB = 2**20

PING, SETTINGS, HEADERS, DATA, RESET = 6, 4, 1, 0, 3


@pytest.fixture(params=["grpcio", "native"])
def engine(request: pytest.FixtureRequest) -> str:
    """Each of them."""
    return str(request.param)


@pytest.fixture
def server(engine: str, dsn: str) -> Iterator[Server]:
    """A server of one engine."""
    with service.start(dsn, {"GRPC_SERVER": engine, "TRUSTED_PROXY_HOPS": "1"}) as running:
        yield running


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame (RFC 9113 §4.1)."""
    return struct.pack(">HBBBI", len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


def settings(**values: int) -> bytes:
    """The beginning of a connection, with the initial window perhaps."""
    payload = struct.pack(">HI", 4, values["window"]) if values else b""
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, payload)


def headers(method: str, token: str) -> bytes:
    """A call's header block, which leaves nothing in the connection's table."""
    fields = {
        ":method": "POST", ":scheme": "http", ":authority": "a", "te": "trailers", "content-type": "application/grpc",
        ":path": f"/appointments.v1.AppointmentService/{method}", "authorization": f"Bearer {token}",
    }  # fmt: skip
    ordered = sorted(fields.items(), key=lambda field: not field[0].startswith(":"))
    encoder: Any = Encoder()
    return bytes(encoder.encode([NeverIndexedHeaderTuple(*field) for field in ordered]))


def resident(server: Server) -> int:
    """Bytes of memory that it has."""
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    """A connection whose answers are read and forgotten."""
    host, _, port = server.grpc.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as opened:

        def forget() -> None:
            with suppress(OSError):
                while opened.recv(2**16):
                    pass

        reading = threading.Thread(target=forget)
        reading.start()
        yield opened
        with suppress(OSError):
            opened.shutdown(socket.SHUT_RDWR)
        reading.join()


def flood(server: Server, pieces: Iterator[bytes]) -> None:
    """Send it all, or as much as the server takes before it hangs up."""
    with connected(server) as opened, suppress(OSError):
        opened.sendall(settings())
        for piece in pieces:
            opened.sendall(piece)


def calls(token: str, *, then: bytes = b"") -> Iterator[bytes]:
    """The frames of one call after another, each with another frame behind it."""
    block = headers("ListAppointments", token)
    for stream in range(1, 2 * FRAMES, 2):
        begin = frame(HEADERS, 4, stream, block) + frame(DATA, 1, stream, bytes(5))
        yield begin + (frame(RESET, 0, stream, then) if then else b"")


async def is_served(somebody: Person) -> bool:
    """Whether a call of somebody else is answered as ever."""
    listed = await somebody.appointments.ListAppointments(
        pb.ListAppointmentsRequest(), metadata=somebody.metadata, timeout=10
    )
    return listed == pb.ListAppointmentsResponse()


async def is_served_in_the_end(somebody: Person) -> bool:
    """Whether a call is answered, after others perhaps that were dropped before they began."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await is_served(somebody)
            except grpc.aio.AioRpcError as error:
                if error.code() != grpc.StatusCode.CANCELLED:
                    raise
                await asyncio.sleep(0.1)


async def test_floods_of_frames_harm_nobody_else(engine: str, server: Server) -> None:
    """Pings, settings, and calls that are reset as soon as they are sent: memory is bounded, others are served.

    grpcio's core drops newcomers of all connections while more than 1,000 calls wait for their handlers, so there they
    may have to wait for the end of a flood of resets (docs/adr/0011).
    """
    served = is_served if engine == "native" else is_served_in_the_end
    async with person(server.grpc) as ada, person(server.grpc) as bob:
        token = bob.tokens.access_token
        for _ in range(2):
            before = resident(server)  # what a first flood makes room for, others use again
            flood(server, (frame(PING, 0, 0, bytes(8)) for _ in range(FRAMES)))
            assert await served(ada)
            flood(server, (frame(SETTINGS, 0, 0) for _ in range(FRAMES)))
            assert await served(ada)
            flood(server, calls(token, then=struct.pack(">I", 8)))
            assert await served(ada)
        assert resident(server) - before < (16 if engine == "native" else 128) * MIB
    assert "Traceback" not in server.log()


async def test_who_never_reads_harms_nobody_else(server: Server) -> None:
    """A client without a window, whose answers cannot leave."""
    async with person(server.grpc) as ada, person(server.grpc) as bob:
        with connected(server) as opened:
            opened.sendall(settings(window=0))
            some = calls(bob.tokens.access_token)
            for _ in range(100):
                opened.sendall(next(some))
            assert await is_served(ada)
    assert "Traceback" not in server.log()


async def test_a_crowd_of_idle_connections(server: Server) -> None:
    """Each costs little, and newcomers are served."""
    host, _, port = server.grpc.rpartition(":")
    before = resident(server)
    crowd = [socket.create_connection((host, int(port)), timeout=30) for _ in range(CONNECTIONS)]
    try:
        for each in crowd:
            each.sendall(settings())
        for each in crowd:
            assert each.recv(9)
        async with person(server.grpc) as ada:
            assert await is_served(ada)
        assert resident(server) - before < CONNECTIONS * 100 * 1024 + 16 * MIB
    finally:
        for each in crowd:
            each.close()


async def test_health_and_reflection(server: Server) -> None:
    """Development tells which services there are, and how they are."""
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await health.Check(health_pb2.HealthCheckRequest(service="nothing"))
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type]
        (answer,) = [
            each
            async for each in stub.ServerReflectionInfo(
                iter([reflection_pb2.ServerReflectionRequest(list_services="")])
            )
        ]
        names = {each.name for each in answer.list_services_response.service}
        assert {"appointments.v1.AppointmentService", "grpc.health.v1.Health"} <= names


def test_an_engine_that_is_not_installed_is_one_clear_line(dsn: str, tmp_path: Path) -> None:
    """With the command that installs it."""
    (tmp_path / "pygrpc_native.py").write_text("raise ImportError\n")
    environment = {"GRPC_SERVER": "native", "PYTHONPATH": str(tmp_path)}
    with service.start(dsn, environment, wait=False) as server:
        assert server.process.wait(60) == 1
        assert "appointments: GRPC_SERVER: native needs the package pygrpc-native: pip install" in server.log()
        assert "Traceback" not in server.log()

"""The drain as balancers and clients see it, with a lame-duck time long enough to look around in."""

import asyncio
import signal
from typing import Any

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests import service
from tests.clients import person

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_readiness_and_health_turn_while_everything_is_still_served(dsn: str) -> None:
    """/readyz is 503 and health NOT_SERVING at once; calls and requests go on, each answer says Connection: close."""
    with service.start(dsn, {"LAME_DUCK_SECONDS": "8", "TRUSTED_PROXY_HOPS": "1"}) as server:
        async with person(server.grpc) as ada, httpx.AsyncClient(base_url=server.url) as client:
            assert "connection" not in (await client.get("/healthz")).headers
            async with grpc.aio.insecure_channel(server.grpc) as channel:
                health: Any = health_pb2_grpc.HealthStub(channel)
                watch = health.Watch(health_pb2.HealthCheckRequest())
                await watch.read()
                server.process.send_signal(signal.SIGTERM)
                assert (await watch.read()).status == NOT_SERVING
            ready, alive = await client.get("/readyz"), await client.get("/healthz")
            assert (503, "close") == (ready.status_code, ready.headers["connection"])
            assert (200, "close") == (alive.status_code, alive.headers["connection"])
            assert (await ada.create()).id
        assert await asyncio.to_thread(server.process.wait, 30) == 0


async def test_a_request_on_a_kept_connection_is_not_lost(dsn: str) -> None:
    """It comes after the signal, on a connection from before: it is answered, and the connection ends then."""
    with service.start(dsn) as server:
        reader, writer = await asyncio.open_connection(*server.http.split(":"))
        request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        writer.write(request)
        await reader.readuntil(b"\r\n\r\n")
        server.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(server.wait_for_line, "draining")
        writer.write(request)
        answer = await reader.read()
        assert b"HTTP/1.1 200" in answer
        assert b"connection: close" in answer
        writer.close()
        assert await asyncio.to_thread(server.process.wait, 30) == 0

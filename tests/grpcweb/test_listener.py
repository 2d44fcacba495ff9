"""hypercorn's limits, and ours around it: slow clients, large headers, and a shutdown that ends."""

import asyncio
import logging
import time

import httpx
import pytest

from appointments.api import http_exchange
from appointments.api.http_exchange import Receive, Scope, Send, bounded
from appointments.server import listener
from tests.grpcweb.echo.v1.echo_pb2 import EchoRequest
from tests.grpcweb.server import SERVICE, Doors, doors
from tests.grpcweb.wire import BINARY, eventually, framed, parse, post, raw_post

STREAM = framed(EchoRequest(key="open", count=-1, pause_ms=600_000))


async def form(scope: Scope, receive: Receive, send: Send) -> None:
    """A plain application that reads its body, then answers; or answers at once."""
    if scope["type"] != "http":
        return
    if scope["path"] == "/read":
        while (await receive()).get("more_body"):
            pass
    if scope["path"] == "/hang":
        await asyncio.sleep(600)
    await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"no"})


async def trickle(running: Doors, head: bytes, pause: float) -> bytes:
    """Send a body byte by byte until the server ends it; what it said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(head)

    async def drip() -> None:
        while True:
            writer.write(b"\0")
            await asyncio.sleep(pause)

    dripping = asyncio.create_task(drip())
    async with asyncio.timeout(30):
        answer = await reader.read()
    dripping.cancel()
    writer.close()
    return answer


@pytest.mark.parametrize("pause", [0.05, 60])
async def test_slow_body_of_a_call_is_cut_off(pause: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the drops are spread, there is an end, and the handler has not run."""
    monkeypatch.setattr(http_exchange, "PATIENCE", 0.5)
    async with doors() as running:
        answer = await trickle(running, raw_post("Unary", 100_000) + framed(bytes(99_995))[:5], pause)
        calls = running.echo.calls
    assert (b"HTTP/1.1 408", 0) == (answer[:12], calls)


async def test_slow_body_stops_a_handler_that_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream of requests is a body like any other."""
    monkeypatch.setattr(http_exchange, "PATIENCE", 0.5)
    async with doors() as running:
        answer = await trickle(running, raw_post("ClientStream", 100_000), 60)
    assert b"HTTP/1.1 408" == answer[:12]


@pytest.mark.parametrize(("path", "status"), [("/read", b"408"), ("/", b"401")])
async def test_slow_body_of_any_request_is_cut_off(path: str, status: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else the port serves is bounded in the same way."""
    monkeypatch.setattr(http_exchange, "PATIENCE", 0.5)
    async with doors(application=bounded(form)) as running:
        head = f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n"
        answer = await trickle(running, head.encode(), 0.05)
    assert b"HTTP/1.1 " + status == answer[:12]


@pytest.mark.parametrize("http2", [False, True])
async def test_answer_before_the_end_of_the_body_keeps_the_connection(http2: bool) -> None:
    """A refusal does not cost the client its connection, nor the other streams on it."""
    async with doors(application=bounded(form)) as running:
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(
            base_url=running.url, http1=not http2, http2=http2, limits=limits, timeout=30
        ) as client:
            for _ in range(3):
                assert 401 == (await client.post("/", content=bytes(2_000_000))).status_code
            assert 0 == parse(await client.post(f"{SERVICE}/Unary", content=framed(b""), headers=CALL)).status


CALL = {"content-type": BINARY}


async def test_large_headers_are_refused() -> None:
    """431, before the application sees anything."""
    async with doors() as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(raw_post("Unary", 5, f"x-large: {'a' * 200_000}"))
        answer = await reader.read()
        writer.close()
    assert b"HTTP/1.1 431" == answer[:12]


@pytest.mark.parametrize("sent", [b"", b"POST / HTTP/1.1\r\n"])
async def test_idle_connections_are_closed(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that say nothing, and those that never finish their headers."""
    monkeypatch.setattr(listener, "IDLE", 0.3)
    async with doors() as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(sent)
        async with asyncio.timeout(10):
            assert b"" == await reader.read()
        writer.close()


async def test_silent_stream_is_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server stream may say nothing for as long as it likes."""
    monkeypatch.setattr(listener, "IDLE", 0.2)
    async with doors() as running:
        answer = await post(running, "ServerStream", framed(EchoRequest(count=1, pause_ms=1000)))
    assert (0, 1) == (answer.status, len(answer.messages))


async def test_connection_ends_with_its_client() -> None:
    """Its socket and its tasks are not kept for the idle time."""
    async with doors() as running:
        await post(running, "Unary", framed(b""))
        before = len(asyncio.all_tasks())
        for _ in range(10):
            await post(running, "Unary", framed(b""))
        async with asyncio.timeout(listener.IDLE / 3):
            while len(asyncio.all_tasks()) > before:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.02)


async def test_server_does_not_say_what_it_is() -> None:
    """No header names the software."""
    async with doors() as running:
        assert "server" not in (await post(running, "Unary", framed(b""))).headers


async def test_drain_ends_streams_and_lets_calls_finish() -> None:
    """Streams end with UNAVAILABLE, a call in flight with its answer, and new ones are refused."""
    async with doors() as running, httpx.AsyncClient(base_url=running.url, timeout=30) as client:
        stream = asyncio.create_task(client.post(f"{SERVICE}/ServerStream", content=STREAM, headers=CALL))
        slow = framed(EchoRequest(key="slow", text="done", pause_ms=700))
        call = asyncio.create_task(client.post(f"{SERVICE}/Unary", content=slow, headers=CALL))
        await eventually(running, "open", "running")
        await eventually(running, "slow", "running")
        draining = asyncio.create_task(running.front.drain(10))
        ended = parse(await stream)
        refused = parse(await client.post(f"{SERVICE}/Unary", content=framed(b""), headers=CALL))
        still_draining = not draining.done()
        finished = parse(await call)
        await draining
    assert (14, "cancelled") == (ended.status, running.echo.states["open"])
    assert (14, True) == (refused.status, still_draining)
    assert (0, "done") == (finished.status, finished.messages[0].text)


async def test_drain_ends_calls_that_outlast_the_grace() -> None:
    """They get UNAVAILABLE, too: a retry may help."""
    async with doors() as running, httpx.AsyncClient(base_url=running.url, timeout=30) as client:
        slow = framed(EchoRequest(key="slow", pause_ms=600_000))
        call = asyncio.create_task(client.post(f"{SERVICE}/Unary", content=slow, headers=CALL))
        await eventually(running, "slow", "running")
        await running.front.drain(0.2)
        assert 14 == parse(await call).status


@pytest.mark.parametrize("http2", [False, True])
async def test_shutdown_ends_with_streams_open(http2: bool, caplog: pytest.LogCaptureFixture) -> None:
    """In order, quickly, and without a word in the log, on every version of Python."""
    caplog.set_level(logging.WARNING)
    async with httpx.AsyncClient(http1=not http2, http2=http2, timeout=30) as client:
        async with doors() as running:
            url = f"{running.url}{SERVICE}/ServerStream"
            streams = [asyncio.create_task(client.post(url, content=STREAM, headers=CALL)) for _ in range(5)]
            await eventually(running, "open", "running")
            await asyncio.sleep(0.2)
            began = time.monotonic()
        took = time.monotonic() - began
        statuses = [parse(await stream).status for stream in streams]
    assert [14] * 5 == statuses
    assert took < 2.5
    assert [] == caplog.messages


async def test_shutdown_does_not_wait_for_ever() -> None:
    """Even a request that nothing ends is left behind, after the graceful time."""
    async with doors(application=bounded(form), graceful_timeout=0.3) as running:
        _, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(b"GET /hang HTTP/1.1\r\nhost: a\r\n\r\n")
        await asyncio.sleep(0.2)
        running.stop.set()
        async with asyncio.timeout(10):
            await running.serving
        writer.close()

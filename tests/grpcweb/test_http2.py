"""HTTP/2 frame by frame: what one stream, or one client, must not do to the others."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)

from appointments.api.http_exchange import bounded
from appointments.server import http2, listener
from tests.grpcweb.echo.v1.echo_pb2 import EchoRequest, Failure
from tests.grpcweb.server import SERVICE, Doors, doors
from tests.grpcweb.test_listener import form
from tests.grpcweb.wire import BINARY, framed

LIMIT = 50_000
FAILING = framed(EchoRequest(text="enough", failure=Failure(code=9)))


class Client:
    """One connection, whose every frame the test decides on."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.events: list[Event] = []

    async def flush(self) -> None:
        """Send what is due."""
        self._writer.write(self.h2.data_to_send())
        await self._writer.drain()

    def open(self, path: str, length: int | None = None, *, content_type: str = BINARY) -> int:
        """Begin a request."""
        stream: int = self.h2.get_next_available_stream_id()
        headers = [(":method", "POST"), (":path", path), (":scheme", "http"), (":authority", "a")]
        known = [("content-length", str(length))] if length is not None else []
        self.h2.send_headers(stream, [*headers, ("content-type", content_type), *known])
        return stream

    async def send(self, stream: int, data: bytes) -> None:
        """Send part of a body as fast as the server lets us."""
        while data:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(data))
            self.h2.send_data(stream, data[:room])
            data = data[room:]
            await self.flush()
            if data and not self.h2.local_flow_control_window(stream):
                await self._read()

    async def until(self, stream: int, kind: type[Event]) -> Event:
        """Read until there is such an event for the stream."""
        await self.flush()
        async with asyncio.timeout(10):
            while not (found := [event for event in self.of(stream) if isinstance(event, kind)]):
                assert await self._read(), f"the connection ended; there was only {self.events}"
        return found[0]

    async def until_closed(self) -> None:
        """Read until the server ends the connection."""
        await self.flush()
        async with asyncio.timeout(10):
            while await self._read():
                pass

    def of(self, stream: int) -> list[Event]:
        """What has come for a stream so far."""
        return [event for event in self.events if getattr(event, "stream_id", None) == stream]

    async def call(self) -> str:
        """Make a small call; returns its HTTP status."""
        stream = self.open(f"{SERVICE}/Unary")
        self.h2.send_data(stream, framed(EchoRequest(text="hello")), end_stream=True)
        await self.until(stream, StreamEnded)
        return self.status(stream)

    def status(self, stream: int) -> str:
        """The HTTP status of a stream's answer."""
        (answer,) = [event for event in self.of(stream) if isinstance(event, ResponseReceived)]
        return next(str(value) for name, value in answer.headers if str(name) == ":status")

    async def _read(self) -> bool:
        data = await self._reader.read(65536)
        for event in self.h2.receive_data(data):
            self.events.append(event)
            if isinstance(event, DataReceived) and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if data:
            await self.flush()
        return bool(data)


@asynccontextmanager
async def connected(running: Doors) -> AsyncIterator[Client]:
    """A connection that begins with HTTP/2."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    client = Client(reader, writer)
    await client.flush()
    try:
        yield client
    finally:
        writer.close()


@pytest.fixture
async def running() -> AsyncIterator[Doors]:
    """Both doors, a plain application, and a small limit on messages."""
    async with doors(limit=LIMIT, application=bounded(form)) as open_doors:
        yield open_doors


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("path", "content_type", "status"),
    [("/", "text/plain", "401"), (f"{SERVICE}/Unary", BINARY, "200"), (f"{SERVICE}/Unary", "text/plain", "415")],
)
async def test_answer_waits_for_the_rest_of_the_body(
    running: Doors, path: str, content_type: str, status: str, known: bool
) -> None:
    """A client that sees an error early stops sending: curl fails the call then, and Go waits for an end in vain."""
    body = framed(bytes(2 * LIMIT))
    async with connected(running) as client:
        stream = client.open(path, len(body) if known else None, content_type=content_type)
        await client.send(stream, body[:10_000])
        beside = await client.call()
        early = [event for event in client.of(stream) if isinstance(event, ResponseReceived | DataReceived)]
        await client.send(stream, body[10_000:])
        client.h2.end_stream(stream)
        await client.until(stream, StreamEnded)
        assert ("200", [], status) == (beside, early, client.status(stream))


async def test_conversation_ends_with_its_answer(running: Doors) -> None:
    """A client that talks in both directions may end its request after the status. What it still sends is dropped."""
    async with connected(running) as client:
        stream = client.open(f"{SERVICE}/BidiStream")
        await client.send(stream, FAILING)
        await client.until(stream, StreamEnded)
        await client.send(stream, bytes(300_000))
        assert "200" == await client.call()
        client.h2.end_stream(stream)
        assert "200" == await client.call()
        assert [] == [event for event in client.of(stream) if isinstance(event, StreamReset)]


async def test_conversation_cannot_be_prolonged(running: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that goes on long after its answer is reset, without an error and without harm to the others."""
    monkeypatch.setattr(http2, "REST", 0.0)
    async with connected(running) as client:
        stream = client.open(f"{SERVICE}/BidiStream")
        await client.send(stream, FAILING)
        await client.until(stream, StreamEnded)
        await client.send(stream, b"more")
        reset = await client.until(stream, StreamReset)
        assert isinstance(reset, StreamReset)
        assert (ErrorCodes.NO_ERROR, "200") == (reset.error_code, await client.call())


async def test_flood_of_resets_ends_the_connection(running: Doors, caplog: pytest.LogCaptureFixture) -> None:
    """Its client is told to calm down, the log gets one line, and everybody else is served."""
    caplog.set_level(logging.INFO)
    async with connected(running) as bystander, connected(running) as client:
        for _ in range(3000):
            client.h2.reset_stream(client.open(f"{SERVICE}/ServerStream"), ErrorCodes.CANCEL)
        await client.until_closed()
        (end,) = [event for event in client.events if isinstance(event, ConnectionTerminated)]
        assert (ErrorCodes.ENHANCE_YOUR_CALM, "200") == (end.error_code, await bystander.call())
    assert ["a client was sent away, because it reset too many streams: 127.0.0.1"] == caplog.messages


async def test_resets_that_people_cause_are_no_flood(running: Doors) -> None:
    """A browser that leaves a page resets what it has open."""
    async with connected(running) as client:
        for _ in range(http2.RESETS_AT_ONCE):
            client.h2.reset_stream(client.open(f"{SERVICE}/ServerStream"), ErrorCodes.CANCEL)
        assert "200" == await client.call()


def test_allowance_comes_back_with_time() -> None:
    """So many at once, then so many a second, and never more than at first."""
    times: Iterator[float] = iter([0.0, 0.0, 0.0, 0.0, 0.4, 0.5, 0.5, 100.0, 100.0, 100.0])
    allowance = http2.Allowance(2, 2.0, lambda: next(times))
    taken = [allowance.take() for _ in range(9)]
    assert [True, True, False, False, True, False, True, True, False] == taken


async def test_priorities_are_ignored(running: Doors) -> None:
    """However many streams a client ranks, none of them takes memory, and the connection lives."""
    async with connected(running) as client:
        for stream in range(1, 4001, 2):
            client.h2.prioritize(100_000 + stream, weight=16)
        assert "200" == await client.call()


@pytest.mark.parametrize("resets", [False, True])
async def test_idle_connection_is_closed(resets: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has sent its preface and no more, and one whose only request was withdrawn."""
    monkeypatch.setattr(listener, "IDLE", 0.3)
    async with doors() as running, connected(running) as client:
        if resets:
            stream = client.open(f"{SERVICE}/ServerStream")
            await client.send(stream, framed(EchoRequest(key="open", count=-1, pause_ms=1)))
            client.h2.end_stream(stream)
            await client.until(stream, DataReceived)
            client.h2.reset_stream(stream, ErrorCodes.CANCEL)
        await client.until_closed()

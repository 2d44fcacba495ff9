"""The front on a real port, against clients that are odd, broken or hostile."""

import asyncio
import base64
from collections.abc import AsyncIterator

import httpx
import pytest
from h2.connection import H2Connection

from tests.grpcweb.echo.v1.echo_pb2 import EchoRequest, Failure
from tests.grpcweb.server import SERVICE, Doors, doors
from tests.grpcweb.wire import BINARY, TEXT, eventually, framed, parse, post, raw_post

HELLO = framed(EchoRequest(text="hello"))
LIMIT = 100_000


@pytest.fixture
async def running() -> AsyncIterator[Doors]:
    """Both doors, with a small limit on messages."""
    async with doors(limit=LIMIT, origins=["https://calendar.example"]) as open_doors:
        yield open_doors


async def pieces(*parts: bytes, pause: float = 0.0) -> AsyncIterator[bytes]:
    """A body in pieces."""
    for part in parts:
        yield part
        await asyncio.sleep(pause)


@pytest.mark.parametrize(
    "content_type", ["application/grpc-web", BINARY, f"{BINARY}; charset=utf-8", "Application/gRPC-Web"]
)
async def test_binary_content_types_echo(running: Doors, content_type: str) -> None:
    """Every spelling of the binary mode is served."""
    answer = await post(running, "Unary", HELLO, content_type=content_type)
    assert (200, 0, "hello") == (answer.http, answer.status, answer.messages[0].text)


@pytest.mark.parametrize("content_type", ["application/grpc-web-text", TEXT])
@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_text_content_types_echo(running: Doors, content_type: str, size: int) -> None:
    """Base64 is understood in chunks of any size, and answered in kind."""
    encoded = base64.b64encode(HELLO)
    parts = [encoded[start : start + size] for start in range(0, len(encoded), size)]
    answer = await post(running, "Unary", pieces(*parts), content_type=content_type)
    assert (content_type, 0, "hello") == (answer.headers["content-type"], answer.status, answer.messages[0].text)


async def test_accept_does_not_become_the_content_type(running: Doors) -> None:
    """Otherwise a page could make the browser show an answer as HTML."""
    answer = await post(running, "Unary", HELLO, {"accept": "text/html"})
    assert (BINARY, "nosniff") == (answer.headers["content-type"], answer.headers["x-content-type-options"])


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/grpc",
        "application/grpc-web+json",
        "application/json",
    ],
)
async def test_other_content_types_have_no_effect(running: Doors, content_type: str) -> None:
    """A form of another site cannot make a call."""
    answer = await post(running, "Unary", HELLO, content_type=content_type)
    assert (415, "nosniff", 0) == (answer.http, answer.headers["x-content-type-options"], running.echo.calls)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
async def test_only_post_is_a_call(running: Doors, method: str) -> None:
    """Anything else is 405 and names what is allowed."""
    async with httpx.AsyncClient(base_url=running.url) as client:
        answer = await client.request(method, f"{SERVICE}/Unary", headers={"content-type": BINARY})
    assert (405, "POST, OPTIONS", 0) == (answer.status_code, answer.headers["allow"], running.echo.calls)


@pytest.mark.parametrize("path", [f"{SERVICE}/Nothing", "/no.such.Service/Unary", "/"])
async def test_unknown_methods_are_unimplemented(running: Doors, path: str) -> None:
    """They get a status, not the page."""
    async with httpx.AsyncClient(base_url=running.url) as client:
        answer = parse(await client.post(path, content=HELLO, headers={"content-type": BINARY}))
        page = await client.get("/")
    assert (200, 12, "text/html") == (answer.http, answer.status, page.headers["content-type"])


@pytest.mark.parametrize("method", ["Unary", "ServerStream"])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 12),
        (HELLO + HELLO, 12),
        (HELLO + HELLO[:3], 13),
        (HELLO[:-1], 13),
        (HELLO[:2], 13),
        (framed(b"x", flags=1), 13),
        (framed(b"x", flags=0x80), 13),
        (framed(b"\xff\xff\xff"), 3),
        (framed(bytes(LIMIT + 1)), 8),
        (framed(bytes(LIMIT + 1))[:5], 8),
    ],
    ids=[
        "none",
        "two",
        "one and a bit",
        "cut",
        "cut prefix",
        "compressed",
        "trailers",
        "garbage",
        "large",
        "announced",
    ],
)
async def test_bad_requests_get_their_status(running: Doors, method: str, body: bytes, status: int) -> None:
    """On HTTP 200, and the handler does not run."""
    answer = await post(running, method, body)
    assert (200, status, 0) == (answer.http, answer.status, running.echo.calls)


async def test_base64_that_is_none_is_refused(running: Doors) -> None:
    """The text mode has a way of its own to be broken."""
    answer = await post(running, "Unary", b"@@@@", content_type=TEXT)
    assert (13, 0) == (answer.status, running.echo.calls)


async def test_message_at_the_limit_is_accepted(running: Doors) -> None:
    """The limit is for the message, not for its frame."""
    request = EchoRequest(data=bytes(LIMIT - 4))
    assert LIMIT == request.ByteSize()
    assert 0 == (await post(running, "Unary", framed(request))).status


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "nonsense"])
async def test_unknown_encodings_are_unimplemented(running: Doors, encoding: str) -> None:
    """The answer says what would be understood."""
    answer = await post(running, "Unary", HELLO, {"grpc-encoding": encoding})
    assert (12, "identity", 0) == (answer.status, answer.headers["grpc-accept-encoding"], running.echo.calls)


@pytest.mark.parametrize(
    ("timeout", "status"), [("soon", 3), ("1", 3), ("100000000S", 3), ("0n", 4), ("1n", 4), ("5S", 0)]
)
async def test_timeouts(running: Doors, timeout: str, status: int) -> None:
    """A malformed one is INVALID_ARGUMENT; one that has passed is DEADLINE_EXCEEDED."""
    answer = await post(running, "Unary", framed(EchoRequest(pause_ms=50)), {"grpc-timeout": timeout})
    assert (200, status) == (answer.http, answer.status)


async def test_deadline_passes_while_the_body_arrives(running: Doors) -> None:
    """A slow sender gets the status, too, and the handler does not run."""
    answer = await post(running, "Unary", pieces(HELLO[:4], HELLO[4:], pause=0.4), {"grpc-timeout": "100m"})
    assert (4, 0) == (answer.status, running.echo.calls)


@pytest.mark.parametrize("value", ["AAEC/w", "AAEC/w=="])
async def test_binary_metadata_comes_back(running: Doors, value: str) -> None:
    """Padded or not on the way in, without padding on the way out."""
    answer = await post(running, "Unary", framed(EchoRequest(echo_metadata=True)), {"x-echo-bin": value})
    assert ("AAEC/w", "AAEC/w") == (answer.headers["x-echo-bin"], answer.trailers["x-trailing-x-echo-bin"])


async def test_binary_metadata_that_is_none_is_refused(running: Doors) -> None:
    """Before the handler runs."""
    answer = await post(running, "Unary", HELLO, {"x-echo-bin": "!"})
    assert (3, 0) == (answer.status, running.echo.calls)


async def test_unary_error_is_trailers_only(running: Doors) -> None:
    """Status and details in the headers, and no body."""
    failure = Failure(code=5, message="größer", details=True)
    answer = await post(running, "Unary", framed(EchoRequest(failure=failure)))
    assert ("5", "gr%C3%B6%C3%9Fer") == (answer.headers["grpc-status"], answer.headers["grpc-message"])
    assert ("0", {}) == (answer.headers["content-length"], answer.trailers)
    assert "grpc-status-details-bin" in answer.headers


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_stream_error_ends_the_body(running: Doors, count: int) -> None:
    """After however many messages, the status is the last frame."""
    request = EchoRequest(count=count, failure=Failure(code=9, message="no"))
    answer = await post(running, "ServerStream", framed(request))
    assert (count, {"grpc-status": "9", "grpc-message": "no"}) == (len(answer.messages), answer.trailers)


@pytest.mark.parametrize("method", ["ClientStream", "BidiStream"])
async def test_requests_may_come_one_by_one(running: Doors, method: str) -> None:
    """Half-duplex: split and joined in whatever way, with pauses."""
    body = framed(EchoRequest(text="a")) + framed(EchoRequest(text="b")) + framed(EchoRequest(text="c"))
    answer = await post(running, method, pieces(body[:4], body[4:12], body[12:], pause=0.05))
    assert (0, "a,b,c") == (answer.status, ",".join(each.text for each in answer.messages))


async def test_stream_of_requests_may_be_empty(running: Doors) -> None:
    """No request is a number of requests like any other."""
    assert (0, 0) == (
        (await post(running, "ClientStream", b"")).status,
        (await post(running, "BidiStream", b"")).status,
    )


@pytest.mark.parametrize(
    ("tail", "status"), [(b"\0\0", 13), (framed(b"\xff"), 3), (framed(bytes(LIMIT + 1)), 8), (framed(b"", flags=1), 13)]
)
async def test_bad_request_ends_a_stream_of_requests(running: Doors, tail: bytes, status: int) -> None:
    """The handler, which is waiting for more, is stopped."""
    assert status == (await post(running, "ClientStream", HELLO + tail)).status


async def test_handler_may_answer_before_the_requests_end(running: Doors) -> None:
    """What is still sent is read out, and the connection goes on."""
    stop = framed(EchoRequest(failure=Failure(code=9)))
    async with httpx.AsyncClient(base_url=running.url) as client:
        for _ in range(2):
            body = pieces(stop, *[framed(EchoRequest(data=bytes(50_000)))] * 40)
            answer = await client.post(f"{SERVICE}/BidiStream", content=body, headers={"content-type": BINARY})
            assert 9 == parse(answer).status


async def test_large_body_is_read_out_and_the_connection_goes_on(running: Doors) -> None:
    """A client that sends too much gets its answer, over HTTP/1.1 and HTTP/2."""
    for http2 in (False, True):
        async with httpx.AsyncClient(base_url=running.url, http1=not http2, http2=http2, timeout=60) as client:
            headers = {"content-type": BINARY}
            for body in (framed(bytes(20_000_000)), HELLO):
                answer = await client.post(f"{SERVICE}/Unary", content=body, headers=headers)
                assert (8 if len(body) > LIMIT else 0) == parse(answer).status


async def test_early_answers_leave_other_streams_of_the_connection_alone(running: Doors) -> None:
    """Over HTTP/2, hypercorn dies of data for a stream that has been answered: so no answer ends early."""
    late = pieces(*[bytes(10_000)] * 20, pause=0.01)
    async with httpx.AsyncClient(base_url=running.url, http1=False, http2=True, timeout=30) as client:
        slow = client.post(
            f"{SERVICE}/Unary", content=framed(EchoRequest(pause_ms=500)), headers={"content-type": BINARY}
        )
        refused = client.post(f"{SERVICE}/Unary", content=late, headers={"content-type": "text/plain"})
        unknown = client.post(
            "/a.B/C", content=pieces(*[bytes(10_000)] * 20, pause=0.01), headers={"content-type": BINARY}
        )
        answers = await asyncio.gather(slow, refused, unknown)
    assert [0, 415, 12] == [parse(answers[0]).status, answers[1].status_code, parse(answers[2]).status]


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("pause_ms", [10, 600_000])
async def test_client_that_goes_away_stops_the_handler(running: Doors, http2: bool, pause_ms: int) -> None:
    """Busy or silent, over either protocol, within a second."""
    request = framed(EchoRequest(key="gone", count=-1, pause_ms=pause_ms))
    async with httpx.AsyncClient(base_url=running.url, http1=not http2, http2=http2) as client:
        call = asyncio.create_task(
            client.post(f"{SERVICE}/ServerStream", content=request, headers={"content-type": BINARY}, timeout=60)
        )
        await eventually(running, "gone", "running")
        call.cancel()
        await asyncio.wait([call])
    await eventually(running, "gone", "cancelled", seconds=1)


async def test_reset_of_a_stream_stops_the_handler(running: Doors) -> None:
    """Over HTTP/2 a client takes back one call and keeps the connection."""
    connection = H2Connection()
    connection.initiate_connection()
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    path = f"{SERVICE}/ServerStream"
    headers = {":method": "POST", ":scheme": "http", ":authority": "a", ":path": path, "content-type": BINARY}
    for stream, request in [(1, EchoRequest(key="reset", count=-1, pause_ms=600_000)), (3, EchoRequest(key="other"))]:
        connection.send_headers(stream, list(headers.items()))
        connection.send_data(stream, framed(request), end_stream=True)
    writer.write(connection.data_to_send())
    await eventually(running, "reset", "running")
    connection.reset_stream(1)
    writer.write(connection.data_to_send())
    await eventually(running, "reset", "cancelled", seconds=1)
    await eventually(running, "other", "done")
    writer.close()
    await reader.read()


async def test_stream_waits_for_a_client_that_does_not_read(running: Doors) -> None:
    """The handler is not run ahead of the connection: memory stays flat."""
    request = framed(EchoRequest(key="slow", count=100_000, data=bytes(50_000)))
    _, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=1024)
    writer.write(raw_post("ServerStream", len(request)) + request)
    await eventually(running, "slow", "running")
    await asyncio.sleep(0.5)
    state = running.echo.states["slow"]
    writer.transport.abort()
    await eventually(running, "slow", "cancelled")
    assert "running" == state

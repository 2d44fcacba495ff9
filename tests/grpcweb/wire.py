"""gRPC-Web by hand: what a client puts on the wire, and what it finds there."""

import asyncio
import base64
import struct
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass

import httpx
from google.protobuf.message import Message

from tests.grpcweb.echo.v1.echo_pb2 import EchoResponse
from tests.grpcweb.server import SERVICE, Doors

BINARY = "application/grpc-web+proto"
TEXT = "application/grpc-web-text+proto"


def framed(message: Message | bytes, flags: int = 0) -> bytes:
    """A message in its frame."""
    data = message if isinstance(message, bytes) else message.SerializeToString()
    return struct.pack(">BI", flags, len(data)) + data


def frames(body: bytes) -> list[tuple[int, bytes]]:
    """The frames of a response: flags and content."""
    found = []
    while body:
        flags, length = struct.unpack_from(">BI", body)
        assert len(body) >= 5 + length
        found.append((flags, body[5 : 5 + length]))
        body = body[5 + length :]
    return found


@dataclass
class Answer:
    """A response, taken apart."""

    http: int
    headers: dict[str, str]
    messages: list[EchoResponse]
    trailers: dict[str, str]

    @property
    def status(self) -> int:
        """The gRPC status, which stands in exactly one place."""
        found = [place["grpc-status"] for place in (self.headers, self.trailers) if "grpc-status" in place]
        assert 1 == len(found)
        return int(found[0])


def parse(response: httpx.Response) -> Answer:
    """Take a response apart, as the specification has it: messages first, the trailers last."""
    body = response.content
    if response.headers.get("content-type", "").startswith("application/grpc-web-text"):
        body = b"".join(base64.b64decode(body[start : start + 4]) for start in range(0, len(body), 4))
    if not response.headers.get("content-type", "").startswith("application/grpc-web"):
        return Answer(response.status_code, dict(response.headers), [], {})
    found = frames(body)
    assert [0x80] == [flags for flags, _ in found[-1:]] or not found
    assert not any(flags for flags, _ in found[:-1])
    lines = found[-1][1].decode("ascii").splitlines() if found else []
    trailers = dict(line.split(": ", 1) for line in lines)
    messages = [EchoResponse.FromString(data) for _, data in found[:-1]]
    return Answer(response.status_code, dict(response.headers), messages, trailers)


async def post(
    running: Doors,
    method: str,
    body: bytes | AsyncIterable[bytes],
    headers: Mapping[str, str] | None = None,
    content_type: str = BINARY,
) -> Answer:
    """Call a method over HTTP/1.1, on a connection of its own."""
    async with httpx.AsyncClient(base_url=running.url, timeout=30) as client:
        given = {"content-type": content_type, **(headers or {})}
        return parse(await client.post(f"{SERVICE}/{method}", content=body, headers=given))


def raw_post(method: str, length: int, *headers: str) -> bytes:
    """The head of a request over HTTP/1.1, for those who send its body themselves."""
    start = (f"POST {SERVICE}/{method} HTTP/1.1", "host: 127.0.0.1", f"content-type: {BINARY}")
    return "\r\n".join([*start, f"content-length: {length}", *headers, "", ""]).encode()


async def eventually(running: Doors, key: str, state: str, seconds: float = 10.0) -> None:
    """Wait until the call with this key is in this state."""
    async with asyncio.timeout(seconds):
        while running.echo.states.get(key) != state:  # noqa: ASYNC110 - a state, not an event
            await asyncio.sleep(0.01)

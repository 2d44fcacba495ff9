"""Just enough of both protocols to load a server without costing more than it does.

A client library would take most of the machine that the server is measured on. So the headers of the requests are
encoded once, and of a response only its end is read. The servers cannot tell the difference.
"""

import asyncio
import struct
from collections.abc import Callable
from typing import Any, Protocol, cast

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HUGE = 2**31 - 1
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, ACK = 0x1, 0x1

Done = Callable[[str], None]
"""Told how a call ended: the code's name, "OK" or whatever the server said."""


class Connection(Protocol):
    """One connection that carries calls of one method for one person."""

    capacity: int

    def call(self, message: bytes, done: Done) -> None:
        """Send a request; never waits."""


class Native(asyncio.Protocol):
    """gRPC over HTTP/2 (RFC 9113): any number of calls at once."""

    capacity = 64  # at under a kilobyte each they stay far from the server's flow control window

    def __init__(self, path: str, token: str, *, statuses: bool = False) -> None:
        self._headers: list[tuple[str, str]] = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "127.0.0.1"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "grpc-bench/1"),
            ("authorization", f"Bearer {token}"),
        ]
        self._encoder = hpack.Encoder()
        self._decoder: Any = hpack.Decoder() if statuses else None
        self._buffer = b""
        self._stream = -1
        self._calls: dict[int, Done] = {}
        self._answered: set[int] = set()
        self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        settings = struct.pack(">HIHI", 0x4, HUGE, 0x5, 2**20)  # initial window, largest frame
        self._transport.write(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(SETTINGS, 0, 0, settings) + _window(HUGE - 65535)
        )

    def call(self, message: bytes, done: Done) -> None:
        self._stream += 2
        self._calls[self._stream] = done
        block = self._encoder.encode(self._headers)
        data = struct.pack(">BI", 0, len(message)) + message
        self._transport.write(_frame(HEADERS, 0x4, self._stream, block) + _frame(DATA, END_STREAM, self._stream, data))

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data
        at, end = 0, len(buffer)
        while end - at >= 9:
            length = int.from_bytes(buffer[at : at + 3])
            if end - at < 9 + length:
                break
            kind, flags = buffer[at + 3], buffer[at + 4]
            stream = int.from_bytes(buffer[at + 5 : at + 9])
            self._frame_received(kind, flags, stream, buffer[at + 9 : at + 9 + length])
            at += 9 + length
        self._buffer = buffer[at:]

    def _frame_received(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA:
            self._answered.add(stream)
            self._received += len(payload)
            if self._received > 2**29:
                self._transport.write(_window(self._received))
                self._received = 0
        elif kind == HEADERS:
            status = self._status(payload) if self._decoder else None
            if flags & END_STREAM:
                # Only a successful unary call has a message: a failed one is trailers alone.
                answered = stream in self._answered
                self._answered.discard(stream)
                self._calls.pop(stream)(status or ("OK" if answered else "FAILED"))
        elif kind == RST_STREAM:
            self._calls.pop(stream, lambda _: None)("RESET")  # type: ignore[no-untyped-call]
        elif kind == SETTINGS and not flags & ACK:
            self._transport.write(_frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self._transport.write(_frame(PING, ACK, 0, payload))

    def _status(self, block: bytes) -> str | None:
        assert self._decoder
        headers: dict[Any, Any] = dict(self._decoder.decode(block))
        return _CODES.get(str(headers["grpc-status"]), "OTHER") if "grpc-status" in headers else None

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        calls, self._calls = self._calls, {}
        for done in calls.values():
            done("LOST")

    def close(self) -> None:
        """Hang up."""
        self._transport.close()


class Web(asyncio.Protocol):
    """gRPC-Web over HTTP/1.1 with the session's cookie, as a page calls: one call at a time."""

    capacity = 1

    def __init__(self, path: str, token: str) -> None:
        self._head = (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/grpc-web+proto\r\n"
            f"x-grpc-web: 1\r\nsec-fetch-site: same-origin\r\ncookie: __Host-access_token={token}\r\n"
        )
        self._buffer = bytearray()
        self._done: Done | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def call(self, message: bytes, done: Done) -> None:
        self._done = done
        body = struct.pack(">BI", 0, len(message)) + message
        self._transport.write(f"{self._head}content-length: {len(body)}\r\n\r\n".encode() + body)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, blank, body = bytes(self._buffer).partition(b"\r\n\r\n")
        if not blank or not _complete(head.lower(), body):
            return
        self._buffer.clear()
        done, self._done = self._done, None
        if done:
            done("OK" if b"grpc-status: 0" in body else "FAILED")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._done:
            self._done("LOST")

    def close(self) -> None:
        """Hang up."""
        self._transport.close()


def _complete(head: bytes, body: bytes) -> bool:
    _, found, rest = head.partition(b"content-length:")
    return len(body) >= int(rest.partition(b"\r\n")[0]) if found else body.endswith(b"0\r\n\r\n")


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">HBBBI", len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


def _window(increment: int) -> bytes:
    return _frame(8, 0, 0, struct.pack(">I", increment))


_CODES = {"0": "OK", "6": "ALREADY_EXISTS", "4": "DEADLINE_EXCEEDED", "13": "INTERNAL", "14": "UNAVAILABLE"}

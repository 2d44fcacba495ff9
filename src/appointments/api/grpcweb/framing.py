"""gRPC-Web on the wire: frames, base64, metadata and timeouts, without I/O and without a clock.

Follows the gRPC-Web specification (PROTOCOL-WEB), and gRPC over HTTP/2 where that one refers to it. Bad input raises a
`Refusal` with the status that the gRPC specification gives it, and nothing else.
"""

import binascii
import re
import struct
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import quote

import grpc
from sonora import protocol

Headers = Iterable[tuple[bytes, bytes]]
Metadata = Iterable[tuple[str, str | bytes]]

CONTENT_TYPES = {
    b"application/grpc-web": False,
    b"application/grpc-web+proto": False,
    b"application/grpc-web-text": True,
    b"application/grpc-web-text+proto": True,
}
"""The content types that are understood, and whether each is the text mode (base64)."""

_PREFIX = struct.Struct(">BI")
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_KEY = re.compile(r"[0-9a-z_.-]+")
_TEXT = re.compile(r"[\x20-\x7e]*")
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")

# Headers of the transport. Handlers of the native port do not see them either. The cookie is a credential.
_NOT_METADATA = frozenset(
    {b"accept", b"accept-encoding", b"connection", b"content-length", b"content-type", b"cookie", b"expect"}
    | {b"grpc-accept-encoding", b"grpc-encoding", b"grpc-timeout", b"host", b"http2-settings", b"keep-alive"}
    | {b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
# Metadata that a handler may not send. It would change the meaning of the HTTP response.
_RESERVED = frozenset(
    {"connection", "content-encoding", "content-length", "content-type", "date", "grpc-accept-encoding"}
    | {"grpc-encoding", "grpc-message", "grpc-status", "keep-alive", "set-cookie", "trailer", "transfer-encoding"}
    | {"upgrade", "vary", "x-content-type-options"}
)


class Refusal(Exception):
    """The call ends with this status, whatever the handler does."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


class Metadatum(NamedTuple):
    """One entry of the invocation metadata, in the form that grpc.aio gives it."""

    key: str
    value: str | bytes


class Deframer:
    """Turns the body of a request into its messages, in whatever pieces it arrives.

    Holds at most one message of ``limit`` bytes and the piece that is being fed.
    """

    def __init__(self, *, text: bool, limit: int) -> None:
        self._text = text
        self._limit = limit
        self._quanta = b""
        self._buffer = bytearray()

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the messages that ``piece`` completes.

        Raises:
            Refusal: INTERNAL for what is not a frame, RESOURCE_EXHAUSTED as soon as a prefix announces a message over
            the limit.
        """
        self._buffer += self._decode(piece) if self._text else piece
        messages = []
        start = 0
        while len(self._buffer) - start >= _PREFIX.size:
            flags, length = _PREFIX.unpack_from(self._buffer, start)
            self._check(flags, length)
            end = start + _PREFIX.size + length
            if end > len(self._buffer):
                break
            messages.append(bytes(self._buffer[start + _PREFIX.size : end]))
            start = end
        if start:
            del self._buffer[:start]
        return messages

    def end(self) -> None:
        """Note that the body has ended.

        Raises:
            Refusal: INTERNAL if it ended within a message.
        """
        if self._buffer or self._quanta:
            raise Refusal(grpc.StatusCode.INTERNAL, "the request ended within a message")

    def _check(self, flags: int, length: int) -> None:
        if flags & 1:
            raise Refusal(grpc.StatusCode.INTERNAL, "a message is flagged as compressed, but grpc-encoding is identity")
        if flags:
            raise Refusal(grpc.StatusCode.INTERNAL, f"a message has unknown flags {flags:#04x}")
        if length > self._limit:
            details = f"a message of {length} bytes is larger than the {self._limit} that are accepted"
            raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, details)

    def _decode(self, piece: bytes) -> bytes:
        """Decode base64 in which every quantum of four characters may be padded, not only the last one."""
        self._quanta += piece
        whole = len(self._quanta) // 4 * 4
        encoded, self._quanta = self._quanta[:whole], self._quanta[whole:]
        decoded = []
        start = 0
        while start < whole:
            padding = encoded.find(b"=", start)
            end = whole if padding < 0 else padding // 4 * 4 + 4
            try:
                decoded.append(binascii.a2b_base64(encoded[start:end], strict_mode=True))
            except binascii.Error:
                raise Refusal(grpc.StatusCode.INTERNAL, "the request is not base64") from None
            start = end
        return b"".join(decoded)


def frame(message: bytes, *, text: bool) -> bytes:
    """Frame a message of the response."""
    wrap = protocol.b64_wrap_message if text else protocol.wrap_message
    framed: bytes = wrap(False, False, message)
    return framed


def trailer_frame(trailers: Headers, *, text: bool) -> bytes:
    """Frame the trailers, which end the response."""
    wrap = protocol.b64_wrap_message if text else protocol.wrap_message
    pairs = [(key.decode("ascii"), value.decode("ascii")) for key, value in trailers]
    framed: bytes = wrap(True, False, protocol.pack_trailers(pairs))
    return framed


def status_trailers(code: grpc.StatusCode, details: str, metadata: Headers) -> list[tuple[bytes, bytes]]:
    """Return a call's trailers: its status and the handler's trailing metadata.

    Printable ASCII stays as it is, for the clients that show grpc-message without decoding it.
    """
    trailers = [(b"grpc-status", b"%d" % code.value[0])]
    if details:
        trailers.append((b"grpc-message", quote(details, safe=_PRINTABLE, errors="replace").encode("ascii")))
    trailers.extend(metadata)
    return trailers


def encode_metadata(metadata: Metadata) -> list[tuple[bytes, bytes]]:
    """Turn a handler's metadata into headers. Binary values go out without padding, as gRPC asks of senders.

    Raises:
        ValueError: an entry cannot be a header, or would change what the response is.
    """
    headers = []
    for key, value in metadata:
        if not _KEY.fullmatch(key) or key in _RESERVED or key.startswith("access-control-"):
            raise ValueError(f"{key!r} cannot be a key of metadata")
        if key.endswith("-bin"):
            data = value.encode() if isinstance(value, str) else value
            headers.append((key.encode("ascii"), binascii.b2a_base64(data, newline=False).rstrip(b"=")))
            continue
        text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
        if not _TEXT.fullmatch(text):
            raise ValueError(f"the value of {key!r} is not printable ASCII")
        headers.append((key.encode("ascii"), text.encode("ascii")))
    return headers


def decode_metadata(headers: Headers) -> list[Metadatum]:
    """Return the metadata among a request's headers. One header may hold several binary values, joined by commas.

    Raises:
        Refusal: INVALID_ARGUMENT for a binary value that is not base64, padded or not.
    """
    metadata: list[Metadatum] = []
    for name, value in headers:
        if name in _NOT_METADATA:
            continue
        key = name.decode("latin-1")
        if name.endswith(b"-bin"):
            metadata.extend(Metadatum(key, _decode_binary(key, part)) for part in value.split(b","))
        else:
            metadata.append(Metadatum(key, value.decode("latin-1")))
    return metadata


def _decode_binary(key: str, value: bytes) -> bytes:
    bare = value.strip().rstrip(b"=")
    try:
        return binascii.a2b_base64(bare + b"=" * (-len(bare) % 4), strict_mode=True)
    except binascii.Error:
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, f"the value of {key} is not base64") from None


def parse_timeout(value: bytes) -> float:
    """Return the seconds of a grpc-timeout header.

    Raises:
        Refusal: INVALID_ARGUMENT if it is malformed.
    """
    match = _TIMEOUT.fullmatch(value)
    if match is None:
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "grpc-timeout is malformed")
    return int(match[1]) * _SECONDS[match[2]]

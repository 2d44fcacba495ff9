"""The response of a gRPC-Web call: HTTP 200, framed messages, and the status as the body's last frame.

In a call with one response at most, an error goes into the HTTP headers ("trailers-only"), as proxies do it. In a
stream it stays a frame, because older versions of connect-web take headers alone for a stream that ended well.
"""

from collections.abc import Callable, Iterable, Sequence

import grpc

from appointments.api.grpcweb import framing
from appointments.api.http_exchange import Send

Header = tuple[bytes, bytes]
Cors = Callable[[Iterable[bytes]], list[Header]]

_ALWAYS_EXPOSED = (b"grpc-status", b"grpc-message", b"grpc-status-details-bin", b"grpc-accept-encoding")


class Reply:
    """Writes one response. ``ended`` is true as soon as the status is decided."""

    def __init__(self, send: Send, *, content_type: bytes, text: bool, streaming: bool, cors: Cors) -> None:
        self._send = send
        self._text = text
        self._streaming = streaming
        self._cors = cors
        self._headers: list[Header] = [(b"content-type", content_type), (b"x-content-type-options", b"nosniff")]
        self._metadata: list[Header] = []
        self._started = False
        self.ended = False

    def add_header(self, name: bytes, value: bytes) -> None:
        """Add an HTTP header, which is not metadata of the handler."""
        self._headers.append((name, value))

    async def metadata(self, initial: list[Header]) -> None:
        """Take the initial metadata. A stream starts with it. A single response carries it.

        Raises:
            RuntimeError: initial metadata or a message was sent already.
        """
        if self._started or self._metadata:
            raise RuntimeError("the initial metadata has been sent already")
        self._metadata = initial
        if self._streaming:
            await self._start()
            # An exchange may hold the start back until it sees that more than one piece follows.
            await self._send({"type": "http.response.body", "body": b"", "more_body": True})

    async def message(self, message: bytes) -> None:
        """Send one message of a stream."""
        if not self._started:
            await self._start()
        body = framing.frame(message, text=self._text)
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def end(
        self,
        code: grpc.StatusCode,
        details: str,
        trailing: Sequence[Header] = (),
        message: bytes | None = None,
    ) -> None:
        """Send the status, and the message of a call that has just one."""
        self.ended = True
        trailers = framing.status_trailers(code, details, trailing)
        body = b"" if message is None else framing.frame(message, text=self._text)
        if self._started:
            body += framing.trailer_frame(trailers, text=self._text)
        elif self._streaming or self._metadata or code is grpc.StatusCode.OK:
            body += framing.trailer_frame(trailers, text=self._text)
            await self._start([(b"content-length", b"%d" % len(body))])
        else:
            await self._start([*trailers, (b"content-length", b"0")])
        await self._send({"type": "http.response.body", "body": body})

    async def _start(self, more: Sequence[Header] = ()) -> None:
        self._started = True
        headers = [*self._headers, *self._metadata, *more]
        headers += self._cors(dict.fromkeys([*_ALWAYS_EXPOSED, *(name for name, _ in [*self._metadata, *more])]))
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

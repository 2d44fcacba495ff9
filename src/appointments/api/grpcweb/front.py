"""The gRPC-Web front: serves any generated service over ASGI, as the specification and the browsers' clients expect.

Services register with `Front` as with sonora's server, but its request path is replaced (docs/adr/0004). Handlers are
those of grpc.aio. A bad HTTP request gets an HTTP status (403, 405, 415). Everything that concerns the call is HTTP 200
with a gRPC status.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import grpc
import sonora.asgi

from appointments.api.grpcweb import framing
from appointments.api.grpcweb.call import Call
from appointments.api.grpcweb.framing import Deframer, Metadatum, Refusal
from appointments.api.grpcweb.reply import Reply
from appointments.api.http_exchange import App, Exchange, Receive, Scope, Send
from appointments.api.origin import Origins

StatusCode = grpc.StatusCode
Header = tuple[bytes, bytes]
Credentials = Callable[[Sequence[Header]], str | None]

MAX_MESSAGE_BYTES = 6 * 1024 * 1024
"""What both ports let pass: an import of 5 MiB, and room to name the field of one that is larger."""

_SHUTTING_DOWN = "the server is shutting down"


class _Details(NamedTuple):
    """The argument that a generic handler is called with."""

    method: str
    invocation_metadata: Any = None


class Front(sonora.asgi.grpcASGI):  # type: ignore[misc] # sonora is untyped
    """Serves gRPC-Web over ASGI, and passes on what it does not handle: see `handles`.

    ``credentials`` finds the access token in a request's cookies. It reaches handlers as ``authorization`` metadata,
    unless the request has an ``authorization`` header: that one wins. The cookie itself is not metadata. With or
    without that header, a request with such a cookie must come from an origin that ``origins`` permits.
    """

    def __init__(
        self,
        application: App | None = None,
        *,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        origins: Origins | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        super().__init__(application, enable_cors=False)
        self._methods: dict[str, Any] = {}
        self._limit = max_message_bytes
        self._origins = origins or Origins()
        self._credentials = credentials
        self._calls: set[Call] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        """Register the methods of a service by name. Newer generated code does so besides the generic way."""
        self._methods.update({f"/{service_name}/{name}": handler for name, handler in method_handlers.items()})

    def handles(self, scope: Scope) -> bool:
        """Whether a request is for the front: it has the path of a registered method, or a gRPC content type."""
        if scope["type"] != "http":
            return False
        if self._handler(scope["path"]) is not None:
            return True
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if scope["method"] == "OPTIONS":
            return b"x-grpc-web" in headers.get(b"access-control-request-headers", b"").lower()
        return headers.get(b"content-type", b"").lower().startswith(b"application/grpc")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. What the front does not handle goes to the application, if there is one."""
        if self.handles(scope):
            handler = self._handler(scope["path"])
            streaming = handler is None or handler.request_streaming
            await self._serve(scope, handler, Exchange(scope, receive, send, streaming=streaming))
        elif self._application is not None:
            await self._application(scope, receive, send)
        elif scope["type"] == "http":
            await _refuse(Exchange(scope, receive, send), 404, "there is nothing here")

    async def drain(self, grace: float) -> None:
        """Refuse new calls, end open streams with UNAVAILABLE, and give the other calls ``grace`` seconds to finish."""
        self._draining = True
        self._end(call for call in self._calls if call.streaming)
        try:
            async with asyncio.timeout(grace):
                await self._idle.wait()
        except TimeoutError:
            self._end(self._calls)

    def _end(self, calls: Iterable[Call]) -> None:
        for call in tuple(calls):
            call.end(Refusal(StatusCode.UNAVAILABLE, _SHUTTING_DOWN))

    def _handler(self, path: str) -> Any:
        if (handler := self._methods.get(path)) is not None:
            return handler
        details = _Details(path)
        return next((found for generic in self._handlers if (found := generic.service(details))), None)

    async def _serve(self, scope: Scope, handler: Any, exchange: Exchange) -> None:
        headers = dict(scope["headers"])
        mode = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if scope["method"] == "OPTIONS":
            await self._preflight(scope, exchange)
        elif scope["method"] != "POST":
            await _refuse(exchange, 405, "a call is a POST", [(b"allow", b"POST, OPTIONS")])
        elif mode not in framing.CONTENT_TYPES:
            await _refuse(exchange, 415, "the content type is not one of gRPC-Web")
        else:
            token = self._credentials(scope["headers"]) if self._credentials and b"cookie" in headers else None
            if token is not None and not self._origins.permits(scope):
                await _refuse(exchange, 403, "this origin may not use the session")
            else:
                await self._serve_call(scope, handler, exchange, mode, token)

    async def _serve_call(self, scope: Scope, handler: Any, exchange: Exchange, mode: bytes, token: str | None) -> None:
        headers = dict(scope["headers"])
        reply = Reply(
            exchange.send,
            content_type=mode,
            text=framing.CONTENT_TYPES[mode],
            streaming=handler is not None and handler.response_streaming,
            cors=partial(self._origins.response_headers, scope),
        )
        try:
            self._check(scope, headers, handler)
            call = Call(
                handler,
                exchange,
                reply,
                Deframer(text=framing.CONTENT_TYPES[mode], limit=self._limit),
                metadata=_metadata(scope, headers, token),
                peer=_peer(scope.get("client")),
                deadline=_deadline(headers.get(b"grpc-timeout")),
                limit=self._limit,
            )
        except Refusal as refusal:
            if refusal.code is StatusCode.UNIMPLEMENTED:
                reply.add_header(b"grpc-accept-encoding", b"identity")
            await reply.end(refusal.code, refusal.details)
        else:
            await self._account(call)

    def _check(self, scope: Scope, headers: Mapping[bytes, bytes], handler: Any) -> None:
        if handler is None:
            raise Refusal(StatusCode.UNIMPLEMENTED, f"there is no method {scope['path']}")
        if self._draining:
            raise Refusal(StatusCode.UNAVAILABLE, _SHUTTING_DOWN)
        if headers.get(b"grpc-encoding", b"identity") != b"identity":
            raise Refusal(StatusCode.UNIMPLEMENTED, "the only supported encoding is identity")

    async def _account(self, call: Call) -> None:
        self._calls.add(call)
        self._idle.clear()
        try:
            await call.serve()
        finally:
            self._calls.discard(call)
            if not self._calls:
                self._idle.set()

    async def _preflight(self, scope: Scope, exchange: Exchange) -> None:
        headers = self._origins.preflight(scope)
        if headers is None:
            await _refuse(exchange, 403, "this origin may not call", [(b"vary", b"Origin")])
            return
        await exchange.send({"type": "http.response.start", "status": 204, "headers": headers})
        await exchange.send({"type": "http.response.body", "body": b""})


async def _refuse(exchange: Exchange, status: int, reason: str, headers: Sequence[Header] = ()) -> None:
    body = f"{reason}\n".encode()
    start = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (b"x-content-type-options", b"nosniff"),
        *headers,
    ]
    await exchange.send({"type": "http.response.start", "status": status, "headers": start})
    await exchange.send({"type": "http.response.body", "body": body})


def _metadata(scope: Scope, headers: Mapping[bytes, bytes], token: str | None) -> list[Metadatum]:
    metadata = framing.decode_metadata(scope["headers"])
    if token is not None and b"authorization" not in headers:
        metadata.append(Metadatum("authorization", f"Bearer {token}"))
    return metadata


def _deadline(timeout: bytes | None) -> float | None:
    return None if timeout is None else asyncio.get_running_loop().time() + framing.parse_timeout(timeout)


def _peer(client: tuple[str, int] | None) -> str:
    """Write an address as gRPC does; a unix socket has none."""
    if client is None:
        return "unix:"
    host, port = client[0], client[1]
    return f"ipv6:%5B{host}%5D:{port}" if ":" in host else f"ipv4:{host}:{port}"

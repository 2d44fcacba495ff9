"""Security and CORS headers of responses."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from appointments.api.origin import Origins

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",  # the calendar places its events through the CSSOM, which this does not restrict
        "img-src 'self'",
        "connect-src 'self'",
        "font-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        # Only the framework's own templates may turn text into markup.
        "require-trusted-types-for 'script'",
        "trusted-types svelte-trusted-html",
    )
)

SECURITY = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}

HSTS = "max-age=63072000; includeSubDomains"

EXPOSED = (b"X-Request-Id", b"Retry-After")


class SecurityHeaders:
    """Puts the security headers on every response of the application behind it."""

    def __init__(self, app: ASGIApp, *, production: bool) -> None:
        self._app = app
        self._headers = {**SECURITY, "Strict-Transport-Security": HSTS} if production else SECURITY

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class CrossOrigin:
    """Answers preflights under ``prefix``, adds CORS headers for allowed origins, and forbids caching."""

    def __init__(self, app: ASGIApp, *, origins: Origins, prefix: str) -> None:
        self._app = app
        self._origins = origins
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] != "http" or not scope["path"].startswith(self._prefix):
            await self._app(scope, receive, send)
            return
        if scope["method"] == "OPTIONS" and (permitted := self._origins.preflight(scope)) is not None:
            await send({"type": "http.response.start", "status": 204, "headers": permitted})
            await send({"type": "http.response.body"})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                cross_origin = self._origins.response_headers(scope, EXPOSED)
                message["headers"] = [*message["headers"], (b"cache-control", b"no-store"), *cross_origin]
            await send(message)

        await self._app(scope, receive, send_with_headers)

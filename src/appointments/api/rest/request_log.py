"""One log line and one request id per HTTP request, and the last handler for unexpected errors.

A line has the path, never the query, a header or the body, so that no password, token or cookie gets into the log. Of
links that carry a secret it has only the beginning.
"""

from time import perf_counter

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from appointments.api.caller import request_id
from appointments.api.rest import problems
from appointments.api.rest.client import address_of
from appointments.auth import audit
from appointments.shared import metrics, tracing

SECRET_PATHS = ("/verify-email/", "/change-email/", "/password-reset/", "/invitation/", "/unsubscribe/", "/calendars/")
"""What follows is a secret that a link carries."""

CLIENT_GONE = 499
"""The status that nginx logs when the client did not wait for the answer."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_log = structlog.get_logger("appointments.request")


def _without_secret(path: str) -> str:
    return next((f"{known}…" for known in SECRET_PATHS if path.startswith(known)), path)


class RequestLog:
    """Gives each request an id, and logs how it ended."""

    def __init__(self, app: ASGIApp, *, trusted_proxy_hops: int = 0) -> None:
        self._app = app
        self._hops = trusted_proxy_hops

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with tracing.serve(_method(scope), Headers(scope=scope), {"http.request.method": _method(scope)}):
            await self._serve(scope, receive, send)

    def _origin(self, scope: Scope, request_id: str) -> audit.Origin:
        request = Request(scope)
        user_agent = request.headers.get("user-agent", "")
        return audit.Origin("http", request_id, address_of(request, self._hops), user_agent)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        given = Headers(scope=scope).get("x-request-id", "")
        # A copy, because the server gives the same state to every request.
        state = scope["state"] = {**scope.get("state", {}), "request_id": request_id(given)}
        status = CLIENT_GONE

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = state["request_id"]
            await send(message)

        try:
            with audit.origin(self._origin(scope, state["request_id"])):
                await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            pass
        except Exception as error:  # noqa: BLE001 - the last line: whatever it is, it becomes an opaque answer
            _log.error("unexpected", request_id=state["request_id"], exc_info=error)
            if status == CLIENT_GONE:
                await problems.internal(Request(scope))(scope, receive, send_with_id)
        finally:
            duration = perf_counter() - started
            method, route = _method(scope), _route(scope, status)
            metrics.HTTP_DURATION.labels(method, route, status).observe(duration)
            tracing.answered(f"{method} {route}".strip(), route, status)
            _log.info(
                "request",
                request_id=state["request_id"],
                method=scope["method"],
                path=_without_secret(scope["path"]),
                status=status,
                duration_ms=round(duration * 1000, 2),
                user_id=state.get("user_id"),
            )


def _method(scope: Scope) -> str:
    # A client may make up methods; OpenTelemetry's conventions give those one name.
    return scope["method"] if scope["method"] in _METHODS else "_OTHER"


def _route(scope: Scope, status: int) -> str:
    """The path with the names of its parameters for their values: what routing has left in the scope."""
    if status in {404, 405}:
        return ""  # a path that is none may be anything
    path: str = scope["path"]
    for name, value in scope.get("path_params", {}).items():
        path = path.replace(str(value), f"{{{name}}}") if value else path
    return path

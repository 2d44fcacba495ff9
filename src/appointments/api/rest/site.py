"""The Starlette application: /auth, /healthz, /readyz and the page. It is all of HTTP but gRPC-Web."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from appointments.api.origin import Origins
from appointments.api.rest import page, plain, problems
from appointments.api.rest.account_links import AccountLinks
from appointments.api.rest.auth import AuthEndpoints
from appointments.api.rest.calendars import Calendars
from appointments.api.rest.dev_mail import DevelopmentMail
from appointments.api.rest.headers import CrossOrigin, SecurityHeaders
from appointments.api.rest.history import History
from appointments.api.rest.invitation_pages import InvitationPages
from appointments.api.rest.request_log import RequestLog
from appointments.auth import Auth
from appointments.auth.ratelimit import Limiter
from appointments.auth.tokens import utc_now
from appointments.icalendar.invitations import Answers
from appointments.shared.errors import Fault

Ready = Callable[[], Awaitable[bool]]


def build(
    auth: Auth,
    limiter: Limiter,
    origins: Origins,
    ready: Ready,
    *,
    events: ASGIApp | None = None,
    production: bool = False,
    trusted_proxy_hops: int = 0,
    answers: Answers | None = None,
    calendars: Calendars | None = None,
    history: History | None = None,
    mail: str = "off",
    kept_mail: DevelopmentMail | None = None,
    page_folder: Path = page.FOLDER,
    now: Callable[[], datetime] = utc_now,
) -> Starlette:
    """Build the application. ``ready`` says whether requests can be served; ``now`` is the clock of the cookies.

    ``events`` serves the stream of changes. ``mail`` is what ``/readyz`` says of mail; ``kept_mail`` shows what
    development keeps. ``answers`` is what the links in invitations lead to, ``calendars`` are feeds and exports,
    ``history`` is what happened to an account.
    """
    endpoints = AuthEndpoints(
        auth, limiter, origins, production=production, trusted_proxy_hops=trusted_proxy_hops, now=now
    )
    app = Starlette(
        routes=[
            *(history.routes() if history else ()),
            Mount("/auth", app=endpoints.router()),
            *((Route("/events", events, methods=["GET"]),) if events else ()),
            Route("/healthz", _alive, methods=["GET"]),
            Route("/readyz", _readiness(ready, mail), methods=["GET"]),
            *AccountLinks(auth.mailed_links, limiter, trusted_proxy_hops=trusted_proxy_hops).routes(),
            *(InvitationPages(answers, limiter, trusted_proxy_hops=trusted_proxy_hops).routes() if answers else ()),
            *(calendars.routes() if calendars else ()),
            *(kept_mail.routes() if kept_mail else ()),
            plain.STYLE_ROUTE,
            # Not a Mount: that would take over requests that have a wrong method for one of the other routes.
            Route("/{path:path}", page.serve(page_folder), methods=["GET"]),
        ],
        middleware=[
            Middleware(SecurityHeaders, production=production),
            Middleware(RequestLog, trusted_proxy_hops=trusted_proxy_hops),
            Middleware(CrossOrigin, origins=origins, prefix="/auth/"),
        ],
        exception_handlers={Fault: problems.from_fault, HTTPException: problems.from_http},
    )
    # A redirect to a path with or without its slash would be built from the Host header, which the client controls.
    app.router.redirect_slashes = False
    return app


async def _alive(request: Request) -> Response:  # noqa: ARG001
    return JSONResponse({"status": "alive"}, headers={"Cache-Control": "no-store"})


def _readiness(ready: Ready, mail: str) -> Callable[[Request], Awaitable[Response]]:
    async def readiness(request: Request) -> Response:  # noqa: ARG001
        is_ready = await ready()
        content = {"status": "ready" if is_ready else "unavailable", "mail": mail}
        return JSONResponse(content, 200 if is_ready else 503, headers={"Cache-Control": "no-store"})

    return readiness

"""Calendars over HTTP: GET /calendars/<secret>.ics for subscribers, /calendar.ics and /calendar.json of everything."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import format_datetime
from hashlib import sha256

from google.protobuf.json_format import MessageToDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from appointments.api import convert
from appointments.api.rest import cookies
from appointments.api.scopes import READS
from appointments.auth import Authenticator
from appointments.auth.identity import Identity
from appointments.auth.ratelimit import Limiter
from appointments.calendar.appointment import Appointment
from appointments.db import Database
from appointments.icalendar.feeds import Feeds, content
from appointments.shared.errors import Denied, Unauthenticated

MEDIA_TYPE = "text/calendar; charset=utf-8"
SUFFIX = ".ics"
HIDDEN = {"X-Robots-Tag": "noindex, nofollow", "Referrer-Policy": "no-referrer"}


class Calendars:
    """The routes."""

    def __init__(
        self, db: Database, feeds: Feeds, authenticator: Authenticator, limiter: Limiter, *, production: bool
    ) -> None:
        self._db = db
        self._feeds = feeds
        self._authenticator = authenticator
        self._limiter = limiter
        self._production = production

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("/calendars/{secret}", self._feed, methods=["GET"]),
            Route("/calendar.ics", self._export, methods=["GET"]),
            Route("/calendar.json", self._export_json, methods=["GET"]),
        ]

    async def _feed(self, request: Request) -> Response:
        name = request.path_params["secret"]
        if not name.endswith(SUFFIX):
            raise HTTPException(404)
        secret = name.removesuffix(SUFFIX)
        await self._limiter.admit("feed", sha256(secret.encode(errors="replace")).hexdigest())
        feed = await self._feeds.open(secret)
        headers = HIDDEN | {
            "ETag": feed.tag,
            "Last-Modified": format_datetime(feed.changed_at.replace(microsecond=0), usegmt=True),
            "Cache-Control": "private, no-cache",
        }
        if _knows(request.headers.get("if-none-match", ""), feed.tag):
            return Response(status_code=304, headers=headers)
        pieces = content.feed(
            self._db, feed.user_id, name=feed.display_name, is_busy_only=feed.is_busy_only, now=datetime.now(UTC)
        )
        return StreamingResponse(pieces, headers=headers, media_type=MEDIA_TYPE)

    async def _export(self, request: Request) -> Response:
        user = await self._identify(request)
        found = await content.everything(self._db, user.user_id)
        headers = HIDDEN | {"Cache-Control": "no-store", "Content-Disposition": 'attachment; filename="calendar.ics"'}
        return StreamingResponse(content.calendar(found, name="Calendar"), headers=headers, media_type=MEDIA_TYPE)

    async def _export_json(self, request: Request) -> Response:
        user = await self._identify(request)
        found = await content.everything(self._db, user.user_id)
        headers = HIDDEN | {"Cache-Control": "no-store", "Content-Disposition": 'attachment; filename="calendar.json"'}
        return StreamingResponse(_json(found), headers=headers, media_type="application/json")

    async def _identify(self, request: Request) -> Identity:
        scheme, _, credential = request.headers.get("authorization", "").partition(" ")
        token = credential.strip() if scheme.lower() == "bearer" else None
        token = token or cookies.access_token(request.scope["headers"], self._production)
        if not token:
            raise Unauthenticated("Sign in first: the request carries no access token.")
        identity = await self._authenticator.identify(token)
        READS.check(identity)
        act_as = request.headers.get("x-act-as")
        if act_as is not None:
            if not identity.may_act:
                raise Denied("Only a service account with the scope admin may act for a user.", reason="ACT_AS_DENIED")
            identity = await self._authenticator.act(identity, convert.identifier(act_as, "x-act-as"))
        request.state.user_id = str(identity.user_id)
        return identity


def _knows(if_none_match: str, tag: str) -> bool:
    # RFC 9110 §13.1.2: a list, compared weakly; proxies that compress make tags weak.
    given = (each.strip().removeprefix("W/") for each in if_none_match.split(","))
    return any(each in ("*", tag) for each in given)


async def _json(appointments: list[Appointment]) -> AsyncIterator[bytes]:
    """The contract's messages in its JSON form, one a line."""
    yield b'{"appointments": [\n'
    for number, each in enumerate(appointments):
        line = json.dumps(MessageToDict(convert.appointment(each)), ensure_ascii=False)
        yield f"{line}{',' if number + 1 < len(appointments) else ''}\n".encode()
    yield b"]}\n"

"""Calendars over HTTP: GET /calendars/<secret>.ics for subscribers, /calendar.ics and /calendar.json of everything."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import format_datetime
from hashlib import sha256
from uuid import UUID

from google.protobuf.json_format import MessageToDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from appointments.api import convert
from appointments.api.origin import Origins
from appointments.api.rest.admission import admit
from appointments.api.rpc import Policy
from appointments.api.scopes import READS
from appointments.auth import audit
from appointments.auth.ratelimit import Limiter
from appointments.calendar.appointment import Appointment
from appointments.db import Database
from appointments.icalendar.feeds import Feeds, content

MEDIA_TYPE = "text/calendar; charset=utf-8"
SUFFIX = ".ics"
HIDDEN = {"X-Robots-Tag": "noindex, nofollow", "Referrer-Policy": "no-referrer"}


class Calendars:
    """The routes."""

    def __init__(
        self, db: Database, feeds: Feeds, policy: Policy, origins: Origins, limiter: Limiter, *, production: bool
    ) -> None:
        self._db = db
        self._feeds = feeds
        self._policy = policy
        self._origins = origins
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
        user_id = await self._recorded(request, "ics")
        found = await content.everything(self._db, user_id)
        headers = HIDDEN | {"Cache-Control": "no-store", "Content-Disposition": 'attachment; filename="calendar.ics"'}
        pieces = content.calendar(found, name="Calendar", now=datetime.now(UTC), with_reminders=True)
        return StreamingResponse(pieces, headers=headers, media_type=MEDIA_TYPE)

    async def _export_json(self, request: Request) -> Response:
        user_id = await self._recorded(request, "json")
        found = await content.appointments(self._db, user_id)
        headers = HIDDEN | {"Cache-Control": "no-store", "Content-Disposition": 'attachment; filename="calendar.json"'}
        return StreamingResponse(_json(found), headers=headers, media_type="application/json")

    async def _recorded(self, request: Request, form: str) -> UUID:
        """Whose calendar is exported, once the audit log has it."""
        caller = await admit(request, self._policy, self._origins, READS, production=self._production)
        async with self._db.connection() as connection:
            actor_id = caller.actor_id
            await audit.record(connection, "data.exported", caller.user_id, actor_id=actor_id, form=form)
        return caller.user_id


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

"""Whose access token is this, and is its session still live?

The signature of an access token is good for 15 minutes. While a token is used, the database is asked at most every 4
seconds whether its session has ended. So a session that any process ends stops working everywhere within 5 seconds,
and at once in the process that ended it.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from appointments.auth.tokens import AccessTokens, Clock, utc_now
from appointments.db import Database
from appointments.errors import Unauthenticated

FRESH_SECONDS = 4.0
MAX_REMEMBERED = 65_536


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls, and in which session."""

    user_id: UUID
    session_id: UUID


class Authenticator:
    """Turns access tokens into identities."""

    def __init__(self, db: Database, tokens: AccessTokens, *, now: Clock = utc_now) -> None:
        self._db = db
        self._tokens = tokens
        self._now = now
        self._lookups: dict[UUID, _Lookup] = {}

    async def identify(self, access_token: str) -> Identity:
        """Tell whose token it is.

        Raises:
            Unauthenticated: the token is not one of ours or has expired, its session has ended, its user is gone.
            Unavailable: the database does not answer.
        """
        claims = self._tokens.verify(access_token)
        if not await self._is_live(claims.session_id):
            raise Unauthenticated("The session has ended.", reason="SESSION_ENDED")
        return Identity(claims.user_id, claims.session_id)

    def forget(self, session_ids: Iterable[UUID]) -> None:
        """Drop what is cached about these sessions, which have just been ended."""
        for session_id in session_ids:
            self._lookups.pop(session_id, None)

    async def _is_live(self, session_id: UUID) -> bool:
        started = asyncio.get_running_loop().time()
        lookup = self._lookups.get(session_id)
        # An answer may be as old as its question, so its age counts from when it was asked.
        if lookup is None or started - lookup.started > FRESH_SECONDS or lookup.failed:
            self.forget([session_id])
            if len(self._lookups) >= MAX_REMEMBERED:
                self.forget([next(iter(self._lookups))])
            lookup = self._lookups[session_id] = _Lookup(started, asyncio.create_task(self._ask(session_id)))
        if lookup.task.done():
            return lookup.task.result()
        # Callers share the lookup: one that gives up must not cancel it for the others.
        return await asyncio.shield(lookup.task)

    async def _ask(self, session_id: UUID) -> bool:
        async with self._db.connection() as connection:
            cursor = await connection.execute(
                "SELECT FROM sessions WHERE id = %(id)s AND revoked_at IS NULL AND expires_at > %(now)s",
                {"id": session_id, "now": self._now()},
            )
            return await cursor.fetchone() is not None


@dataclass(frozen=True, slots=True)
class _Lookup:
    started: float
    task: asyncio.Task[bool]

    @property
    def failed(self) -> bool:
        return self.task.done() and (self.task.cancelled() or self.task.exception() is not None)

"""Refresh-token rotation: each token is exchanged once. A second use means that the token was stolen.

Two kinds of second use are honest. Requests for one token that are in flight together share one exchange. A retry of
the same attempt (the client's X-Refresh-Id) gets the same successor from any process, for 60 seconds and as long as the
successor is unused. Any other use of a spent token ends every session of the user. An unknown, expired or logged-out
token is refused and has no other effect.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from appointments.auth import refresh_chain, user
from appointments.auth.account_mail import Post, said
from appointments.auth.identity import Authenticator
from appointments.auth.sessions import end_all
from appointments.auth.tokens import REFRESH_LIFETIME, AccessTokens, Clock, RefreshTokens, Tokens, digest_of, utc_now
from appointments.auth.user import User
from appointments.db import Connection, Database
from appointments.shared import metrics
from appointments.shared.errors import Invalid, Unauthenticated, Unavailable

MAX_ATTEMPT_ID = 100

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The user and the session's new tokens."""

    user: User
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class JoinWindow:
    """How long requests may join an exchange: until none has joined for ``quiet`` seconds, at most ``most`` seconds.

    A token that is sent after the answer was seen is a replay. So the answer is held back until the requests that were
    sent before it have been read. The time is slept in slices, so that an event loop that was held up gets to read what
    arrived meanwhile.
    """

    quiet: float = 0.1
    most: float = 1.0
    slices: int = 10

    @property
    def least(self) -> timedelta:
        """The shortest time for which an answer is held back; timers may fire a little early."""
        return timedelta(seconds=0.8 * self.quiet)


class Rotation:
    """Exchanges refresh tokens."""

    def __init__(
        self,
        db: Database,
        access: AccessTokens,
        refresh: RefreshTokens,
        authenticator: Authenticator,
        *,
        post: Post | None = None,
        now: Clock = utc_now,
        join_window: JoinWindow | None = None,
    ) -> None:
        self._db = db
        self._access = access
        self._refresh = refresh
        self._authenticator = authenticator
        self._post = post or Post()
        self._now = now
        self._join_window = join_window or JoinWindow()
        self._flights: dict[bytes, _Flight] = {}

    async def exchange(self, refresh_token: str, attempt_id: str | None = None) -> Refreshed:
        """Exchange a token for its successor and a new access token.

        Raises:
            Invalid: the token is missing, or the attempt's id is not printable ASCII of at most 100 characters.
            Unauthenticated: the token is not live (INVALID_REFRESH_TOKEN), or spent (REFRESH_TOKEN_REUSED).
        """
        if not refresh_token:
            raise Invalid.field("refresh_token", "is required")
        if attempt_id is not None and not _is_attempt_id(attempt_id):
            raise Invalid.field("x-refresh-id", f"must be printable ASCII of 1 to {MAX_ATTEMPT_ID} characters")
        digest = digest_of(refresh_token)
        running = self._flights.get(digest)
        if running is None:
            running = self._flights[digest] = _Flight(attempt_id)
            # In a task of its own, so that no request that is cancelled cancels the exchange for the others.
            running.task = asyncio.create_task(self._run(running, refresh_token, digest))
        else:
            running.join(attempt_id)
        return await asyncio.shield(running.task)

    async def _run(self, running: "_Flight", token: str, digest: bytes) -> Refreshed:
        try:
            first = set(running.attempt_ids)
            refreshed = await self._answer(token, list(first), self._now())
            await self._wait(running)
            if late := running.attempt_ids - first:
                with suppress(Unavailable):  # only matters if their answer is lost and they retry
                    await self._note(digest, list(late))
            return refreshed
        finally:
            del self._flights[digest]

    async def _wait(self, running: "_Flight") -> None:
        clock = asyncio.get_running_loop().time
        begun = clock()
        quiet = 0
        while quiet < self._join_window.slices and clock() - begun < self._join_window.most:
            joined = running.joined
            await asyncio.sleep(self._join_window.quiet / self._join_window.slices)
            quiet = quiet + 1 if running.joined == joined else 0

    async def _answer(self, token: str, attempt_ids: list[str], arrived_at: datetime) -> Refreshed:
        async def work(connection: Connection) -> "Refreshed | _Theft | None":
            return await self._exchange(connection, token, attempt_ids, arrived_at)

        outcome = await self._db.transact(work)
        if isinstance(outcome, _Theft):
            await self._end_all_sessions(outcome.user_id)
            raise Unauthenticated(
                "The refresh token was used before: every session of this user has been ended.",
                reason="REFRESH_TOKEN_REUSED",
            )
        if outcome is None:
            raise Unauthenticated("The refresh token is not valid.", reason="INVALID_REFRESH_TOKEN")
        return outcome

    async def _exchange(
        self, connection: Connection, token: str, attempt_ids: list[str], arrived_at: datetime
    ) -> "Refreshed | _Theft | None":
        digest = digest_of(token)
        session = await refresh_chain.lock(connection, digest)
        now = self._now()
        if session is None or session.revoked_at or session.expires_at <= now:
            return None
        spent = await refresh_chain.read(connection, digest)
        if spent is None:
            return None
        if spent.rotated_at is None and spent.expires_at <= now:
            return None
        if spent.successor is None:
            successor, expires_at = self._refresh.successor(token), min(now + REFRESH_LIFETIME, session.expires_at)
            await refresh_chain.rotate(
                connection,
                digest,
                attempt_ids=attempt_ids,
                now=now,
                successor=digest_of(successor),
                expires_at=expires_at,
            )
        elif spent.is_repeat(attempt_ids, arrived_at, self._join_window.least) and (
            again := self._refresh.successor_with(token, spent.successor)
        ):
            successor, expires_at = again, spent.successor_expires_at or now
        else:
            return _Theft(session.user_id)
        owner = await user.find(connection, session.user_id)
        tokens = Tokens(*self._access.issue(session.user_id, session.id), successor, expires_at)
        return Refreshed(owner, tokens) if owner else None

    async def _end_all_sessions(self, user_id: UUID) -> None:
        # In a transaction of its own: it locks all of the user's sessions in order, and the exchange had locked one.
        async def work(connection: Connection) -> Sequence[UUID]:
            now = self._now()
            ended = await end_all(connection, user_id, "token_reused", now)
            if ended:
                await self._post.tell(connection, user_id, "session_stolen", at=said(now))
            return ended

        ended = await self._db.transact(work)
        self._authenticator.forget(ended)
        metrics.SESSIONS_STOLEN.inc()
        _log.warning("a spent refresh token came back: user %s, %d sessions ended", user_id, len(ended))

    async def _note(self, digest: bytes, attempt_ids: list[str]) -> None:
        # Requests that joined with attempt ids of their own may have to retry too.
        async with self._db.connection() as connection:
            await refresh_chain.note(connection, digest, attempt_ids)


class _Flight:
    """An exchange under way, shared by every request for its token (single-flight)."""

    task: asyncio.Task[Refreshed]

    def __init__(self, attempt_id: str | None) -> None:
        self.attempt_ids: set[str] = set()
        self.joined = 0
        self.join(attempt_id)

    def join(self, attempt_id: str | None) -> None:
        self.joined += 1
        if attempt_id:
            self.attempt_ids.add(attempt_id)


@dataclass(frozen=True, slots=True)
class _Theft:
    user_id: UUID


def _is_attempt_id(text: str) -> bool:
    return 1 <= len(text) <= MAX_ATTEMPT_ID and text.isascii() and text.isprintable()

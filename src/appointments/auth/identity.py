"""Whose access token or key is this, and does it still work?

The signature of an access token is good for 15 minutes, a key for as long as its owner likes. While one is used, the
database is asked at most every 4 seconds whether it still is. So a session or a key that any process ends stops working
everywhere within 5 seconds, and at once in the process that ended it. The same goes for a user who is disabled, and for
a role that changes.
"""

import asyncio
import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from appointments.auth import secret
from appointments.auth.lookups import Lookups
from appointments.auth.tokens import AccessTokens, Clock, utc_now
from appointments.db import Database, Micros, Statement, micros
from appointments.shared.errors import NotFound, Unauthenticated, Unavailable, Unmet

LAST_USE_EVERY = timedelta(minutes=1)
"""How exactly a key's last use is known. It is written after the answer that it is for, by whoever looks a key up."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls: a person who has signed in (``session_id``), or a program with a key (``key_id``).

    ``scopes`` say what a key may do; None, of a person, is everything. ``actor_id`` is who really calls: the user, or
    the service account that acts for the user. ``may_act`` says whether the caller may act for users.
    """

    user_id: UUID
    actor_id: UUID
    session_id: UUID | None = None
    key_id: UUID | None = None
    scopes: frozenset[str] | None = None
    is_admin: bool = False
    may_act: bool = False


@dataclass(frozen=True, slots=True)
class _Key:
    identity: Identity
    expires_at: float
    disabled: bool


class Authenticator:
    """Turns access tokens and keys into identities."""

    def __init__(self, db: Database, tokens: AccessTokens, *, now: Clock = utc_now) -> None:
        self._db = db
        self._tokens = tokens
        self._now = now
        self._sessions = Lookups(self._find_session)
        self._keys = Lookups(self._find_key)
        self._users = Lookups(self._find_user)
        self._notes: set[asyncio.Task[None]] = set()

    async def identify(self, credential: str) -> Identity:
        """Tell whose access token or key it is.

        Raises:
            Unauthenticated: it is not one of ours or has expired, its session or the key has ended, its user is gone.
            Unavailable: the database does not answer.
        """
        if credential.startswith(secret.PREFIX):
            return await self._identify_key(credential)
        identity = await self._sessions.get(self._tokens.verify(credential).session_id)
        if identity is None:
            raise Unauthenticated("The session has ended.", reason="SESSION_ENDED")
        return identity

    async def act(self, identity: Identity, user_id: UUID) -> Identity:
        """Make the call of a service account, which ``may_act``, the call of a user.

        Raises:
            NotFound: there is no such user; service accounts are none (USER_NOT_FOUND).
            Unmet: the user is disabled (USER_DISABLED).
        """
        state = await self._users.get(user_id)
        if state is None:
            raise NotFound("There is no such user to act for.", reason="USER_NOT_FOUND")
        is_admin, disabled = state
        if disabled:
            raise Unmet("The user to act for is disabled.", reason="USER_DISABLED")
        return replace(identity, user_id=user_id, is_admin=is_admin, may_act=False)

    def forget(self, session_ids: Iterable[UUID]) -> None:
        """Drop what is cached about these sessions, which have just been ended."""
        self._sessions.forget(session_ids)

    def forget_keys(self, digests: Iterable[bytes]) -> None:
        """Drop what is cached about these keys."""
        self._keys.forget(digests)

    def forget_user(self, user_id: UUID) -> None:
        """Drop what is cached about a user for whom service accounts act."""
        self._users.forget([user_id])

    async def _identify_key(self, credential: str) -> Identity:
        digest = secret.digest(credential)
        if digest not in self._keys and (problem := secret.problem(credential)):
            raise Unauthenticated(problem, reason="INVALID_KEY")
        key = await self._keys.get(digest)
        if key is None:
            raise Unauthenticated("The key has been revoked, or is not one of this deployment’s.", reason="UNKNOWN_KEY")
        if key.expires_at <= self._now().timestamp():
            raise Unauthenticated("The key has expired.", reason="KEY_EXPIRED")
        if key.disabled:
            raise Unauthenticated("The user that the key belongs to is disabled.", reason="USER_DISABLED")
        return key.identity

    async def _find_session(self, session_id: UUID) -> Identity | None:
        rows = await self._db.fetch(SESSION, {"id": session_id, "now": self._now()})
        if not rows:
            return None
        user_id, is_admin = rows[0]
        return Identity(user_id, user_id, session_id=session_id, is_admin=is_admin)

    async def _find_key(self, digest: bytes) -> _Key | None:
        rows = await self._db.fetch(KEY, {"digest": digest})
        if not rows:
            return None
        key_id, user_id, scopes, expires_at, last_used_at, is_program, is_admin, disabled = rows[0]
        now = self._now()
        seconds_left = math.inf if expires_at is None else (expires_at - micros(now)) / 1_000_000
        if not disabled and seconds_left > 0:
            self._note_use(key_id, last_used_at, now)
        admin = "admin" in scopes
        identity = Identity(
            user_id,
            user_id,
            key_id=key_id,
            scopes=frozenset(scopes),
            is_admin=admin and (is_program or is_admin),
            may_act=admin and is_program,
        )
        return _Key(identity, now.timestamp() + seconds_left, disabled)

    async def _find_user(self, user_id: UUID) -> tuple[bool, bool] | None:
        rows = await self._db.fetch(USER, {"id": user_id})
        return (rows[0][0], rows[0][1]) if rows else None

    def _note_use(self, key_id: UUID, last_used_at: Micros | None, now: datetime) -> None:
        since = now - LAST_USE_EVERY
        if last_used_at is None or last_used_at <= micros(since):
            note = asyncio.create_task(self._write_use({"id": key_id, "now": now, "since": since}))
            self._notes.add(note)
            note.add_done_callback(self._notes.discard)

    async def _write_use(self, values: dict[str, object]) -> None:
        with suppress(Unavailable):  # the next lookup tries again
            await self._db.fetch(NOTE, values)


SESSION = Statement(
    """
    SELECT user_id, role = 'admin' FROM sessions JOIN users ON users.id = user_id
    WHERE sessions.id = %(id)s::uuid AND revoked_at IS NULL AND expires_at > %(now)s::timestamptz
      AND disabled_at IS NULL
    """
)
KEY = Statement(
    """
    SELECT keys.id, user_id, scopes, expires_at, last_used_at, kind = 'service_account', role = 'admin',
           disabled_at IS NOT NULL
    FROM keys JOIN users ON users.id = user_id
    WHERE digest = %(digest)s::bytea
    """
)
USER = Statement(
    """
    SELECT role = 'admin', disabled_at IS NOT NULL FROM users WHERE id = %(id)s::uuid AND kind = 'person'
    """
)

# Several processes may look a key up at once; the first of them is enough.
NOTE = Statement(
    """
    UPDATE keys SET last_used_at = %(now)s::timestamptz
    WHERE id = %(id)s::uuid AND (last_used_at IS NULL OR last_used_at <= %(since)s::timestamptz)
    """
)

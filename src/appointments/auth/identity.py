"""Whose access token or key is this, and does it still work?

The signature of an access token is good for 15 minutes, a key for as long as its owner likes. While one is used, the
database is asked at most every 4 seconds whether it still is. So a session or a key that any process ends stops working
everywhere within 5 seconds, and at once in the process that ended it. The same goes for a user who is disabled, and for
a role that changes.
"""

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
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
        self._sessions: Lookups[UUID, Identity | None] = Lookups(self._find_sessions, missing=None)
        self._keys: Lookups[bytes, _Key | None] = Lookups(self._find_keys, missing=None)
        self._users: Lookups[UUID, tuple[bool, bool] | None] = Lookups(self._find_users, missing=None)
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

    async def renew(self, credentials: Iterable[str], user_ids: Iterable[UUID], *, older_than: float) -> None:
        """Look all of these up that were not within so many seconds, and the users that service accounts act for.

        It takes a statement for each kind and a few thousand of them. What :meth:`identify` and :meth:`act` say of them
        afterwards is no older than that.
        """
        sessions, digests = set(), set()
        for credential in credentials:
            if credential.startswith(secret.PREFIX):
                digests.add(secret.digest(credential))
            else:
                with suppress(Unauthenticated):  # identify() will say so
                    sessions.add(self._tokens.verify(credential).session_id)
        await self._sessions.renew(sessions, older_than=older_than)
        await self._keys.renew(digests, older_than=older_than)
        await self._users.renew(set(user_ids), older_than=older_than)

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

    async def _find_sessions(self, session_ids: Sequence[UUID]) -> Mapping[UUID, Identity | None]:
        rows = await self._db.fetch(SESSIONS, {"ids": session_ids, "now": self._now()})
        return {
            session_id: Identity(user_id, user_id, session_id=session_id, is_admin=is_admin)
            for session_id, user_id, is_admin in rows
        }

    async def _find_keys(self, digests: Sequence[bytes]) -> Mapping[bytes, _Key | None]:
        rows = await self._db.fetch(KEYS, {"digests": digests})
        now = self._now()
        found: dict[bytes, _Key | None] = {}
        used = []
        for digest, key_id, user_id, scopes, expires_at, last_used_at, is_program, is_admin, disabled in rows:
            seconds_left = math.inf if expires_at is None else (expires_at - micros(now)) / 1_000_000
            if not disabled and seconds_left > 0 and _is_due(last_used_at, now):
                used.append(key_id)
            admin = "admin" in scopes
            identity = Identity(
                user_id,
                user_id,
                key_id=key_id,
                scopes=frozenset(scopes),
                is_admin=admin and (is_program or is_admin),
                may_act=admin and is_program,
            )
            found[digest] = _Key(identity, now.timestamp() + seconds_left, disabled)
        self._note_use(used, now)
        return found

    async def _find_users(self, user_ids: Sequence[UUID]) -> Mapping[UUID, tuple[bool, bool] | None]:
        rows = await self._db.fetch(USERS, {"ids": user_ids})
        return {user_id: (is_admin, disabled) for user_id, is_admin, disabled in rows}

    def _note_use(self, key_ids: Sequence[UUID], now: datetime) -> None:
        if key_ids:
            values = {"ids": key_ids, "now": now, "since": now - LAST_USE_EVERY}
            note = asyncio.create_task(self._write_use(values))
            self._notes.add(note)
            note.add_done_callback(self._notes.discard)

    async def _write_use(self, values: dict[str, object]) -> None:
        with suppress(Unavailable):  # the next lookup tries again
            await self._db.fetch(NOTE, values)


def _is_due(last_used_at: Micros | None, now: datetime) -> bool:
    return last_used_at is None or last_used_at <= micros(now - LAST_USE_EVERY)


# One by one, which OFFSET 0 keeps the planner from changing: while there are few users it would read all of them, and
# the plan is kept until PostgreSQL analyzes the table.
SESSIONS = Statement(
    """
    SELECT live.id, user_id, role = 'admin'
    FROM unnest(%(ids)s::uuid[]) AS asked (id)
    CROSS JOIN LATERAL (
        SELECT sessions.id, user_id FROM sessions
        WHERE sessions.id = asked.id AND revoked_at IS NULL AND expires_at > %(now)s::timestamptz
        OFFSET 0
    ) AS live
    CROSS JOIN LATERAL (SELECT role FROM users WHERE users.id = user_id AND disabled_at IS NULL OFFSET 0) AS person
    """
)
KEYS = Statement(
    """
    SELECT known.* FROM unnest(%(digests)s::bytea[]) AS asked (digest) CROSS JOIN LATERAL (
        SELECT digest, keys.id, user_id, scopes, expires_at, last_used_at, kind = 'service_account', role = 'admin',
               disabled_at IS NOT NULL
        FROM keys JOIN users ON users.id = user_id
        WHERE keys.digest = asked.digest
        OFFSET 0
    ) AS known
    """
)
USERS = Statement(
    """
    SELECT known.* FROM unnest(%(ids)s::uuid[]) AS asked (id) CROSS JOIN LATERAL (
        SELECT users.id, role = 'admin', disabled_at IS NOT NULL FROM users
        WHERE users.id = asked.id AND kind = 'person'
        OFFSET 0
    ) AS known
    """
)

# Several processes may look a key up at once; the first of them is enough.
NOTE = Statement(
    """
    WITH used AS MATERIALIZED (
        SELECT id FROM keys
        WHERE id = ANY (%(ids)s::uuid[]) AND (last_used_at IS NULL OR last_used_at <= %(since)s::timestamptz)
        ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE keys SET last_used_at = %(now)s::timestamptz FROM used WHERE keys.id = used.id
    """
)

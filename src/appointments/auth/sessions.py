"""Sessions: one per sign-in. A session ends after 30 days, after 7 days without use, or when it is revoked.

Code that ends several sessions of a user locks them in the order of their ids, so that two such calls cannot deadlock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, LiteralString
from uuid import UUID

from psycopg.rows import class_row
from uuid_utils.compat import uuid7

from appointments.auth import audit
from appointments.auth.audit import printable
from appointments.auth.identity import Authenticator
from appointments.auth.tokens import REFRESH_LIFETIME, AccessTokens, Clock, RefreshTokens, Tokens, digest_of, utc_now
from appointments.db import Connection, Database
from appointments.shared.errors import Invalid, NotFound

LIFETIME = timedelta(days=30)
KEPT = timedelta(days=1)
"""How long an ended session stays in the database, for whoever investigates what happened."""

Reason = Literal["logout", "revoked", "password_changed", "token_reused", "user_disabled"]

# Who leaves is known by their token alone. A thief's token tells nobody who did it.
_AUDITED: LiteralString = f"""
    INSERT INTO audit ({audit.COLUMNS})
    SELECT %(audit_event)s, %(audit_source)s, %(audit_request_id)s, nullif(%(audit_address)s, ''),
        nullif(%(audit_user_agent)s, ''),
        coalesce(%(audit_actor_id)s::uuid, CASE WHEN revoke_reason = 'logout' THEN user_id END),
        user_id, jsonb_build_object('session', id, 'reason', revoke_reason) || %(audit_extra)s::jsonb
    FROM ended
"""


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in on one device."""

    id: UUID
    user_agent: str
    ip_address: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Device:
    """The device that signs in: its User-Agent and its IP address, neither of them verified."""

    user_agent: str = ""
    address: str = ""


class Sessions:
    """Opens, lists and ends sessions."""

    def __init__(
        self, db: Database, access: AccessTokens, authenticator: Authenticator, *, now: Clock = utc_now
    ) -> None:
        self._db = db
        self._access = access
        self._authenticator = authenticator
        self._now = now

    async def open(self, connection: Connection, user_id: UUID, password_hash: str, device: Device) -> Tokens | None:
        """Open a session for a user whose password was checked against ``password_hash``.

        None if the password has changed since, or the user is disabled. The user's row is locked until the session
        exists. So a password that was changed a moment ago opens no session, and a change that comes later finds the
        session and ends it.
        """
        now = self._now()
        session_id, refresh_token = uuid7(), RefreshTokens.first()
        refresh_expires_at = now + REFRESH_LIFETIME
        cursor = await connection.execute(
            f"""
            WITH person AS (
                SELECT id FROM users
                WHERE id = %(user_id)s AND password_hash = %(password_hash)s AND disabled_at IS NULL FOR SHARE
            ), session AS (
                INSERT INTO sessions (id, user_id, user_agent, ip_address, created_at, last_used_at, expires_at)
                SELECT %(session_id)s, id, %(user_agent)s, %(address)s, %(now)s, %(now)s, %(expires_at)s FROM person
                RETURNING id, user_id
            ), audited AS (
                INSERT INTO audit ({audit.COLUMNS})
                SELECT {audit.FACTS}, user_id, jsonb_build_object('session', id) || %(audit_extra)s::jsonb FROM session
            )
            INSERT INTO refresh_tokens (digest, session_id, issued_at, expires_at)
            SELECT %(digest)s, id, %(now)s, %(refresh_expires_at)s FROM session
            """,
            {
                "user_id": user_id,
                "password_hash": password_hash,
                "session_id": session_id,
                "user_agent": printable(device.user_agent),
                "address": device.address,
                "now": now,
                "expires_at": now + LIFETIME,
                "digest": digest_of(refresh_token),
                "refresh_expires_at": refresh_expires_at,
            }
            | audit.facts("sign_in", actor_id=user_id),
        )
        if not cursor.rowcount:
            return None
        return Tokens(*self._access.issue(user_id, session_id), refresh_token, refresh_expires_at)

    async def list(self, user_id: UUID) -> Sequence[Session]:
        """List a user's live sessions, the most recently used first."""
        now = self._now()
        async with self._db.connection() as connection:
            cursor = await connection.cursor(row_factory=class_row(Session)).execute(
                """
                SELECT id, user_agent, ip_address, created_at, last_used_at, expires_at FROM sessions
                WHERE user_id = %(user_id)s AND revoked_at IS NULL
                    AND expires_at > %(now)s AND last_used_at > %(silent_since)s
                ORDER BY last_used_at DESC, id
                """,
                {"user_id": user_id, "now": now, "silent_since": now - REFRESH_LIFETIME},
            )
            return await cursor.fetchall()

    async def knows(self, connection: Connection, user_id: UUID, device: Device) -> bool:
        """Whether a device like this one has signed in before, as far back as sessions are kept."""
        cursor = await connection.execute(
            "SELECT FROM sessions WHERE user_id = %(user_id)s AND user_agent = %(user_agent)s LIMIT 1",
            {"user_id": user_id, "user_agent": printable(device.user_agent)},
        )
        return bool(cursor.rowcount)

    async def revoke(self, user_id: UUID, session_id: UUID) -> None:
        """End one of the user's sessions.

        Raises:
            NotFound: the user has no such live session.
        """
        async with self._db.connection() as connection:
            cursor = await connection.execute(
                f"""
                WITH ended AS (
                    UPDATE sessions SET revoked_at = %(now)s, revoke_reason = 'revoked'
                    WHERE id = %(id)s AND user_id = %(user_id)s AND revoked_at IS NULL AND expires_at > %(now)s
                    RETURNING id, user_id, revoke_reason
                )
                {_AUDITED}
                """,
                {"id": session_id, "user_id": user_id, "now": self._now()} | audit.facts("session.ended"),
            )
        if not cursor.rowcount:
            raise NotFound("You have no such session.")
        self._authenticator.forget([session_id])

    async def log_out(self, refresh_token: str) -> None:
        """End the session that the token belongs to, if there is one.

        Raises:
            Invalid: the token is missing.
        """
        if not refresh_token:
            raise Invalid.field("refresh_token", "is required")
        async with self._db.connection() as connection:
            cursor = await connection.execute(
                f"""
                WITH ended AS (
                    UPDATE sessions SET revoked_at = %(now)s, revoke_reason = 'logout'
                    WHERE id = (SELECT session_id FROM refresh_tokens WHERE digest = %(digest)s)
                        AND revoked_at IS NULL
                    RETURNING id, user_id, revoke_reason
                ), audited AS ({_AUDITED})
                SELECT id FROM ended
                """,
                {"digest": digest_of(refresh_token), "now": self._now()} | audit.facts("session.ended"),
            )
            self._authenticator.forget([row[0] for row in await cursor.fetchall()])

    async def sweep(self) -> int:
        """Delete sessions that ended a day ago, with their tokens; return how many. Live ones keep spent tokens."""
        swept = 0
        while batch := await self._sweep_batch():
            swept += batch
        return swept

    async def _sweep_batch(self) -> int:
        before = self._now() - KEPT
        async with self._db.connection() as connection:
            cursor = await connection.execute(
                """
                DELETE FROM sessions WHERE id IN (
                    SELECT id FROM sessions
                    WHERE expires_at <= %(before)s OR last_used_at <= %(silent_since)s OR revoked_at <= %(before)s
                    LIMIT 1000 FOR UPDATE SKIP LOCKED
                )
                """,
                {"before": before, "silent_since": before - REFRESH_LIFETIME},
            )
            return cursor.rowcount


async def end_all(
    connection: Connection, user_id: UUID, reason: Reason, now: datetime, *, but: UUID | None = None
) -> Sequence[UUID]:
    """End every live session of a user except ``but``; return their ids, for the cache to drop after the commit."""
    cursor = await connection.execute(
        f"""
        WITH ending AS (
            SELECT id FROM sessions
            WHERE user_id = %(user_id)s AND id IS DISTINCT FROM %(but)s AND revoked_at IS NULL
            ORDER BY id FOR UPDATE
        ), ended AS (
            UPDATE sessions SET revoked_at = %(now)s, revoke_reason = %(reason)s
            FROM ending WHERE sessions.id = ending.id RETURNING sessions.id, user_id, revoke_reason
        ), audited AS ({_AUDITED})
        SELECT id FROM ended
        """,
        {"user_id": user_id, "but": but, "reason": reason, "now": now} | audit.facts("session.ended"),
    )
    return [row[0] for row in await cursor.fetchall()]

"""The chain of refresh tokens of a session, as the database has it: every token ever issued, by its digest."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from psycopg.rows import class_row

from appointments.db import Connection

RETRY_WINDOW = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Session:
    """The session that a token belongs to."""

    id: UUID
    user_id: UUID
    expires_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Token:
    """A token of the chain, and the state of its successor."""

    expires_at: datetime
    rotated_at: datetime | None
    successor: bytes | None
    attempt_ids: list[str] | None
    successor_rotated_at: datetime | None
    successor_expires_at: datetime | None

    def is_repeat(self, attempt_ids: list[str], arrived_at: datetime, held_back: timedelta) -> bool:
        """Whether a spent token was sent again by the client that spent it, rather than by a thief.

        It was if the client repeats the same attempt, or if this request was already on its way (to another process
        perhaps) when the token was exchanged: answers are held back for at least ``held_back``, so a client cannot send
        the token later than that without having seen the answer. It was not once the successor has been used.
        """
        if self.rotated_at is None or self.successor_rotated_at is not None:
            return False
        since = arrived_at - self.rotated_at
        same_attempt = not set(attempt_ids).isdisjoint(self.attempt_ids or ())
        return since < held_back or (same_attempt and since <= RETRY_WINDOW)


async def lock(connection: Connection, digest: bytes) -> Session | None:
    """Lock the session of a token, so that nobody else exchanges one of its tokens; None if the token is unknown."""
    cursor = await connection.cursor(row_factory=class_row(Session)).execute(
        """
        SELECT id, user_id, expires_at, revoked_at FROM sessions
        WHERE id = (SELECT session_id FROM refresh_tokens WHERE digest = %(digest)s)
        FOR UPDATE
        """,
        {"digest": digest},
    )
    return await cursor.fetchone()


async def read(connection: Connection, digest: bytes) -> Token | None:
    """Read a token of a session that is locked."""
    # This must be a statement of its own, after the lock. A single statement that waited for the lock would still see
    # the token as it was before the wait.
    cursor = await connection.cursor(row_factory=class_row(Token)).execute(
        """
        SELECT token.expires_at, token.rotated_at, token.successor, token.attempt_ids,
            next.rotated_at AS successor_rotated_at, next.expires_at AS successor_expires_at
        FROM refresh_tokens AS token LEFT JOIN refresh_tokens AS next ON next.digest = token.successor
        WHERE token.digest = %(digest)s
        """,
        {"digest": digest},
    )
    return await cursor.fetchone()


async def rotate(
    connection: Connection,
    digest: bytes,
    *,
    attempt_ids: list[str],
    now: datetime,
    successor: bytes,
    expires_at: datetime,
) -> None:
    """Mark a token as spent and insert its successor."""
    await connection.execute(
        """
        WITH spent AS (
            UPDATE refresh_tokens
            SET rotated_at = %(now)s, successor = %(successor)s, attempt_ids = %(attempt_ids)s::text[]
            WHERE digest = %(digest)s RETURNING session_id
        ), used AS (
            UPDATE sessions SET last_used_at = %(now)s FROM spent WHERE sessions.id = spent.session_id
        )
        INSERT INTO refresh_tokens (digest, session_id, issued_at, expires_at)
        SELECT %(successor)s, session_id, %(now)s, %(expires_at)s FROM spent
        """,
        {
            "digest": digest,
            "attempt_ids": attempt_ids,
            "now": now,
            "successor": successor,
            "expires_at": expires_at,
        },
    )


async def note(connection: Connection, digest: bytes, attempt_ids: list[str]) -> None:
    """Record further attempts that were given a token's successor."""
    await connection.execute(
        "UPDATE refresh_tokens SET attempt_ids = attempt_ids || %(attempt_ids)s WHERE digest = %(digest)s",
        {"digest": digest, "attempt_ids": attempt_ids},
    )

"""Feeds: creating, listing and deleting them, and finding them by their secret.

A feed's ETag is made of everything that its content depends on: the latest position of its calendar in the log of
changes, and the date, because the window that it shows moves every day. So it takes one index lookup to see that a feed
has not changed, however long it is.
"""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from uuid_utils.compat import uuid7

from appointments.auth import audit
from appointments.db import Connection, Database, Statement, instant
from appointments.mail import Links
from appointments.mail.links import digest_of
from appointments.shared import validation
from appointments.shared.errors import Invalid, NotFound, Unmet

MOST = 20
"""The most feeds of one person."""

MAX_DISPLAY_NAME = 200
NOTED = timedelta(minutes=10)
"""The last use is recorded at most this often, so that polling hardly writes."""


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed, without its secret."""

    id: UUID
    display_name: str
    is_busy_only: bool
    created_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Opened:
    """A feed that is being read: whose it is, and the ETag of its current content."""

    id: UUID
    user_id: UUID
    display_name: str
    is_busy_only: bool
    tag: str
    changed_at: datetime
    """When it last changed, as far as the log goes back."""


class Feeds:
    """The feeds in a database. ``links`` makes their addresses."""

    def __init__(self, db: Database, links: Links) -> None:
        self._db = db
        self._links = links

    async def create(self, user_id: UUID, display_name: str, *, is_busy_only: bool) -> tuple[Feed, str]:
        """Create a feed. Return it and its address, which cannot be read again later.

        Raises:
            Invalid: the name is out of bounds.
            Unmet: there are too many (TOO_MANY_FEEDS).
        """
        if problem := validation.problem(display_name, least=1, most=MAX_DISPLAY_NAME):
            raise Invalid.field("feed.display_name", problem)
        secret, feed_id = secrets.token_urlsafe(32), uuid7()
        values = {
            "id": feed_id,
            "user_id": user_id,
            "display_name": display_name,
            "digest": digest_of(secret),
            "is_busy_only": is_busy_only,
        }

        async def work(connection: Connection) -> datetime:
            # COUNT locks the user, so that two concurrent requests cannot both take the last free place.
            rows = await connection.fetch(COUNT, {"user_id": user_id})
            if rows and rows[0][0] >= MOST:
                raise Unmet(f"You have {MOST} feeds already. Delete one first.", reason="TOO_MANY_FEEDS")
            created_at = instant((await connection.fetch(CREATE, values))[0][0])
            await audit.record(
                connection, "feed.created", user_id, actor_id=user_id, feed=str(feed_id), busy_only=is_busy_only
            )
            return created_at

        created_at = await self._db.transact(work)
        return Feed(feed_id, display_name, is_busy_only, created_at, None), self._links.url(
            "calendars", f"{secret}.ics"
        )

    async def list(self, user_id: UUID) -> list[Feed]:
        """The feeds of a person, the newest first."""
        rows = await self._db.fetch(LIST, {"user_id": user_id})
        return [
            Feed(row[0], row[1], row[2], instant(row[3]), None if row[4] is None else instant(row[4])) for row in rows
        ]

    async def delete(self, user_id: UUID, feed_id: UUID) -> None:
        """Delete a feed.

        Raises:
            NotFound: they have no such feed.
        """

        async def work(connection: Connection) -> None:
            if not await connection.fetch(DELETE, {"user_id": user_id, "id": feed_id}):
                raise NotFound("You have no such feed.")
            await audit.record(connection, "feed.deleted", user_id, actor_id=user_id, feed=str(feed_id))

        await self._db.transact(work)

    async def open(self, secret: str) -> Opened:
        """Find a feed by its secret, and note that it is read.

        Raises:
            NotFound: there is no such feed, or its owner's account is disabled.
        """
        now = datetime.now(UTC)
        rows = await self._db.fetch(OPEN, {"digest": digest_of(secret)})
        if not rows:
            raise NotFound("There is no such calendar.")
        feed_id, user_id, name, is_busy_only, last_used_at, epoch, position, changed_at = rows[0]
        if last_used_at is None or now - instant(last_used_at) > NOTED:
            await self._db.fetch(NOTE, {"id": feed_id})
        tag = f'"{str(epoch)[:8]}-{position}-{now:%Y%m%d}{"-busy" * is_busy_only}"'
        day = now.replace(hour=0, minute=0, second=0, microsecond=0)
        changed = max(day, instant(changed_at)) if changed_at is not None else day
        return Opened(feed_id, user_id, name, is_busy_only, tag, changed)


COUNT = Statement(
    """
    WITH person AS MATERIALIZED (SELECT id FROM users WHERE id = %(user_id)s::uuid FOR NO KEY UPDATE)
    SELECT (SELECT count(*) FROM feeds WHERE feeds.user_id = person.id) FROM person
    """
)
CREATE = Statement(
    """
    INSERT INTO feeds (id, user_id, display_name, digest, is_busy_only, created_at)
    VALUES (%(id)s::uuid, %(user_id)s::uuid, %(display_name)s::text, %(digest)s::bytea, %(is_busy_only)s::boolean,
            now())
    RETURNING created_at
    """
)
LIST = Statement(
    """
    SELECT id, display_name, is_busy_only, created_at, last_used_at FROM feeds
    WHERE user_id = %(user_id)s::uuid ORDER BY created_at DESC, id DESC
    """
)
DELETE = Statement("DELETE FROM feeds WHERE id = %(id)s::uuid AND user_id = %(user_id)s::uuid RETURNING id")
NOTE = Statement("UPDATE feeds SET last_used_at = now() WHERE id = %(id)s::uuid")
OPEN = Statement(
    """
    SELECT feeds.id, user_id, feeds.display_name, is_busy_only, last_used_at,
           epoch, coalesce(position, pruned_position), changed_at
    FROM feeds JOIN users ON users.id = user_id CROSS JOIN change_head
    LEFT JOIN LATERAL (
        SELECT position, changed_at FROM changes WHERE calendar_id = user_id ORDER BY position DESC LIMIT 1
    ) AS newest ON true
    WHERE digest = %(digest)s::bytea AND disabled_at IS NULL
    """
)

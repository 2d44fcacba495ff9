"""The audit log: what happened to accounts, who did it, from where, and with which request id.

An event is recorded by the statement, or in the transaction, of what it tells of: there is never one without the other.
Rows are only added; the database refuses anything else. They outlive the account: events, ids and times stay for
``AUDIT_DAYS``, because whoever looks into an incident needs them. IP addresses, devices and former e-mail addresses are
a person's own, and go with the account. Only the row of the deletion itself keeps for 30 days from where it was asked
for, because the owner may say that it was not them. What was typed in a failed sign-in is never kept: it may be a
password in the wrong field.

Where a request comes from is known where it arrives, several calls above the features. It travels in a context variable
instead of through all their signatures, as the span of a trace does.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, LiteralString
from uuid import UUID

from appointments.db import Connection, Database, Statement, instant

Event = Literal[
    "account.created",
    "account.deleted",
    "account.disabled",
    "account.enabled",
    "data.exported",
    "email.changed",
    "email.verified",
    "feed.created",
    "feed.deleted",
    "key.created",
    "key.revoked",
    "mail.resumed",
    "password.changed",
    "role.changed",
    "session.ended",
    "sign_in",
    "sign_in.failed",
    "webhook.changed",
    "webhook.created",
    "webhook.deleted",
    "webhook.secret_changed",
]
EVENTS: tuple[Event, ...] = Event.__args__  # type: ignore[attr-defined]

Source = Literal["rpc", "http", "command", "service"]

MAX_USER_AGENT = 400
DELETION_KEPT = timedelta(days=30)
"""How long the row of a deletion keeps its address. The trigger protects every row for as long."""

DEFAULT_PAGE = 50
MAX_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from. ``actor_id`` is who has called, where somebody signed in has."""

    source: Source = "service"
    request_id: str | None = None
    address: str = ""
    user_agent: str = ""
    actor_id: UUID | None = None
    operator: str = ""
    """The operating system's user who has run a command."""


_NOWHERE = Origin()
_origin: ContextVar[Origin] = ContextVar("origin", default=_NOWHERE)


@contextmanager
def origin(value: Origin) -> Iterator[None]:
    """Have what is recorded inside come from ``value``."""
    token = _origin.set(value)
    try:
        yield
    finally:
        _origin.reset(token)


COLUMNS: LiteralString = "event, source, request_id, address, user_agent, actor_id, user_id, detail"
"""For a statement that records what it does itself: ``INSERT INTO audit ({COLUMNS}) SELECT {FACTS}, user_id,
detail || %(audit_extra)s::jsonb``."""

FACTS: LiteralString = """
    %(audit_event)s, %(audit_source)s, %(audit_request_id)s, nullif(%(audit_address)s, ''),
    nullif(%(audit_user_agent)s, ''), %(audit_actor_id)s::uuid
"""


def facts(event: Event, *, actor_id: UUID | None = None) -> dict[str, Any]:
    """The parameters of :data:`FACTS`. ``actor_id`` says who did it, where the request alone does not."""
    now = _origin.get()
    return {
        "audit_event": event,
        "audit_source": now.source,
        "audit_request_id": now.request_id,
        "audit_address": now.address,
        "audit_user_agent": printable(now.user_agent),
        "audit_actor_id": now.actor_id or (None if now.source == "command" else actor_id),
        "audit_extra": json.dumps({"operator": now.operator} if now.operator else {}),
    }


async def record(
    connection: Connection,
    event: Event,
    user_id: UUID | None,
    *,
    actor_id: UUID | None = None,
    email: str | None = None,
    **detail: Any,
) -> None:
    """Record what happened to a user's account. ``detail`` must not tell of a person; ``email`` is erased with them.

    The row of a user who is gone says so by having none: their id must not be written down once more after the account
    has been deleted. A deletion is recorded before it is done.
    """
    values = facts(event, actor_id=actor_id)
    await connection.execute(
        f"""
        INSERT INTO audit ({COLUMNS}, email)
        SELECT {FACTS}, (SELECT id FROM users WHERE id = %(user_id)s::uuid),
            %(detail)s::jsonb || %(audit_extra)s::jsonb, %(email)s
        """,
        values | {"user_id": user_id, "detail": json.dumps(detail), "email": email},
    )


async def forget(connection: Connection, user_id: UUID) -> None:
    """Erase what makes a person known from the rows about them and of their acts: their account is being deleted."""
    await connection.execute(
        """
        UPDATE audit SET address = NULL, user_agent = NULL, email = NULL
        WHERE (user_id = %(id)s OR (actor_id <> user_id AND actor_id = %(id)s))
            AND (address IS NOT NULL OR user_agent IS NOT NULL OR email IS NOT NULL)
        """,
        {"id": user_id},
    )


_FORGET_DELETIONS = Statement(
    """
    UPDATE audit SET address = NULL, user_agent = NULL, email = NULL
    WHERE event = 'account.deleted' AND address IS NOT NULL
        AND recorded_at < now() - %(days)s::integer * interval '1 day'
    """
)
_PRUNE = Statement(
    """
    DELETE FROM audit WHERE id IN (
        SELECT id FROM audit WHERE recorded_at < now() - %(days)s::integer * interval '1 day'
        ORDER BY recorded_at LIMIT 1000
    ) RETURNING id
    """
)


async def prune(db: Database, days: int) -> int:
    """Delete events that are older than so many days, at least 30; return how many."""
    await db.fetch(_FORGET_DELETIONS, {"days": DELETION_KEPT.days})
    pruned = 0
    while batch := len(await db.fetch(_PRUNE, {"days": max(days, DELETION_KEPT.days)})):
        pruned += batch
    return pruned


@dataclass(frozen=True, slots=True)
class Entry:
    """An event, as it was recorded."""

    id: int
    at: datetime
    event: str
    user_id: UUID | None
    actor_id: UUID | None
    source: str
    request_id: str | None
    detail: dict[str, Any]
    address: str | None
    user_agent: str | None
    email: str | None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events are asked for; None: all."""

    user_id: UUID | None = None
    event: str | None = None
    request_id: str | None = None
    address: str | None = None
    since: datetime | None = None
    until: datetime | None = None


_LIST = Statement(
    """
    SELECT id, recorded_at, event, user_id, actor_id, source, request_id, detail, address, user_agent, email FROM audit
    WHERE (%(before)s::bigint IS NULL OR id < %(before)s::bigint)
        AND (%(event)s::text IS NULL OR event = %(event)s::text)
        AND (%(request_id)s::text IS NULL OR request_id = %(request_id)s::text)
        AND (%(address)s::text IS NULL OR address = %(address)s::text)
        AND (%(since)s::timestamptz IS NULL OR recorded_at >= %(since)s::timestamptz)
        AND (%(until)s::timestamptz IS NULL OR recorded_at < %(until)s::timestamptz)
    ORDER BY id DESC LIMIT %(limit)s::integer
    """
)
# A statement of its own, so that its plan goes by the user's index whatever the table holds.
_LIST_OF_USER = Statement(
    """
    SELECT id, recorded_at, event, user_id, actor_id, source, request_id, detail, address, user_agent, email FROM audit
    WHERE user_id = %(user_id)s::uuid
        AND (%(before)s::bigint IS NULL OR id < %(before)s::bigint)
        AND (%(event)s::text IS NULL OR event = %(event)s::text)
        AND (%(request_id)s::text IS NULL OR request_id = %(request_id)s::text)
        AND (%(address)s::text IS NULL OR address = %(address)s::text)
        AND (%(since)s::timestamptz IS NULL OR recorded_at >= %(since)s::timestamptz)
        AND (%(until)s::timestamptz IS NULL OR recorded_at < %(until)s::timestamptz)
    ORDER BY id DESC LIMIT %(limit)s::integer
    """
)


async def entries(db: Database, wanted: Filter, *, limit: int, before: int | None = None) -> list[Entry]:
    """Events, the latest first: at most ``limit``, those recorded before the one with the id ``before``."""
    values = {
        "event": wanted.event,
        "request_id": wanted.request_id,
        "address": wanted.address,
        "since": wanted.since,
        "until": wanted.until,
        "before": before,
        "limit": limit,
    }
    if wanted.user_id:
        rows = await db.fetch(_LIST_OF_USER, values | {"user_id": wanted.user_id})
    else:
        rows = await db.fetch(_LIST, values)
    return [Entry(row[0], instant(row[1]), *row[2:]) for row in rows]


def printable(user_agent: str) -> str:
    """A User-Agent in the form in which it is kept."""
    return "".join(character for character in user_agent if character.isprintable())[:MAX_USER_AGENT]

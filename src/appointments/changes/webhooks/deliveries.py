"""Deliveries: one for each change and webhook, inserted by the statement that gives the change its position.

Leasing a delivery moves its ``due_at`` past the end of the lease. So if the process dies, the delivery becomes due
again by itself. While a delivery waits or is leased, later deliveries of the same item are not taken: this keeps them
in order.
"""

from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from uuid_utils.compat import uuid7

from appointments.changes.webhooks import notices
from appointments.changes.webhooks.endpoints import Webhook
from appointments.db import Connection, Database, Micros, Statement, instant, paging
from appointments.mail import MAIL_OFF, Outbox
from appointments.shared.errors import Invalid, NotFound, Unmet, Violation

PING = "ping"

PATIENCE = timedelta(hours=72)
"""How long a delivery is retried before it is given up."""

PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(hours=6)

FAILING = timedelta(days=5)
"""A webhook is disabled after it has failed for so long without any success."""

LEASE_SECONDS = 45
KEPT_DAYS = 30

DEFAULT_SIZE = 50
MAX_SIZE = 1000
MAX_ERROR = 500


class Delivery(NamedTuple):
    """A row of ``webhook_deliveries``, as its owner sees it."""

    id: UUID
    webhook_id: UUID
    kind: str
    item_id: UUID | None
    version: int
    state: str
    attempts: int
    due_at: Micros
    status: int
    error: str
    created_at: Micros


class Leased(NamedTuple):
    """A delivery that this process has leased, with everything that is needed to post it."""

    id: UUID
    webhook_id: UUID
    owner_id: UUID
    url: str
    secret: bytes
    previous_secret: bytes | None
    position: int
    kind: str
    item_id: UUID | None
    version: int
    actor_id: UUID | None
    request_id: str | None
    fields: list[str] | None
    changed_at: Micros
    attempts: int


async def lease(db: Database, lease_id: UUID, most: int) -> list[Leased]:
    """Lease at most so many due deliveries. Of each item only the earliest is taken."""
    rows = await db.fetch(LEASE, {"lease": lease_id, "most": most, "seconds": LEASE_SECONDS})
    return [Leased._make(row) for row in rows]


LEASE = Statement(
    """
    WITH due AS MATERIALIZED (
        SELECT id FROM webhook_deliveries AS delivery
        WHERE state = 'waiting' AND due_at <= now() AND NOT EXISTS (
            SELECT FROM webhook_deliveries AS earlier
            WHERE earlier.webhook_id = delivery.webhook_id AND earlier.item_id = delivery.item_id
              AND earlier.position < delivery.position AND earlier.state = 'waiting'
        )
        ORDER BY due_at LIMIT %(most)s::integer FOR UPDATE SKIP LOCKED
    ), leased AS (
        UPDATE webhook_deliveries SET lease = %(lease)s::uuid, attempts = attempts + 1,
            due_at = now() + %(seconds)s::integer * interval '1 second'
        FROM due WHERE webhook_deliveries.id = due.id
        RETURNING webhook_deliveries.*
    )
    SELECT leased.id, webhook_id, owner_id, url, secret,
           CASE WHEN previous_ends_at > now() THEN previous_secret END AS still_signs,
           position, kind, item_id, version, actor_id, request_id, fields, changed_at, attempts
    FROM leased JOIN webhooks ON webhooks.id = webhook_id
    WHERE disabled_at IS NULL
    ORDER BY position
    """
)


async def delivered(db: Database, leased: Leased, lease_id: UUID, status: int) -> None:
    """Record that the endpoint has accepted a delivery. The webhook no longer counts as failing."""
    await db.fetch(DELIVERED, {"id": leased.id, "lease": lease_id, "status": status})


DELIVERED = Statement(
    """
    WITH done AS (
        UPDATE webhook_deliveries SET state = 'delivered', lease = NULL, status = %(status)s::integer, error = ''
        WHERE id = %(id)s::uuid AND lease = %(lease)s::uuid AND state = 'waiting'
        RETURNING webhook_id
    )
    UPDATE webhooks SET failing_since_at = NULL FROM done
    WHERE webhooks.id = webhook_id AND failing_since_at IS NOT NULL
    """
)


async def failed(
    db: Database,
    leased: Leased,
    lease_id: UUID,
    *,
    status: int,
    error: str,
    pause: timedelta,
    gone: bool,
    outbox: Outbox = MAIL_OFF,
) -> bool:
    """Record that a delivery has failed. It is retried after ``pause``, unless it has been retried for long enough.

    ``gone``: the webhook is there no more. Returns whether the webhook has been disabled, for this or because it has
    failed for too long; its owner is written to then.
    """
    values = {
        "id": leased.id,
        "lease": lease_id,
        "status": status,
        "error": error.replace("\x00", "")[:MAX_ERROR],
        "milliseconds": pause // timedelta(milliseconds=1),
        "patience": int(PATIENCE.total_seconds()),
        "failing": int(FAILING.total_seconds()),
        "gone": gone,
    }

    async def work(connection: Connection) -> bool:
        disabled = bool(await connection.fetch(FAILED, values))
        if disabled:
            await notices.put(connection, outbox, leased.webhook_id)
        return disabled

    return await db.transact(work)


FAILED = Statement(
    """
    WITH tried AS (
        UPDATE webhook_deliveries SET lease = NULL, status = %(status)s::integer, error = %(error)s::text,
            due_at = now() + %(milliseconds)s::bigint * interval '1 millisecond',
            state = CASE WHEN %(gone)s::boolean
                           OR now() - begun_at > %(patience)s::integer * interval '1 second'
                         THEN 'failed' ELSE 'waiting' END
        WHERE id = %(id)s::uuid AND lease = %(lease)s::uuid AND state = 'waiting'
        RETURNING webhook_id
    ), noted AS (
        UPDATE webhooks SET
            failing_since_at = coalesce(failing_since_at, now()),
            disabled_at = CASE WHEN %(gone)s::boolean
                                 OR now() - failing_since_at > %(failing)s::integer * interval '1 second'
                               THEN now() END,
            disable_reason = CASE WHEN %(gone)s::boolean THEN 'gone'
                                  WHEN now() - failing_since_at > %(failing)s::integer * interval '1 second'
                                  THEN 'failing' END
        FROM tried WHERE webhooks.id = webhook_id AND disabled_at IS NULL
        RETURNING webhooks.id, disabled_at
    )
    SELECT id FROM noted WHERE disabled_at IS NOT NULL
    """
)


async def page(db: Database, webhook: Webhook, *, size: int = 0, token: str = "") -> tuple[list[Delivery], str]:
    """Deliveries of a webhook, the newest first, and the token of the next page.

    Raises:
        Invalid: the size is negative, or the token belongs to another list.
    """
    listing = f"deliveries {webhook.id}"
    after = paging.decode(token, listing) if token else None
    bad = [Violation("page_size", "must not be negative")] if size < 0 else []
    if token and after is None:
        bad.append(Violation("page_token", "is not a page token of this list"))
    if bad:
        raise Invalid(bad)
    limit = min(size or DEFAULT_SIZE, MAX_SIZE)
    values = {
        "webhook_id": webhook.id,
        "before_at": after.start_at if after else None,
        "before_id": after.id if after else None,
        "limit": limit + 1,
    }
    rows = [Delivery._make(row) for row in await db.fetch(LIST, values)]
    last = rows[limit - 1] if len(rows) > limit else None
    return rows[:limit], paging.encode(paging.Key(instant(last.created_at), last.id), listing) if last else ""


LIST = Statement(
    """
    SELECT id, webhook_id, kind, item_id, version, state, attempts, due_at, status, error, created_at
    FROM webhook_deliveries
    WHERE webhook_id = %(webhook_id)s::uuid AND (
        %(before_at)s::timestamptz IS NULL OR (created_at, id) < (%(before_at)s::timestamptz, %(before_id)s::uuid)
    )
    ORDER BY created_at DESC, id DESC LIMIT %(limit)s::bigint
    """
)


async def ping(db: Database, webhook: Webhook) -> Delivery:
    """Post a ping.

    Raises:
        Unmet: the webhook is disabled (WEBHOOK_DISABLED).
    """
    _check_enabled(webhook)
    return Delivery._make((await db.fetch(PUT_PING, {"id": uuid7(), "webhook_id": webhook.id}))[0])


PUT_PING = Statement(
    """
    INSERT INTO webhook_deliveries (
        id, webhook_id, position, kind, version, changed_at, state, due_at, begun_at, created_at
    )
    VALUES (%(id)s::uuid, %(webhook_id)s::uuid, 0, 'ping', 0, now(), 'waiting', now(), now(), now())
    RETURNING id, webhook_id, kind, item_id, version, state, attempts, due_at, status, error, created_at
    """
)


async def redeliver(db: Database, owner_id: UUID, delivery_id: UUID) -> Delivery:
    """Post a delivery again, whatever its state is.

    Raises:
        NotFound: the owner has no such delivery.
        Unmet: its webhook is disabled (WEBHOOK_DISABLED).
    """
    rows = await db.fetch(REDELIVER, {"id": delivery_id, "owner_id": owner_id})
    if not rows:
        raise NotFound("You have no such delivery.")
    if rows[0][0]:
        raise Unmet("The webhook is disabled. Enable it first.", reason="WEBHOOK_DISABLED")
    return Delivery._make(rows[0][1:])


REDELIVER = Statement(
    """
    WITH chosen AS MATERIALIZED (
        SELECT webhook_deliveries.id AS chosen_id, disabled_at IS NOT NULL AS is_disabled
        FROM webhook_deliveries JOIN webhooks ON webhooks.id = webhook_id
        WHERE webhook_deliveries.id = %(id)s::uuid AND owner_id = %(owner_id)s::uuid
    ), again AS (
        UPDATE webhook_deliveries SET state = 'waiting', due_at = now(), begun_at = now(), lease = NULL
        FROM chosen WHERE id = chosen_id AND NOT is_disabled
        RETURNING id, webhook_id, kind, item_id, version, state, attempts, due_at, status, error, created_at
    )
    SELECT is_disabled, id, webhook_id, kind, item_id, version, state, attempts, due_at, status, error, created_at
    FROM chosen LEFT JOIN again ON true
    """
)


async def sweep(db: Database) -> None:
    """Delete old deliveries and those of deleted webhooks. Give up those of disabled webhooks."""
    await db.fetch(GIVE_UP, {})
    await db.fetch(SWEEP, {"days": KEPT_DAYS})


GIVE_UP = Statement(
    """
    UPDATE webhook_deliveries SET state = 'failed', lease = NULL, error = 'the webhook is disabled'
    WHERE state = 'waiting' AND EXISTS (
        SELECT FROM webhooks WHERE webhooks.id = webhook_id AND disabled_at IS NOT NULL
    )
    """
)
SWEEP = Statement(
    """
    DELETE FROM webhook_deliveries
    WHERE created_at < now() - %(days)s::integer * interval '1 day' AND state <> 'waiting'
       OR NOT EXISTS (SELECT FROM webhooks WHERE webhooks.id = webhook_id)
    """
)


def pause_after(attempts: int, jitter: float) -> timedelta:
    """How long to wait before the next attempt, after so many failed ones. ``jitter`` is from 0.75 to 1.25."""
    pause: timedelta = min(PAUSE * 2 ** min(attempts - 1, 20), LONGEST_PAUSE)
    return pause * jitter


def _check_enabled(webhook: Webhook) -> None:
    if webhook.disabled_at is not None:
        raise Unmet("The webhook is disabled. Enable it first.", reason="WEBHOOK_DISABLED")

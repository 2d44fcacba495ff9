"""Webhooks of an owner: adding, reading, changing and deleting them, and their secrets."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from uuid_utils.compat import uuid7

from appointments.auth import audit
from appointments.changes.webhooks.target import Target
from appointments.db import Connection, Database, Micros, Row, Statement
from appointments.shared.errors import Invalid, NotFound, Unmet, Violation

MOST = 20
SECRET_BYTES = 32
PREVIOUS_HOURS = 24
"""How long the previous secret signs as well, after a new one was made."""

KINDS = frozenset(
    f"{what}.{happened}"
    for what in ("appointment", "series", "resource")
    for happened in ("created", "updated", "deleted", "undeleted", "removed", "responded", "access")
)


@dataclass(frozen=True, slots=True)
class Spec:
    """What an owner decides about a webhook. No kinds: all."""

    url: str
    kinds: tuple[str, ...] = ()
    disabled: bool = False


class Webhook(NamedTuple):
    """A row of ``webhooks`` without its secrets."""

    id: UUID
    owner_id: UUID
    url: str
    kinds: list[str]
    failing_since_at: Micros | None
    disabled_at: Micros | None
    disable_reason: str | None
    created_at: Micros
    updated_at: Micros

    @property
    def spec(self) -> Spec:
        """What its owner decided about it."""
        return Spec(self.url, tuple(self.kinds), self.disabled_at is not None)


def violations(spec: Spec, target: Target) -> list[Violation]:
    """Every rule that a spec breaks."""
    bad = []
    if problem := target.problem(spec.url):
        bad.append(Violation("webhook.url", problem))
    if unknown := [kind for kind in spec.kinds if kind not in KINDS]:
        bad.append(Violation("webhook.kinds", f"{unknown[0][:50]!r} is not a kind"))
    elif len(set(spec.kinds)) < len(spec.kinds):
        bad.append(Violation("webhook.kinds", "must have each kind once"))
    return bad


async def create(db: Database, owner_id: UUID, spec: Spec, target: Target) -> tuple[Webhook, bytes]:
    """Add a webhook; also return its secret.

    Raises:
        Invalid: the spec breaks a rule.
        Unmet: the owner has too many (TOO_MANY_WEBHOOKS).
    """
    if bad := violations(spec, target):
        raise Invalid(bad)
    secret = secrets.token_bytes(SECRET_BYTES)
    values = {"id": uuid7(), "owner_id": owner_id, "secret": secret, "most": MOST, **_values(spec)}

    async def work(connection: Connection) -> list[Row]:
        await connection.fetch(LOCK_OWNER, values)
        rows = await connection.fetch(CREATE, values)
        if rows:
            await _record(connection, "webhook.created", owner_id, rows[0][0])
        return rows

    rows = await db.transact(work)
    if not rows:
        raise Unmet(f"You have {MOST} webhooks already.", reason="TOO_MANY_WEBHOOKS")
    return Webhook._make(rows[0]), secret


LOCK_OWNER = Statement("SELECT FROM users WHERE id = %(owner_id)s::uuid FOR NO KEY UPDATE")
CREATE = Statement(
    """
    INSERT INTO webhooks (id, owner_id, url, kinds, secret, disabled_at, created_at, updated_at)
    SELECT %(id)s::uuid, %(owner_id)s::uuid, %(url)s::text, %(kinds)s::text[], %(secret)s::bytea,
           CASE WHEN %(disabled)s::boolean THEN now() END, now(), now()
    WHERE (SELECT count(*) FROM webhooks WHERE owner_id = %(owner_id)s::uuid) < %(most)s::integer
    RETURNING id, owner_id, url, kinds, failing_since_at, disabled_at, disable_reason, created_at, updated_at
    """
)


async def get(db: Database, owner_id: UUID, webhook_id: UUID) -> Webhook:
    """Read a webhook.

    Raises:
        NotFound: the owner has no such webhook.
    """
    return _found(await db.fetch(GET, {"id": webhook_id, "owner_id": owner_id}))


GET = Statement(
    """
    SELECT id, owner_id, url, kinds, failing_since_at, disabled_at, disable_reason, created_at, updated_at
    FROM webhooks WHERE id = %(id)s::uuid AND owner_id = %(owner_id)s::uuid
    """
)


async def all_of(db: Database, owner_id: UUID) -> list[Webhook]:
    """All webhooks of an owner, the oldest first."""
    return [Webhook._make(row) for row in await db.fetch(LIST, {"owner_id": owner_id})]


LIST = Statement(
    """
    SELECT id, owner_id, url, kinds, failing_since_at, disabled_at, disable_reason, created_at, updated_at
    FROM webhooks WHERE owner_id = %(owner_id)s::uuid ORDER BY created_at, id
    """
)


async def update(db: Database, owner_id: UUID, webhook_id: UUID, changed: Mapping[str, Any], target: Target) -> Webhook:
    """Change these fields of the spec. Enabling a webhook resets since when it has been failing.

    Raises:
        Invalid: the new spec breaks a rule.
        NotFound: the owner has no such webhook.
    """
    current = (await get(db, owner_id, webhook_id)).spec
    spec = Spec(**{field: changed.get(field, getattr(current, field)) for field in Spec.__slots__})
    if bad := violations(spec, target):
        raise Invalid(bad)

    async def work(connection: Connection) -> Webhook:
        found = _found(await connection.fetch(UPDATE, {"id": webhook_id, "owner_id": owner_id, **_values(spec)}))
        await _record(connection, "webhook.changed", owner_id, webhook_id, fields=sorted(changed))
        return found

    return await db.transact(work)


UPDATE = Statement(
    """
    UPDATE webhooks SET url = %(url)s::text, kinds = %(kinds)s::text[], updated_at = now(),
        disabled_at = CASE WHEN %(disabled)s::boolean THEN coalesce(disabled_at, now()) END,
        disable_reason = CASE WHEN %(disabled)s::boolean THEN disable_reason END,
        failing_since_at = CASE WHEN disabled_at IS NULL OR %(disabled)s::boolean THEN failing_since_at END
    WHERE id = %(id)s::uuid AND owner_id = %(owner_id)s::uuid
    RETURNING id, owner_id, url, kinds, failing_since_at, disabled_at, disable_reason, created_at, updated_at
    """
)


async def delete(db: Database, owner_id: UUID, webhook_id: UUID) -> None:
    """Delete a webhook and its deliveries.

    Raises:
        NotFound: the owner has no such webhook.
    """

    async def work(connection: Connection) -> None:
        if not await connection.fetch(DELETE, {"id": webhook_id, "owner_id": owner_id}):
            raise NotFound("You have no such webhook.")
        await _record(connection, "webhook.deleted", owner_id, webhook_id)

    await db.transact(work)


DELETE = Statement(
    """
    WITH gone AS (
        DELETE FROM webhooks WHERE id = %(id)s::uuid AND owner_id = %(owner_id)s::uuid RETURNING id
    ), deliveries AS (
        DELETE FROM webhook_deliveries USING gone WHERE webhook_id = gone.id
    )
    SELECT id FROM gone
    """
)


async def rotate(db: Database, owner_id: UUID, webhook_id: UUID) -> bytes:
    """Give a webhook a new secret, and return it. For a day the previous secret signs as well.

    Raises:
        NotFound: the owner has no such webhook.
    """
    secret = secrets.token_bytes(SECRET_BYTES)
    values = {"id": webhook_id, "owner_id": owner_id, "secret": secret, "hours": PREVIOUS_HOURS}

    async def work(connection: Connection) -> None:
        if not await connection.fetch(ROTATE, values):
            raise NotFound("You have no such webhook.")
        await _record(connection, "webhook.secret_changed", owner_id, webhook_id)

    await db.transact(work)
    return secret


ROTATE = Statement(
    """
    UPDATE webhooks SET previous_secret = secret, secret = %(secret)s::bytea, updated_at = now(),
        previous_ends_at = now() + %(hours)s::integer * interval '1 hour'
    WHERE id = %(id)s::uuid AND owner_id = %(owner_id)s::uuid
    RETURNING id
    """
)


async def _record(connection: Connection, event: audit.Event, owner_id: UUID, webhook_id: UUID, **detail: Any) -> None:
    await audit.record(connection, event, owner_id, actor_id=owner_id, webhook=str(webhook_id), **detail)


def _values(spec: Spec) -> dict[str, Any]:
    return {"url": spec.url, "kinds": list(spec.kinds), "disabled": spec.disabled}


def _found(rows: Sequence[Row]) -> Webhook:
    if not rows:
        raise NotFound("You have no such webhook.")
    return Webhook._make(rows[0])

"""Rooms and equipment: adding, reading, changing, deleting and restoring them.

What somebody has no role on is :class:`NotFound`, exactly as if it had never been. ``is_admin``: an admin manages every
resource. ``cause`` is who acts for the user, and by which request: the log of changes has it.

Whoever changes or deletes a resource takes its row FOR UPDATE first. Whoever books it holds the row KEY SHARE. So no
booking can be made meanwhile, and those that are there change only under the lock of their owner.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from uuid_utils.compat import uuid7

from appointments.calendar import log, resource_units
from appointments.calendar.listing import page_size
from appointments.calendar.log import BY_OWNER, Cause
from appointments.calendar.resource import COLUMNS, Resource, ResourceSpec, Role, to_values, violations
from appointments.db import Connection, Database, Micros, Row, Statement, paging
from appointments.shared.errors import Denied, Invalid, NotFound, Stale, Taken, Unauthenticated, Unmet, Violation


async def create(
    db: Database, user_id: UUID, spec: ResourceSpec, *, request_id: UUID | None = None, cause: Cause = BY_OWNER
) -> Resource:
    """Add a resource, which ``user_id`` manages. A retry with the same ``request_id`` and spec has the first answer.

    Raises:
        Invalid: the spec breaks a rule, or the request id was used with another spec.
    """
    if found := violations(spec):
        raise Invalid(found)
    resource_id = uuid7()
    values = to_values(spec) | {
        "id": resource_id,
        "user_id": user_id,
        "unit_ids": [uuid7() for _ in range(spec.units)],
        "request_id": request_id,
        "request_digest": _digest(spec) if request_id else None,
        **cause.values,
    }
    try:
        rows = await db.fetch(CREATE, values)
    except psycopg.errors.UniqueViolation as error:
        if error.diag.constraint_name != "resources_request_id":
            raise
        return await _replay(db, spec, values)
    except psycopg.errors.ForeignKeyViolation as error:
        raise Unauthenticated("The account has been deleted.") from error
    return _created(resource_id, spec, rows[0][0])


CREATE = Statement(
    """
    WITH unit_subjects AS (
        INSERT INTO subjects (id, kind) SELECT unnest(%(unit_ids)s::uuid[]), 'resource'
    ), numbered_units AS (
        INSERT INTO resource_units (subject_id, resource_id, unit)
        SELECT unit_id, %(id)s::uuid, number
        FROM unnest(%(unit_ids)s::uuid[]) WITH ORDINALITY AS numbered (unit_id, number)
    ), managed AS (
        INSERT INTO resource_grants (resource_id, user_id, role) VALUES (%(id)s::uuid, %(user_id)s::uuid, 3)
    ), created AS (
        INSERT INTO resources (
            id, kind, display_name, description, location, time_zone, seats, units, buffer_before, buffer_after,
            default_role, hours, booking_rules, created_at, updated_at, version, created_by, request_id, request_digest
        )
        VALUES (
            %(id)s::uuid, %(kind)s::text, %(display_name)s::text, %(description)s::text, %(location)s::text,
            %(time_zone)s::text, %(seats)s::integer, %(units)s::integer, %(buffer_before)s::integer,
            %(buffer_after)s::integer, %(default_role)s::integer, %(hours)s::jsonb, %(booking_rules)s::jsonb,
        now(), now(), 1, %(user_id)s::uuid,
            %(request_id)s::uuid, %(request_digest)s::bytea
        )
        RETURNING id, created_by, version, created_at
    ), logged AS (
        INSERT INTO new_changes (calendar_id, kind, item_id, version, actor_id, request_id, changed_at)
        SELECT calendar_id, 'resource.created', id, version, coalesce(%(actor_id)s::uuid, created_by),
               %(x_request_id)s::text, created_at
        FROM created CROSS JOIN unnest(ARRAY[id, created_by]) AS calendar_id
    )
    SELECT created_at FROM created
    """
)


async def _replay(db: Database, spec: ResourceSpec, values: dict[str, Any]) -> Resource:
    resource_id, created_at, digest = (await db.fetch(REPLAY, values))[0]
    if digest != _digest(spec):
        raise Invalid.field("request_id", "was used before with another body", reason="REQUEST_ID_REUSED")
    return _created(resource_id, spec, created_at)


REPLAY = Statement(
    """
    SELECT id, created_at, request_digest FROM resources
    WHERE created_by = %(user_id)s::uuid AND request_id = %(request_id)s::uuid
    """
)


def _created(resource_id: UUID, spec: ResourceSpec, created_at: Micros) -> Resource:
    values = to_values(spec) | {"hours": spec.hours.to_json(), "booking_rules": spec.booking_rules.to_json()}
    return Resource(
        id_text=str(resource_id), created_at=created_at, updated_at=created_at, deleted_at=None, version=1,
        role=Role.MANAGER, **values,
    )  # fmt: skip


def _digest(spec: ResourceSpec) -> bytes:
    return hashlib.sha256(repr(spec).encode()).digest()


async def get(db: Database, user_id: UUID, resource_id: UUID, *, is_admin: bool = False) -> Resource:
    """Read a live resource; its managers may read a deleted one too.

    Raises:
        NotFound: the user sees no such resource.
    """
    found = _seen(await db.fetch(GET, {"id": resource_id, "user_id": user_id, "is_admin": is_admin}))
    if not _is_readable(found):
        raise NotFound("No such resource.")
    return found


GET = Statement(f"SELECT {COLUMNS} FROM resources WHERE id = %(id)s::uuid")


async def readable(
    db: Database, user_id: UUID, resource_ids: Sequence[UUID], *, is_admin: bool = False
) -> dict[UUID, Resource]:
    """Those of these resources that :func:`get` would return, by id."""
    rows = await db.fetch(READABLE, {"ids": resource_ids, "user_id": user_id, "is_admin": is_admin})
    return {found.id: found for found in map(Resource._make, rows) if _is_readable(found)}


READABLE = Statement(f"SELECT {COLUMNS} FROM resources WHERE id = ANY (%(ids)s::uuid[])")


def _is_readable(resource: Resource) -> bool:
    return bool(resource.role) and (resource.deleted_at is None or resource.role >= Role.MANAGER)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which resources to list. ``kind`` "" is any."""

    user_id: UUID
    kind: str = ""
    min_seats: int = 0
    is_admin: bool = False

    def __str__(self) -> str:
        return f"resources {self.user_id} {self.kind} {self.min_seats}"


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, and the token that goes on after it ("" on the last)."""

    resources: list[Resource]
    next_token: str


async def page(db: Database, which: Filter, *, size: int = 0, token: str = "") -> Page:
    """List live resources by name, then id: ``size`` of them (50 if 0, 1,000 at most) after ``token``.

    Raises:
        Invalid: the size or the seats are negative, or the token belongs to another list.
    """
    bad = [
        Violation(field, "must not be negative")
        for field, value in (("page_size", size), ("min_seats", which.min_seats))
        if value < 0
    ]
    after = paging.unseal_name(token, which) if token else (UUID(int=0), "")
    if after is None:
        bad.append(Violation("page_token", "is not a page token of this list"))
    if bad or after is None:
        raise Invalid(bad)
    limit = page_size(size)
    values = {
        "user_id": which.user_id,
        "is_admin": which.is_admin,
        "kind": which.kind,
        "min_seats": max(which.min_seats, 0),
        "after_id": after[0],
        "after_name": after[1],
        "limit": limit + 1,
    }
    found = [Resource._make(row) for row in await db.fetch(LIST, values)]
    if len(found) <= limit:
        return Page(found, "")
    last = found[limit - 1]
    return Page(found[:limit], paging.seal_name(last.id, last.display_name, which))


LIST = Statement(
    f"""
    SELECT * FROM (
        SELECT {COLUMNS} FROM resources
        WHERE deleted_at IS NULL AND seats >= %(min_seats)s::integer
          AND (%(kind)s::text = '' OR kind = %(kind)s::text)
          AND (display_name COLLATE "C", id) > (%(after_name)s::text COLLATE "C", %(after_id)s::uuid)
        ORDER BY display_name COLLATE "C", id
    ) AS live
    WHERE role > 0
    LIMIT %(limit)s::bigint
    """
)


async def update(
    db: Database,
    user_id: UUID,
    resource_id: UUID,
    change: Callable[[ResourceSpec], ResourceSpec],
    *,
    etag: str = "",
    is_admin: bool = False,
    cause: Cause = BY_OWNER,
) -> Resource:
    """Replace the spec by what ``change`` makes of it. ``change`` must be pure: it may run again.

    Raises:
        NotFound: the user sees no such live resource.
        Denied: the user does not manage it.
        Stale: ``etag`` is given and not the current one.
        Invalid: the new spec breaks a rule.
        Unmet: more appointments than the new number of units have it at once (UNITS_IN_USE), or nobody would manage it
            (LAST_MANAGER).
    """
    who = {"id": resource_id, "user_id": user_id, "is_admin": is_admin}

    async def work(connection: Connection) -> Resource:
        current = await lock(connection, user_id, resource_id, is_admin=is_admin)
        _check_etag(etag, current)
        spec = change(current.spec)
        if spec == current.spec:
            return current
        if found := violations(spec):
            raise Invalid(found)
        if spec.units != current.units:
            await resource_units.resize(connection, resource_id, spec.units)
        rewritten = await connection.fetch(REWRITE, to_values(spec) | who)
        await log.write_resource(connection, resource_id, "resource.updated", actor_id=user_id, cause=cause)
        await check_managed(connection, resource_id)
        return Resource._make(rewritten[0])

    return await db.transact(work)


async def lock(connection: Connection, user_id: UUID, resource_id: UUID, *, is_admin: bool = False) -> Resource:
    """Have a live resource alone, as its manager, until the transaction ends. Whoever books it waits meanwhile.

    Raises:
        NotFound: the user sees no such live resource.
        Denied: the user does not manage it.
    """
    return _managed(await connection.fetch(LOCK, {"id": resource_id, "user_id": user_id, "is_admin": is_admin}))


LOCK = Statement(f"SELECT {COLUMNS} FROM resources WHERE id = %(id)s::uuid AND deleted_at IS NULL FOR UPDATE")
REWRITE = Statement(
    f"""
    UPDATE resources
    SET kind = %(kind)s::text, display_name = %(display_name)s::text, description = %(description)s::text,
        location = %(location)s::text, time_zone = %(time_zone)s::text, seats = %(seats)s::integer,
        units = %(units)s::integer, buffer_before = %(buffer_before)s::integer,
        buffer_after = %(buffer_after)s::integer, default_role = %(default_role)s::integer, hours = %(hours)s::jsonb,
        booking_rules = %(booking_rules)s::jsonb,
        updated_at = now(), version = version + 1
    WHERE id = %(id)s::uuid
    RETURNING {COLUMNS}
    """
)


async def check_managed(connection: Connection, resource_id: UUID) -> None:
    """See that somebody manages a resource, under :func:`lock` of it.

    Raises:
        Unmet: nobody does (LAST_MANAGER).
    """
    if not await connection.fetch(MANAGED, {"id": resource_id}):
        raise Unmet("The resource would be left without a manager.", reason="LAST_MANAGER")


MANAGED = Statement(
    """
    SELECT FROM resources
    WHERE id = %(id)s::uuid AND (default_role = 3 OR EXISTS (
        SELECT FROM resource_grants WHERE resource_id = resources.id AND role = 3
    ))
    """
)


async def delete(
    db: Database,
    user_id: UUID,
    resource_id: UUID,
    *,
    etag: str = "",
    force: bool = False,
    is_admin: bool = False,
    cause: Cause = BY_OWNER,
) -> Resource:
    """Delete softly. With ``force`` it is taken from the appointments that have not ended yet; they stay, without it.

    Raises:
        NotFound: the user sees no such live resource.
        Denied: the user does not manage it.
        Stale: ``etag`` is given and not the current one.
        Unmet: appointments that have not ended yet take it (RESOURCE_IN_USE), and there is no ``force``.
    """
    who = {"id": resource_id, "user_id": user_id, "is_admin": is_admin}

    async def work(connection: Connection) -> Resource:
        _check_etag(etag, await lock(connection, user_id, resource_id, is_admin=is_admin))
        by = Cause(cause.actor_id or user_id, cause.request_id)
        await resource_units.release(connection, resource_id, cause=by, force=force)
        deleted = _managed(await connection.fetch(DELETE, who))
        await log.write_resource(connection, resource_id, "resource.deleted", actor_id=user_id, cause=cause)
        return deleted

    return await db.transact(work)


DELETE = Statement(
    f"""
    UPDATE resources SET deleted_at = now(), updated_at = now(), version = version + 1 WHERE id = %(id)s::uuid
    RETURNING {COLUMNS}
    """
)


async def undelete(
    db: Database, user_id: UUID, resource_id: UUID, *, is_admin: bool = False, cause: Cause = BY_OWNER
) -> Resource:
    """Bring a deleted resource back.

    Raises:
        NotFound: the user manages no such resource.
        Taken: it is not deleted.
    """
    who = {"id": resource_id, "user_id": user_id, "is_admin": is_admin}

    async def work(connection: Connection) -> Resource:
        rows = await connection.fetch(LOCK_DELETED, who)
        if not rows or Resource._make(rows[0]).role < Role.MANAGER:
            raise NotFound("No such resource.")
        if Resource._make(rows[0]).deleted_at is None:
            raise Taken("The resource is not deleted.", reason="RESOURCE_NOT_DELETED")
        undeleted = _managed(await connection.fetch(UNDELETE, who))
        await log.write_resource(connection, resource_id, "resource.undeleted", actor_id=user_id, cause=cause)
        return undeleted

    return await db.transact(work)


LOCK_DELETED = Statement(f"SELECT {COLUMNS} FROM resources WHERE id = %(id)s::uuid FOR UPDATE")
UNDELETE = Statement(
    f"""
    UPDATE resources SET deleted_at = NULL, updated_at = now(), version = version + 1 WHERE id = %(id)s::uuid
    RETURNING {COLUMNS}
    """
)


def _check_etag(etag: str, current: Resource) -> None:
    if etag and etag != current.etag:
        raise Stale("The resource has changed since it was read.")


def _seen(rows: list[Row]) -> Resource:
    found = Resource._make(rows[0]) if rows else None
    if found is None or not found.role:
        raise NotFound("No such resource.")
    return found


def _managed(rows: list[Row]) -> Resource:
    found = _seen(rows)
    if found.role < Role.MANAGER:
        raise Denied("You do not manage the resource.", reason="NOT_A_MANAGER")
    return found

"""Appointments and the overlap rule.

The promise: no two live appointments of one subject overlap, whatever races. An appointment says what; its row in
``bookings`` says who is taken when, and the constraint ``bookings_no_overlap`` refuses the second. Every function takes
the owner, and what belongs to somebody else is :class:`NotFound`, exactly as if it had never been.

How races stay free of deadlocks: an insert uses ON CONFLICT DO NOTHING, which never waits while it holds a claim; what
moves a booking locks its subject's row first.
"""

import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from uuid_utils.compat import uuid7

from appointments.appointment import COLUMNS, Appointment, from_row, to_values
from appointments.db import Connection, Database
from appointments.errors import Collision, Conflict, Invalid, NotFound, Stale, Taken, Unauthenticated
from appointments.plan import Plan, violations

MAX_COLLISIONS = 10
_NO_ID = UUID(int=0)


async def create(db: Database, owner_id: UUID, plan: Plan, *, request_id: UUID | None = None) -> Appointment:
    """Book ``plan`` for its owner, in one round trip if the time is free.

    A retry with the same ``request_id`` and plan returns the first answer, whatever has happened since (AIP-155).

    Raises:
        Invalid: the plan breaks a rule, or the request id was used with another plan.
        Conflict: the time overlaps other appointments of the owner.
    """
    if found := violations(plan):
        raise Invalid(found)
    appointment_id = uuid7()
    values = to_values(plan) | {
        "id": appointment_id,
        "owner_id": owner_id,
        "request_id": request_id,
        "request_digest": _digest(plan) if request_id else None,
    }
    while True:
        async with db.connection() as connection:
            created_at = await _insert(connection, values)
            if created_at:
                return Appointment(appointment_id, owner_id, plan, created_at, created_at, None, 1)
            if request_id and (earlier := await _replay(connection, owner_id, plan, request_id)):
                return earlier
            if collisions := await _collisions(connection, owner_id, plan):
                raise Conflict(collisions)
        # Whatever was in the way has gone in the meantime, so the time may be free now.


async def _insert(connection: Connection, values: dict[str, Any]) -> datetime | None:
    # The booking comes first: where the time is taken it yields no row, and so there is no appointment. Its foreign
    # keys are checked when the statement ends.
    try:
        cursor = await connection.execute(
            """
            WITH taken AS (
                INSERT INTO bookings (appointment_id, subject_id, during)
                VALUES (%(id)s, %(owner_id)s, tstzrange(%(start_at)s, %(end_at)s))
                ON CONFLICT ON CONSTRAINT bookings_no_overlap DO NOTHING
                RETURNING appointment_id
            )
            INSERT INTO appointments (
                id, owner_id, title, description, location, start_at, end_at, time_zone, attendees,
                created_at, updated_at, version, request_id, request_digest
            )
            SELECT appointment_id, %(owner_id)s, %(title)s, %(description)s, %(location)s, %(start_at)s, %(end_at)s,
                   %(time_zone)s, %(attendees)s, now(), now(), 1, %(request_id)s::uuid, %(request_digest)s::bytea
            FROM taken
            RETURNING created_at
            """,
            values,
        )
    except psycopg.errors.UniqueViolation as error:
        if error.diag.constraint_name != "appointments_request_id":
            raise
        return None
    except psycopg.errors.ForeignKeyViolation as error:
        raise Unauthenticated("The account has been deleted.") from error
    row = await cursor.fetchone()
    return row[0] if row else None


async def _replay(connection: Connection, owner_id: UUID, plan: Plan, request_id: UUID) -> Appointment | None:
    cursor = await connection.execute(
        """
        SELECT id, created_at, request_digest FROM appointments
        WHERE owner_id = %(owner_id)s AND request_id = %(request_id)s
        """,
        {"owner_id": owner_id, "request_id": request_id},
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    appointment_id, created_at, digest = row
    if digest != _digest(plan):
        raise Invalid.field("request_id", "was used before with another body", reason="REQUEST_ID_REUSED")
    # The body is the same, so with these two the first answer is complete.
    return Appointment(appointment_id, owner_id, plan, created_at, created_at, None, 1)


async def get(db: Database, owner_id: UUID, appointment_id: UUID) -> Appointment:
    """Read one appointment, deleted or not.

    Raises:
        NotFound: the owner has no such appointment.
    """
    async with db.connection() as connection:
        return await _read(connection, owner_id, appointment_id)


async def _read(connection: Connection, owner_id: UUID, appointment_id: UUID) -> Appointment:
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM appointments WHERE id = %(id)s AND owner_id = %(owner_id)s",
        {"id": appointment_id, "owner_id": owner_id},
    )
    return _found(await cursor.fetchone())


async def update(
    db: Database, owner_id: UUID, appointment_id: UUID, change: Callable[[Plan], Plan], *, etag: str = ""
) -> Appointment:
    """Replace the plan by what ``change`` makes of it; it must be pure, as it may run again after a deadlock.

    Raises:
        NotFound: the owner has no such live appointment.
        Stale: ``etag`` is given and not the current one.
        Invalid: the new plan breaks a rule.
        Conflict: the new time overlaps other appointments of the owner; its own old time does not count.
    """

    async def work(connection: Connection) -> Appointment:
        current = await _lock(connection, owner_id, appointment_id)
        if etag and etag != current.etag:
            raise Stale("The appointment has changed since it was read.")
        plan = change(current.plan)
        if plan == current.plan:
            return current
        if found := violations(plan):
            raise Invalid(found)
        if (plan.start_at, plan.end_at) != (current.plan.start_at, current.plan.end_at):
            await _move(connection, owner_id, appointment_id, plan)
        return await _rewrite(connection, appointment_id, plan)

    return await db.transact(work)


async def _lock(connection: Connection, owner_id: UUID, appointment_id: UUID) -> Appointment:
    # The subject first and then the appointment, always in this order.
    cursor = await connection.execute(
        f"""
        WITH subject AS MATERIALIZED (
            SELECT subjects.id AS subject_id FROM subjects WHERE subjects.id = %(owner_id)s FOR NO KEY UPDATE
        )
        SELECT {COLUMNS} FROM appointments JOIN subject ON owner_id = subject_id
        WHERE id = %(id)s AND deleted_at IS NULL
        FOR NO KEY UPDATE OF appointments
        """,
        {"id": appointment_id, "owner_id": owner_id},
    )
    return _found(await cursor.fetchone())


async def _move(connection: Connection, owner_id: UUID, appointment_id: UUID, plan: Plan) -> None:
    if collisions := await _collisions(connection, owner_id, plan, besides=appointment_id):
        raise Conflict(collisions)
    try:
        async with connection.transaction():
            await connection.execute(
                """
                UPDATE bookings SET during = tstzrange(%(start_at)s, %(end_at)s)
                WHERE appointment_id = %(id)s AND subject_id = %(owner_id)s
                """,
                to_values(plan) | {"id": appointment_id, "owner_id": owner_id},
            )
    except psycopg.errors.ExclusionViolation as error:
        # A create, which takes no lock, was faster.
        raise Conflict(await _collisions(connection, owner_id, plan, besides=appointment_id)) from error


async def _rewrite(connection: Connection, appointment_id: UUID, plan: Plan) -> Appointment:
    cursor = await connection.execute(
        f"""
        UPDATE appointments
        SET title = %(title)s, description = %(description)s, location = %(location)s, start_at = %(start_at)s,
            end_at = %(end_at)s, time_zone = %(time_zone)s, attendees = %(attendees)s,
            updated_at = now(), version = version + 1
        WHERE id = %(id)s
        RETURNING {COLUMNS}
        """,
        to_values(plan) | {"id": appointment_id},
    )
    return _found(await cursor.fetchone())


async def delete(db: Database, owner_id: UUID, appointment_id: UUID, *, etag: str = "") -> Appointment:
    """Delete softly: the row stays, the time is free at once.

    Raises:
        NotFound: the owner has no such live appointment.
        Stale: ``etag`` is given and not the current one.
    """
    async with db.connection() as connection:
        cursor = await connection.execute(
            f"""
            WITH gone AS (
                UPDATE appointments SET deleted_at = now(), updated_at = now(), version = version + 1
                WHERE id = %(id)s AND owner_id = %(owner_id)s AND deleted_at IS NULL
                  AND (%(etag)s = '' OR %(etag)s = format('"%%s"', version))
                RETURNING {COLUMNS}
            ), freed AS (
                DELETE FROM bookings USING gone WHERE appointment_id = gone.id
            )
            SELECT {COLUMNS} FROM gone
            """,
            {"id": appointment_id, "owner_id": owner_id, "etag": etag},
        )
        if row := await cursor.fetchone():
            return from_row(row)
        current = await _read(connection, owner_id, appointment_id)
    if current.deleted_at is None and etag:
        raise Stale("The appointment has changed since it was read.")
    raise NotFound("No such appointment.")


async def undelete(db: Database, owner_id: UUID, appointment_id: UUID) -> Appointment:
    """Bring a deleted appointment back, if its time is still free.

    Raises:
        NotFound: the owner has no such appointment.
        Taken: it is not deleted.
        Conflict: its time overlaps other appointments of the owner.
    """
    while True:
        async with db.connection() as connection:
            cursor = await connection.execute(
                f"""
                WITH gone AS MATERIALIZED (
                    SELECT id, owner_id, start_at, end_at FROM appointments
                    WHERE id = %(id)s AND owner_id = %(owner_id)s AND deleted_at IS NOT NULL
                    FOR NO KEY UPDATE
                ), taken AS (
                    INSERT INTO bookings (appointment_id, subject_id, during)
                    SELECT id, owner_id, tstzrange(start_at, end_at) FROM gone
                    ON CONFLICT ON CONSTRAINT bookings_no_overlap DO NOTHING
                    RETURNING appointment_id
                )
                UPDATE appointments SET deleted_at = NULL, updated_at = now(), version = version + 1
                FROM taken WHERE id = taken.appointment_id
                RETURNING {COLUMNS}
                """,
                {"id": appointment_id, "owner_id": owner_id},
            )
            if row := await cursor.fetchone():
                return from_row(row)
            current = await _read(connection, owner_id, appointment_id)
            if current.deleted_at is None:
                raise Taken("The appointment is not deleted.", reason="APPOINTMENT_NOT_DELETED")
            if collisions := await _collisions(connection, owner_id, current.plan):
                raise Conflict(collisions)
        # What was in the way has gone in the meantime.


async def _collisions(connection: Connection, owner_id: UUID, plan: Plan, *, besides: UUID = _NO_ID) -> list[Collision]:
    cursor = await connection.execute(
        """
        SELECT appointment_id, lower(during), upper(during) FROM bookings
        WHERE subject_id = %(owner_id)s AND during && tstzrange(%(start_at)s, %(end_at)s)
          AND appointment_id <> %(besides)s
        ORDER BY during
        LIMIT %(limit)s
        """,
        {
            "owner_id": owner_id,
            "start_at": plan.start_at,
            "end_at": plan.end_at,
            "besides": besides,
            "limit": MAX_COLLISIONS,
        },
    )
    return [Collision(*row) for row in await cursor.fetchall()]


def _found(row: tuple[Any, ...] | None) -> Appointment:
    if row is None:
        raise NotFound("No such appointment.")
    return from_row(row)


def _digest(plan: Plan) -> bytes:
    return hashlib.sha256(repr(plan).encode()).digest()

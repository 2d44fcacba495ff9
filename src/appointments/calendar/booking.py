"""Appointments and the overlap rule.

The promise: no two live appointments of one subject overlap, whatever races. An appointment says what; its row in
``bookings`` says who is taken when, and the constraint ``bookings_no_overlap`` refuses the second. Every function takes
the owner, and what belongs to somebody else is :class:`NotFound`, exactly as if it had never been.

How races stay free of deadlocks: an insert uses ON CONFLICT DO NOTHING, which never waits while it holds a claim; what
moves or frees a booking locks its subject's row first, and then the appointment's.
"""

import hashlib
from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg
from uuid_utils.compat import uuid7

from appointments.calendar.appointment import COLUMNS, Appointment, Spec, booked, from_row, to_values
from appointments.calendar.rules import violations
from appointments.db import Connection, Database, Micros, Row, Statement, instant, micros
from appointments.errors import Collision, Conflict, Invalid, NotFound, Stale, Taken, Unauthenticated

MAX_COLLISIONS = 10
_NO_ID = UUID(int=0)


async def create(db: Database, owner_id: UUID, spec: Spec, *, request_id: UUID | None = None) -> Appointment:
    """Book ``spec`` for its owner, in one round trip if the time is free.

    A retry with the same ``request_id`` and spec returns the first answer, whatever has happened since (AIP-155).

    Raises:
        Invalid: the spec breaks a rule, or the request id was used with another spec.
        Conflict: the time overlaps other appointments of the owner.
    """
    if found := violations(spec):
        raise Invalid(found)
    appointment_id = uuid7()
    values = to_values(spec) | {
        "id": appointment_id,
        "owner_id": owner_id,
        "request_id": request_id,
        "request_digest": _digest(spec) if request_id else None,
    }
    while True:
        created_at = await _insert(db, values)
        if created_at is not None:
            return booked(appointment_id, owner_id, spec, created_at)
        async with db.connection() as connection:
            if request_id and (earlier := await _replay(connection, owner_id, spec, request_id)):
                return earlier
            if collisions := await _collisions(connection, owner_id, spec):
                raise Conflict(collisions)
        # Whatever was in the way has gone in the meantime, so the time may be free now.


# The booking comes first: where the time is taken it yields no row, and so there is no appointment. Its foreign keys
# are checked when the statement ends.
CREATE = Statement(
    """
    WITH taken AS (
        INSERT INTO bookings (appointment_id, subject_id, during)
        VALUES (%(id)s::uuid, %(owner_id)s::uuid, tstzrange(%(start_at)s::timestamptz, %(end_at)s::timestamptz))
        ON CONFLICT ON CONSTRAINT bookings_no_overlap DO NOTHING
        RETURNING appointment_id
    )
    INSERT INTO appointments (
        id, owner_id, title, description, location, start_at, end_at, time_zone, attendees,
        created_at, updated_at, version, request_id, request_digest
    )
    SELECT appointment_id, %(owner_id)s::uuid, %(title)s::text, %(description)s::text, %(location)s::text,
           %(start_at)s::timestamptz, %(end_at)s::timestamptz, %(time_zone)s::text, %(attendees)s::jsonb,
           now(), now(), 1, %(request_id)s::uuid, %(request_digest)s::bytea
    FROM taken
    RETURNING id, owner_id, created_at
    """
)


# The same for several at once. It gives up soon, because who has to wait for a lock shall wait alone. In the order of
# subjects and starts two such statements cannot wait for each other. Of whom there are several rows, that subject is
# locked first: a booking that moves could wait for one of them while another waits for it.
CREATE_MANY = Statement(
    """
    WITH impatient AS MATERIALIZED (
        SELECT set_config('lock_timeout', '100ms', true)
    ), locked AS MATERIALIZED (
        SELECT count(*) FROM (
            SELECT subjects.id FROM impatient, subjects WHERE subjects.id = ANY (%(crowded)s::uuid[])
            ORDER BY subjects.id FOR NO KEY UPDATE OF subjects
        ) AS crowded
    ), asked AS MATERIALIZED (
        SELECT asked.* FROM impatient, locked, unnest(
            %(id)s::uuid[], %(owner_id)s::uuid[], %(title)s::text[], %(description)s::text[], %(location)s::text[],
            %(start_at)s::timestamptz[], %(end_at)s::timestamptz[], %(time_zone)s::text[], %(attendees)s::jsonb[],
            %(request_id)s::uuid[], %(request_digest)s::bytea[]
        ) AS asked (
            id, owner_id, title, description, location, start_at, end_at, time_zone, attendees,
            request_id, request_digest
        )
        WHERE NOT EXISTS (
            SELECT FROM appointments AS earlier
            WHERE earlier.owner_id = asked.owner_id AND earlier.request_id = asked.request_id
        )
    ), taken AS (
        INSERT INTO bookings (appointment_id, subject_id, during)
        SELECT id, owner_id, tstzrange(start_at, end_at) FROM asked ORDER BY owner_id, start_at
        ON CONFLICT ON CONSTRAINT bookings_no_overlap DO NOTHING
        RETURNING appointment_id
    )
    INSERT INTO appointments (
        id, owner_id, title, description, location, start_at, end_at, time_zone, attendees,
        created_at, updated_at, version, request_id, request_digest
    )
    SELECT id, owner_id, title, description, location, start_at, end_at, time_zone, attendees,
           now(), now(), 1, request_id, request_digest
    FROM asked JOIN taken ON id = appointment_id
    RETURNING id, owner_id, created_at
    """
)


async def _insert(db: Database, values: dict[str, Any]) -> Micros | None:
    try:
        row = await db.share(CREATE, CREATE_MANY, values)
    except psycopg.errors.UniqueViolation as error:
        if error.diag.constraint_name != "appointments_request_id":
            raise
        return None
    except psycopg.errors.ForeignKeyViolation as error:
        raise Unauthenticated("The account has been deleted.") from error
    return row[2] if row else None


REPLAY = Statement(
    """
    SELECT id, created_at, request_digest FROM appointments
    WHERE owner_id = %(owner_id)s::uuid AND request_id = %(request_id)s::uuid
    """
)


async def _replay(connection: Connection, owner_id: UUID, spec: Spec, request_id: UUID) -> Appointment | None:
    rows = await connection.fetch(REPLAY, {"owner_id": owner_id, "request_id": request_id})
    if not rows:
        return None
    appointment_id, created_at, digest = rows[0]
    if digest != _digest(spec):
        raise Invalid.field("request_id", "was used before with another body", reason="REQUEST_ID_REUSED")
    # The body is the same, so with these two the first answer is complete.
    return booked(appointment_id, owner_id, spec, created_at)


async def get(db: Database, owner_id: UUID, appointment_id: UUID) -> Appointment:
    """Read one appointment, deleted or not.

    Raises:
        NotFound: the owner has no such appointment.
    """
    return _found(await db.fetch(GET, {"id": appointment_id, "owner_id": owner_id}))


GET = Statement(f"SELECT {COLUMNS} FROM appointments WHERE id = %(id)s::uuid AND owner_id = %(owner_id)s::uuid")


async def _read(connection: Connection, owner_id: UUID, appointment_id: UUID) -> Appointment:
    return _found(await connection.fetch(GET, {"id": appointment_id, "owner_id": owner_id}))


async def update(
    db: Database, owner_id: UUID, appointment_id: UUID, change: Callable[[Spec], Spec], *, etag: str = ""
) -> Appointment:
    """Replace the spec by what ``change`` makes of it; it must be pure, as it may run again after a deadlock.

    Raises:
        NotFound: the owner has no such live appointment.
        Stale: ``etag`` is given and not the current one.
        Invalid: the new spec breaks a rule.
        Conflict: the new time overlaps other appointments of the owner; its own old time does not count.
    """

    def decide(current: Appointment) -> Spec:
        _check_etag(etag, current)
        spec = change(current.spec)
        if spec != current.spec and (found := violations(spec)):
            raise Invalid(found)
        return spec

    async def work(connection: Connection) -> Appointment:
        current = _found(await connection.fetch(LOCK, {"id": appointment_id, "owner_id": owner_id}))
        spec = decide(current)
        if spec == current.spec:
            return current
        if not _same_time(spec, current):
            await _move(connection, owner_id, appointment_id, spec)
        return _found(await connection.fetch(REWRITE, _rewriting(current, spec)))

    current = await get(db, owner_id, appointment_id)
    if current.deleted_at is None and _same_time(spec := decide(current), current):
        # Nothing can be in the way, so no lock is needed: the row itself tells whether it is still the one just read.
        if spec == current.spec:
            return current
        if rows := await db.fetch(REWRITE, _rewriting(current, spec)):
            return from_row(rows[0])
    return await db.transact(work)


# The subject first and then the appointment, always in this order.
LOCK = Statement(
    f"""
    WITH subject AS MATERIALIZED (
        SELECT subjects.id AS subject_id FROM subjects WHERE subjects.id = %(owner_id)s::uuid FOR NO KEY UPDATE
    )
    SELECT {COLUMNS} FROM appointments JOIN subject ON owner_id = subject_id
    WHERE id = %(id)s::uuid AND deleted_at IS NULL
    FOR NO KEY UPDATE OF appointments
    """
)
MOVE = Statement(
    """
    UPDATE bookings SET during = tstzrange(%(start_at)s::timestamptz, %(end_at)s::timestamptz)
    WHERE appointment_id = %(id)s::uuid AND subject_id = %(owner_id)s::uuid
    """
)


async def _move(connection: Connection, owner_id: UUID, appointment_id: UUID, spec: Spec) -> None:
    if collisions := await _collisions(connection, owner_id, spec, besides=appointment_id):
        raise Conflict(collisions)
    try:
        async with connection.transaction():
            await connection.fetch(MOVE, to_values(spec) | {"id": appointment_id, "owner_id": owner_id})
    except psycopg.errors.ExclusionViolation as error:
        # A create, which takes no lock, was faster.
        raise Conflict(await _collisions(connection, owner_id, spec, besides=appointment_id)) from error


REWRITE = Statement(
    f"""
    UPDATE appointments
    SET title = %(title)s::text, description = %(description)s::text, location = %(location)s::text,
        start_at = %(start_at)s::timestamptz, end_at = %(end_at)s::timestamptz, time_zone = %(time_zone)s::text,
        attendees = %(attendees)s::jsonb, updated_at = now(), version = version + 1
    WHERE id = %(id)s::uuid AND owner_id = %(owner_id)s::uuid AND version = %(version)s::bigint AND deleted_at IS NULL
    RETURNING {COLUMNS}
    """
)


def _rewriting(current: Appointment, spec: Spec) -> dict[str, Any]:
    return to_values(spec) | {"id": current.id, "owner_id": current.owner_id, "version": current.version}


def _same_time(spec: Spec, current: Appointment) -> bool:
    return (micros(spec.start_at), micros(spec.end_at)) == (current.start_at, current.end_at)


async def delete(db: Database, owner_id: UUID, appointment_id: UUID, *, etag: str = "") -> Appointment:
    """Delete softly: the row stays, the time is free at once.

    Raises:
        NotFound: the owner has no such live appointment.
        Stale: ``etag`` is given and not the current one.
    """

    async def work(connection: Connection) -> Appointment:
        current = _found(await connection.fetch(LOCK, {"id": appointment_id, "owner_id": owner_id}))
        _check_etag(etag, current)
        return _found(await connection.fetch(DELETE, {"id": appointment_id}))

    return await db.transact(work)


# Only under LOCK. In one statement with it, the booking would be looked for as it was before the wait for the row: one
# that an undelete had put there meanwhile would be missed, and its time would stay taken by nothing.
DELETE = Statement(
    f"""
    WITH freed AS (DELETE FROM bookings WHERE appointment_id = %(id)s::uuid)
    UPDATE appointments SET deleted_at = now(), updated_at = now(), version = version + 1 WHERE id = %(id)s::uuid
    RETURNING {COLUMNS}
    """
)


def _check_etag(etag: str, current: Appointment) -> None:
    if etag and etag != current.etag:
        raise Stale("The appointment has changed since it was read.")


async def undelete(db: Database, owner_id: UUID, appointment_id: UUID) -> Appointment:
    """Bring a deleted appointment back, if its time is still free.

    Raises:
        NotFound: the owner has no such appointment.
        Taken: it is not deleted.
        Conflict: its time overlaps other appointments of the owner.
    """
    while True:
        async with db.connection() as connection:
            if rows := await connection.fetch(UNDELETE, {"id": appointment_id, "owner_id": owner_id}):
                return from_row(rows[0])
            current = await _read(connection, owner_id, appointment_id)
            if current.deleted_at is None:
                raise Taken("The appointment is not deleted.", reason="APPOINTMENT_NOT_DELETED")
            if collisions := await _collisions(connection, owner_id, current.spec, besides=appointment_id):
                raise Conflict(collisions)
        # What was in the way has gone in the meantime.


# The booking's foreign key locks the subject in the end. Here that comes first, as for whoever erases an account.
UNDELETE = Statement(
    f"""
    WITH subject AS MATERIALIZED (
        SELECT subjects.id AS subject_id FROM subjects WHERE subjects.id = %(owner_id)s::uuid FOR KEY SHARE
    ), gone AS MATERIALIZED (
        SELECT id, owner_id, start_at, end_at FROM appointments JOIN subject ON owner_id = subject_id
        WHERE id = %(id)s::uuid AND deleted_at IS NOT NULL
        FOR NO KEY UPDATE OF appointments
    ), taken AS (
        INSERT INTO bookings (appointment_id, subject_id, during)
        SELECT id, owner_id, tstzrange(start_at, end_at) FROM gone
        ON CONFLICT ON CONSTRAINT bookings_no_overlap DO NOTHING
        RETURNING appointment_id
    )
    UPDATE appointments SET deleted_at = NULL, updated_at = now(), version = version + 1
    FROM taken WHERE id = taken.appointment_id
    RETURNING {COLUMNS}
    """
)
COLLISIONS = Statement(
    """
    SELECT appointment_id, lower(during), upper(during) FROM bookings
    WHERE subject_id = %(owner_id)s::uuid
      AND during && tstzrange(%(start_at)s::timestamptz, %(end_at)s::timestamptz)
      AND appointment_id <> %(besides)s::uuid
    ORDER BY during
    LIMIT %(limit)s::bigint
    """
)


async def _collisions(connection: Connection, owner_id: UUID, spec: Spec, *, besides: UUID = _NO_ID) -> list[Collision]:
    values = {
        "owner_id": owner_id,
        "start_at": spec.start_at,
        "end_at": spec.end_at,
        "besides": besides,
        "limit": MAX_COLLISIONS,
    }
    rows = await connection.fetch(COLLISIONS, values)
    return [Collision(appointment_id, instant(start_at), instant(end_at)) for appointment_id, start_at, end_at in rows]


def _found(rows: list[Row]) -> Appointment:
    if not rows:
        raise NotFound("No such appointment.")
    return from_row(rows[0])


def _digest(spec: Spec) -> bytes:
    return hashlib.sha256(repr(spec).encode()).digest()

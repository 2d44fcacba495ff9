"""Holds (AIP-214): appointments that take their time until they expire, unless they are confirmed.

The constraint on bookings knows no clock. So the bookings of an expired hold stay until :func:`sweep` deletes them, or
a request that would collide with them does, under the lock of their subject. Queries ignore them, and their appointment
too. A hold that is confirmed keeps its bookings, so nobody can get in between.
"""

from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

from appointments.calendar.appointment import COLUMNS, MICROSECOND, NO_TIME, Appointment, Spec, from_row
from appointments.calendar.log import of_all
from appointments.calendar.placement import span_values
from appointments.db import Connection, Database, Row, Statement
from appointments.shared.errors import NotFound, Unmet, Violation

LONGEST = timedelta(hours=1)
MAX_OPEN = 10
"""The most open holds of one owner."""

MAX_OPEN_OF_RESOURCE = 3
"""The most open holds of one owner that take the same resource."""

SWEEP_SECONDS = 60.0
_BATCH = 100
BY_ITSELF = {"x_request_id": None}


def violations(ttl: timedelta | None, spec: Spec, *, is_hold: bool = True) -> list[Violation]:
    """List what is wrong with a hold's time to live. None: there is none to judge."""
    if ttl is None:
        return []
    if not is_hold:
        return [Violation("appointment.ttl", "must be unset, because the appointment is not a hold")]
    if not NO_TIME < ttl <= LONGEST:
        return [Violation("appointment.ttl", "must be more than nothing and at most an hour")]
    if spec.transparent:
        return [Violation("appointment.ttl", "must be unset, because the appointment is transparent and takes no time")]
    return []


async def check_limits(connection: Connection, owner_id: UUID) -> None:
    """Check that an owner does not have too many open holds, under the owner's lock.

    Raises:
        Unmet: there are too many, or too many of one resource (TOO_MANY_HOLDS).
    """
    rows = await connection.fetch(OPEN, {"owner_id": owner_id, "limit": MAX_OPEN + 1})
    if len(rows) > MAX_OPEN:
        raise Unmet(
            f"You have {MAX_OPEN} open holds already. Confirm or delete one first.",
            reason="TOO_MANY_HOLDS",
            metadata={"limit": str(MAX_OPEN)},
        )
    for resource_id, count in Counter(each for row in rows for each in row[0] or ()).items():
        if count > MAX_OPEN_OF_RESOURCE:
            raise Unmet(
                f"You have {MAX_OPEN_OF_RESOURCE} open holds of the resource {resource_id} already.",
                reason="TOO_MANY_HOLDS",
                metadata={"limit": str(MAX_OPEN_OF_RESOURCE), "resource_id": resource_id},
            )


OPEN = Statement(
    """
    SELECT resource_ids::text[] AS resource_texts FROM appointments
    WHERE owner_id = %(owner_id)s::uuid AND expires_at > now() AND deleted_at IS NULL
    LIMIT %(limit)s::bigint
    """
)


async def confirm(connection: Connection, values: dict[str, Any]) -> list[Row]:
    """Turn a hold into an appointment. No rows if it has expired, or its version has changed."""
    await connection.fetch(LOCK, values)
    rows = await connection.fetch(CONFIRM, values)
    if rows and len(await connection.fetch(KEEP, values)) != 1 + len(from_row(rows[0]).resource_ids or ()):
        # This takes a clock that was set back: somebody saw the hold expired, and deleted one of its bookings.
        raise NotFound("No such appointment.")
    return rows


# Under these locks, every transaction that clears expired holds of these subjects either has committed or waits. If one
# has cleared this hold, its clock had passed the end of the hold, so ours has too, and CONFIRM finds nothing.
LOCK = Statement(
    """
    SELECT subjects.id FROM subjects
    WHERE subjects.id = ANY (ARRAY(
        SELECT %(owner_id)s::uuid UNION ALL SELECT subject_id FROM bookings WHERE appointment_id = %(id)s::uuid
    ))
    ORDER BY subjects.id FOR NO KEY UPDATE
    """
)
CONFIRM = Statement(
    f"""
    WITH amended AS (
        UPDATE appointments
        SET expires_at = NULL, updated_at = now(), version = version + 1, actor_id = %(actor_id)s::uuid
        WHERE id = %(id)s::uuid AND owner_id = %(owner_id)s::uuid AND version = %(version)s::bigint
          AND deleted_at IS NULL AND expires_at > clock_timestamp()
        RETURNING appointments.*
    ), {of_all("appointment.updated", "amended", fields="ARRAY['expire_time']")}
    SELECT {COLUMNS} FROM amended
    """
)
KEEP = Statement("UPDATE bookings SET expires_at = NULL WHERE appointment_id = %(id)s::uuid RETURNING subject_id")


async def prolong(connection: Connection, current: Appointment, ttl: timedelta) -> Appointment:
    """Let a hold expire so long from now, under the locks of all its subjects; the version is its changer's to raise.

    Raises:
        NotFound: it has expired.
    """
    rows = await connection.fetch(PROLONG, {"id": current.id, "ttl": ttl // MICROSECOND})
    # Fewer bookings take a clock that was set back, as in :func:`confirm`.
    if len(rows) != 1 + len(current.resource_ids or ()):
        raise NotFound("No such appointment.")
    return current._replace(expires_at=rows[0][0])


# The clock is read under the locks, as CONFIRM does. The end counts from then too: what waited longer than its time to
# live is no hold that has expired already.
PROLONG = Statement(
    """
    WITH moment AS MATERIALIZED (
        SELECT clock_timestamp() AS at
    ), prolonged AS (
        UPDATE appointments SET expires_at = at + %(ttl)s::bigint * interval '1 microsecond'
        FROM moment WHERE id = %(id)s::uuid AND deleted_at IS NULL AND expires_at > at
        RETURNING id AS prolonged_id, expires_at AS until
    )
    UPDATE bookings SET expires_at = until FROM prolonged WHERE appointment_id = prolonged_id
    RETURNING until
    """
)


async def clear(connection: Connection, owner_id: UUID, spec: Spec) -> None:
    """Delete the owner's bookings of expired holds that overlap a spec, under the owner's lock."""
    await connection.fetch(CLEAR, {"owner_id": owner_id, **span_values(spec)})


CLEAR = Statement(
    """
    WITH subject AS MATERIALIZED (
        SELECT subjects.id AS owner_id FROM subjects WHERE subjects.id = %(owner_id)s::uuid FOR NO KEY UPDATE
    )
    DELETE FROM bookings USING subject
    WHERE subject_id = owner_id AND expires_at <= now() AND during && tstzrange(
        %(start_at)s::timestamptz - %(buffer_before)s::integer * interval '1 second',
        %(end_at)s::timestamptz + %(buffer_after)s::integer * interval '1 second'
    )
    """
)


async def sweep(db: Database) -> int:
    """Delete every expired hold, dated at the moment at which it expired. Return how many."""
    swept = 0
    while True:
        found = [row[0] for row in await db.fetch(EXPIRED, {"limit": _BATCH})]
        if not found:
            return swept

        async def work(connection: Connection, found: list[UUID] = found) -> int:
            await connection.fetch(LOCK_ALL, {"ids": found})
            return len(await connection.fetch(END, {"ids": found, **BY_ITSELF}))

        swept += await db.transact(work)


EXPIRED = Statement(
    """
    SELECT id FROM appointments WHERE expires_at <= now() AND deleted_at IS NULL
    ORDER BY expires_at LIMIT %(limit)s::bigint
    """
)
LOCK_ALL = Statement(
    """
    SELECT subjects.id FROM subjects
    WHERE subjects.id IN (
        SELECT owner_id FROM appointments WHERE appointments.id = ANY (%(ids)s::uuid[])
        UNION ALL
        SELECT subject_id FROM bookings WHERE appointment_id = ANY (%(ids)s::uuid[])
    )
    ORDER BY subjects.id FOR NO KEY UPDATE
    """
)
END = Statement(
    f"""
    WITH ended AS (
        UPDATE appointments SET deleted_at = expires_at, updated_at = expires_at, version = version + 1
        WHERE id = ANY (%(ids)s::uuid[]) AND expires_at <= now() AND deleted_at IS NULL
        RETURNING appointments.*
    ), freed AS (
        DELETE FROM bookings USING ended WHERE appointment_id = ended.id
    ), {of_all("appointment.deleted", "ended", actor="NULL::uuid")}
    SELECT id FROM ended
    """
)

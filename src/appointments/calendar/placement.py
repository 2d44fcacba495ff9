"""Booking the subjects of an appointment: its owner, and a unit of each of its resources.

Whoever books a resource first locks its row KEY SHARE, so that it can neither be deleted nor change its number of units
meanwhile. Then the subjects are locked in the order of their ids, and the bookings are inserted in that order.
docs/booking.md has the lock order of every path.

Bookings of expired holds do not count: whoever has the lock of their subject deletes them.
"""

from collections.abc import Mapping, Sequence
from typing import LiteralString
from uuid import UUID

from appointments.calendar.appointment import Spec, seconds
from appointments.calendar.resource import ROLE, Role
from appointments.db import Connection, Micros, Statement, instant
from appointments.shared.errors import Denied, NotFound

# When a resource would be taken: the appointment's time, its buffers, and the resource's own.
SPAN: LiteralString = """
    tstzrange(
        %(start_at)s::timestamptz - (%(buffer_before)s::integer + resources.buffer_before) * interval '1 second',
        %(end_at)s::timestamptz + (%(buffer_after)s::integer + resources.buffer_after) * interval '1 second'
    )
"""

# The first unit that looks free, ignoring expired holds. Whether it really is free, the constraint decides. Without
# OFFSET 0 the planner would join the units with everybody's bookings at that time, instead of asking unit by unit.
FREE_UNIT: LiteralString = """
    SELECT resource_units.subject_id FROM resource_units
    WHERE resource_units.resource_id = resources.id AND resource_units.unit <= resources.units AND NOT EXISTS (
        SELECT FROM bookings WHERE bookings.subject_id = resource_units.subject_id AND bookings.during && span.during
          AND (bookings.expires_at IS NULL OR bookings.expires_at > now())
        OFFSET 0
    )
    ORDER BY resource_units.unit LIMIT 1
"""


async def hold(connection: Connection, user_id: UUID, resource_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Lock these resources against changes until the transaction ends. Others may book them meanwhile.

    Returns:
        The role of a person on each of them. Deleted resources are left out.
    """
    return dict(await connection.fetch(HOLD, {"user_id": user_id, "resource_ids": resource_ids}))


# Here and below ids come out of subqueries: PostgreSQL does not know how many come, and so plans once for all calls.
HOLD = Statement(
    f"""
    SELECT id, {ROLE} AS role FROM resources
    WHERE id = ANY (ARRAY(SELECT unnest(%(resource_ids)s::uuid[]))) AND deleted_at IS NULL
    ORDER BY id FOR KEY SHARE
    """
)


def check_bookable(roles: Mapping[UUID, int], resource_ids: Sequence[UUID]) -> None:
    """Check that a person with these roles may book each of these resources.

    Raises:
        NotFound: one of them does not exist, is deleted, or they do not see it.
        Denied: they see one of them but may not book it.
    """
    for resource_id in resource_ids:
        if not roles.get(resource_id):
            raise NotFound(f"No such resource: {resource_id}.", reason="RESOURCE_NOT_FOUND")
    for resource_id in resource_ids:
        if roles[resource_id] < Role.BOOKER:
            raise Denied(f"You may not book the resource {resource_id}.", reason="RESOURCE_NOT_BOOKABLE")


async def lock(
    connection: Connection, owner_id: UUID, resource_ids: Sequence[UUID], guest_ids: Sequence[UUID] = ()
) -> None:
    """Lock an owner, every unit of these resources, and guests, as whoever changes bookings does that are there."""
    values = {"owner_id": owner_id, "resource_ids": resource_ids, "guest_ids": list(guest_ids)}
    await connection.fetch(LOCK_SUBJECTS, values)


# One array of all of them: with OR between them every subject there is would be read.
LOCK_SUBJECTS = Statement(
    """
    SELECT subjects.id FROM subjects
    WHERE subjects.id = ANY (ARRAY(
        SELECT %(owner_id)s::uuid
        UNION ALL SELECT unnest(%(guest_ids)s::uuid[])
        UNION ALL SELECT subject_id FROM resource_units
        WHERE resource_id = ANY (ARRAY(SELECT unnest(%(resource_ids)s::uuid[])))
    ))
    ORDER BY subjects.id FOR NO KEY UPDATE
    """
)


async def place(
    connection: Connection,
    owner_id: UUID,
    appointment_id: UUID,
    spec: Spec,
    resource_ids: Sequence[UUID],
    *,
    owner: bool,
    expires_at: Micros | None = None,
) -> bool:
    """Book a unit of each of these resources for an appointment, and with ``owner`` its owner's time.

    The subjects must be locked (:func:`lock`). With ``expires_at`` these are the bookings of a hold.

    Returns:
        Whether all of it was free. If not, some of it may be booked, so the transaction must be rolled back.
    """
    values = {
        "id": appointment_id,
        "owner_id": owner_id,
        "with_owner": owner,
        "resource_ids": resource_ids,
        "expires_at": instant(expires_at) if expires_at is not None else None,
        **span_values(spec),
    }
    return len(await connection.fetch(PLACE, values)) == len(resource_ids) + owner


def span_values(spec: Spec) -> dict[str, object]:
    """The named parameters of :data:`SPAN`."""
    return {
        "start_at": spec.start_at,
        "end_at": spec.end_at,
        "buffer_before": seconds(spec.buffer_before),
        "buffer_after": seconds(spec.buffer_after),
    }


# Expired bookings are deleted first: counting them makes PostgreSQL run that part before it inserts a row.
PLACE = Statement(
    f"""
    WITH places AS MATERIALIZED (
        SELECT unit.subject_id, span.during, resources.id AS resource_id, %(start_at)s::timestamptz AS start_at
        FROM resources
        CROSS JOIN LATERAL (SELECT {SPAN} AS during) AS span
        CROSS JOIN LATERAL ({FREE_UNIT}) AS unit
        WHERE resources.id = ANY (ARRAY(SELECT unnest(%(resource_ids)s::uuid[])))
        UNION ALL
        SELECT %(owner_id)s::uuid, tstzrange(
            %(start_at)s::timestamptz - %(buffer_before)s::integer * interval '1 second',
            %(end_at)s::timestamptz + %(buffer_after)s::integer * interval '1 second'
        ), NULL, NULL
        WHERE %(with_owner)s::boolean
    ), expired AS (
        DELETE FROM bookings USING places
        WHERE bookings.subject_id = places.subject_id AND bookings.during && places.during
          AND bookings.expires_at <= now()
        RETURNING bookings.subject_id
    )
    INSERT INTO bookings (appointment_id, subject_id, during, resource_id, start_at, expires_at)
    SELECT %(id)s::uuid, subject_id, during, resource_id, start_at, %(expires_at)s::timestamptz FROM places
    WHERE (SELECT count(*) FROM expired) >= 0
    ORDER BY subject_id
    ON CONFLICT ON CONSTRAINT bookings_no_overlap DO NOTHING
    RETURNING subject_id
    """
)

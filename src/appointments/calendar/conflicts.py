"""What is in the way of an appointment. It is read only after the constraint has refused one, to name the collisions.

Only the owner's own appointments are named. Of a resource it is only said that it is taken, never by whom. A hold that
has expired is in nobody's way; neither is the tail of endless series, which moves
(:mod:`~appointments.calendar.frontiers`).
"""

from uuid import UUID

from appointments.calendar.appointment import Spec
from appointments.calendar.placing import SPAN, span_values
from appointments.db import Connection, Statement, instant
from appointments.shared.errors import Collision, Conflict

MAX_COLLISIONS = 10
NO_ID = UUID(int=0)


async def find(connection: Connection, owner_id: UUID, spec: Spec, *, besides: UUID = NO_ID) -> Conflict | None:
    """Return what a spec collides with, besides the appointment ``besides`` itself; None if nothing does any more."""
    values = {"owner_id": owner_id, "besides": besides, **span_values(spec)}
    rows = await connection.fetch(COLLISIONS, values | {"limit": MAX_COLLISIONS})
    taken: list[tuple[UUID]] = []
    if spec.resource_ids:
        taken = await connection.fetch(TAKEN_RESOURCES, values | {"resource_ids": spec.resources})
    if not rows and not taken:
        return None
    collisions = [Collision(found, instant(start), instant(end)) for found, start, end in rows]
    return Conflict(collisions, [row[0] for row in taken])


async def found(connection: Connection, owner_id: UUID, spec: Spec, *, besides: UUID) -> Conflict:
    """Return the same when something was in the way. If it has just gone, the conflict names nothing."""
    return await find(connection, owner_id, spec, besides=besides) or Conflict([])


COLLISIONS = Statement(
    """
    SELECT appointment_id, appointments.start_at, appointments.end_at
    FROM bookings JOIN appointments ON appointments.id = appointment_id
    WHERE subject_id = %(owner_id)s::uuid AND during && tstzrange(
        %(start_at)s::timestamptz - %(buffer_before)s::integer * interval '1 second',
        %(end_at)s::timestamptz + %(buffer_after)s::integer * interval '1 second'
    )
      AND appointment_id <> %(besides)s::uuid
      AND (bookings.expires_at IS NULL OR bookings.expires_at > now())
    ORDER BY lower(during)
    LIMIT %(limit)s::bigint
    """
)
TAKEN_RESOURCES = Statement(
    f"""
    SELECT resources.id FROM resources CROSS JOIN LATERAL (SELECT {SPAN} AS during) AS span
    WHERE resources.id = ANY (%(resource_ids)s::uuid[]) AND NOT EXISTS (
        SELECT FROM resource_units
        WHERE resource_units.resource_id = resources.id AND resource_units.unit <= resources.units AND NOT EXISTS (
            SELECT FROM bookings
            WHERE bookings.subject_id = resource_units.subject_id AND bookings.during && span.during
              AND bookings.appointment_id <> %(besides)s::uuid
              AND (bookings.expires_at IS NULL OR bookings.expires_at > now())
            OFFSET 0
        )
    )
    ORDER BY resources.id
    """
)

"""What an appointment collides with. This is read only after the constraint has refused it, to name the collisions.

Only the owner's own appointments are named. A resource is only named as taken, never by whom. Expired holds do not
count. Neither do the tails of endless series, because they can be moved (:mod:`~appointments.calendar.frontiers`).
"""

from collections.abc import Sequence
from typing import LiteralString
from uuid import UUID

from appointments.calendar.appointment import Spec
from appointments.calendar.placement import SPAN, span_values
from appointments.db import Connection, Database, Row, Statement, instant
from appointments.shared.errors import Collision, Conflict

MAX_COLLISIONS = 10
NO_ID = UUID(int=0)


async def find(connection: Connection, owner_id: UUID, spec: Spec, *, besides: UUID = NO_ID) -> Conflict | None:
    """What a spec collides with, not counting the appointment ``besides``. None if nothing is in the way any more."""
    values = {"owner_id": owner_id, "besides": besides, **span_values(spec)}
    rows = await connection.fetch(COLLISIONS, values)
    taken: list[Row] = []
    if spec.resource_ids:
        taken = await connection.fetch(TAKEN_RESOURCES, values | {"resource_ids": spec.resources})
    return _conflict(rows, taken) if rows or taken else None


async def found(connection: Connection, owner_id: UUID, spec: Spec, *, besides: UUID) -> Conflict:
    """The same for a caller that was just refused. If the collision is gone by now, the conflict names nothing."""
    return await find(connection, owner_id, spec, besides=besides) or Conflict([])


async def find_of_owner(db: Database, owner_id: UUID, spec: Spec) -> Conflict | None:
    """Return which appointments of the owner are in the way. Questions of many are answered by one statement.

    When a hundred want one time, ninety-nine ask this at once.
    """
    values = {"owner_id": owner_id, "besides": NO_ID, **span_values(spec)}
    rows = await db.fetch_shared(COLLISIONS, values, together=True)
    return _conflict(rows) if rows else None


def _conflict(rows: Sequence[Row], taken: Sequence[Row] = ()) -> Conflict:
    collisions = [Collision(found, instant(start), instant(end)) for found, start, end in rows]
    return Conflict(collisions, [row[0] for row in taken])


# The collisions of one row of "wanted".
_FOUND: LiteralString = f"""
    SELECT appointment_id, appointments.start_at, appointments.end_at
    FROM bookings JOIN appointments ON appointments.id = appointment_id
    WHERE subject_id = wanted.owner_id AND during && tstzrange(
        wanted.start_at - wanted.buffer_before * interval '1 second',
        wanted.end_at + wanted.buffer_after * interval '1 second'
    )
      AND appointment_id <> wanted.besides
      AND (bookings.expires_at IS NULL OR bookings.expires_at > now())
    ORDER BY lower(during)
    LIMIT {MAX_COLLISIONS}
"""
COLLISIONS = Statement(
    f"""
    SELECT found.* FROM (
        SELECT %(owner_id)s::uuid, %(start_at)s::timestamptz, %(end_at)s::timestamptz, %(buffer_before)s::integer,
               %(buffer_after)s::integer, %(besides)s::uuid
    ) AS wanted (owner_id, start_at, end_at, buffer_before, buffer_after, besides)
    CROSS JOIN LATERAL ({_FOUND}) AS found
    ORDER BY found.start_at
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

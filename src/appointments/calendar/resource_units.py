"""The units of a resource: how many appointments may have it at once.

Each unit is a subject of its own, so that the one constraint on bookings stays the only promise. Everything here runs
in a transaction that has the resource's row FOR UPDATE.
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from uuid_utils.compat import uuid7

from appointments.calendar.log import Cause, of_all
from appointments.db import Connection, Micros, Statement, instant
from appointments.shared.errors import Unmet

_LONG_AGO: Micros = -(2**63)


class Booked(NamedTuple):
    """One booking of a unit. ``start_at`` is the appointment's, without buffers."""

    appointment_id: UUID | None
    owner_id: UUID | None
    unit: int
    taken_at: Micros
    free_at: Micros
    start_at: Micros
    begun: bool
    is_tail: bool = False
    """What endless series take from its unit's frontier on: it stays where it is."""


async def resize(connection: Connection, resource_id: UUID, count: int) -> None:
    """Give a resource so many units. Future bookings of units that go move to units that stay.

    Raises:
        Unmet: more appointments than that have it at once from now on, or one that has begun is on a unit that goes.
    """
    unit_ids: dict[int, UUID] = dict(await connection.fetch(UNITS, {"resource_id": resource_id}))
    if count > len(unit_ids):
        added = [uuid7() for _ in range(count - len(unit_ids))]
        await connection.fetch(ADD, {"resource_id": resource_id, "unit_ids": added, "last": len(unit_ids)})
    moves = reseated(await _lock_future(connection, resource_id), count)
    if moves:
        values = {"appointment_ids": [booked.appointment_id for booked, _ in moves], "resource_id": resource_id}
        await connection.fetch(VACATE, values)
        await connection.fetch(
            OCCUPY,
            {
                "appointment_ids": values["appointment_ids"],
                "resource_id": resource_id,
                "unit_ids": [unit_ids[unit] for _, unit in moves],
                "taken_at": [instant(booked.taken_at) for booked, _ in moves],
                "free_at": [instant(booked.free_at) for booked, _ in moves],
                "start_at": [instant(booked.start_at) for booked, _ in moves],
            },
        )


UNITS = Statement("SELECT unit, subject_id FROM resource_units WHERE resource_id = %(resource_id)s::uuid")
ADD = Statement(
    """
    WITH unit_subjects AS (
        INSERT INTO subjects (id, kind) SELECT unnest(%(unit_ids)s::uuid[]), 'resource'
    )
    INSERT INTO resource_units (subject_id, resource_id, unit)
    SELECT unit_id, %(resource_id)s::uuid, %(last)s::integer + number
    FROM unnest(%(unit_ids)s::uuid[]) WITH ORDINALITY AS added (unit_id, number)
    """
)
VACATE = Statement(
    """
    DELETE FROM bookings
    WHERE resource_id = %(resource_id)s::uuid AND appointment_id = ANY (%(appointment_ids)s::uuid[])
    """
)
OCCUPY = Statement(
    """
    INSERT INTO bookings (appointment_id, subject_id, during, resource_id, start_at, expires_at)
    SELECT appointment_id, unit_id, tstzrange(taken_at, free_at), %(resource_id)s::uuid, moved.start_at, expires_at
    FROM unnest(
        %(appointment_ids)s::uuid[], %(unit_ids)s::uuid[], %(taken_at)s::timestamptz[], %(free_at)s::timestamptz[],
        %(start_at)s::timestamptz[]
    ) AS moved (appointment_id, unit_id, taken_at, free_at, start_at)
    JOIN appointments ON appointments.id = appointment_id
    ORDER BY unit_id, taken_at
    """
)


def reseated(bookings: Sequence[Booked], count: int) -> list[tuple[Booked, int]]:
    """Which bookings move for a resource to do with its first ``count`` units, and to which.

    In the order of their beginnings any free unit will do: where none is free, more than ``count`` are taken at once.

    Raises:
        Unmet: they do not fit, or one that has begun is on a unit that goes.
    """
    free_at = dict.fromkeys(range(1, count + 1), _LONG_AGO)
    moves = []
    for each in sorted(bookings, key=lambda each: (not each.begun, each.taken_at, each.is_tail)):
        if each.begun:
            unit = each.unit if each.unit <= count else 0
        elif each.is_tail:
            unit = each.unit if each.unit <= count and free_at[each.unit] <= each.taken_at else 0
        elif each.unit <= count and free_at[each.unit] <= each.taken_at:
            unit = each.unit
        else:
            unit = next((unit for unit, free in free_at.items() if free <= each.taken_at), 0)
        if not unit:
            raise Unmet("Appointments from now on take more units than that.", reason="UNITS_IN_USE")
        free_at[unit] = max(free_at[unit], each.free_at)
        if unit != each.unit:
            moves.append((each, unit))
    return moves


async def release(connection: Connection, resource_id: UUID, *, cause: Cause, force: bool) -> None:
    """Take a resource from every appointment that has not ended yet.

    Raises:
        Unmet: there are such appointments (RESOURCE_IN_USE), and no ``force``.
    """
    bookings = await _lock_future(connection, resource_id)
    if not bookings:
        return
    if not force:
        raise Unmet("Appointments that have not ended yet take the resource.", reason="RESOURCE_IN_USE")
    taken_by = [booked.appointment_id for booked in bookings if booked.appointment_id]
    values = {"resource_id": resource_id, "appointment_ids": taken_by, **cause.values}
    await connection.fetch(STRIP, values)
    await connection.fetch(VACATE, values)
    await connection.fetch(STRIP_SERIES, values)
    await connection.fetch(OPEN, values)


STRIP = Statement(
    f"""
    WITH stripped AS (
        UPDATE appointments
        SET resource_ids = nullif(array_remove(resource_ids, %(resource_id)s::uuid), '{{}}'),
            actor_id = %(actor_id)s::uuid, updated_at = now(), version = version + 1
        WHERE id = ANY (%(appointment_ids)s::uuid[])
        RETURNING id, owner_id, resource_ids, actor_id, version, updated_at
    ), {of_all("appointment.updated", "stripped", left="ARRAY[%(resource_id)s::uuid]", fields="ARRAY['resource_ids']")}
    SELECT id FROM stripped
    """
)


STRIP_SERIES = Statement(
    """
    WITH gone AS (
        DELETE FROM series_subjects WHERE resource_id = %(resource_id)s::uuid RETURNING series_id
    ), stripped AS (
        UPDATE series
        SET resource_ids = nullif(array_remove(resource_ids, %(resource_id)s::uuid), '{}'),
            actor_id = %(actor_id)s::uuid, updated_at = now(), version = version + 1
        FROM gone WHERE id = series_id
        RETURNING id, owner_id, actor_id, version, updated_at
    )
    INSERT INTO new_changes (calendar_id, kind, item_id, version, actor_id, request_id, fields, changed_at)
    SELECT owner_id, 'series.updated', id, version, coalesce(actor_id, owner_id), %(x_request_id)s::text,
           ARRAY['resource_ids'], updated_at
    FROM stripped
    """
)
OPEN = Statement(
    """
    DELETE FROM bookings WHERE appointment_id IS NULL AND subject_id IN (
        SELECT subject_id FROM resource_units WHERE resource_id = %(resource_id)s::uuid
    )
    """
)


async def _lock_future(connection: Connection, resource_id: UUID) -> list[Booked]:
    """Read the bookings that are not over yet, once their owners and the units are locked. Expired holds are cleared.

    With the resource's row FOR UPDATE there can be no new ones. Those that are there change only under the locks of
    their owners.
    """
    who = {"resource_id": resource_id}
    owners = {row[1] for row in await connection.fetch(FUTURE, who) if row[1]}
    owners |= {row[0] for row in await connection.fetch(SERIES_OWNERS, who)}
    await connection.fetch(LOCK_OWNERS, who | {"owner_ids": list(owners)})
    await connection.fetch(CLEAR, who)
    await connection.fetch(OPEN_IDLE, who)
    return [Booked._make(row) for row in await connection.fetch(FUTURE, who)]


# What has not ended yet began at most a month, two buffers and a few hours ago: that is where the index is entered.
FUTURE = Statement(
    """
    SELECT appointments.id, owner_id, unit, lower(during), upper(during), bookings.start_at, lower(during) <= now(),
           false
    FROM bookings
    JOIN appointments ON appointments.id = appointment_id
    JOIN resource_units USING (subject_id)
    WHERE bookings.resource_id = %(resource_id)s::uuid AND bookings.start_at > now() - interval '36 days'
      AND upper(during) > now()
    UNION ALL
    SELECT NULL, NULL, unit, lower(during), upper(during), lower(during), false, true
    FROM resource_units JOIN bookings USING (subject_id)
    WHERE resource_units.resource_id = %(resource_id)s::uuid AND appointment_id IS NULL
    """
)
SERIES_OWNERS = Statement(
    """
    SELECT DISTINCT owner_id FROM series_subjects JOIN series ON series.id = series_id
    WHERE resource_id = %(resource_id)s::uuid
    """
)
OPEN_IDLE = Statement(
    """
    DELETE FROM bookings
    WHERE appointment_id IS NULL AND subject_id IN (
        SELECT subject_id FROM resource_units WHERE resource_id = %(resource_id)s::uuid
    ) AND NOT EXISTS (
        SELECT FROM series_subjects JOIN series ON series.id = series_id
        WHERE series_subjects.subject_id = bookings.subject_id AND endless
    )
    """
)
CLEAR = Statement("DELETE FROM bookings WHERE resource_id = %(resource_id)s::uuid AND expires_at <= now()")
LOCK_OWNERS = Statement(
    """
    SELECT subjects.id FROM subjects
    WHERE subjects.id = ANY (ARRAY(
        SELECT unnest(%(owner_ids)s::uuid[])
        UNION ALL SELECT subject_id FROM resource_units WHERE resource_id = %(resource_id)s::uuid
    ))
    ORDER BY subjects.id FOR NO KEY UPDATE
    """
)

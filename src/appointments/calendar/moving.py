"""Moves: a simple appointment gets another time in one round trip, without being read first.

Simple ones take their owner's time alone: no resources, no attendees, no series. Of whatever cannot be moved like this
nothing is changed, and nothing is said: :mod:`~appointments.calendar.updating` reads it and says why.

Moves that arrive while one is under way share the next statement (:mod:`~appointments.db.batching`).
"""

import re
from datetime import datetime
from typing import LiteralString
from uuid import UUID

import psycopg

from appointments.calendar.appointment import COLUMNS, LIVE, Appointment, Spec, from_row
from appointments.calendar.log import of_owner
from appointments.calendar.validation import violations
from appointments.db import Database, Statement


async def move(
    db: Database,
    owner_id: UUID,
    appointment_id: UUID,
    start: datetime,
    end: datetime,
    *,
    etag: str = "",
    request_id: str | None = None,
) -> Appointment | None:
    """Give an appointment another start and end, if it has the etag, where one is given.

    Returns:
        It as it is now. None: it was not moved, because it is not simple, not there, not at that version, there
        already, or something is in the way.
    """
    version = re.fullmatch(r'"(\d{1,18})"', etag)
    if (etag and not version) or violations(Spec("any", start, end, "UTC")):
        return None
    values = {
        "id": appointment_id,
        "owner_id": owner_id,
        "start_at": start,
        "end_at": end,
        "expected": int(version[1]) if version else None,
        "x_request_id": request_id,
    }
    try:
        row = await db.share(MOVE, MOVE_MANY, values)
    except psycopg.errors.ExclusionViolation:
        return None
    return from_row(row[2:]) if row else None


_SIMPLE: LiteralString = f"""
    {LIVE} AND resource_ids IS NULL AND series_id IS NULL AND NOT transparent AND NOT all_day AND attendees = '[]'
"""


def _changed(start: LiteralString, end: LiteralString) -> LiteralString:
    return f"""array_remove(ARRAY[
        CASE WHEN appointments.start_at <> {start} THEN 'start_at' END,
        CASE WHEN appointments.end_at <> {end} THEN 'end_at' END
    ], NULL)"""


# The owner is locked first, and then the appointment, at the version in the statement's snapshot. A row that was
# changed while this waited for its lock has another version, and perhaps another booking. It is not moved.
MOVE = Statement(
    f"""
    WITH seen AS MATERIALIZED (
        SELECT version AS seen_version FROM appointments WHERE id = %(id)s::uuid AND owner_id = %(owner_id)s::uuid
    ), subject AS MATERIALIZED (
        SELECT subjects.id AS subject_id FROM subjects WHERE subjects.id = %(owner_id)s::uuid FOR NO KEY UPDATE
    ), current AS MATERIALIZED (
        SELECT appointments.id AS current_id, buffer_before AS before, buffer_after AS after,
               {_changed("%(start_at)s::timestamptz", "%(end_at)s::timestamptz")} AS changed
        FROM appointments JOIN subject ON owner_id = subject_id
        WHERE appointments.id = %(id)s::uuid AND version = (SELECT seen_version FROM seen)
          AND version = coalesce(%(expected)s::bigint, version)
          AND (start_at <> %(start_at)s::timestamptz OR end_at <> %(end_at)s::timestamptz)
          AND {_SIMPLE}
        FOR NO KEY UPDATE OF appointments
    ), moved AS (
        UPDATE bookings SET during = tstzrange(
            %(start_at)s::timestamptz - before * interval '1 second',
            %(end_at)s::timestamptz + after * interval '1 second'
        )
        FROM current WHERE appointment_id = current_id AND subject_id = %(owner_id)s::uuid
        RETURNING appointment_id AS moved_id
    ), amended AS (
        UPDATE appointments
        SET start_at = %(start_at)s::timestamptz, end_at = %(end_at)s::timestamptz, actor_id = NULL,
            updated_at = now(), version = version + 1
        FROM moved WHERE id = moved_id
        RETURNING appointments.*
    ), {of_owner("appointment.updated", "amended", fields="(SELECT changed FROM current)")}
    SELECT id, owner_id, {COLUMNS} FROM amended
    """
)

# The same for several at once. An UPDATE has no ON CONFLICT, and one row that finds its time taken would undo all of
# them. So what overlaps a booking that is there, or an earlier one of those that are asked for, is left out. Only a
# create or a move that commits in the same moment can still be in the way; then each has a turn alone.
#
# All owners are locked, by id, before anything else, and the bookings change in the order of subjects and starts, as
# creates insert them. Like those, it gives up soon on a lock, and reads a few of many one by one.
MOVE_MANY = Statement(
    f"""
    WITH impatient AS MATERIALIZED (
        SELECT set_config('lock_timeout', '100ms', true)
    ), asked AS MATERIALIZED (
        SELECT asked.*, version AS seen_version, tstzrange(
            asked.start_at - buffer_before * interval '1 second', asked.end_at + buffer_after * interval '1 second'
        ) AS during
        FROM impatient, unnest(
            (SELECT %(id)s::uuid[]), (SELECT %(owner_id)s::uuid[]), (SELECT %(start_at)s::timestamptz[]),
            (SELECT %(end_at)s::timestamptz[]), (SELECT %(expected)s::bigint[]), (SELECT %(x_request_id)s::text[])
        ) AS asked (id, owner_id, start_at, end_at, expected, x_request_id)
        CROSS JOIN LATERAL (
            SELECT owner_id, buffer_before, buffer_after, version FROM appointments
            WHERE appointments.id = asked.id OFFSET 0
        ) AS found
        WHERE found.owner_id = asked.owner_id
    ), free AS MATERIALIZED (
        SELECT *, max(upper(during)) OVER (
            PARTITION BY owner_id ORDER BY during ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) > lower(during) AS is_late
        FROM asked
        WHERE NOT EXISTS (
            SELECT FROM bookings WHERE subject_id = asked.owner_id AND bookings.during && asked.during
              AND appointment_id IS DISTINCT FROM asked.id
        )
    ), locked AS MATERIALIZED (
        SELECT subjects.id AS subject_id FROM subjects WHERE subjects.id IN (SELECT owner_id FROM free)
        ORDER BY subjects.id FOR NO KEY UPDATE
    ), current AS MATERIALIZED (
        SELECT free.*, {_changed("free.start_at", "free.end_at")} AS changed
        FROM free JOIN locked ON free.owner_id = subject_id JOIN appointments ON appointments.id = free.id
        WHERE is_late IS NOT TRUE AND version = seen_version AND version = coalesce(expected, version)
          AND (appointments.start_at <> free.start_at OR appointments.end_at <> free.end_at)
          AND {_SIMPLE}
        ORDER BY free.owner_id, free.during FOR NO KEY UPDATE OF appointments
    ), moved AS (
        UPDATE bookings SET during = current.during
        FROM current WHERE appointment_id = current.id AND subject_id = current.owner_id
        RETURNING current.*
    ), amended AS (
        UPDATE appointments
        SET start_at = moved.start_at, end_at = moved.end_at, actor_id = NULL, updated_at = now(), version = version + 1
        FROM moved WHERE appointments.id = moved.id
        RETURNING appointments.*, changed, x_request_id
    ), {of_owner("appointment.updated", "amended", request="x_request_id", fields="changed")}
    SELECT id, owner_id, {COLUMNS} FROM amended
    """
)

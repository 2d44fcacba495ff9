"""The invariants of every database, checked after races."""

import asyncio
from collections.abc import Sequence

import psycopg

from appointments.db import Database

# Overlaps by brute force; bookings that are not what their appointment says; appointments that lack some, which only
# holds may that have expired; people who have accepted and are not booked, or the other way round; who is invited by a
# list of attendees and not by the table, or the other way round; tails that stand for nothing, or lack; and versions of
# an appointment that its owner, or who is invited to it, could not learn of from the log of changes.
FAULTS = """
    WITH logged AS (
        SELECT item_id, calendar_id, count(DISTINCT version) AS versions
        FROM (
            SELECT item_id, calendar_id, version FROM changes
            UNION ALL SELECT item_id, calendar_id, version FROM new_changes
        ) AS told
        GROUP BY item_id, calendar_id
    ), wanted AS (
        SELECT id, owner_id, resource_ids, series_id, start_at, expires_at,
               deleted_at IS NULL AND NOT transparent AS takes_time,
               expires_at IS NULL OR expires_at > now() AS unexpired, tstzrange(
            start_at - buffer_before * interval '1 second', end_at + buffer_after * interval '1 second'
        ) AS span
        FROM appointments
    ), invitations AS (
        SELECT appointments.id, lower(btrim(guest ->> 'email')) AS address, guest ->> 'response' AS response,
               start_at, end_at
        FROM appointments CROSS JOIN jsonb_array_elements(attendees) AS guest
        WHERE deleted_at IS NULL AND expires_at IS NULL AND NOT EXISTS (
            SELECT FROM users WHERE users.id = owner_id AND email = lower(btrim(guest ->> 'email'))
        )
    ), accepted AS (
        SELECT appointment_id, user_id, tstzrange(start_at, end_at) AS during
        FROM invitees JOIN invitations ON id = appointment_id AND invitations.address = invitees.address
        WHERE user_id IS NOT NULL AND response = 'ACCEPTED'
          AND NOT (SELECT transparent FROM appointments WHERE id = appointment_id)
    )
    SELECT
        (SELECT count(*) FROM bookings a JOIN bookings b ON a.subject_id = b.subject_id AND a.ctid < b.ctid
            WHERE a.during && b.during),
        (SELECT count(*) FROM bookings LEFT JOIN wanted ON id = appointment_id
            WHERE appointment_id IS NOT NULL AND (
                  id IS NULL OR NOT takes_time OR bookings.expires_at IS DISTINCT FROM wanted.expires_at
               OR resource_id IS NULL AND subject_id = owner_id AND during <> span
               OR resource_id IS NULL AND subject_id <> owner_id AND NOT EXISTS (
                   SELECT FROM accepted WHERE accepted.appointment_id = id AND user_id = subject_id
                                          AND accepted.during = bookings.during
               )
               OR resource_id IS NOT NULL AND (
                   NOT during @> span OR bookings.start_at <> wanted.start_at OR NOT resource_id = ANY (resource_ids)
                   OR NOT EXISTS (
                       SELECT FROM resource_units
                       WHERE resource_units.subject_id = bookings.subject_id
                         AND resource_units.resource_id = bookings.resource_id
                   )
               ))),
        (SELECT count(*) FROM wanted CROSS JOIN unnest(array_prepend(NULL, resource_ids)) AS taken (resource)
            CROSS JOIN LATERAL (
                SELECT count(*) AS times FROM bookings
                WHERE appointment_id = id AND resource_id IS NOT DISTINCT FROM resource
                  AND (resource IS NOT NULL OR subject_id = owner_id)
            ) AS booked
            WHERE takes_time AND unexpired AND times <> 1 AND NOT (times = 0 AND EXISTS (
                -- The tail of an endless series stands for it.
                SELECT FROM bookings JOIN series_subjects USING (subject_id)
                WHERE appointment_id IS NULL AND series_subjects.series_id = wanted.series_id AND during @> span
                  AND series_subjects.resource_id IS NOT DISTINCT FROM resource
            ))),
        (SELECT count(*) FROM accepted WHERE NOT EXISTS (
            SELECT FROM bookings WHERE bookings.appointment_id = accepted.appointment_id AND subject_id = user_id
        )),
        (SELECT count(*) FROM invitations FULL JOIN invitees
            ON id = appointment_id AND invitations.address = invitees.address
               AND (start_at, end_at) = (starts_at, ends_at)
            WHERE id IS NULL OR appointment_id IS NULL),
        (SELECT count(*) FROM invitees JOIN appointments ON id = appointment_id
            WHERE user_id IS NOT NULL AND NOT EXISTS (
                SELECT FROM logged WHERE item_id = id AND calendar_id = user_id
            )),
        (SELECT count(*) FROM bookings WHERE appointment_id IS NULL AND NOT EXISTS (
            SELECT FROM series_subjects JOIN series ON id = series_id
            WHERE series_subjects.subject_id = bookings.subject_id AND endless
        )),
        (SELECT count(*) FROM series_subjects JOIN series ON id = series_id WHERE endless AND NOT EXISTS (
            SELECT FROM bookings
            WHERE appointment_id IS NULL AND bookings.subject_id = series_subjects.subject_id
        )),
        (SELECT count(*) FROM appointments LEFT JOIN logged ON item_id = id AND calendar_id = owner_id
            WHERE coalesce(versions, 0) <> version)
"""


WHAT = (
    "overlaps",
    "bookings that are not their appointment's",
    "appointments without their bookings",
    "accepted and not booked",
    "invitees that differ",
    "invitees who were not told",
    "tails that stand for nothing",
    "tails that lack",
    "versions that are not in the log",
)
"""What the columns of :data:`FAULTS` count."""


async def audit(db: Database) -> int:
    """Count what is wrong: bookings of one subject that overlap, and bookings that differ from their appointments."""
    async with db.connection() as connection, connection.transaction():
        await connection.execute("SET LOCAL statement_timeout = 0")  # what a long storm leaves takes long to look at
        row = await (await connection.execute(FAULTS)).fetchone()
    return _sum(row)


def audit_at(dsn: str) -> int:
    """The same, without the service's own way to the database."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(FAULTS).fetchone()
    return _sum(row)


async def deadlocks(dsn: str) -> int:
    """How many PostgreSQL has ended there, once everybody has hung up: until then some may not have been counted."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as watcher, asyncio.timeout(10):
        others = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        while (await watcher.execute(others)).rowcount:  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.02)
        counted = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        row = await (await watcher.execute(counted)).fetchone()
    assert row
    return int(row[0])


def _sum(row: Sequence[int] | None) -> int:
    assert row
    if any(row):
        print({what: count for what, count in zip(WHAT, row, strict=True) if count})  # noqa: T201 - for whoever looks on
    return sum(row)

"""Reads the log of changes, and defers a job for every appointment whose attendees may need a message."""

import asyncio

import structlog

from appointments.db import Database, Statement
from appointments.shared.errors import Unavailable

POLL_SECONDS = 1.0
OFF_SECONDS = 60.0
"""How often the cursor is moved on while mail is off."""

BATCH = 1000

_log = structlog.get_logger("appointments.icalendar.invitations")

# The process that locks the cursor's row reads on, the others find nothing to do. An appointment without attendees, now
# or earlier, costs one lookup. A series is one invitation: what happens to an occurrence defers the job of the series.
#
# Where to begin is a subquery of its own, and the limit no parameter. Joined, the log was read from its beginning, and
# with a limit that the planner does not know all appointments were: a second each time at a million rows.
FOLLOW = Statement(
    f"""
    WITH here AS MATERIALIZED (
        SELECT least(position, last_position) AS position, last_position
        FROM invitation_cursor CROSS JOIN change_head
        WHERE position <> last_position
        FOR NO KEY UPDATE OF invitation_cursor SKIP LOCKED
    ), entries AS MATERIALIZED (
        SELECT changes.position, changes.kind, changes.item_id, changes.calendar_id, changes.changed_at
        FROM changes WHERE changes.position > (SELECT here.position FROM here)
        ORDER BY changes.position LIMIT {BATCH}
    ), concerned AS (
        SELECT appointments.id, min(entries.changed_at) AS changed_at
        FROM entries
        JOIN appointments ON appointments.id = entries.item_id AND appointments.owner_id = entries.calendar_id
        WHERE entries.kind LIKE 'appointment.%%' AND appointments.series_id IS NULL AND (
            appointments.attendees <> '[]'
            OR EXISTS (SELECT FROM invitations WHERE invitations.appointment_id = appointments.id)
        )
        GROUP BY appointments.id
    ), of_series AS (
        SELECT coalesce(appointments.series_id, entries.item_id) AS series_id, entries.changed_at,
               appointments.attendees IS DISTINCT FROM '[]' AND appointments.id IS NOT NULL AS has_guests
        FROM entries LEFT JOIN appointments ON appointments.id = entries.item_id AND entries.kind LIKE 'appointment.%%'
        WHERE entries.kind LIKE 'series.%%' OR appointments.series_id IS NOT NULL
    ), recurring AS (
        SELECT series.id, min(of_series.changed_at) AS changed_at
        FROM of_series JOIN series ON series.id = of_series.series_id
        WHERE series.attendees <> '[]' OR has_guests
           OR EXISTS (SELECT FROM series_invitations WHERE series_invitations.series_id = series.id)
        GROUP BY series.id
    ), deferred AS (
        INSERT INTO jobs (kind, key, payload, due_at, deferred_at)
        SELECT kind, id::text, '{{}}', changed_at + %(gather)s::integer * interval '1 second', now()
        FROM (
            SELECT 'invitations' AS kind, id, changed_at FROM concerned
            UNION ALL SELECT 'invitations.series', id, changed_at FROM recurring
        ) AS everything
        ORDER BY kind, id
        ON CONFLICT ON CONSTRAINT jobs_once DO UPDATE SET
            due_at = CASE WHEN jobs.lease IS NULL THEN least(jobs.due_at, excluded.due_at) ELSE jobs.due_at END,
            again_at = CASE WHEN jobs.lease IS NOT NULL THEN excluded.due_at END,
            attempts = CASE WHEN jobs.failed_at IS NULL THEN jobs.attempts ELSE 0 END,
            deferred_at = CASE WHEN jobs.failed_at IS NULL THEN jobs.deferred_at ELSE excluded.deferred_at END,
            failed_at = NULL, error = NULL
    ), moved AS (
        UPDATE invitation_cursor
        SET position = coalesce((SELECT max(entries.position) FROM entries), here.last_position)
        FROM here
    )
    SELECT count(*) FROM entries
    """
)


# Changes made while mail is off are never mailed: turning it on later should not send messages about the past.
PASS_OVER = Statement(
    """
    UPDATE invitation_cursor SET position = last_position FROM change_head WHERE position <> last_position
    """
)


class Follower:
    """Follows the log on behalf of one process. Changes within ``gather_seconds`` become one message.

    While mail is off it skips everything.
    """

    def __init__(self, db: Database, *, gather_seconds: int, mail_is_on: bool = True) -> None:
        self._db = db
        self._gather_seconds = gather_seconds
        self._mail_is_on = mail_is_on

    async def run(self) -> None:
        """Follow until cancelled. While the database is unavailable, keep trying."""
        while True:
            try:
                if await self.step() < BATCH:
                    await asyncio.sleep(POLL_SECONDS if self._mail_is_on else OFF_SECONDS)
            except Unavailable:
                await asyncio.sleep(POLL_SECONDS)
            except Exception as error:  # noqa: BLE001 - the last line: without it no invitation would go out any more
                _log.error("the log cannot be followed", exc_info=error)
                await asyncio.sleep(POLL_SECONDS)

    async def step(self) -> int:
        """Process one batch of entries. Return how many there were."""
        if not self._mail_is_on:
            await self._db.fetch(PASS_OVER, {})
            return 0
        rows = await self._db.fetch(FOLLOW, {"gather": self._gather_seconds})
        return int(rows[0][0])

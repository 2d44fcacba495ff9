"""Invitations that did not reach whom they were for: their organizers see it beside the attendee.

It is a change of the appointment like an answer, so whoever follows the calendar sees it at once. A later message that
the mail server takes removes the mark.
"""

from typing import LiteralString

from appointments.calendar import placement
from appointments.calendar.appointment import FOLDED, LIVE, attendees_with
from appointments.calendar.log import BY_OWNER, of_all
from appointments.db import Connection, Statement
from appointments.mail import Letter


async def mark(connection: Connection, letter: Letter, *, arrived: bool) -> None:
    """Note beside the attendee whether a letter about a single appointment arrived."""
    if letter.appointment_id is not None:
        values = {"id": letter.appointment_id, "address": letter.recipient, "arrived": arrived, **BY_OWNER.values}
        await connection.fetch(MARK, values)


async def mark_series(connection: Connection, letter: Letter, *, arrived: bool) -> None:
    """The same of a letter about a series or one of its occurrences: in all of it that is still to come."""
    if letter.appointment_id is None:
        return
    values = {"id": letter.appointment_id, "address": letter.recipient, "arrived": arrived, **BY_OWNER.values}
    rows = await connection.fetch(CONCERNED_SERIES, values)
    if not rows:
        return
    # In the order of every change of a series: its owner, the series, its occurrences.
    await placement.lock(connection, rows[0][0], [])
    await connection.fetch(MARK_SERIES, values)
    await connection.fetch(MARK_ROWS, values)


_IS_THEIRS: LiteralString = f"{FOLDED} = %(address)s::text"
_MARKED: LiteralString = attendees_with(
    """CASE WHEN %(arrived)s::boolean THEN guest - 'undelivered' ELSE guest || '{"undelivered": true}' END""",
    _IS_THEIRS,
)
_IS_TO_MARK: LiteralString = f"""EXISTS (
    SELECT FROM jsonb_array_elements(attendees) AS guest
    WHERE {_IS_THEIRS} AND (guest -> 'undelivered' IS NOT NULL) = %(arrived)s::boolean
)"""

MARK = Statement(
    f"""
    WITH amended AS (
        UPDATE appointments
        SET attendees = {_MARKED}, actor_id = NULL, updated_at = now(), version = version + 1
        WHERE id = %(id)s::uuid AND {LIVE} AND attendees <> '[]' AND {_IS_TO_MARK}
        RETURNING appointments.*
    ), {of_all("appointment.updated", "amended", fields="ARRAY['attendees']")}
    SELECT count(*) FROM amended
    """
)
CONCERNED_SERIES = Statement(
    f"""
    SELECT owner_id FROM series WHERE id = %(id)s::uuid AND deleted_at IS NULL AND ({_IS_TO_MARK} OR EXISTS (
        SELECT FROM appointments
        WHERE series_id = %(id)s::uuid AND deleted_at IS NULL AND end_at > now() AND {_IS_TO_MARK}
    ))
    """
)
MARK_SERIES = Statement(
    f"""
    WITH locked AS MATERIALIZED (
        SELECT id FROM series WHERE id = %(id)s::uuid FOR NO KEY UPDATE
    ), amended AS (
        UPDATE series
        SET attendees = {_MARKED}, actor_id = NULL, updated_at = now(), version = version + 1
        FROM locked WHERE series.id = locked.id AND {_IS_TO_MARK}
        RETURNING series.*
    )
    INSERT INTO new_changes (calendar_id, kind, item_id, version, actor_id, request_id, changed_at)
    SELECT owner_id, 'series.updated', id, version, owner_id, %(x_request_id)s::text, updated_at FROM amended
    """
)
MARK_ROWS = Statement(
    f"""
    WITH concerned AS MATERIALIZED (
        SELECT id FROM appointments
        WHERE series_id = %(id)s::uuid AND deleted_at IS NULL AND end_at > now() AND {_IS_TO_MARK}
        ORDER BY occurs_wall FOR NO KEY UPDATE
    ), amended AS (
        UPDATE appointments
        SET attendees = {_MARKED}, actor_id = NULL, updated_at = now(), version = version + 1
        FROM concerned WHERE appointments.id = concerned.id
        RETURNING appointments.*
    ), {of_all("appointment.updated", "amended", fields="ARRAY['attendees']")}
    SELECT count(*) FROM amended
    """
)

"""Guests of series: an answer to all occurrences at once, and what it takes of the calendars of guests with an account.

An answer to a series is written beside the attendee in the series, and in every occurrence that is still to come.
Accepting takes the guest's time for all of these or for none. Occurrences that become rows later have the answer of the
series, and are followed if it is; a job takes their time where the guest is free, and asks anew where not. So a guest
whose time is taken never keeps an organizer's series from going on.

Whoever changes a series locks these guests with its other subjects, and has their calendars follow in the same
transaction (:func:`follow`).
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import LiteralString
from uuid import UUID

from appointments.calendar import frontiers, invited, placement
from appointments.calendar.appointment import FOLDED, Appointment, attendees_with, has_answered
from appointments.calendar.frontiers import CLEAR_HOLDS, Place
from appointments.calendar.invited import Answer
from appointments.calendar.log import BY_OWNER, Cause, of_all
from appointments.calendar.materializing import AgainError, again, named
from appointments.calendar.series import COLUMNS, Series, from_row
from appointments.db import Connection, Database, Row, Statement, instant
from appointments.jobs import Job, Kind
from appointments.shared.errors import Invalid, NotFound, SeriesConflict, Unmet
from appointments.shared.validation import fold_email


async def respond(
    db: Database, user_id: UUID, appointment_id: UUID, answer: Answer, *, cause: Cause = BY_OWNER
) -> Appointment:
    """Answer the whole series that an appointment is an occurrence of; the last answer counts.

    Raises:
        Invalid: it is no answer, the comment is too long, or the appointment is of no series.
        NotFound: the person is not invited to such an appointment.
        Unmet: they are invited to some of its occurrences only (NOT_INVITED).
        SeriesConflict: it is accepted, and occurrences overlap appointments of the person, which are named.
    """
    if found := answer.violations():
        raise Invalid(found)
    by = Cause(cause.actor_id or user_id, cause.request_id)

    async def work(connection: Connection) -> Appointment:
        seen = await invited.get(connection, user_id, appointment_id)
        if seen is None:
            raise NotFound("No such appointment.")
        if not seen.series_text:
            raise Invalid.field("whole_series", "is only for occurrences of a series")
        await respond_in(connection, UUID(seen.series_text), seen.address or "", user_id, answer, cause=by)
        return await invited.get(connection, user_id, appointment_id) or seen

    return await again(db, work)


async def respond_in(
    connection: Connection, series_id: UUID, address: str, user_id: UUID | None, answer: Answer, *, cause: Cause
) -> None:
    """The same for an address, in a transaction that has no locks yet. ``user_id`` is whose calendar it is, if any is.

    Then it is the answer of all addresses by which that person is invited.

    Raises:
        NotFound, Unmet, SeriesConflict: as for :func:`respond`.
        AgainError: the series was changed meanwhile, so all of it is done again.
    """
    rows = await connection.fetch(SERIES, {"id": series_id})
    if not rows:
        raise NotFound("No such series.")
    series = from_row(rows[0])
    # Like every change of a series: no frontier makes rows of it meanwhile.
    resource_ids = series.spec.first.resources
    if resource_ids:
        await placement.hold(connection, series.owner_id, resource_ids)
    await placement.lock(connection, series.owner_id, resource_ids, [user_id] if user_id else [])
    rows = await connection.fetch(LOCK, {"id": series_id})
    if not rows:
        raise NotFound("No such series.")
    series = from_row(rows[0])
    if not set(series.spec.first.resources) <= set(resource_ids):
        raise AgainError
    addresses = {address} | {row[0] for row in await connection.fetch(ADDRESSES, {"id": series_id, "user_id": user_id})}
    invited_to_all = {fold_email(each.email) for each in series.attendees} & addresses
    if series.deleted_at is not None or not invited_to_all:
        raise Unmet("The series is off, or you are not invited to all of it.", reason="NOT_INVITED")
    for each in sorted(addresses):
        await _write(connection, series, each, user_id, answer, cause=cause)
    if user_id:
        await connection.fetch(FREE, {"id": series_id, "user_ids": [user_id]})
        if missed := await _take(connection, series_id, [user_id]):
            ids = [row[0] for row in missed]
            raise SeriesConflict(await named(connection, ids, [Place(user_id, None, 0, 0)], with_buffers=False))


async def _write(
    connection: Connection, series: Series, address: str, user_id: UUID | None, answer: Answer, *, cause: Cause
) -> None:
    """Write down what an address answers, beside it in the series and in what is still to come of it."""
    values = {
        "id": series.id,
        "address": address,
        "user_id": user_id,
        "spellings": [each.email for each in series.attendees if fold_email(each.email) == address],
        "response": answer.response,
        "comment": answer.comment.strip(),
        "follows": answer.follows,
        **cause.values,
    }
    if values["spellings"]:
        await connection.fetch(RESPOND, values)
        await connection.fetch(FOLLOW, values)
    await connection.fetch(RESPOND_ROWS, values)
    await connection.fetch(FOLLOW_ROWS, values)


async def of(connection: Connection, series_ids: Sequence[UUID]) -> list[UUID]:
    """Those with an account whose time series may take, by id."""
    return [row[0] for row in await connection.fetch(GUESTS, {"ids": series_ids})]


async def follow(connection: Connection, series_id: UUID, user_ids: Sequence[UUID], cause: Cause) -> None:
    """Have the calendars of guests agree with a series that was changed. Their subjects are locked.

    What they have not accepted, or are not invited to any more, is given back. What they have accepted is taken; where
    their time is not free they are asked anew.
    """
    if not user_ids:
        return
    await connection.fetch(FREE, {"id": series_id, "user_ids": user_ids})
    if missed := await _take(connection, series_id, user_ids):
        values = {"ids": [row[0] for row in missed], "addresses": [row[1] for row in missed]}
        await connection.fetch(ASK_ANEW, values | cause.values)


async def _take(connection: Connection, series_id: UUID, user_ids: Sequence[UUID]) -> list[Row]:
    """Take the time of what was accepted and is not booked; return the occurrences and addresses that find none."""
    values = {"id": series_id, "user_ids": user_ids}
    edges = await frontiers.tails(connection, user_ids)
    for user_id, last in await connection.fetch(LAST_DUE, values) if edges else []:
        if user_id in edges:
            await frontiers.extend(connection, user_id, instant(last), datetime.now(UTC))
    await connection.fetch(CLEAR_HOLDS, {"subject_ids": user_ids})
    return await connection.fetch(TAKE, values)


def kinds(db: Database) -> list[Kind]:
    """The job that takes the time of what became rows after its series was accepted."""

    async def settle(job: Job) -> None:
        await invited.settle(db, UUID(job.payload["user_id"]))

    return [Kind(frontiers.SETTLE_JOB, settle)]


SERIES = Statement(f"SELECT {COLUMNS} FROM series WHERE id = %(id)s::uuid")
LOCK = Statement(f"SELECT {COLUMNS} FROM series WHERE id = %(id)s::uuid FOR NO KEY UPDATE")
# By which a person is invited to anything of a series.
ADDRESSES = Statement(
    """
    SELECT DISTINCT address FROM appointments JOIN invitees ON appointment_id = appointments.id
    WHERE series_id = %(id)s::uuid AND attendees <> '[]' AND user_id = %(user_id)s::uuid
    """
)
GUESTS = Statement(
    f"""
    SELECT user_id FROM appointments JOIN invitees ON appointment_id = appointments.id
    WHERE series_id = ANY (%(ids)s::uuid[]) AND attendees <> '[]' AND user_id IS NOT NULL
    UNION
    SELECT users.id FROM series CROSS JOIN LATERAL jsonb_array_elements(attendees) AS guest
    JOIN users ON email = {FOLDED} AND email_verified_at IS NOT NULL
    WHERE series.id = ANY (%(ids)s::uuid[]) AND guest ->> 'response' = 'ACCEPTED' AND users.id <> owner_id
    ORDER BY 1
    """
)

# The answer in the list of attendees: in the spelling of the series there, folded in its occurrences.
RESPOND = Statement(
    f"""
    WITH series AS (
        UPDATE series
        SET attendees = {invited.answered(invited.SPELT)}, updated_at = now(), version = version + 1,
            actor_id = %(actor_id)s::uuid
        WHERE id = %(id)s::uuid AND {invited.is_new(invited.SPELT)}
        RETURNING series.*
    )
    INSERT INTO new_changes (calendar_id, kind, item_id, version, actor_id, request_id, changed_at)
    SELECT owner_id, 'series.updated', id, version, coalesce(actor_id, owner_id), %(x_request_id)s::text, updated_at
    FROM series
    """
)
# An occurrence that another account was invited to by this address, while it was theirs, is left to that account.
_THEIRS: LiteralString = """
    series_id = %(id)s::uuid AND deleted_at IS NULL AND end_at > now() AND NOT EXISTS (
        SELECT FROM invitees AS others
        WHERE others.appointment_id = appointments.id AND others.address = %(address)s::text
          AND others.user_id <> %(user_id)s::uuid
    )
"""
_ADDRESSED: LiteralString = f"{FOLDED} = %(address)s::text"
RESPOND_ROWS = Statement(
    f"""
    WITH concerned AS MATERIALIZED (
        SELECT id FROM appointments
        WHERE {_THEIRS} AND {invited.is_new(_ADDRESSED)}
        ORDER BY occurs_wall FOR NO KEY UPDATE
    ), amended AS (
        UPDATE appointments
        SET attendees = {invited.answered(_ADDRESSED)},
            actor_id = %(actor_id)s::uuid, updated_at = now(), version = version + 1
        FROM concerned WHERE appointments.id = concerned.id
        RETURNING appointments.*
    ), {of_all("appointment.responded", "amended", fields="ARRAY['attendees']")}
    SELECT count(*) FROM amended
    """
)
# Its version stays, as that of an appointment does: who follows is nobody else's to see.
FOLLOW = Statement(
    """
    UPDATE series SET followers = nullif(
        array_remove(coalesce(followers, '{}'), %(address)s::text)
        || CASE WHEN %(follows)s::boolean THEN ARRAY[%(address)s::text] ELSE '{}' END,
        '{}'
    )
    WHERE id = %(id)s::uuid AND coalesce(%(address)s::text = ANY (followers), false) <> %(follows)s::boolean
    """
)
FOLLOW_ROWS = Statement(
    f"""
    UPDATE invitees SET follows = %(follows)s::boolean
    FROM appointments
    WHERE appointments.id = appointment_id AND {_THEIRS} AND address = %(address)s::text
      AND follows <> %(follows)s::boolean
    """
)

# Who has accepted an occurrence: beside whose address that they are invited by it says so.
_ACCEPTED: LiteralString = has_answered("ACCEPTED")
FREE = Statement(
    f"""
    DELETE FROM bookings USING appointments
    WHERE series_id = %(id)s::uuid AND bookings.appointment_id = appointments.id
      AND bookings.subject_id = ANY (%(user_ids)s::uuid[]) AND NOT (NOT transparent AND EXISTS (
          SELECT FROM invitees
          WHERE invitees.appointment_id = appointments.id AND user_id = bookings.subject_id AND {_ACCEPTED}
      ))
    """
)
_DUE: LiteralString = f"""
    FROM appointments JOIN invitees ON invitees.appointment_id = appointments.id
    WHERE series_id = %(id)s::uuid AND attendees <> '[]' AND user_id = ANY (%(user_ids)s::uuid[])
      AND deleted_at IS NULL AND NOT transparent AND {_ACCEPTED}
      AND NOT EXISTS (
          SELECT FROM bookings WHERE bookings.appointment_id = appointments.id AND bookings.subject_id = user_id
      )
"""
LAST_DUE = Statement(f"SELECT user_id, max(end_at) {_DUE} GROUP BY user_id ORDER BY user_id")
TAKE = Statement(
    f"""
    WITH due AS MATERIALIZED (
        SELECT appointments.id, user_id, address, tstzrange(start_at, end_at) AS during {_DUE}
    ), taken AS (
        INSERT INTO bookings (appointment_id, subject_id, during)
        SELECT id, user_id, during FROM due ORDER BY user_id, during
        ON CONFLICT ON CONSTRAINT bookings_no_overlap DO NOTHING
        RETURNING appointment_id, subject_id
    )
    SELECT due.id, due.address FROM due
    LEFT JOIN taken ON taken.appointment_id = due.id AND taken.subject_id = due.user_id
    WHERE taken.subject_id IS NULL
    """
)
_ASKED_ANEW: LiteralString = attendees_with(
    """guest || '{"response": "NEEDS-ACTION"}'""", f"{FOLDED} = ANY (addresses)"
)
ASK_ANEW = Statement(
    f"""
    WITH missed AS (
        SELECT id, array_agg(address) AS addresses
        FROM unnest(%(ids)s::uuid[], %(addresses)s::text[]) AS pairs (id, address) GROUP BY id
    ), amended AS (
        UPDATE appointments
        SET attendees = {_ASKED_ANEW},
            actor_id = %(actor_id)s::uuid, updated_at = now(), version = version + 1
        FROM missed WHERE appointments.id = missed.id
        RETURNING appointments.*
    ), {of_all("appointment.responded", "amended", fields="ARRAY['attendees']")}
    SELECT count(*) FROM amended
    """
)

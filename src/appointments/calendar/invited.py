"""Invitations between accounts: what somebody else invites a person to, and what they answer.

Whoever is invited by the confirmed address of their account finds the appointment in their calendar. It takes none of
their time until they accept. Then it has one more booking, of theirs, under the same constraint as everything else. So
nobody is booked twice, whatever the organizer and those who are invited do at once.

The table ``invitees`` says who is invited now; a trigger keeps it beside the list of attendees (docs/adr/0021). Of an
appointment that is accepted only the time itself is taken, not its organizer's buffers.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import LiteralString, NamedTuple
from uuid import UUID

from appointments.calendar import conflicts, frontiers, placement
from appointments.calendar.appointment import (
    COLUMNS,
    FOLDED,
    INVITATION,
    LIVE,
    NO_TIME,
    NOT_ANSWERED,
    ONCE,
    Appointment,
    Attendee,
    Spec,
    attendees_with,
    from_row_and_invitation,
    has_answered,
    has_moved,
)
from appointments.calendar.log import BY_OWNER, Cause, of_all
from appointments.db import Connection, Database, Reads, Statement
from appointments.shared.errors import Conflict, Invalid, NotFound, Violation
from appointments.shared.validation import fold_email, problem

RESPONSES = ("ACCEPTED", "TENTATIVE", "DECLINED")
MAX_COMMENT = 1000


class Answer(NamedTuple):
    """What somebody answers. Who ``follows`` stays accepted when it moves to a time at which they are free."""

    response: str
    comment: str = ""
    follows: bool = False

    def violations(self) -> list[Violation]:
        """Everything that is wrong with it."""
        found = []
        if self.response not in RESPONSES:
            found.append(Violation("response", f"must be one of {', '.join(RESPONSES)}"))
        if bad := problem(self.comment, most=MAX_COMMENT):
            found.append(Violation("comment", bad))
        return found


async def get(db: Reads | Connection, user_id: UUID, appointment_id: UUID) -> Appointment | None:
    """An appointment as a person sees it who is invited; None if they are not."""
    rows = await db.fetch(SEEN, {"user_id": user_id, "ids": [appointment_id]})
    return from_row_and_invitation(rows[0]) if rows else None


async def seen(db: Database, user_id: UUID, ids: Sequence[UUID]) -> dict[UUID, Appointment]:
    """Those of these appointments that a person is invited to, as they see them."""
    rows = await db.fetch(SEEN, {"user_id": user_id, "ids": ids})
    return {appointment.id: appointment for appointment in map(from_row_and_invitation, rows)}


SEEN = Statement(
    f"""
    SELECT {COLUMNS}, {INVITATION} FROM invitees JOIN appointments ON appointments.id = appointment_id
    WHERE appointment_id = ANY (%(ids)s::uuid[]) AND user_id = %(user_id)s::uuid AND {ONCE}
    """
)


class Unanswered(NamedTuple):
    """An appointment that is not answered, or the first such occurrence of a series, and how many there are of it."""

    appointment: Appointment
    whole_series: bool
    occurrences: int


class Open(NamedTuple):
    """What is not answered: the nearest, and how many entries there are altogether."""

    nearest: list[Unanswered]
    total: int


async def unanswered(db: Reads, user_id: UUID) -> Open:
    """What a person is invited to, is not over, and was not answered, by start.

    A series that was not answered is one entry. Of one that was, occurrences that ask anew are entries of their own.
    """
    rows = await db.fetch(OPEN, {"user_id": user_id, "most": MOST_OPEN})
    nearest = [
        Unanswered(from_row_and_invitation(tuple(row)), whole_series, times) for _, whole_series, times, *row in rows
    ]
    return Open(nearest, rows[0][0] if rows else 0)


MOST_OPEN = 100
OPEN = Statement(
    f"""
    WITH asked AS MATERIALIZED (
        SELECT appointments.id, starts_at, address, series_id FROM invitees
        JOIN appointments ON appointments.id = appointment_id
        WHERE user_id = %(user_id)s::uuid AND ends_at > now() AND {has_answered(NOT_ANSWERED)} AND {ONCE}
    ), keyed AS (
        SELECT asked.*, EXISTS (
            SELECT FROM series WHERE series.id = series_id AND {has_answered(NOT_ANSWERED, "series.attendees")}
        ) AS whole_series FROM asked
    ), entries AS (
        SELECT DISTINCT ON (entry) * FROM (
            SELECT CASE WHEN whole_series THEN series_id ELSE id END AS entry, id AS entry_id, starts_at, whole_series,
                   count(*) OVER (PARTITION BY CASE WHEN whole_series THEN series_id ELSE id END) AS times
            FROM keyed
        ) AS every ORDER BY entry, starts_at, entry_id
    )
    SELECT (SELECT count(*) FROM entries), whole_series, times, {COLUMNS}, {INVITATION}
    FROM (SELECT * FROM entries ORDER BY starts_at, entry_id LIMIT %(most)s::integer) AS nearest
    JOIN appointments ON appointments.id = entry_id
    JOIN invitees ON appointment_id = appointments.id AND user_id = %(user_id)s::uuid AND {ONCE}
    ORDER BY nearest.starts_at, entry_id
    """
)


async def respond(
    db: Database, user_id: UUID, appointment_id: UUID, answer: Answer, *, cause: Cause = BY_OWNER
) -> Appointment:
    """Answer; the last answer counts. Accepting takes the person's time, every other answer gives it back.

    Raises:
        Invalid: it is no answer, or the comment is too long.
        NotFound: the person is not invited to such an appointment.
        Conflict: it is accepted, and overlaps appointments of the person, which are named.
    """
    if found := answer.violations():
        raise Invalid(found)
    by = Cause(cause.actor_id or user_id, cause.request_id)
    return await db.transact(lambda connection: respond_in(connection, user_id, appointment_id, answer, cause=by))


async def respond_in(
    connection: Connection, user_id: UUID, appointment_id: UUID, answer: Answer, *, cause: Cause
) -> Appointment:
    """The same, in a transaction that has no locks yet, of an answer that is one."""
    _found(await connection.fetch(SEEN, {"user_id": user_id, "ids": [appointment_id]}))
    await placement.lock(connection, user_id, [])
    await connection.fetch(LOCK, {"id": appointment_id})
    # Read after the lock: it may have moved, or they may not be invited any more.
    who = {"user_id": user_id, "ids": [appointment_id]}
    current = _found(await connection.fetch(SEEN, who))
    if answer.response == "ACCEPTED" and not current.transparent:
        await _take(connection, user_id, current)
    else:
        await connection.fetch(FREE, {"id": appointment_id, "user_ids": [user_id]})
    for guest in await guests(connection, appointment_id):
        if guest.user_id == user_id:  # by their former address, too
            await write(connection, current, guest.address, answer, cause=cause)
    return _found(await connection.fetch(SEEN, who))


async def _take(connection: Connection, user_id: UUID, appointment: Appointment) -> None:
    if await connection.fetch(TAKEN, {"id": appointment.id, "user_id": user_id}):
        return
    spec = _plain(appointment.spec)
    await frontiers.make_way(connection, user_id, spec)
    if not await placement.place(connection, user_id, appointment.id, spec, [], owner=True):
        raise await conflicts.found(connection, user_id, spec, besides=appointment.id)


async def write(
    connection: Connection, appointment: Appointment, address: str, answer: Answer, *, cause: Cause
) -> None:
    """Write down what an address answers, and nothing else. An answer that is there already changes nothing."""
    values = {
        "id": appointment.id,
        "address": address,
        "spellings": [each.email for each in appointment.attendees if fold_email(each.email) == address],
        "response": answer.response,
        "comment": answer.comment.strip(),
        "follows": answer.follows,
        **cause.values,
    }
    await connection.fetch(FOLLOW, values)
    await connection.fetch(RESPOND, values)


def _plain(spec: Spec) -> Spec:
    """What is taken of those who accept."""
    return replace(spec, resource_ids=(), buffer_before=NO_TIME, buffer_after=NO_TIME)


def _found(rows: Sequence[tuple[object, ...]]) -> Appointment:
    if not rows:
        raise NotFound("No such appointment.")
    return from_row_and_invitation(rows[0])


LOCK = Statement(f"SELECT id FROM appointments WHERE id = %(id)s::uuid AND {LIVE} FOR NO KEY UPDATE")
TAKEN = Statement(
    "SELECT subject_id FROM bookings WHERE appointment_id = %(id)s::uuid AND subject_id = %(user_id)s::uuid"
)
FREE = Statement("DELETE FROM bookings WHERE appointment_id = %(id)s::uuid AND subject_id = ANY (%(user_ids)s::uuid[])")
FOLLOW = Statement(
    """
    UPDATE invitees SET follows = %(follows)s::boolean
    WHERE appointment_id = %(id)s::uuid AND address = %(address)s::text AND follows <> %(follows)s::boolean
    """
)

SPELT: LiteralString = "guest ->> 'email' = ANY (%(spellings)s::text[])"
"""Which attendee answers: the one whose address is written in one of these ways."""


def answered(which: LiteralString) -> LiteralString:
    """SQL: the attendees, with an answer beside whom it is of."""
    answer: LiteralString = "jsonb_build_object('response', %(response)s::text, 'comment', %(comment)s::text)"
    return attendees_with(f"guest || {answer}", which)


def is_new(which: LiteralString) -> LiteralString:
    """SQL: whether that differs from what is there."""
    return f"""EXISTS (
        SELECT FROM jsonb_array_elements(attendees) AS guest
        WHERE {which} AND (
            guest ->> 'response' <> %(response)s::text OR coalesce(guest ->> 'comment', '') <> %(comment)s::text
        )
    )"""


# An answer is a change of the appointment like any other: its version grows, and whoever follows the log sees it.
RESPOND = Statement(
    f"""
    WITH amended AS (
        UPDATE appointments
        SET attendees = {answered(SPELT)}, actor_id = %(actor_id)s::uuid, updated_at = now(), version = version + 1
        WHERE id = %(id)s::uuid AND {LIVE} AND {is_new(SPELT)}
        RETURNING appointments.*
    ), {of_all("appointment.responded", "amended", fields="ARRAY['attendees']")}
    SELECT id FROM amended
    """
)


class Guest(NamedTuple):
    """Somebody with an account who is invited."""

    user_id: UUID
    address: str
    follows: bool


async def guests(db: Reads | Connection, appointment_id: UUID) -> list[Guest]:
    """Those with an account who are invited to an appointment. Their subjects are locked before it is moved."""
    return [Guest._make(row) for row in await db.fetch(GUESTS, {"id": appointment_id})]


GUESTS = Statement(
    """
    SELECT user_id, address, follows FROM invitees
    WHERE appointment_id = %(id)s::uuid AND user_id IS NOT NULL ORDER BY user_id
    """
)


def concerns_guests(current: Appointment, spec: Spec) -> bool:
    """Whether a change may have to give time back that somebody who has accepted has taken."""
    if not current.attendees:
        return False
    return has_moved(current.spec, spec) or bool(_addresses(current.attendees) - _addresses(spec.attendees))


async def rebook(connection: Connection, current: Appointment, spec: Spec, known: Sequence[Guest]) -> Spec:
    """Have those who accepted follow, or give their time back. The subjects of ``known`` are locked.

    Whoever has another time now has to answer anew, unless they follow and are free then: nobody else's move takes
    time that is taken.

    Returns:
        The spec with the answers that still hold.
    """
    stay = _addresses(spec.attendees)
    accepted = {fold_email(each.email): each for each in current.attendees if each.response == "ACCEPTED"}
    # Somebody may be invited by two addresses, and one of them be left.
    theirs: dict[UUID, list[Guest]] = {}
    for guest in known:
        if guest.address in stay & accepted.keys():
            theirs.setdefault(guest.user_id, []).append(guest)
    if not has_moved(current.spec, spec):
        left = [guest.user_id for guest in known if guest.user_id not in theirs]
        await connection.fetch(FREE, {"id": current.id, "user_ids": left})
        return spec
    await connection.fetch(FREE, {"id": current.id, "user_ids": [guest.user_id for guest in known]})
    follow: dict[str, Attendee] = {}
    for user_id, addressed in theirs.items():
        if not any(guest.follows for guest in addressed):
            continue
        if spec.transparent or await _is_taken_along(connection, user_id, current.id, _plain(spec)):
            follow |= {guest.address: accepted[guest.address] for guest in addressed}
    attendees = []
    for each in spec.attendees:
        before = follow.get(fold_email(each.email), Attendee(each.email))
        attendees.append(replace(each, response=before.response, comment=before.comment))
    return replace(spec, attendees=tuple(attendees))


async def _is_taken_along(connection: Connection, user_id: UUID, appointment_id: UUID, spec: Spec) -> bool:
    try:
        await frontiers.make_way(connection, user_id, spec)
    except Conflict:
        return False  # farther ahead than frontiers go
    return await placement.place(connection, user_id, appointment_id, spec, [], owner=True)


def _addresses(attendees: Sequence[Attendee]) -> set[str]:
    return {fold_email(each.email) for each in attendees}


async def settle(db: Database, user_id: UUID) -> None:
    """Take the time of what a person had accepted by a link, before their account was invited.

    Where it is taken they are asked anew.
    """
    for (appointment_id,) in await db.fetch(UNSETTLED, {"user_id": user_id}):

        async def work(connection: Connection, appointment_id: UUID = appointment_id) -> None:
            await placement.lock(connection, user_id, [])
            await connection.fetch(LOCK, {"id": appointment_id})
            # Another run may have taken the time meanwhile: it would find the appointment in its own way.
            if not await connection.fetch(STILL_UNSETTLED, {"user_id": user_id, "id": appointment_id}):
                return
            rows = await connection.fetch(SEEN, {"user_id": user_id, "ids": [appointment_id]})
            if not rows:
                return
            current = _found(rows)
            known = await guests(connection, appointment_id)
            addresses = {guest.address for guest in known if guest.user_id == user_id}
            accepted = [each for each in current.attendees if each.response == "ACCEPTED"]
            mine = addresses & _addresses(accepted)
            if current.transparent or not mine:
                return
            if not await _is_taken_along(connection, user_id, current.id, _plain(current.spec)):
                # Only what they have said themselves is there to be seen.
                said = next((each.comment for each in accepted if each.comment), "")
                for address in sorted(mine):
                    await write(connection, current, address, Answer("NEEDS-ACTION", said), cause=Cause(user_id))

        await db.transact(work)


STILL_UNSETTLED = Statement(
    """
    SELECT WHERE NOT EXISTS (
        SELECT FROM bookings WHERE appointment_id = %(id)s::uuid AND subject_id = %(user_id)s::uuid
    )
    """
)
UNSETTLED = Statement(
    f"""
    SELECT appointment_id FROM invitees JOIN appointments ON appointments.id = appointment_id
    CROSS JOIN LATERAL jsonb_array_elements(attendees) AS guest
    WHERE user_id = %(user_id)s::uuid AND ends_at > now() AND NOT transparent
      AND {FOLDED} = address AND guest ->> 'response' = 'ACCEPTED'
      AND NOT EXISTS (
          SELECT FROM bookings WHERE bookings.appointment_id = appointments.id AND subject_id = user_id
      )
    ORDER BY starts_at, appointment_id
    """
)

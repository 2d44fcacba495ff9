"""The link in an invitation to a series: viewing the series and answering all of it.

What an answer does, and what it takes of the calendar of somebody with an account, is the same as for an answer that is
given there (:mod:`appointments.calendar.series_guests`).
"""

from dataclasses import dataclass
from uuid import UUID

from appointments.calendar import series_guests
from appointments.calendar.appointment import Attendee
from appointments.calendar.invited import Answer
from appointments.calendar.log import Cause
from appointments.calendar.materializing import again
from appointments.calendar.series import Series
from appointments.db import Connection, Database, Statement
from appointments.icalendar.invitations.answers import KEPT, Answers, short
from appointments.icalendar.invitations.notifying import Organizer
from appointments.icalendar.invitations.series_notifying import read
from appointments.mail import Links, outbox
from appointments.mail.links import digest_of
from appointments.shared.errors import Invalid, NotFound, Unmet
from appointments.shared.validation import fold_email


@dataclass(frozen=True, slots=True)
class SeriesInvitation:
    """An invitation to a series as it is now. ``attendee`` is None if they are no longer invited to all of it."""

    series: Series
    organizer: Organizer
    address: str
    attendee: Attendee | None

    @property
    def is_open(self) -> bool:
        """Whether it can be answered."""
        return self.attendee is not None and not self.is_off

    @property
    def is_off(self) -> bool:
        """Whether its organizer has cancelled it."""
        return self.series.deleted_at is not None


class SeriesAnswers:
    """Handles the links of invitations to series."""

    def __init__(self, db: Database, links: Links) -> None:
        self._db = db
        self._links = links

    @classmethod
    def beside(cls, answers: Answers) -> "SeriesAnswers":
        """Those for series, with the database and the links of the others."""
        return cls(*answers.parts)

    async def look(self, token: str) -> SeriesInvitation:
        """The invitation that a link belongs to.

        Raises:
            NotFound: there is no such link, or it has expired.
        """
        async with self._db.connection() as connection:
            return await _find(connection, token)

    async def respond(self, token: str, response: str, comment: str) -> SeriesInvitation:
        """Record an answer for all occurrences that are still to come. The last one counts.

        Raises:
            Invalid: it is no answer, or the comment is too long.
            NotFound: there is no such link, or not any more.
            SeriesConflict: they have an account, in which something is in the way of accepting.
            Unmet: the series is off, or they are not invited any more (NOT_INVITED).
        """
        answer = Answer(response, comment)
        if found := answer.violations():
            raise Invalid(found)

        async def work(connection: Connection) -> SeriesInvitation:
            invitation = await _find(connection, token)
            if not invitation.is_open:
                raise Unmet("The series is off, or you are not invited any more.", reason="NOT_INVITED")
            series_id, address = invitation.series.id, invitation.address
            rows = await connection.fetch(ACCOUNT, {"id": series_id, "address": address})
            user_id = rows[0][0] if rows else None
            await series_guests.respond_in(connection, series_id, address, user_id, answer, cause=Cause(user_id))
            await outbox.forget_reports(connection, address)
            return await _find(connection, token)

        return await again(self._db, work)

    async def answer_url(self, connection: Connection, series_id: UUID, address: str) -> str:
        """The address at which an attendee answers a series. The link works from now on."""
        token = self._links.token("series", series_id, address)
        await connection.fetch(LINK, {"digest": digest_of(token), "id": series_id, "address": address})
        return self._links.url("invitation/series", token)

    async def open_by_mail(self, connection: Connection, series_id: UUID, address: str) -> None:
        """Take answers of an attendee that come to their :meth:`reply_token` by mail."""
        token = self.reply_token(series_id, address)
        await connection.fetch(LINK, {"digest": digest_of(token), "id": series_id, "address": address})

    def reply_token(self, series_id: UUID, address: str) -> str:
        """What a reply address has instead of a link, as for single appointments."""
        token = self._links.token("series reply", series_id, address)
        return short(token)


async def _find(connection: Connection, token: str) -> SeriesInvitation:
    rows = await connection.fetch(FIND, {"digest": digest_of(token), "days": KEPT.days})
    shown = await read(connection, rows[0][0]) if rows else None
    if shown is None:
        raise NotFound("This link does not work: there is no such invitation, or it was long ago.")
    address: str = rows[0][1]
    attendee = next((each for each in shown.series.attendees if fold_email(each.email) == address), None)
    return SeriesInvitation(shown.series, shown.organizer, address, attendee)


FIND = Statement(
    """
    SELECT series_id, address FROM series_links JOIN series ON series.id = series_id
    WHERE digest = %(digest)s::bytea AND (endless OR EXISTS (
        SELECT FROM appointments
        WHERE appointments.series_id = series.id AND end_at > now() - %(days)s::integer * interval '1 day'
    ))
    """
)
LINK = Statement(
    """
    INSERT INTO series_links (digest, series_id, address) VALUES (%(digest)s::bytea, %(id)s::uuid, %(address)s::text)
    ON CONFLICT ON CONSTRAINT series_links_pkey DO NOTHING
    """
)
# Whose calendar has the series by this address: the newest account, if the address has changed hands.
ACCOUNT = Statement(
    """
    SELECT user_id FROM appointments JOIN invitees ON appointment_id = appointments.id
    WHERE series_id = %(id)s::uuid AND address = %(address)s::text AND user_id IS NOT NULL AND end_at > now()
    ORDER BY start_at DESC LIMIT 1
    """
)

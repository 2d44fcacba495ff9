"""The link in an invitation to a series: viewing the series and answering all of it.

An answer to a series is written beside the attendee in the series and in every occurrence that is still to come. The
ones that become rows later have it from the series. It is written down, and takes no time in anybody's calendar.
"""

from dataclasses import dataclass
from uuid import UUID

from appointments.calendar import placement
from appointments.calendar.appointment import Attendee
from appointments.calendar.invited import Answer
from appointments.calendar.log import BY_OWNER, of_all
from appointments.calendar.series import Series
from appointments.db import Connection, Database, Statement
from appointments.icalendar.invitations.answers import KEPT, Answers, short
from appointments.icalendar.invitations.notifying import Organizer
from appointments.icalendar.invitations.series_notifying import read
from appointments.mail import Links
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
            Unmet: the series is off, or they are not invited any more (NOT_INVITED).
        """
        answer = Answer(response, comment)
        if found := answer.violations():
            raise Invalid(found)

        async def work(connection: Connection) -> SeriesInvitation:
            owner_id = (await _find(connection, token)).series.owner_id
            # In the order of every change of a series: its owner, the series, its occurrences.
            await placement.lock(connection, owner_id, [])
            await connection.fetch(LOCK, {"digest": digest_of(token)})
            invitation = await _find(connection, token)
            if not invitation.is_open:
                raise Unmet("The series is off, or you are not invited any more.", reason="NOT_INVITED")
            guests = [each.email for each in invitation.series.attendees]
            values = {
                "id": invitation.series.id,
                "address": invitation.address,
                "spellings": [each for each in guests if fold_email(each) == invitation.address],
                "response": response,
                "comment": comment.strip(),
                **BY_OWNER.values,
            }
            await connection.fetch(RESPOND, values)
            await connection.fetch(RESPOND_ROWS, values)
            return await _find(connection, token)

        return await self._db.transact(work)

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
LOCK = Statement(
    """
    SELECT id FROM series WHERE id = (SELECT series_id FROM series_links WHERE digest = %(digest)s::bytea)
    FOR NO KEY UPDATE
    """
)
LINK = Statement(
    """
    INSERT INTO series_links (digest, series_id, address) VALUES (%(digest)s::bytea, %(id)s::uuid, %(address)s::text)
    ON CONFLICT ON CONSTRAINT series_links_pkey DO NOTHING
    """
)
RESPOND = Statement(
    """
    WITH series AS (
        UPDATE series
        SET attendees = (
                SELECT jsonb_agg(
                    CASE WHEN guest ->> 'email' = ANY (%(spellings)s::text[])
                         THEN guest || jsonb_build_object('response', %(response)s::text, 'comment', %(comment)s::text)
                         ELSE guest END ORDER BY number
                ) FROM jsonb_array_elements(attendees) WITH ORDINALITY AS guests (guest, number)
            ),
            updated_at = now(), version = version + 1, actor_id = %(actor_id)s::uuid
        WHERE id = %(id)s::uuid AND EXISTS (
            SELECT FROM jsonb_array_elements(attendees) AS guest
            WHERE guest ->> 'email' = ANY (%(spellings)s::text[]) AND (
                guest ->> 'response' <> %(response)s::text OR coalesce(guest ->> 'comment', '') <> %(comment)s::text
            )
        )
        RETURNING series.*
    )
    INSERT INTO new_changes (calendar_id, kind, item_id, version, actor_id, request_id, changed_at)
    SELECT owner_id, 'series.updated', id, version, coalesce(actor_id, owner_id), %(x_request_id)s::text, updated_at
    FROM series
    """
)
RESPOND_ROWS = Statement(
    f"""
    WITH concerned AS MATERIALIZED (
        SELECT id FROM appointments
        WHERE series_id = %(id)s::uuid AND deleted_at IS NULL AND end_at > now() AND EXISTS (
            SELECT FROM jsonb_array_elements(attendees) AS guest
            WHERE lower(btrim(guest ->> 'email')) = %(address)s::text AND (
                guest ->> 'response' <> %(response)s::text OR coalesce(guest ->> 'comment', '') <> %(comment)s::text
            )
        )
        ORDER BY occurs_wall FOR NO KEY UPDATE
    ), amended AS (
        UPDATE appointments
        SET attendees = (
                SELECT jsonb_agg(
                    CASE WHEN lower(btrim(guest ->> 'email')) = %(address)s::text
                         THEN guest || jsonb_build_object('response', %(response)s::text, 'comment', %(comment)s::text)
                         ELSE guest END ORDER BY number
                ) FROM jsonb_array_elements(attendees) WITH ORDINALITY AS guests (guest, number)
            ),
            actor_id = %(actor_id)s::uuid, updated_at = now(), version = version + 1
        FROM concerned WHERE appointments.id = concerned.id
        RETURNING appointments.*
    ), {of_all("appointment.responded", "amended", fields="ARRAY['attendees']")}
    SELECT count(*) FROM amended
    """
)

"""What somebody can do with the link in an invitation: look, answer, and ask not to be written to any more.

A link is of one appointment and one address. It shows what is so now, and ends thirty days after the appointment.
Looking changes nothing.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from uuid import UUID

from appointments.calendar.appointment import LIVE, Appointment, Attendee
from appointments.calendar.log import of_all
from appointments.db import Connection, Database, Statement
from appointments.icalendar.invitations.telling import Organizer, read
from appointments.mail import Links
from appointments.mail.links import digest_of
from appointments.shared import validation
from appointments.shared.errors import Invalid, NotFound, Unmet
from appointments.shared.validation import fold_email

Response = Literal["ACCEPTED", "TENTATIVE", "DECLINED"]
RESPONSES: tuple[Response, ...] = ("ACCEPTED", "TENTATIVE", "DECLINED")

KEPT = timedelta(days=30)
MAX_COMMENT = 1000


@dataclass(frozen=True, slots=True)
class Invitation:
    """What an invitation says now. ``attendee`` is None if they are not invited any more."""

    appointment: Appointment
    organizer: Organizer
    address: str
    attendee: Attendee | None

    @property
    def is_open(self) -> bool:
        """Whether it can be answered."""
        return self.attendee is not None and self.appointment.deleted_at is None


class Answers:
    """Follows links."""

    def __init__(self, db: Database, links: Links) -> None:
        self._db = db
        self._links = links

    async def look(self, token: str) -> Invitation:
        """What a link is about.

        Raises:
            NotFound: there is no such link, or not any more.
        """
        async with self._db.connection() as connection:
            return await _find(connection, token)

    async def respond(self, token: str, response: str, comment: str) -> Invitation:
        """Answer; the last answer counts.

        Raises:
            Invalid: it is no answer, or the comment is too long.
            NotFound: there is no such link, or not any more.
            Unmet: the appointment is off, or they are not invited any more (NOT_INVITED).
        """
        if response not in RESPONSES:
            raise Invalid.field("response", f"must be one of {', '.join(RESPONSES)}")
        if problem := validation.problem(comment, most=MAX_COMMENT):
            raise Invalid.field("comment", problem)

        async def work(connection: Connection) -> Invitation:
            invitation = await _find(connection, token)
            if not invitation.is_open:
                raise Unmet("The appointment is off, or you are not invited any more.", reason="NOT_INVITED")
            values = {
                "id": invitation.appointment.id,
                "spellings": [
                    each.email
                    for each in invitation.appointment.attendees
                    if fold_email(each.email) == invitation.address
                ],
                "response": response,
                "comment": comment.strip(),
                "actor_id": None,
                "x_request_id": None,
            }
            await connection.fetch(RESPOND, values)
            return await _find(connection, token)

        return await self._db.transact(work)

    async def address_of(self, token: str) -> tuple[str, bool]:
        """The address that a link to unsubscribe is about, and whether it is written to.

        Raises:
            NotFound: there is no such link.
        """
        rows = await self._db.fetch(UNSUBSCRIBED, {"digest": digest_of(token)})
        if not rows:
            raise NotFound("This link does not work.")
        return rows[0][0], rows[0][1]

    async def subscribe(self, token: str, *, wanted: bool) -> str:
        """Have an address written to, or (for ever) not any more; return it.

        Raises:
            NotFound: there is no such link.
        """
        address, _ = await self.address_of(token)
        await self._db.fetch(SUBSCRIBE, {"address": address, "wanted": wanted})
        return address

    async def answer_url(self, connection: Connection, appointment_id: UUID, address: str) -> str:
        """Where somebody answers. The link works from now on."""
        token = self._links.token("invitation", appointment_id, address)
        await connection.fetch(LINK, {"digest": digest_of(token), "id": appointment_id, "address": address})
        return self._links.url("invitation", token)

    async def unsubscribe_url(self, connection: Connection, address: str) -> str:
        """Where somebody says that they do not want to be written to. The link works from now on."""
        token = self._links.token("unsubscribe", address)
        await connection.fetch(UNSUBSCRIBE_LINK, {"digest": digest_of(token), "address": address})
        return self._links.url("unsubscribe", token)


async def _find(connection: Connection, token: str) -> Invitation:
    rows = await connection.fetch(FIND, {"digest": digest_of(token), "days": KEPT.days})
    found = await read(connection, rows[0][0]) if rows else None
    if found is None:
        raise NotFound("This link does not work: there is no such invitation, or it was long ago.")
    appointment, organizer = found
    address: str = rows[0][1]
    attendee = next((each for each in appointment.attendees if fold_email(each.email) == address), None)
    return Invitation(appointment, organizer, address, attendee)


FIND = Statement(
    """
    SELECT appointment_id, address FROM invitation_links JOIN appointments ON appointments.id = appointment_id
    WHERE digest = %(digest)s::bytea AND end_at > now() - %(days)s::integer * interval '1 day'
    """
)
LINK = Statement(
    """
    INSERT INTO invitation_links (digest, appointment_id, address)
    VALUES (%(digest)s::bytea, %(id)s::uuid, %(address)s::text)
    ON CONFLICT ON CONSTRAINT invitation_links_pkey DO NOTHING
    """
)
UNSUBSCRIBE_LINK = Statement(
    """
    INSERT INTO unsubscribe_links (digest, address) VALUES (%(digest)s::bytea, %(address)s::text)
    ON CONFLICT ON CONSTRAINT unsubscribe_links_pkey DO NOTHING
    """
)
UNSUBSCRIBED = Statement(
    """
    SELECT unsubscribe_links.address, unsubscribed_at IS NULL
    FROM unsubscribe_links LEFT JOIN mail_addresses ON mail_addresses.address = unsubscribe_links.address
    WHERE digest = %(digest)s::bytea
    """
)
SUBSCRIBE = Statement(
    """
    INSERT INTO mail_addresses (address, unsubscribed_at)
    VALUES (%(address)s::text, CASE WHEN NOT %(wanted)s::boolean THEN now() END)
    ON CONFLICT ON CONSTRAINT mail_addresses_pkey DO UPDATE SET unsubscribed_at = excluded.unsubscribed_at
    """
)

# An answer is a change of the appointment like any other: its version grows, and whoever follows the log sees it.
RESPOND = Statement(
    f"""
    WITH amended AS (
        UPDATE appointments
        SET attendees = (
                SELECT jsonb_agg(
                    CASE WHEN guest ->> 'email' = ANY (%(spellings)s::text[])
                         THEN guest || jsonb_build_object('response', %(response)s::text, 'comment', %(comment)s::text)
                         ELSE guest END ORDER BY number
                ) FROM jsonb_array_elements(attendees) WITH ORDINALITY AS guests (guest, number)
            ),
            actor_id = %(actor_id)s::uuid, updated_at = now(), version = version + 1
        WHERE id = %(id)s::uuid AND {LIVE} AND EXISTS (
            SELECT FROM jsonb_array_elements(attendees) AS guest
            WHERE guest ->> 'email' = ANY (%(spellings)s::text[]) AND (
                guest ->> 'response' <> %(response)s::text OR coalesce(guest ->> 'comment', '') <> %(comment)s::text
            )
        )
        RETURNING appointments.*
    ), {of_all("appointment.updated", "amended", fields="ARRAY['attendees']")}
    SELECT id FROM amended
    """
)

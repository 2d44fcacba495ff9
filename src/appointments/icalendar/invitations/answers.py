"""The links in an invitation: viewing it, answering it, and unsubscribing.

A link belongs to one appointment and one address. It shows the appointment as it is now, and works until thirty days
after its end. Opening a link changes nothing, because mail scanners open links, too.
"""

import base64
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from appointments.calendar import invited
from appointments.calendar.appointment import Appointment, Attendee
from appointments.calendar.invited import MAX_COMMENT, RESPONSES
from appointments.calendar.log import BY_OWNER, Cause
from appointments.db import Connection, Database, Statement
from appointments.icalendar.invitations.notifying import Organizer, read
from appointments.mail import Links, outbox
from appointments.mail.links import digest_of
from appointments.shared.errors import Invalid, NotFound, Unmet
from appointments.shared.validation import fold_email

KEPT = timedelta(days=30)

__all__ = ["MAX_COMMENT", "RESPONSES", "Answers", "Invitation"]


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation as it is now. ``attendee`` is None if they are no longer invited."""

    appointment: Appointment
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
        return self.appointment.deleted_at is not None


class Answers:
    """Handles the links of invitations."""

    def __init__(self, db: Database, links: Links) -> None:
        self._db = db
        self._links = links

    @property
    def parts(self) -> tuple[Database, Links]:
        """The database, and what makes the links."""
        return self._db, self._links

    async def look(self, token: str) -> Invitation:
        """The invitation that a link belongs to.

        Raises:
            NotFound: there is no such link, or it has expired.
        """
        async with self._db.connection() as connection:
            return await _find(connection, token)

    async def respond(self, token: str, response: str, comment: str) -> Invitation:
        """Record an answer. The last one counts.

        Raises:
            Invalid: it is no answer, or the comment is too long.
            NotFound: there is no such link, or not any more.
            Conflict: they have an account, in which something is in the way of accepting.
            Unmet: the appointment is off, or they are not invited any more (NOT_INVITED).
        """
        answer = invited.Answer(response, comment)
        if found := answer.violations():
            raise Invalid(found)

        async def work(connection: Connection) -> Invitation:
            invitation = await _find(connection, token)
            if not invitation.is_open:
                raise Unmet("The appointment is off, or you are not invited any more.", reason="NOT_INVITED")
            appointment, address = invitation.appointment, invitation.address
            guests = await invited.guests(connection, appointment.id)
            if user_id := next((guest.user_id for guest in guests if guest.address == address), None):
                cause = Cause(user_id)
                await invited.respond_in(connection, user_id, appointment.id, answer, cause=cause)
            else:
                await invited.write(connection, appointment, address, answer, cause=BY_OWNER)
            await outbox.forget_reports(connection, address)
            return await _find(connection, token)

        return await self._db.transact(work)

    async def address_of(self, token: str) -> tuple[str, bool]:
        """The address of an unsubscribe link, and whether it still gets mail.

        Raises:
            NotFound: there is no such link.
        """
        rows = await self._db.fetch(UNSUBSCRIBED, {"digest": digest_of(token)})
        if not rows:
            raise NotFound("This link does not work.")
        return rows[0][0], rows[0][1]

    async def subscribe(self, token: str, *, wanted: bool) -> str:
        """Subscribe an address, or unsubscribe it for ever. Return it.

        Raises:
            NotFound: there is no such link.
        """
        address, _ = await self.address_of(token)
        await self._db.fetch(SUBSCRIBE, {"address": address, "wanted": wanted})
        return address

    async def answer_url(self, connection: Connection, appointment_id: UUID, address: str) -> str:
        """The address at which an attendee answers. The link works from now on."""
        token = self._links.token("invitation", appointment_id, address)
        await connection.fetch(LINK, {"digest": digest_of(token), "id": appointment_id, "address": address})
        return self._links.url("invitation", token)

    async def open_by_mail(self, connection: Connection, appointment_id: UUID, address: str) -> None:
        """Take answers of an attendee that come to their :meth:`reply_token` by mail."""
        token = self.reply_token(appointment_id, address)
        await connection.fetch(LINK, {"digest": digest_of(token), "id": appointment_id, "address": address})

    def reply_token(self, appointment_id: UUID, address: str) -> str:
        """What a reply address has instead of a link: 160 bits, in letters that mail servers may turn to lower case."""
        token = self._links.token("reply", appointment_id, address)
        return short(token)

    async def unsubscribe_url(self, connection: Connection, address: str) -> str:
        """The address at which a recipient unsubscribes. The link works from now on."""
        token = self._links.token("unsubscribe", address)
        await connection.fetch(UNSUBSCRIBE_LINK, {"digest": digest_of(token), "address": address})
        return self._links.url("unsubscribe", token)


def short(token: str) -> str:
    """A token for a mail address: 160 bits of its digest."""
    return base64.b32encode(digest_of(token)[:20]).decode().lower()


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

"""The text of invitations: for people as mail, for their calendar programs as iTIP (RFC 5546) in iMIP (RFC 6047)."""

import re
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from appointments.auth.erasure import FAREWELL
from appointments.calendar.appointment import Appointment, Spec, booked
from appointments.db import Connection, Statement, instant
from appointments.icalendar import ical
from appointments.icalendar.ical import Mailbox
from appointments.icalendar.invitations import undelivered
from appointments.icalendar.invitations.answers import Answers
from appointments.icalendar.invitations.notifying import CANCEL, REQUEST, Organizer, facts_of, read
from appointments.mail import Action, Calendar, Letter, Mail, Sender
from appointments.mail.postman import Writer

_LINK = re.compile(r"://|www\.|@|\.\w{2,}/", re.IGNORECASE)
MOST_DESCRIPTION = 2000
_NOBODY = UUID(int=0)


class Letters:
    """Writes invitations. They are from ``sender``, with the organizer's name, and people answer to the organizer.

    Calendars answer to ``reply_to``, with a token (``local+token@domain``); if it is empty, to the organizer too.
    """

    def __init__(self, answers: Answers, sender: Sender, *, reply_to: str = "") -> None:
        self._answers = answers
        self._sender = sender
        self._reply_to = reply_to

    def writers(self) -> dict[str, Writer]:
        """The writer for each kind of letter."""
        return {
            REQUEST: Writer(self._request, told=undelivered.mark),
            CANCEL: Writer(self._cancel),
            FAREWELL: Writer(self._farewell),
        }

    async def _request(self, connection: Connection, letter: Letter) -> Mail | None:
        found = await self._current(connection, letter)
        if found is None:
            return None
        appointment, organizer, zone, told_at = found
        guests = {guest.email.strip().lower() for guest in appointment.attendees}
        if appointment.deleted_at is not None or letter.recipient not in guests:
            return None  # a cancellation follows
        was = letter.about["was"] or {}
        is_change = letter.about["why"] == "changed"
        url = await self._answers.answer_url(connection, appointment.id, letter.recipient)
        if self._reply_to:
            await self._answers.open_by_mail(connection, appointment.id, letter.recipient)
        who = name_of(organizer)
        said = f"{who} has changed an appointment that you are invited to." if is_change else f"{who} invites you."
        return Mail(
            f"{'Changed' if is_change else 'Invitation'}: {appointment.title}",
            (said,),
            facts=facts(facts_of(appointment), was, zone, who),
            actions=tuple(
                Action(label, f"{url}?answer={answer}")
                for label, answer in (("Accept", "ACCEPTED"), ("Maybe", "TENTATIVE"), ("Decline", "DECLINED"))
            ),
            footer=f"You get this because {who} invited {letter.recipient}.",
            from_name=who,
            reply_to=organizer.email,
            calendar=self._calendar("REQUEST", appointment, organizer, letter, told_at),
            unsubscribe_url=await self._answers.unsubscribe_url(connection, letter.recipient),
        )

    async def _cancel(self, connection: Connection, letter: Letter) -> Mail | None:
        found = await self._current(connection, letter)
        if found is None:
            return None
        appointment, organizer, zone, told_at = found
        who = name_of(organizer)
        said = {
            "off": f"{who} has cancelled this appointment.",
            "removed": f"{who} has taken you off the list of this appointment.",
        }[letter.about["why"]]
        return Mail(
            f"Cancelled: {appointment.title}",
            (said,),
            facts=facts(facts_of(appointment), {}, zone, who),
            footer=f"You get this because {who} had invited {letter.recipient}.",
            from_name=who,
            reply_to=organizer.email,
            calendar=self._calendar("CANCEL", appointment, organizer, letter, told_at),
            unsubscribe_url=await self._answers.unsubscribe_url(connection, letter.recipient),
        )

    async def _farewell(self, connection: Connection, letter: Letter) -> Mail | None:
        """The cancellation of what went with its organizer's account: all that is known of it is in the letter."""
        gone = letter.about["gone"]
        told = gone["told"]
        organizer = Organizer(_NOBODY, gone["email"], gone["name"], is_verified=True)
        appointment = _remembered(letter, told)
        rows = await connection.fetch(READER, {"address": letter.recipient, "id": letter.id})
        zone, put_at = rows[0]
        who = name_of(organizer)
        return Mail(
            f"Cancelled: {appointment.title}",
            (f"{who} no longer has an account here, so this appointment is cancelled.",),
            facts=facts(told, {}, zone or appointment.time_zone, who),
            footer=f"You get this because {who} had invited {letter.recipient}.",
            from_name=who,
            reply_to=organizer.email,
            calendar=self._calendar("CANCEL", appointment, organizer, letter, instant(put_at)),
            unsubscribe_url=await self._answers.unsubscribe_url(connection, letter.recipient),
        )

    async def _current(
        self, connection: Connection, letter: Letter
    ) -> tuple[Appointment, Organizer, str, datetime] | None:
        """The appointment, its organizer, the recipient's zone, when they were told. None: a newer message exists."""
        if letter.appointment_id is None or (found := await read(connection, letter.appointment_id)) is None:
            return None
        rows = await connection.fetch(
            STANDING, {"id": letter.appointment_id, "address": letter.recipient, "version": letter.sequence}
        )
        if not rows:
            return None
        appointment, organizer = found
        return appointment, organizer, rows[0][1] or appointment.time_zone, instant(rows[0][0])

    def _calendar(
        self, method: str, appointment: Appointment, organizer: Organizer, letter: Letter, told_at: datetime
    ) -> Calendar:
        made = ical.calendar(method=method)
        for component in ical.timezones([appointment]):
            made.add_component(component)
        made.add_component(
            ical.event(
                appointment,
                stamp=told_at.replace(microsecond=0),
                sequence=letter.about["sequence"],
                organizer=self._mailbox(appointment.id, organizer, letter.recipient),
                is_cancelled=method == "CANCEL",
                # A cancellation lists only the attendee that it is for (RFC 5546 §3.2.5). The others stay invited.
                only=letter.recipient if method == "CANCEL" else None,
            )
        )
        return Calendar(method, made.to_ical())

    def _mailbox(self, appointment_id: UUID, organizer: Organizer, recipient: str) -> Mailbox:
        # Calendars answer to ORGANIZER. It is the same in every message of an invitation, or they do not recognize it.
        if not self._reply_to:
            return Mailbox(organizer.email, name_of(organizer), sent_by=self._sender.address)
        local, _, domain = self._reply_to.rpartition("@")
        token = self._answers.reply_token(appointment_id, recipient)
        return Mailbox(f"{local}+{token}@{domain}", name_of(organizer))


STANDING = Statement(
    """
    SELECT told_at, (SELECT time_zone FROM users WHERE email = address AND time_zone <> 'UTC') FROM invitations
    WHERE appointment_id = %(id)s::uuid AND address = %(address)s::text AND version = %(version)s::integer
    """
)


READER = Statement(
    """
    SELECT (SELECT time_zone FROM users WHERE email = %(address)s::text AND time_zone <> 'UTC'), created_at
    FROM outbox WHERE id = %(id)s::uuid
    """
)


def _remembered(letter: Letter, told: dict[str, Any]) -> Appointment:
    spec = Spec(
        told["title"], instant(told["start"]), instant(told["end"]), told["zone"], told["description"],
        told["location"], all_day=told["all_day"],
    )  # fmt: skip
    return booked(letter.appointment_id or _NOBODY, _NOBODY, spec, told["start"])


def name_of(organizer: Organizer) -> str:
    """How to name an organizer. If the name looks like a link it is probably an advertisement: the address is used."""
    name = " ".join(organizer.name.split())
    return organizer.email if not name or _LINK.search(name) else name[:60]


def facts(now: dict[str, Any], was: dict[str, Any], zone: str, organizer: str) -> tuple[tuple[str, str], ...]:
    """The facts about an appointment. Those that have changed also say what they were before."""
    said = [("What", now["title"], was.get("title"))]
    said.append(("When", when(now, zone), when(was, zone) if was else None))
    said.append(("Where", now["location"], was.get("location")))
    listed = [(name, _both(before, after)) for name, after, before in said if after or before]
    listed.append(("Organizer", organizer))
    if now["description"]:
        listed.append(("Notes", now["description"][:MOST_DESCRIPTION]))
    return tuple(listed)


def _both(before: str | None, after: str) -> str:
    return after if before is None or before == after else f"{before or '(nothing)'} → {after or '(nothing)'}"


def when(facts: dict[str, Any], zone: str) -> str:
    """When an appointment is, in a time zone. Whole days are shown as dates, whatever the zone."""
    if facts["all_day"]:
        own = ical.zone(facts["zone"])
        first = instant(facts["start"]).astimezone(own)
        last = instant(facts["end"]).astimezone(own) - timedelta(microseconds=1)
        day = f"{first:%a %-d %b %Y}"
        return day if first.date() == last.date() else f"{day} – {last:%a %-d %b %Y}"
    start, end = _local(facts["start"], ical.zone(zone)), _local(facts["end"], ical.zone(zone))
    until = f"{end:%H:%M}" if start.date() == end.date() else f"{end:%a %-d %b %Y, %H:%M}"
    return f"{start:%a %-d %b %Y, %H:%M} – {until} ({zone})"


def _local(at: int, zone: ZoneInfo) -> datetime:
    return instant(at).astimezone(zone)

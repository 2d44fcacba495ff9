"""What comes by mail: a REPLY or COUNTER of iTIP (RFC 5546) that somebody's calendar sends to an invitation, and a
report of a mail server that a letter could not be delivered (RFC 3464).

Invitations name an address with a token to answer to. Like a link it is of one appointment and one attendee, so a
forged sender alone does nothing. A message that is no such answer is ignored, and nobody is written to because of it:
that would make loops. Nothing of a message is kept but the answer and its comment.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from email import message_from_bytes
from email.errors import MessageError
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import getaddresses
from typing import Any
from uuid import UUID

from icalendar import Calendar

from appointments.db import Connection, Database, Statement
from appointments.icalendar.invitations import notifying, series_notifying, undelivered
from appointments.icalendar.invitations.answers import MAX_COMMENT, RESPONSES, Answers
from appointments.icalendar.invitations.series_answers import SeriesAnswers
from appointments.mail import outbox, returns
from appointments.mail.returns import Returns
from appointments.shared.errors import Conflict, Fault, Unavailable
from appointments.shared.validation import fold_email

MOST_BYTES = 1_000_000
"""The largest message that is read. Answers have some kilobytes; what they quote may have more."""

MOST_PARTS = 50

_TOLD = {notifying.REQUEST: undelivered.mark, series_notifying.REQUEST: undelivered.mark_series}
_RECIPIENTS = ("delivered-to", "x-original-to", "envelope-to", "to", "cc")


class Ignored(Exception):
    """The message is no answer that can be taken; the reason is for the log."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a calendar answers: about which object, in which state, for whom, and what."""

    uid: str
    recurs_at: datetime | None
    """Of an occurrence of a series: when the series has it (RECURRENCE-ID)."""
    sequence: int
    address: str
    response: str
    comment: str


class Reception:
    """Takes answers and reports. They come to subaddresses of ``reply_to`` (``local+token@domain``)."""

    def __init__(self, db: Database, answers: Answers, reply_to: str) -> None:
        self._db = db
        self._answers = answers
        self._series = SeriesAnswers.beside(answers)
        self._reply_to = reply_to
        self._returns = Returns(answers.parts[1], reply_to)

    async def take(self, content: bytes, recipients: Iterable[str] = ()) -> str:
        """Apply a message, as a mail server hands it over; return what was done, in words.

        ``recipients`` are the addresses of its envelope; without any its own headers say whom it is to.

        Raises:
            Ignored: it is no answer to an invitation, or not any more, or not from whom was invited; or no report of a
                letter that was sent.
            Unavailable: the database cannot be reached; the message is to be handed over again.
        """
        message = _parsed(content)
        addressed = [*recipients] or _addresses(message, *_RECIPIENTS)
        if (letter_id := self._returns.letter(addressed)) is not None:
            return await self._take_report(letter_id, message)
        _refuse_machines(message)
        token = self._token(addressed)
        reply = _reply(message)
        try:
            invitation = await self._answers.look(token)
        except Unavailable:
            raise
        except Fault:
            return await self._take_of_series(token, reply, _addresses(message, "from"))
        if reply.uid != invitation.appointment.id_text:
            raise Ignored("it answers another appointment than the address is for")
        if {invitation.address} != {reply.address, *map(fold_email, _addresses(message, "from"))}:
            raise Ignored("it is not from the address that was invited")
        told = await self._db.fetch(SEQUENCE, {"id": UUID(reply.uid), "address": invitation.address})
        if told and reply.sequence < told[0][0]:
            raise Ignored("it answers an invitation that a newer one has replaced")
        try:
            await self._answers.respond(token, reply.response, reply.comment)
        except Conflict:
            raise Ignored("their account has something else at that time") from None
        except Unavailable:
            raise
        except Fault as fault:
            raise Ignored(str(fault)) from None
        return f"{reply.response.lower()}: appointment {reply.uid}"

    async def _take_report(self, letter_id: UUID, message: EmailMessage) -> str:
        """Note that a letter did not arrive, where its organizer sees it, and count it for its recipient's address."""
        report = returns.read(message)
        if report is None:
            raise Ignored("it does not report that a letter could not be delivered")
        posted = await outbox.read(self._db, letter_id)
        if posted is None:
            raise Ignored("the letter that it reports is not known any more")
        letter = posted.letter
        told = _TOLD.get(letter.kind)

        async def work(connection: Connection) -> bool:
            is_news = await outbox.report(connection, letter, report.reason, address_is_bad=report.address_is_bad)
            if is_news and told is not None:
                await told(connection, letter, arrived=False)
            return is_news

        if not await self._db.transact(work):
            raise Ignored("the letter that it reports has bounced already, or was not sent")
        return f"bounced: letter {letter_id}"

    async def _take_of_series(self, token: str, reply: Reply, senders: Iterable[str]) -> str:
        """Apply an answer to a series, or to one of its occurrences."""
        try:
            invitation = await self._series.look(token)
        except Unavailable:
            raise
        except Fault as fault:
            raise Ignored(str(fault)) from None
        series = invitation.series
        if reply.uid != series.id_text:
            raise Ignored("it answers another appointment than the address is for")
        if {invitation.address} != {reply.address, *map(fold_email, senders)}:
            raise Ignored("it is not from the address that was invited")
        values = {"id": series.id, "address": invitation.address, "at": reply.recurs_at or EPOCH}
        occurrence_id, sequence = (await self._db.fetch(SERIES_SEQUENCE, values) or [(None, 0)])[0]
        if reply.sequence < sequence:
            raise Ignored("it answers an invitation that a newer one has replaced")
        try:
            if reply.recurs_at is None:
                await self._series.respond(token, reply.response, reply.comment)
                return f"{reply.response.lower()}: series {reply.uid}"
            if occurrence_id is None:
                raise Ignored("it answers an occurrence that the series does not have")
            # Answered as by the occurrence's own link.
            async with self._db.connection() as connection:
                url = await self._answers.answer_url(connection, occurrence_id, invitation.address)
            await self._answers.respond(url.rpartition("/")[2], reply.response, reply.comment)
        except Unavailable:
            raise
        except Fault as fault:
            raise Ignored(str(fault)) from None
        return f"{reply.response.lower()}: appointment {occurrence_id}"

    def _token(self, addresses: Iterable[str]) -> str:
        local, _, domain = self._reply_to.lower().rpartition("@")
        for address in addresses:
            name, _, host = address.lower().rpartition("@")
            if host == domain and name.startswith(f"{local}+"):
                return name.removeprefix(f"{local}+")
        raise Ignored("it is to no address that invitations name")


SEQUENCE = Statement(
    """
    SELECT sequence FROM invitations WHERE appointment_id = %(id)s::uuid AND address = %(address)s::text
    """
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Which occurrence a series has at a time, if any, and the SEQUENCE of the newest message about it (or about all).
SERIES_SEQUENCE = Statement(
    """
    SELECT occurrence.id, coalesce(
        (sequences ->> to_char(occurs_wall, 'YYYY-MM-DD"T"HH24:MI:SS'))::integer, full_sequence
    )
    FROM series_invitations LEFT JOIN appointments AS occurrence
        ON occurrence.series_id = series_invitations.series_id AND original_start_at = %(at)s::timestamptz
    WHERE series_invitations.series_id = %(id)s::uuid AND address = %(address)s::text
    """
)


def _parsed(content: bytes) -> EmailMessage:
    if len(content) > MOST_BYTES:
        raise Ignored(f"it has more than {MOST_BYTES:,} bytes")
    return message_from_bytes(content, EmailMessage, policy=SMTP)


def _refuse_machines(message: EmailMessage) -> None:
    # RFC 3834, and what is older: vacation notices, mailing lists, bounces, and what this service itself has sent.
    said = _header(message, "auto-submitted").partition(";")[0].strip().lower()
    if said not in {"", "no"}:
        raise Ignored("a machine has sent it (Auto-Submitted)")
    if _header(message, "precedence").strip().lower() in {"bulk", "junk", "list", "auto_reply"}:
        raise Ignored("a machine has sent it (Precedence)")
    if message.get_content_type() == "multipart/report" or _header(message, "return-path").strip() == "<>":
        raise Ignored("it is a report of a mail server")


def _reply(message: EmailMessage) -> Reply:
    for part in _calendars(message):
        try:
            calendar: Any = Calendar.from_ical(part)
            method = str(calendar.get("method", "")).upper()
            if method in {"REPLY", "COUNTER"}:
                return _answer(calendar, method)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            continue
    raise Ignored("it has no answer of a calendar (iTIP REPLY)")


def _calendars(message: EmailMessage) -> list[bytes]:
    found = []
    try:
        for number, part in enumerate(message.walk()):
            if number >= MOST_PARTS:
                raise Ignored(f"it has more than {MOST_PARTS} parts")
            if part.get_content_type() in {"text/calendar", "application/ics"}:
                payload = part.get_payload(decode=True)
                if isinstance(payload, bytes):
                    found.append(payload)
    except (MessageError, ValueError, LookupError, RecursionError):
        raise Ignored("it cannot be read") from None
    return found


def _answer(calendar: Any, method: str) -> Reply:
    events = calendar.walk("VEVENT")
    attendees = [event.get("attendee") for event in events]
    if len(events) != 1 or attendees[0] is None or isinstance(attendees[0], list):
        raise Ignored("it answers for more than one person or appointment, or for none")
    (event,), (attendee,) = events, attendees
    response = str(attendee.params.get("PARTSTAT", "")).upper()
    if method == "COUNTER" and response not in RESPONSES:
        response = "TENTATIVE"
    if response not in RESPONSES:
        raise Ignored("its PARTSTAT is neither ACCEPTED, TENTATIVE nor DECLINED")
    said = event.get("comment", "")
    lines = [str(each) for each in (said if isinstance(said, list) else [said]) if str(each).strip()]
    if method == "COUNTER":
        start = event.get("dtstart")
        lines.insert(0, f"Proposes {start.dt.isoformat(' ')}." if start is not None else "Proposes another time.")
    comment = "".join(letter for letter in "\n".join(lines) if letter.isprintable() or letter == "\n")
    address = fold_email(str(attendee).partition(":")[2] if str(attendee).lower().startswith("mailto:") else "")
    uid = str(event.get("uid", "")).strip().lower()
    at = event.get("recurrence-id")
    return Reply(
        uid,
        None if at is None else _moment(at.dt),
        int(event.get("sequence", 0)),
        address,
        response,
        comment[:MAX_COMMENT],
    )


def _moment(at: date) -> datetime:
    if not isinstance(at, datetime):
        return datetime(at.year, at.month, at.day, tzinfo=UTC)
    if at.tzinfo is None:
        raise Ignored("its RECURRENCE-ID says no time zone")
    return at


def _addresses(message: EmailMessage, *names: str) -> list[str]:
    # A header that is missing would make Python 3.13 reject all of them.
    found = filter(None, (_header(message, name) for name in names))
    return [address for header in found for _, address in getaddresses([header]) if address]


def _header(message: EmailMessage, name: str) -> str:
    # Parsing what others have written into a header may fail in many ways.
    try:
        return ", ".join(str(value) for value in message.get_all(name, []))
    except (MessageError, ValueError, LookupError, IndexError, AttributeError, TypeError):
        return ""

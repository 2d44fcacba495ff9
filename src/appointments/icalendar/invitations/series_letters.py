"""The text of invitations to series: the rule in words for people, and as RRULE for their calendar programs.

The calendar part is the one that feeds write: the series' id as UID, its rule, and the occurrences that differ as
components with a RECURRENCE-ID. So a calendar that has both shows each occurrence once.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from icalendar import Event, vRecur, vText

from appointments.auth.erasure import SERIES_FAREWELL
from appointments.calendar.appointment import booked
from appointments.calendar.series import Series
from appointments.db import Connection, Micros, Statement, instant
from appointments.icalendar import ical
from appointments.icalendar.ical import Mailbox
from appointments.icalendar.invitations import undelivered, wording
from appointments.icalendar.invitations.answers import Answers
from appointments.icalendar.invitations.letters import MOST_DESCRIPTION, READER, facts, name_of
from appointments.icalendar.invitations.notifying import Organizer, facts_of
from appointments.icalendar.invitations.series_answers import SeriesAnswers
from appointments.icalendar.invitations.series_notifying import CANCEL, REQUEST, Occurrence, Shown, read, series_facts
from appointments.mail import Action, Calendar, Letter, Mail, Sender
from appointments.mail.postman import Writer
from appointments.shared.validation import fold_email

AHEAD = timedelta(days=10 * 365)
"""How far ahead the zone of a series is described."""

MOST_LISTED = 10
_NOBODY = UUID(int=0)


class SeriesLetters:
    """Writes invitations to series, as :class:`~appointments.icalendar.invitations.letters.Letters` to single ones."""

    def __init__(self, answers: Answers, sender: Sender, *, reply_to: str = "") -> None:
        self._answers = answers
        self._series = SeriesAnswers.beside(answers)
        self._sender = sender
        self._reply_to = reply_to

    def writers(self) -> dict[str, Writer]:
        """The writer for each kind of letter."""
        return {
            REQUEST: Writer(self._write, told=undelivered.mark_series),
            CANCEL: Writer(self._write),
            SERIES_FAREWELL: Writer(self._farewell),
        }

    async def _write(self, connection: Connection, letter: Letter) -> Mail | None:
        found = await self._current(connection, letter)
        if found is None:
            return None
        shown, sequence, zone, told_at = found
        if letter.about["of"] is not None:
            wall = datetime.fromisoformat(letter.about["of"])
            one = next((each for each in shown.occurrences if each.wall == wall), None)
            return (
                None if one is None else await self._of_one(connection, letter, shown, one, zone=zone, told_at=told_at)
            )
        view = shown.of(letter.recipient)
        is_request = letter.kind == REQUEST
        if is_request and not (view["series"] or view["changed"]):
            return None  # a cancellation follows
        events = self._events(shown, view, letter, sequence=sequence, stamp=told_at)
        if view["series"] is None and is_request:
            said = facts_of(next(each for each in shown.occurrences if each.wall.isoformat() in view["changed"])[1])
            listed = facts(said, {}, zone, name_of(shown.organizer))
        else:
            listed = _facts(shown, view if is_request else {"off": [], "changed": {}}, letter.about["was"] or {})
        return await self._mail(connection, letter, shown, title=shown.series.title, listed=listed, events=events)

    async def _farewell(self, connection: Connection, letter: Letter) -> Mail | None:
        """The cancellation of what went with its organizer's account: all that is known of it is in the letter."""
        gone = letter.about["gone"]
        organizer = Organizer(_NOBODY, gone["email"], gone["name"], is_verified=True)
        rows = await connection.fetch(READER, {"address": letter.recipient, "id": letter.id})
        put_at = rows[0][1]
        shown = Shown(_remembered(letter, gone["told"]["series"], put_at), organizer, (), is_over=False)
        event = self._master(shown, (), letter, sequence=letter.about["sequence"], stamp=instant(put_at))
        listed = _facts(shown, {"off": [], "changed": {}}, {})
        return await self._mail(connection, letter, shown, title=shown.series.title, listed=listed, events=[event])

    async def _of_one(
        self, connection: Connection, letter: Letter, shown: Shown, one: Occurrence, *, zone: str, told_at: datetime
    ) -> Mail | None:
        """A message about one occurrence: nothing else of the series has changed."""
        appointment = one.appointment
        is_here = appointment.deleted_at is None and letter.recipient in map(fold_email, _emails(appointment.attendees))
        if is_here != (letter.kind == REQUEST) or shown.series.deleted_at is not None:
            return None  # a newer message says what it is by now
        event = self._occurrence(shown, one, letter, sequence=letter.about["sequence"], stamp=told_at)
        was = letter.about["was"] or (facts_of(_planned(shown.series, one)) if letter.kind == REQUEST else {})
        listed = (
            *facts(facts_of(appointment), was, zone, name_of(shown.organizer)),
            ("Series", wording.when(shown.series.spec)),
        )
        return await self._mail(
            connection, letter, shown, title=appointment.title, listed=listed, events=[event], one=one
        )

    async def _mail(
        self,
        connection: Connection,
        letter: Letter,
        shown: Shown,
        *,
        title: str,
        listed: tuple[tuple[str, str], ...],
        events: Iterable[Event],
        one: Occurrence | None = None,
    ) -> Mail:
        who, recipient, is_request = name_of(shown.organizer), letter.recipient, letter.kind == REQUEST
        word = "Cancelled" if not is_request else "Changed" if letter.about["why"] == "changed" else "Invitation"
        url = ""
        if is_request:
            if one is not None or shown.of(recipient)["series"] is None:
                answered = one or next(each for each in shown.occurrences if recipient in _folded(each))
                url = await self._answers.answer_url(connection, answered.appointment.id, recipient)
            else:
                url = await self._series.answer_url(connection, shown.series.id, recipient)
            if self._reply_to:
                await self._series.open_by_mail(connection, shown.series.id, recipient)
        choices = (("Accept", "ACCEPTED"), ("Maybe", "TENTATIVE"), ("Decline", "DECLINED")) if url else ()
        return Mail(
            f"{word}: {title}",
            (_said(letter, who, one),),
            facts=listed,
            actions=tuple(Action(label, f"{url}?answer={answer}") for label, answer in choices),
            footer=f"You get this because {who} {'invited' if is_request else 'had invited'} {recipient}.",
            from_name=who,
            reply_to=shown.organizer.email,
            calendar=_calendar("REQUEST" if is_request else "CANCEL", shown, events),
            unsubscribe_url=await self._answers.unsubscribe_url(connection, recipient),
        )

    async def _current(self, connection: Connection, letter: Letter) -> tuple[Shown, int, str, datetime] | None:
        """The series, its SEQUENCE, the reader's zone, when they were told. None: a newer message is in its place."""
        if letter.appointment_id is None or (shown := await read(connection, letter.appointment_id)) is None:
            return None
        rows = await connection.fetch(
            STANDING, {"id": letter.appointment_id, "address": letter.recipient, "number": letter.sequence}
        )
        if not rows:
            return None
        sequence, told_at, zone = rows[0]
        return shown, sequence, zone or shown.series.time_zone, instant(told_at)

    def _events(
        self, shown: Shown, view: dict[str, Any], letter: Letter, *, sequence: int, stamp: datetime
    ) -> list[Event]:
        if letter.kind != REQUEST:
            return [self._master(shown, (), letter, sequence=sequence, stamp=stamp)]
        found = []
        if view["series"]:
            off = [each.wall for each in shown.occurrences if each.wall.isoformat() in view["off"]]
            found.append(self._master(shown, off, letter, sequence=sequence, stamp=stamp))
        found += [
            self._occurrence(shown, each, letter, sequence=sequence, stamp=stamp)
            for each in shown.occurrences
            if each.wall.isoformat() in view["changed"]
        ]
        return found

    def _master(
        self, shown: Shown, off: Iterable[datetime], letter: Letter, *, sequence: int, stamp: datetime
    ) -> Event:
        series, spec = shown.series, shown.series.spec
        appointment = booked(series.id, series.owner_id, spec.first, series.created_at)._replace(
            updated_at=series.updated_at, transparent=series.transparent, resource_ids=None
        )
        made = self._event(shown, appointment, letter, sequence=sequence, stamp=stamp)
        made["DTSTART"] = ical.wall_time(series.start_wall, series.time_zone, all_day=series.all_day, name="dtstart")
        if letter.kind != REQUEST:
            return made
        rule, added = ical.recurrence(spec)
        if rule:
            made.add("rrule", vRecur.from_ical(rule))
        for name, walls in (("rdate", added), ("exdate", sorted({*series.excluded, *off}))):
            if walls:
                made[name.upper()] = ical.wall_times(walls, series.time_zone, all_day=series.all_day)
        return made

    def _occurrence(self, shown: Shown, one: Occurrence, letter: Letter, *, sequence: int, stamp: datetime) -> Event:
        series = shown.series
        made = self._event(shown, one.appointment, letter, sequence=sequence, stamp=stamp)
        made["UID"] = vText(series.id_text)
        at = ical.wall_time(one.wall, series.time_zone, all_day=series.all_day, name="recurrence-id")
        made["RECURRENCE-ID"] = at
        return made

    def _event(self, shown: Shown, appointment: Any, letter: Letter, *, sequence: int, stamp: datetime) -> Event:
        is_cancelled = letter.kind != REQUEST
        return ical.event(
            appointment,
            stamp=stamp.replace(microsecond=0),
            sequence=sequence,
            organizer=self._mailbox(shown, letter.recipient),
            is_cancelled=is_cancelled,
            only=letter.recipient if is_cancelled else None,
        )

    def _mailbox(self, shown: Shown, recipient: str) -> Mailbox:
        # One address for the series and its occurrences: the reply says by RECURRENCE-ID which of them it answers.
        organizer = shown.organizer
        if not self._reply_to:
            return Mailbox(organizer.email, name_of(organizer), sent_by=self._sender.address)
        local, _, domain = self._reply_to.rpartition("@")
        return Mailbox(f"{local}+{self._series.reply_token(shown.series.id, recipient)}@{domain}", name_of(organizer))


# A message about the whole series takes the place of all before it. One about an occurrence takes the place of none.
STANDING = Statement(
    """
    SELECT sequence, told_at, (SELECT time_zone FROM users WHERE email = address AND time_zone <> 'UTC')
    FROM series_invitations
    WHERE series_id = %(id)s::uuid AND address = %(address)s::text AND full_number <= %(number)s::bigint
    """
)


def _calendar(method: str, shown: Shown, events: Iterable[Event]) -> Calendar:
    series = shown.series
    made = ical.calendar(method=method)
    first = series.start_wall.date()
    ahead = max(first, (datetime.now(UTC) + AHEAD).date())
    spans = () if series.all_day else ((series.time_zone, first, ahead),)
    for component in ical.timezones([each.appointment for each in shown.occurrences], spans):
        made.add_component(component)
    for event in events:
        made.add_component(event)
    return Calendar(method, made.to_ical())


def _facts(shown: Shown, view: dict[str, Any], was: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    now = series_facts(shown.series)
    listed = []
    for label, fact in (("What", "title"), ("When", "when"), ("Where", "location")):
        before, after = was.get(fact, now[fact]), now[fact]
        if before or after:
            said = after if before == after else f"{before or '(nothing)'} → {after or '(nothing)'}"
            listed.append((label, said))
    if view["off"]:
        listed.append(("Except", _days(view["off"])))
    if view["changed"]:
        listed.append(("Different on", _days(sorted(view["changed"]))))
    listed.append(("Organizer", name_of(shown.organizer)))
    if now["description"]:
        listed.append(("Notes", now["description"][:MOST_DESCRIPTION]))
    return tuple(listed)


def _days(walls: list[str]) -> str:
    said = ", ".join(wording.day(datetime.fromisoformat(each)) for each in walls[:MOST_LISTED])
    return said if len(walls) <= MOST_LISTED else f"{said} and {len(walls) - MOST_LISTED} more"


def _said(letter: Letter, who: str, one: Occurrence | None) -> str:
    why, is_request = letter.about["why"], letter.kind == REQUEST
    if one is not None:
        day = wording.day(one.wall)
        if is_request:
            return f"{who} has changed one appointment of a series that you are invited to, that of {day}."
        return f"The appointment of {day} is cancelled. The others of the series stay."
    if is_request:
        if why == "changed":
            return f"{who} has changed a series of appointments that you are invited to."
        return f"{who} invites you to a series of appointments."
    return {
        "removed": f"{who} has taken you off the list of this series.",
        "ended": f"{who} no longer has an account here, so this series is cancelled.",
    }.get(why, f"{who} has cancelled this series.")


def _remembered(letter: Letter, told: dict[str, Any], at: Micros) -> Series:
    added, excluded = ([datetime.fromisoformat(each) for each in told[name]] for name in ("added", "excluded"))
    return Series(
        str(letter.appointment_id), str(_NOBODY), told["title"], told["description"], told["location"], (), None, 0, 0,
        False, told["all_day"], datetime.fromisoformat(told["start"]), told["length"], told["zone"], told["rule"],
        added, excluded, False, None, at, at, at, 1, None,
    )  # fmt: skip


def _planned(series: Series, one: Occurrence) -> Any:
    """An occurrence as the series had it."""
    start = one.appointment.original_start_at or one.appointment.start_at
    return one.appointment._replace(
        title=series.title, location=series.location, description=series.description,
        start_at=start, end_at=start + (one.appointment.end_at - one.appointment.start_at)
        if series.all_day else start + series.length, time_zone=series.time_zone, all_day=series.all_day,
    )  # fmt: skip


def _emails(attendees: Iterable[Any]) -> list[str]:
    return [each.email for each in attendees]


def _folded(one: Occurrence) -> set[str]:
    return set() if one.appointment.deleted_at is not None else set(map(fold_email, _emails(one.appointment.attendees)))

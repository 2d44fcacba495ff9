"""Appointments as iCalendar objects (RFC 5545): for invitations, feeds and exports.

Text that people write is data: the library escapes it, and characters that the format forbids are removed.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import chain
from typing import NamedTuple, cast
from zoneinfo import ZoneInfo

from icalendar import (
    Calendar,
    Component,
    Event,
    Timezone,
    TimezoneDaylight,
    TimezoneStandard,
    vCalAddress,
    vDDDLists,
    vDDDTypes,
    vRecur,
    vText,
)

from appointments.calendar.appointment import Appointment, Attendee
from appointments.calendar.recurrence import Rule, happens, walls
from appointments.calendar.recurrence import instant as wall_to_instant
from appointments.calendar.series import SeriesSpec
from appointments.calendar.validation import LATEST
from appointments.db import instant
from appointments.shared.validation import fold_email

PRODUCT = "-//Appointments//Appointments//EN"

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A person's name and address. ``sent_by`` is the address that sends on their behalf."""

    address: str
    name: str = ""
    sent_by: str = ""


def calendar(*, method: str | None = None, name: str = "") -> Calendar:
    """An empty calendar."""
    made = Calendar()
    made.add("version", "2.0")
    made.add("prodid", PRODUCT)
    made.add("calscale", "GREGORIAN")
    if method:
        made.add("method", method)
    if name:
        made.add("x-wr-calname", name)
        made.add("name", name)
    return made


def event(
    appointment: Appointment,
    *,
    stamp: datetime,
    sequence: int,
    organizer: Mailbox | None = None,
    is_cancelled: bool = False,
    only: str | None = None,
) -> Event:
    """An appointment as a VEVENT. Its UID is the appointment's id and never changes (RFC 7986 §5.3).

    Attendees are listed only if there is an organizer. ``only`` limits them to one (folded) address.
    """
    made = Event()
    made.add("uid", appointment.id_text)
    made.add("dtstamp", stamp)
    _add_times(made, appointment)
    made.add("summary", text(appointment.title))
    if appointment.description:
        made.add("description", text(appointment.description))
    if appointment.location:
        made.add("location", text(appointment.location))
    made.add("sequence", sequence)
    made.add("created", instant(appointment.created_at).replace(microsecond=0))
    made.add("last-modified", instant(appointment.updated_at).replace(microsecond=0))
    made.add("status", "CANCELLED" if is_cancelled else "CONFIRMED")
    made.add("transp", "TRANSPARENT" if appointment.transparent else "OPAQUE")
    if organizer:
        made.add("organizer", _address(organizer))
        guests = [guest for guest in appointment.attendees if only in (None, fold_email(guest.email))]
        for guest in guests or ([Attendee(only)] if only else []):
            who = _address(Mailbox(guest.email, guest.display_name))
            who.params["ROLE"] = vText("REQ-PARTICIPANT")
            who.params["PARTSTAT"] = vText(guest.response)
            who.params["RSVP"] = vText("TRUE")
            made.add("attendee", who, encode=False)
    return made


def _add_times(made: Event, appointment: Appointment) -> None:
    own = zone(appointment.time_zone)
    start, end = instant(appointment.start_at).astimezone(own), instant(appointment.end_at).astimezone(own)
    if appointment.all_day:
        made.add("dtstart", start.date())
        made.add("dtend", end.date())
    else:
        made.add("dtstart", _sayable(start))
        made.add("dtend", _sayable(end))


def wall_time(wall: datetime, time_zone: str, *, all_day: bool, name: str) -> vDDDTypes:
    """A time by a zone's clock as the property ``name`` has it: a DATE for whole days, in UTC or with a TZID."""
    made = Event()
    made.add(name, wall.date() if all_day else wall.replace(tzinfo=UTC if time_zone == "UTC" else zone(time_zone)))
    return cast("vDDDTypes", made[name])


def wall_times(walls: Sequence[datetime], time_zone: str, *, all_day: bool) -> vDDDLists:
    """Such times as RDATE and EXDATE list them."""
    if all_day:
        made = vDDDLists([each.date() for each in walls])
        made.params["VALUE"] = "DATE"
        return made
    return vDDDLists([each.replace(tzinfo=UTC if time_zone == "UTC" else zone(time_zone)) for each in walls])


def _sayable(local: datetime) -> datetime:
    # iCalendar has whole seconds only. Local time in an hour that comes twice means the first one (RFC 5545 §3.3.5), so
    # the second one is written in UTC.
    return (local.astimezone(UTC) if local.fold else local).replace(microsecond=0)


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """A time zone by name. A zone that this machine does not know is replaced by UTC."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return ZoneInfo("UTC")


def timezones(appointments: Iterable[Appointment], spans: Iterable[tuple[str, date, date]] = ()) -> list[Component]:
    """The VTIMEZONEs that the times of appointments need, and other ``spans`` of zones, from and until when."""
    needed: dict[str, tuple[date, date]] = {}
    own = (
        (each.time_zone, instant(each.start_at).date(), instant(each.end_at).date())
        for each in appointments
        if not each.all_day
    )
    for name, first, last in chain(own, spans):
        if name != "UTC":
            known = needed.get(name)
            needed[name] = (min(first, known[0]), max(last, known[1])) if known else (first, last)
    # By whole years, so that the same ones are asked for again and again.
    return [
        _timezone(name, max(first.year - 1, 2), min(last.year + 2, 9999))
        for name, (first, last) in sorted(needed.items())
    ]


@lru_cache(maxsize=512)
def _timezone(name: str, since: int, until: int) -> Timezone:
    """A zone for these years, as rules where they are regular: some programs read the first date of an RDATE only."""
    clock = zone(name)
    begin = datetime(since, 1, 1, tzinfo=UTC)
    made = Timezone()
    made.add("TZID", name)
    changes: dict[tuple[timedelta, timedelta], list[datetime]] = {}
    for at in _changes(clock, begin, datetime(until, 1, 1, tzinfo=UTC)):
        before, after = _offset(at - _MINUTE, clock), _offset(at, clock)
        changes.setdefault((before, after), []).append(at)
    made.add_component(_observance(begin, _offset(begin, clock), clock))
    for (before, _), times in changes.items():
        rule = _yearly([(at + before).replace(tzinfo=None) for at in times])
        if rule and len(times) == until - since:
            made.add_component(_observance(times[0], before, clock, rule))
        else:
            for at in times:
                made.add_component(_observance(at, before, clock))
    return made


_MINUTE = timedelta(minutes=1)
_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


def _offset(at: datetime, clock: ZoneInfo) -> timedelta:
    return at.astimezone(clock).utcoffset() or timedelta()


def _changes(clock: ZoneInfo, since: datetime, until: datetime) -> Iterator[datetime]:
    """When a clock is put forward or back, to the minute. No zone changes twice within a week."""
    begin = since
    while begin < until:
        low, high = begin, begin + timedelta(weeks=1)
        if _offset(low, clock) != _offset(high, clock):
            while high - low > _MINUTE:
                middle = low + (high - low) // 2 // _MINUTE * _MINUTE
                low, high = (middle, high) if _offset(middle, clock) == _offset(begin, clock) else (low, middle)
            yield high
        begin += timedelta(weeks=1)


def _observance(at: datetime, before: timedelta, clock: ZoneInfo, rule: str = "") -> Component:
    local = at.astimezone(clock)
    made = TimezoneDaylight() if local.dst() else TimezoneStandard()
    # The onset is said by the clock as it was before (RFC 5545, 3.6.5).
    made.add("DTSTART", (at + before).replace(tzinfo=None))
    made.add("TZNAME", local.tzname())
    made.add("TZOFFSETFROM", before)
    made.add("TZOFFSETTO", _offset(at, clock))
    if rule:
        made.add("RRULE", vRecur.from_ical(rule))
    return made


def _yearly(onsets: Sequence[datetime]) -> str:
    """The rule of onsets on the same Sunday, or other weekday, of a month each year; "" if they follow none."""
    first = onsets[0]
    if any(
        (each.year, each.month, each.weekday(), each.time())
        != (first.year + n, first.month, first.weekday(), first.time())
        for n, each in enumerate(onsets)
    ):
        return ""
    places = {(each.day - 1) // 7 + 1 for each in onsets}
    is_last = all((each + timedelta(weeks=1)).month != each.month for each in onsets)
    if not is_last and len(places) > 1:
        return ""
    place = -1 if is_last else places.pop()
    return f"FREQ=YEARLY;BYMONTH={first.month};BYDAY={place}{_WEEKDAYS[first.weekday()]}"


class Recurrence(NamedTuple):
    """What says beside DTSTART when a series takes place: RRULE without its name ("" for none), RDATE as wall times."""

    rule: str
    added: tuple[datetime, ...]


def recurrence(spec: SeriesSpec) -> Recurrence:
    """When a series takes place, written so that every program shows the same occurrences.

    Programs disagree about a start that the rule does not select, and RFC 5545 §3.8.5.3 calls it undefined: some show
    it and count it for COUNT, some show it and do not count it, some do not show it. So such a start is an RDATE too,
    which all of them show, and show once. UNTIL takes the place of COUNT.
    """
    rule, start, added = spec.parsed, spec.start_wall, spec.walls_of(spec.added)
    if rule is None:
        return Recurrence("", tuple(added))
    others = {each for each in added if each != start}
    first = next(walls(rule, start, last_year=LATEST.year), None)
    if first == start:
        return Recurrence(_rule_text(rule, spec), tuple(sorted(others)))
    if rule.count is not None:
        *_, last = walls(rule, start, last_year=LATEST.year, with_start=True)
        rule = replace(rule, count=None, until=last.date() if spec.first.all_day else wall_to_instant(last, spec.zone))
    if not happens(rule, start, spec.zone, last_year=LATEST.year):
        # The start is all that is left of it.
        return Recurrence(ONCE, tuple(sorted(others)))
    return Recurrence(_rule_text(rule, spec), tuple(sorted({start, *others})))


ONCE = "FREQ=DAILY;COUNT=1"


def _rule_text(rule: Rule, spec: SeriesSpec) -> str:
    """A rule as RFC 5545 wants it beside its start: UNTIL is a DATE as the start is, or else in UTC."""
    until = rule.until
    if spec.first.all_day:
        until = until.date() if isinstance(until, datetime) else until
    elif isinstance(until, datetime):
        until = until if until.tzinfo else wall_to_instant(until, spec.zone)
    elif until is not None:
        until = wall_to_instant(datetime.combine(until, time(23, 59, 59)), spec.zone)
    return str(replace(rule, until=until))


def text(value: str) -> str:
    """A text without the control characters that the format forbids."""
    return _CONTROLS.sub(" ", value.replace("\r\n", "\n"))


def _address(who: Mailbox) -> vCalAddress:
    made = vCalAddress(f"mailto:{who.address}")
    if who.name:
        # Outlook does not support RFC 6868, which would escape double quotes, so they are replaced.
        made.params["CN"] = vText(" ".join(text(who.name).replace('"', "'").split()))
    if who.sent_by:
        made.params["SENT-BY"] = vText(f"mailto:{who.sent_by}")
    return made

"""What a file asks for: of each UID an appointment, or a series with what differs in single occurrences. Pure.

What cannot be had is told with its line, and does not keep the rest from being imported.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from appointments.calendar import reminders
from appointments.calendar.appointment import NO_TIME, Spec
from appointments.calendar.recurrence import BadRule, parse
from appointments.calendar.series import FARTHEST, MOST, SeriesSpec, day_begins
from appointments.calendar.series import violations as series_violations
from appointments.calendar.validation import violations
from appointments.icalendar.imports.lines import Component, Line
from appointments.icalendar.imports.zones import Clock, Clocks, UnknownZone, named
from appointments.shared.errors import Violation

MOST_SERIES = 500
MOST_OCCURRENCES = 20_000
MOST_NOTES = 20
MOST_UID = 1_000

_DATE = re.compile(r"(\d{4})(\d\d)(\d\d)")
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(Z?)")
_DURATION = re.compile(r"([+-]?)P(?:(\d{1,5})W)?(?:(\d{1,6})D)?(?:T(?:(\d{1,7})H)?(?:(\d{1,9})M)?(?:(\d{1,9})S)?)?")
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")

_OWN = {"recurrence_rule": "RRULE", "start_time": "DTSTART", "end_time": "DTEND", "added_times": "RDATE",
        "excluded_times": "EXDATE"}  # fmt: skip
"""The properties that fields of the contract come from, for telling what is wrong with them."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something that there is to say of a component: on which line, and what."""

    line: int
    text: str


class Unsupported(Exception):
    """A component that cannot be imported, and why."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.note = Note(line, text)


@dataclass(frozen=True, slots=True)
class Change:
    """An occurrence that differs from its series: which (by when the rule puts it), and what it is."""

    original_at: datetime
    spec: Spec
    line: int


@dataclass(frozen=True, slots=True)
class Entry:
    """What the file has of a UID; of one RECURRENCE-ID where its series is not in the file.

    Without a ``wanted`` there is nothing to book: it ``is_cancelled``, or the notes say why it cannot be had.
    """

    uid: str
    line: int
    title: str = ""
    recurrence_id: str = ""
    wanted: Spec | SeriesSpec | None = None
    changes: tuple[Change, ...] = ()
    is_cancelled: bool = False
    notes: tuple[Note, ...] = ()


@dataclass(slots=True)
class _Event:
    """A VEVENT, read as far as it is one of its own."""

    component: Component
    clocks: Clocks
    notes: list[Note] = field(default_factory=list)

    def note(self, line: Line | Component, text: str) -> None:
        if len(self.notes) < MOST_NOTES:
            self.notes.append(Note(line.number, text))

    def only(self, name: str) -> Line | None:
        return self.component.first(name)


def plan(calendar: Component, home: str, now: datetime) -> list[Entry]:
    """Read what a calendar asks for. ``home`` is the zone of times that name none, unless the calendar names it."""
    named_home = calendar.first("X-WR-TIMEZONE")
    clocks = Clocks(
        [each for each in calendar.parts if each.name == "VTIMEZONE"],
        (named(named_home.text) if named_home else None) or home,
    )
    groups: dict[str, list[Component]] = defaultdict(list)
    entries: list[Entry] = []
    for each in calendar.parts:
        if each.name == "VTIMEZONE":
            continue
        line = each.first("UID")
        uid = _clean(line.text if line else "").strip()
        if each.name != "VEVENT":
            entries.append(_refused(each, uid, Note(each.number, f"{each.name} is not supported, only VEVENT is")))
        elif not 0 < len(uid) <= MOST_UID:
            what = f"has more than {MOST_UID:,} characters" if uid else "is missing"
            entries.append(_refused(each, uid[:100], Note(each.number, f"UID {what}, so it could not be found again")))
        else:
            groups[uid].append(each)
    budget = _Budget()
    for uid, components in groups.items():
        entries += _entries(uid, components, clocks, budget, now)
    return sorted(entries, key=lambda entry: entry.line)


@dataclass(slots=True)
class _Budget:
    """How much is left of what one import may make."""

    series: int = MOST_SERIES
    occurrences: int = MOST_OCCURRENCES


def _entries(
    uid: str, components: Sequence[Component], clocks: Clocks, budget: _Budget, now: datetime
) -> Iterable[Entry]:
    newest: dict[str, Component] = {}
    for each in components:
        line = each.first("RECURRENCE-ID")
        key = _clean(f"{line.value.strip()} {line.parameters.get('TZID', '')}".strip())[:MOST_UID] if line else ""
        if key not in newest or _sequence(each) >= _sequence(newest[key]):
            newest[key] = each
    master = newest.get("")
    if master and any(master.first(name) for name in ("RRULE", "RDATE", "EXRULE")):
        others = [each for key, each in newest.items() if key]
        yield _entry(master, uid, clocks, lambda event: _series(event, others, budget, now))
        return
    for key, each in newest.items():
        yield _entry(each, uid, clocks, lambda event: (_single(event), ()), recurrence_id=key)


def _entry(
    component: Component,
    uid: str,
    clocks: Clocks,
    make: Callable[[_Event], tuple[Spec | SeriesSpec, tuple[Change, ...]]],
    *,
    recurrence_id: str = "",
) -> Entry:
    event = _Event(component, clocks)
    title = _title(event, quiet=True)
    entry = Entry(uid, component.number, title, recurrence_id)
    if _is_cancelled(component):
        return replace(entry, is_cancelled=True, notes=(Note(component.number, "it is cancelled"),))
    try:
        if component.bad_line:
            raise Unsupported(component.bad_line, "this line is no property")  # noqa: TRY301 - one way to say it
        wanted, changes = make(event)
    except Unsupported as why:
        return replace(entry, notes=(why.note,))
    return replace(entry, wanted=wanted, changes=changes, notes=tuple(event.notes))


def _refused(component: Component, uid: str, note: Note) -> Entry:
    line = component.first("SUMMARY")
    return Entry(uid, component.number, _clean(line.text)[:200] if line else "", notes=(note,))


def _sequence(component: Component) -> int:
    line = component.first("SEQUENCE")
    value = line.value.strip() if line else ""
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else 0


def _is_cancelled(component: Component) -> bool:
    line = component.first("STATUS")
    return line is not None and line.value.strip().upper() == "CANCELLED"


def _single(event: _Event) -> Spec:
    spec = _spec(event)
    _check(event, violations(spec))
    return spec


def _series(
    event: _Event, others: Sequence[Component], budget: _Budget, now: datetime
) -> tuple[SeriesSpec, tuple[Change, ...]]:
    component = event.component
    if line := event.only("EXRULE"):
        raise Unsupported(line.number, "EXRULE is not supported (RFC 5545 has done away with it)")
    rules = component.all("RRULE")
    if len(rules) > 1:
        raise Unsupported(rules[1].number, "more than one RRULE is not supported")
    first = _spec(event, in_zone=True)
    clock = Clock(first.time_zone)
    rule = _rule(rules[0]) if rules else ""
    added = _dates(event, "RDATE", clock, all_day=first.all_day)
    if rule:
        # The start takes place anyway. Files say it twice for programs that show only what the rule selects.
        added = [each for each in added if each != first.start_at]
    excluded = _dates(event, "EXDATE", clock, all_day=first.all_day)
    changes, dropped = _changes(event, others, clock, all_day=first.all_day)
    excluded += dropped
    wanted = SeriesSpec(first, rule, tuple(sorted(set(added))), tuple(sorted(set(excluded))))
    if budget.series < 1:
        raise Unsupported(component.number, f"one import takes at most {MOST_SERIES:,} series; leave this to another")
    budget.series -= 1
    _check(event, series_violations(wanted, now))
    horizon = None if not wanted.endless else now + timedelta(days=400)
    budget.occurrences -= min(MOST, sum(1 for _ in wanted.slots(until=horizon)))
    if budget.occurrences < 0:
        raise Unsupported(
            component.number, f"one import takes at most {MOST_OCCURRENCES:,} occurrences; leave this to another"
        )
    last = min(max((each.original_at for each in changes), default=now), now + FARTHEST)
    starts = {slot.start_at for slot in wanted.slots(until=last + timedelta(seconds=1))} if changes else set()
    kept = []
    for change in changes:
        if change.original_at in starts:
            kept.append(change)
        else:
            event.notes.append(Note(change.line, "RECURRENCE-ID names no occurrence of its series; it is left out"))
    return wanted, tuple(kept)


def _rule(line: Line) -> str:
    try:
        return str(parse(line.value.strip()))
    except BadRule as bad:
        raise Unsupported(line.number, f"RRULE: {bad}") from None


def _changes(
    event: _Event, others: Sequence[Component], clock: Clock, *, all_day: bool
) -> tuple[list[Change], list[datetime]]:
    """Which occurrences differ from their series, and when those are that do not take place."""
    changes, dropped = [], []
    for other in others:
        changed = _Event(other, event.clocks, event.notes)
        try:
            at = _when(changed, clock, all_day=all_day)
            if _is_cancelled(other):
                dropped.append(at)
            else:
                changes.append(Change(at, _single(changed), other.number))
        except Unsupported as why:
            event.notes.append(Note(why.note.line, f"{why}; this occurrence is taken as its series has it"))
    return changes, dropped


def _spec(event: _Event, *, in_zone: bool = False) -> Spec:
    """What a VEVENT is. With ``in_zone`` its clock has to be one that the world knows: its occurrences follow it."""
    start_line = event.only("DTSTART")
    if start_line is None:
        raise Unsupported(event.component.number, "DTSTART is missing")
    clock = _clock(event, start_line)
    if in_zone and clock.zone is None:
        raise Unsupported(start_line.number, f"{clock.note}: what recurs needs an IANA time zone")
    if clock.note:
        event.note(start_line, clock.note)
    zone = _said_zone(event) or clock.zone or event.clocks.home.zone or "UTC"
    value = _value(start_line)
    all_day = not isinstance(value, datetime)
    if isinstance(value, datetime):
        begin = _instant(value, clock, start_line)
        end = _end(event, begin, value, clock)
    else:
        begin = _midnight(value, zone, start_line)
        end = _end_of_days(event, value, zone)
    transparent = event.only("TRANSP")
    is_transparent = transparent is not None and transparent.value.strip().upper() == "TRANSPARENT"
    before, after = (
        NO_TIME if is_transparent else _buffer(event, f"X-APPOINTMENTS-BUFFER-{side}") for side in ("BEFORE", "AFTER")
    )
    guests = len(event.component.all("ATTENDEE"))
    if guests:
        line = event.component.all("ATTENDEE")[0]
        event.note(line, f"{guests} attendee{'s are' if guests > 1 else ' is'} left out: an import invites nobody")
    return Spec(
        _title(event), begin, end, zone,
        _text(event, "DESCRIPTION", 10_000), _text(event, "LOCATION", 500),
        buffer_before=before, buffer_after=after, transparent=is_transparent, all_day=all_day,
        reminders=_reminders(event),
    )  # fmt: skip


def _said_zone(event: _Event) -> str | None:
    # What this service exports says in which zone something was planned where DTSTART cannot: whole days, and hours
    # that come twice.
    line = event.only("X-APPOINTMENTS-TIME-ZONE")
    return named(line.text) if line else None


def _clock(event: _Event, line: Line) -> Clock:
    if line.value.strip().endswith("Z"):
        return Clock("UTC")
    if "TZID" not in line.parameters:
        return event.clocks.home
    try:
        return event.clocks.find(line.parameters["TZID"])
    except UnknownZone as unknown:
        raise Unsupported(line.number, str(unknown)) from None


def _value(line: Line) -> datetime | date:
    """A DATE-TIME as a wall time, or a DATE."""
    value = line.value.strip()
    try:
        if found := _TIME.fullmatch(value):
            year, month, day, hour, minute, second = map(int, found.groups()[:6])
            return datetime(year, month, day, hour, minute, min(second, 59))  # noqa: DTZ001 - a wall time
        if found := _DATE.fullmatch(value):
            year, month, day = map(int, found.groups())
            return date(year, month, day)
    except ValueError:
        pass
    raise Unsupported(line.number, f"{line.name}: {value[:50]!r} is neither a DATE nor a DATE-TIME")


def _instant(wall: datetime, clock: Clock, line: Line) -> datetime:
    try:
        return clock.instant(wall)
    except OverflowError:
        raise Unsupported(line.number, f"{line.name} must be in the years 1970 to 2100") from None


def _midnight(day: date, zone: str, line: Line) -> datetime:
    try:
        return day_begins(datetime(day.year, day.month, day.day), ZoneInfo(zone))  # noqa: DTZ001 - a wall time
    except OverflowError:
        raise Unsupported(line.number, f"{line.name} must be in the years 1970 to 2100") from None


def _end_of_days(event: _Event, first: date, zone: str) -> datetime:
    line = event.only("DTEND")
    if line is not None:
        value = _value(line)
        if isinstance(value, datetime):
            raise Unsupported(line.number, "DTEND must be a DATE, as DTSTART is")
        # Some programs write the same day twice for a single one.
        return _midnight(max(value, first + timedelta(days=1)), zone, line)
    duration = event.only("DURATION")
    length = _length(duration) if duration else timedelta(days=1)
    if length.seconds or length <= NO_TIME:
        raise Unsupported(duration.number if duration else 0, "DURATION must be whole days, because DTSTART is a DATE")
    try:
        return _midnight(first + length, zone, duration or event.component.lines[0])
    except OverflowError:
        raise Unsupported(event.component.number, "it ends after the year 2100") from None


def _end(event: _Event, begin: datetime, wall: datetime, clock: Clock) -> datetime:
    line = event.only("DTEND")
    if line is not None:
        value = _value(line)
        if not isinstance(value, datetime):
            raise Unsupported(line.number, "DTEND must be a DATE-TIME, as DTSTART is")
        return _instant(value, _clock(event, line), line)
    duration = event.only("DURATION")
    if duration is None:
        raise Unsupported(event.component.number, "it takes no time: it has neither DTEND nor DURATION")
    length = _length(duration)
    try:
        # RFC 5545 §3.3.6: days and weeks are of the calendar, the rest is exact.
        whole = timedelta(days=length.days)
        moved = clock.instant(wall + whole) if length.days and clock.zone else begin + whole
        return moved + (length - whole)
    except OverflowError:
        raise Unsupported(duration.number, "it ends after the year 2100") from None


def _length(line: Line) -> timedelta:
    found = _DURATION.fullmatch(line.value.strip().upper())
    if not found or not any(found.groups()[1:]):
        raise Unsupported(line.number, f"{line.name}: {line.value[:50]!r} is no duration")
    weeks, days, hours, minutes, seconds = (int(each or 0) for each in found.groups()[1:])
    length = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    return -length if found[1] == "-" else length


def _buffer(event: _Event, name: str) -> timedelta:
    line = event.only(name)
    return _length(line) if line else NO_TIME


def _reminders(event: _Event) -> tuple[int, ...] | None:
    """What this service exports. Alarms of other programs are theirs: nobody asked to get them by mail."""
    line = event.only("X-APPOINTMENTS-REMINDERS")
    if line is None:
        return None
    value = line.value.strip()
    if value == "NONE":
        return ()
    parts = value.split(",")
    found = tuple(int(each) for each in parts if each.isdecimal() and len(each) <= len(str(reminders.FARTHEST)))
    if len(found) < len(parts) or reminders.violations(found, line.name):
        event.note(line, f"{line.name}: {value[:50]!r} are no reminders; they are left out")
        return None
    return found


def _when(event: _Event, clock: Clock, *, all_day: bool) -> datetime:
    """When the series puts an occurrence."""
    line = event.component.all("RECURRENCE-ID")[0]
    return _moment(event, line, line.value, clock, all_day=all_day)


def _moment(event: _Event, line: Line, value: str, clock: Clock, *, all_day: bool) -> datetime:
    single = Line(line.number, line.name, line.parameters, value.strip())
    found = _value(single)
    if all_day:
        return _midnight(found, clock.zone or "UTC", line)
    own = _clock(event, single) if value.strip().endswith("Z") or "TZID" in line.parameters else clock
    if not isinstance(found, datetime):
        # A date where the start has a time: some programs leave out a whole day so.
        raise Unsupported(line.number, f"{line.name} must be a DATE-TIME, as DTSTART is")
    return _instant(found, own, line)


def _dates(event: _Event, name: str, clock: Clock, *, all_day: bool) -> list[datetime]:
    found = []
    for line in event.component.all(name):
        if line.parameters.get("VALUE", "").upper() == "PERIOD" or "/" in line.value:
            raise Unsupported(line.number, f"{name} with periods is not supported")
        found += [_moment(event, line, value, clock, all_day=all_day) for value in line.value.split(",") if value]
    return found


def _check(event: _Event, found: Sequence[Violation]) -> None:
    if not found:
        return
    name = found[0].field.rpartition(".")[2].partition("[")[0]
    line = event.only(_OWN.get(name, ""))
    what = f"{line.name} {found[0].description}" if line else f"{name} {found[0].description}"
    raise Unsupported(line.number if line else event.component.number, what)


def _title(event: _Event, *, quiet: bool = False) -> str:
    line = event.only("SUMMARY")
    title = _clean(line.text).strip() if line else ""
    if len(title) > 200:
        if line and not quiet:
            event.note(line, "SUMMARY has more than 200 characters; it is cut")
        title = title[:199] + "…"
    return title or "(no title)"


def _text(event: _Event, name: str, most: int) -> str:
    line = event.only(name)
    value = _clean(line.text) if line else ""
    if line and len(value) > most:
        event.note(line, f"{name} has more than {most:,} characters; it is cut")
        value = value[: most - 1] + "…"
    return value


def _clean(text: str) -> str:
    return _UNSTORABLE.sub("", text)

"""The content of feeds and exports as iCalendar. It is yielded in pieces, so that it is never one huge string.

The library that invitations use takes a third of a millisecond for an event, which is too long for a feed of ten
thousand. So the lines are written by hand here, by the same rules. A test parses them with the library.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from appointments.calendar.appointment import COLUMNS, Appointment, from_row
from appointments.calendar.series import COLUMNS as SERIES_COLUMNS
from appointments.calendar.series import Series
from appointments.calendar.series import from_row as series_from_row
from appointments.db import Database, Micros, Statement, instant
from appointments.icalendar import ical

PAST = timedelta(days=90)
FUTURE = timedelta(days=2 * 365)
AHEAD = timedelta(days=10 * 365)
"""How far ahead the zones of series are described: they go on when the window has moved."""

CANCELLED = timedelta(days=30)
MOST = 10_000
"""The most events in a feed. If there are more, the earliest are left out."""

REFRESH = "PT15M"
PIECE = 200

_SPECIAL = re.compile(r"[\\;,\n]")
_QUOTED = {"\\": "\\\\", ";": "\\;", ",": "\\,", "\n": "\\n"}


@dataclass(frozen=True, slots=True)
class Recurring:
    """A series, and the occurrences that are not as it says: changed or off, each by the wall time of its rule."""

    series: Series
    changed: tuple[tuple[datetime, Appointment], ...] = ()
    off: tuple[datetime, ...] = ()


@dataclass(frozen=True, slots=True)
class Content:
    """What is shown: single appointments, by their start, and series."""

    singles: list[Appointment]
    recurring: list[Recurring]


async def feed(db: Database, user_id: UUID, *, name: str, is_busy_only: bool, now: datetime) -> AsyncIterator[bytes]:
    """A feed: the events from PAST before now until FUTURE after it."""
    values = {
        "user_id": user_id,
        "since": now - PAST,
        "until": now + FUTURE,
        "cancelled_since": now - CANCELLED,
        "most": MOST,
    }
    singles = [from_row(row) for row in await db.fetch(WINDOW, values)]
    recurring = await _recurring(db, [series_from_row(row) for row in await db.fetch(SERIES_WINDOW, values)])
    if is_busy_only:
        singles = [each for each in singles if not each.transparent]
        recurring = [each for each in recurring if not each.series.transparent]
    async for piece in calendar(Content(singles, recurring), name=name, now=now, is_busy_only=is_busy_only):
        yield piece


async def everything(db: Database, user_id: UUID) -> Content:
    """All that is live of somebody."""
    singles = await appointments(db, user_id, singles=True)
    found = await db.fetch(SERIES, {"user_id": user_id})
    return Content(singles, await _recurring(db, list(map(series_from_row, found))))


async def appointments(db: Database, user_id: UUID, *, singles: bool = False) -> list[Appointment]:
    """All live appointments of somebody, by their start: with the occurrences of series, or ``singles`` only."""
    found: list[Appointment] = []
    after: tuple[Micros, UUID] | None = None
    while True:
        values = {
            "user_id": user_id,
            "after": instant(after[0]) if after else None,
            "after_id": after[1] if after else None,
            "singles": singles,
        }
        rows = await db.fetch(ALL, values)
        page = [from_row(row) for row in rows]
        found += page
        if len(page) < PAGE:
            return found
        after = page[-1].start_at, page[-1].id


async def _recurring(db: Database, found: Sequence[Series]) -> list[Recurring]:
    live = [series.id for series in found if series.deleted_at is None]
    changed: dict[str | None, list[tuple[datetime, Appointment]]] = defaultdict(list)
    off: dict[str | None, list[datetime]] = defaultdict(list)
    for wall, *columns in await db.fetch(DIFFERENT, {"series_ids": live}) if live else []:
        occurrence = from_row(tuple(columns))
        if occurrence.deleted_at is None:
            changed[occurrence.series_text].append((wall, occurrence))
        else:
            off[occurrence.series_text].append(wall)
    return [Recurring(each, tuple(changed[each.id_text]), tuple(off[each.id_text])) for each in found]


async def calendar(
    content: Content, *, name: str, now: datetime, is_busy_only: bool = False, with_reminders: bool = False
) -> AsyncIterator[bytes]:
    """Appointments and series as one iCalendar object, in pieces; other requests get their turn in between.

    Reminders are for their owner: whoever else reads a feed is not to be alarmed.
    """
    head = ["BEGIN:VCALENDAR", "VERSION:2.0", f"PRODID:{ical.PRODUCT}", "CALSCALE:GREGORIAN", "METHOD:PUBLISH"]
    head += [f"X-WR-CALNAME:{_text(name)}", f"NAME:{_text(name)}"]
    head += [f"REFRESH-INTERVAL;VALUE=DURATION:{REFRESH}", f"X-PUBLISHED-TTL:{REFRESH}"]
    changed = [occurrence for each in content.recurring for _, occurrence in each.changed]
    ahead = (now + AHEAD).date()
    spans = (
        (each.series.time_zone, each.series.start_wall.date(), max(ahead, each.series.start_wall.date()))
        for each in content.recurring
        if not each.series.all_day
    )
    zones = b"".join(zone.to_ical() for zone in ical.timezones([*content.singles, *changed], spans))
    yield _lines(head) + zones
    for start in range(0, len(content.recurring), PIECE):
        lines: list[str] = []
        for recurring in content.recurring[start : start + PIECE]:
            _add_series(lines, recurring, is_busy_only=is_busy_only, with_reminders=with_reminders)
        yield _lines(lines)
        await asyncio.sleep(0)
    for start in range(0, len(content.singles), PIECE):
        lines = []
        for each in content.singles[start : start + PIECE]:
            _add_event(lines, each, is_busy_only=is_busy_only, with_reminders=with_reminders)
        yield _lines(lines)
        await asyncio.sleep(0)
    yield b"END:VCALENDAR\r\n"


def _add_event(
    lines: list[str], each: Appointment, *, is_busy_only: bool, with_reminders: bool, of: tuple[str, ...] = ()
) -> None:
    """An appointment; ``of`` is its UID and RECURRENCE-ID, where it is an occurrence."""
    lines.append("BEGIN:VEVENT")
    lines += of or (f"UID:{each.id_text}",)
    lines += _times(each)
    _add_rest(lines, each, is_busy_only=is_busy_only, with_reminders=with_reminders)


def _add_series(lines: list[str], recurring: Recurring, *, is_busy_only: bool, with_reminders: bool) -> None:
    series, spec = recurring.series, recurring.series.spec
    zone = series.time_zone

    def dates(walls: Iterable[datetime]) -> str:
        return ",".join(f"{each:%Y%m%d}" if series.all_day else _wall(each) + "Z" * (zone == "UTC") for each in walls)

    kind = ";VALUE=DATE" if series.all_day else "" if zone == "UTC" else f";TZID={zone}"
    lines += ("BEGIN:VEVENT", f"UID:{series.id_text}", f"DTSTART{kind}:{dates([series.start_wall])}")
    end = spec.first.end_at.astimezone(spec.zone)
    lines.append(f"DTEND;VALUE=DATE:{end:%Y%m%d}" if series.all_day else f"DTEND{_time(end, zone)}")
    if series.all_day:
        lines.append(f"X-APPOINTMENTS-TIME-ZONE:{zone}")
    rule, added = ical.recurrence(spec)
    if rule:
        lines.append(f"RRULE:{rule}")
    if added:
        lines.append(f"RDATE{kind}:{dates(added)}")
    if off := sorted({*series.excluded, *recurring.off}):
        lines.append(f"EXDATE{kind}:{dates(off)}")
    _add_rest(lines, series, is_busy_only=is_busy_only, with_reminders=with_reminders)
    for wall, occurrence in recurring.changed:
        of = (f"UID:{series.id_text}", f"RECURRENCE-ID{kind}:{dates([wall])}")
        _add_event(lines, occurrence, is_busy_only=is_busy_only, with_reminders=with_reminders, of=of)


def _add_rest(lines: list[str], each: Appointment | Series, *, is_busy_only: bool, with_reminders: bool) -> None:
    """What is the same for appointments and series, and the end."""
    updated = _utc(each.updated_at)
    lines += (
        f"DTSTAMP:{updated}",
        f"SUMMARY:{'Busy' if is_busy_only else _text(each.title)}",
        f"SEQUENCE:{each.version - 1}",
        f"CREATED:{_utc(each.created_at)}",
        f"LAST-MODIFIED:{updated}",
        f"STATUS:{'CONFIRMED' if each.deleted_at is None else 'CANCELLED'}",
        f"TRANSP:{'TRANSPARENT' if each.transparent else 'OPAQUE'}",
    )
    if not is_busy_only:
        if each.description:
            lines.append(f"DESCRIPTION:{_text(each.description)}")
        if each.location:
            lines.append(f"LOCATION:{_text(each.location)}")
        for guest in each.attendees:
            cn = f';CN="{_parameter(guest.display_name)}"' if guest.display_name else ""
            lines.append(f"ATTENDEE{cn};PARTSTAT={guest.response}:mailto:{guest.email}")
        # So that an import has the same times taken.
        if each.buffer_before:
            lines.append(f"X-APPOINTMENTS-BUFFER-BEFORE:PT{each.buffer_before}S")
        if each.buffer_after:
            lines.append(f"X-APPOINTMENTS-BUFFER-AFTER:PT{each.buffer_after}S")
    if with_reminders and each.reminders is not None:
        # Other programs show alarms. An import here reads that these were to come by mail.
        lines.append(f"X-APPOINTMENTS-REMINDERS:{','.join(map(str, each.reminders)) or 'NONE'}")
        for minutes in each.reminders:
            lines += ("BEGIN:VALARM", "ACTION:DISPLAY", f"DESCRIPTION:{_text(each.title)}", f"TRIGGER:-PT{minutes}M")
            lines.append("END:VALARM")
    lines.append("END:VEVENT")


def _times(each: Appointment) -> Iterable[str]:
    own = ical.zone(each.time_zone)
    start, end = instant(each.start_at).astimezone(own), instant(each.end_at).astimezone(own)
    if each.all_day:
        days = f"DTSTART;VALUE=DATE:{start:%Y%m%d}", f"DTEND;VALUE=DATE:{end:%Y%m%d}"
        return *days, f"X-APPOINTMENTS-TIME-ZONE:{each.time_zone}"
    times = f"DTSTART{_time(start, each.time_zone)}", f"DTEND{_time(end, each.time_zone)}"
    # What is said in UTC does not say where it was planned.
    return (*times, f"X-APPOINTMENTS-TIME-ZONE:{each.time_zone}") if start.fold else times


def _time(local: datetime, zone: str) -> str:
    # Local time in an hour that comes twice means the first one, so the second one is written in UTC.
    if zone == "UTC" or local.fold:
        return f":{_wall(local.astimezone(UTC))}Z"
    return f";TZID={zone}:{_wall(local)}"


def _wall(at: datetime) -> str:
    # strftime takes four times as long, and a feed may have fifty thousand of these.
    return f"{at.year:04}{at.month:02}{at.day:02}T{at.hour:02}{at.minute:02}{at.second:02}"


def _utc(at: Micros) -> str:
    return f"{_wall(instant(at))}Z"


def _text(value: str) -> str:
    return _SPECIAL.sub(lambda match: _QUOTED[match.group()], ical.text(value))


def _parameter(value: str) -> str:
    return " ".join(ical.text(value).replace('"', "'").split())


def _lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line if len(line) < 25 else _folded(line)}\r\n" for line in lines).encode()


def _folded(line: str) -> str:
    # RFC 5545 §3.1: at most 75 octets in a line, and no character may be split.
    if line.isascii():
        if len(line) <= 75:
            return line
        return "\r\n ".join([line[:75], *(line[start : start + 74] for start in range(75, len(line), 74))])
    parts, size, begin = [], 0, 0
    for index, character in enumerate(line):
        width = len(character.encode())
        if size + width > 75:
            parts.append(line[begin:index])
            begin, size = index, 1  # the space that begins the next one
        size += width
    return "\r\n ".join([*parts, line[begin:]])


WINDOW = Statement(
    f"""
    WITH shown AS (
        SELECT {COLUMNS} FROM appointments
        WHERE owner_id = %(user_id)s::uuid AND series_id IS NULL
          AND start_at > %(since)s::timestamptz - interval '746 hours' AND start_at < %(until)s::timestamptz
          AND end_at > %(since)s::timestamptz
          AND (deleted_at IS NULL OR deleted_at > %(cancelled_since)s::timestamptz)
          AND (expires_at IS NULL OR expires_at > now())
        ORDER BY start_at DESC, id DESC LIMIT %(most)s::integer
    )
    SELECT * FROM shown ORDER BY start_at, id_text
    """
)

PAGE = 2000
ALL = Statement(
    f"""
    SELECT {COLUMNS} FROM appointments
    WHERE owner_id = %(user_id)s::uuid AND deleted_at IS NULL AND (expires_at IS NULL OR expires_at > now())
      AND (series_id IS NULL OR NOT %(singles)s::boolean)
      AND (%(after)s::timestamptz IS NULL OR (start_at, id) > (%(after)s::timestamptz, %(after_id)s::uuid))
    ORDER BY start_at, id LIMIT {PAGE}
    """
)
SERIES = Statement(
    f"""
    SELECT {SERIES_COLUMNS} FROM series
    WHERE owner_id = %(user_id)s::uuid AND deleted_at IS NULL ORDER BY created_at, id
    """
)
SERIES_WINDOW = Statement(
    f"""
    SELECT {SERIES_COLUMNS} FROM series
    WHERE owner_id = %(user_id)s::uuid AND (deleted_at IS NULL OR deleted_at > %(cancelled_since)s::timestamptz)
      AND (endless OR EXISTS (
          SELECT FROM appointments WHERE appointments.series_id = series.id
            AND end_at > %(since)s::timestamptz AND start_at < %(until)s::timestamptz
      ))
    ORDER BY created_at DESC, id DESC LIMIT %(most)s::integer
    """
)
DIFFERENT = Statement(
    f"""
    SELECT occurs_wall, {COLUMNS} FROM appointments
    WHERE series_id = ANY (%(series_ids)s::uuid[]) AND (deleted_at IS NOT NULL OR overrides <> '{{}}')
    ORDER BY series_id, occurs_wall
    """
)

"""What feeds and exports hold, as iCalendar, in pieces: thousands of events are never one string.

The library that invitations use makes one event in a third of a millisecond. Here a feed of ten thousand has to be made
in that many microseconds each, so the lines are put together by hand, from the same rules; a test holds them against
what the library reads.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from appointments.calendar.appointment import COLUMNS, Appointment, from_row
from appointments.db import Database, Micros, Statement, instant
from appointments.icalendar import ical

PAST = timedelta(days=90)
FUTURE = timedelta(days=2 * 365)
CANCELLED = timedelta(days=30)
MOST = 10_000
"""Events of a feed; the earliest are left out."""

REFRESH = "PT15M"
PIECE = 200

_SPECIAL = re.compile(r"[\\;,\n]")
_QUOTED = {"\\": "\\\\", ";": "\\;", ",": "\\,", "\n": "\\n"}


async def feed(db: Database, user_id: UUID, *, name: str, is_busy_only: bool, now: datetime) -> AsyncIterator[bytes]:
    """The events of a feed, around now."""
    values = {
        "user_id": user_id,
        "since": now - PAST,
        "until": now + FUTURE,
        "cancelled_since": now - CANCELLED,
        "most": MOST,
    }
    found = [from_row(row) for row in await db.fetch(WINDOW, values)]
    if is_busy_only:
        found = [each for each in found if not each.transparent]
    async for piece in calendar(found, name=name, is_busy_only=is_busy_only):
        yield piece


async def everything(db: Database, user_id: UUID) -> list[Appointment]:
    """All live appointments of somebody, by their start."""
    found: list[Appointment] = []
    after: tuple[Micros, UUID] | None = None
    while True:
        values = {
            "user_id": user_id,
            "after": instant(after[0]) if after else None,
            "after_id": after[1] if after else None,
        }
        rows = await db.fetch(ALL, values)
        page = [from_row(row) for row in rows]
        found += page
        if len(page) < PAGE:
            return found
        after = page[-1].start_at, page[-1].id


async def calendar(appointments: list[Appointment], *, name: str, is_busy_only: bool = False) -> AsyncIterator[bytes]:
    """Appointments as one iCalendar object, in pieces; other requests get their turn in between."""
    head = ["BEGIN:VCALENDAR", "VERSION:2.0", f"PRODID:{ical.PRODUCT}", "CALSCALE:GREGORIAN", "METHOD:PUBLISH"]
    head += [f"X-WR-CALNAME:{_text(name)}", f"NAME:{_text(name)}"]
    head += [f"REFRESH-INTERVAL;VALUE=DURATION:{REFRESH}", f"X-PUBLISHED-TTL:{REFRESH}"]
    zones = b"".join(zone.to_ical() for zone in ical.timezones(appointments))
    yield _lines(head) + zones
    for start in range(0, len(appointments), PIECE):
        lines: list[str] = []
        for each in appointments[start : start + PIECE]:
            _add_event(lines, each, is_busy_only=is_busy_only)
        yield _lines(lines)
        await asyncio.sleep(0)
    yield b"END:VCALENDAR\r\n"


def _add_event(lines: list[str], each: Appointment, *, is_busy_only: bool) -> None:
    updated = _utc(each.updated_at)
    is_off = each.deleted_at is not None
    lines += (
        "BEGIN:VEVENT",
        f"UID:{each.id_text}",
        f"DTSTAMP:{updated}",
        *_times(each),
        f"SUMMARY:{'Busy' if is_busy_only else _text(each.title)}",
        f"SEQUENCE:{each.version - 1}",
        f"CREATED:{_utc(each.created_at)}",
        f"LAST-MODIFIED:{updated}",
        f"STATUS:{'CANCELLED' if is_off else 'CONFIRMED'}",
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
    lines.append("END:VEVENT")


def _times(each: Appointment) -> Iterable[str]:
    own = ical.zone(each.time_zone)
    start, end = instant(each.start_at).astimezone(own), instant(each.end_at).astimezone(own)
    if each.all_day:
        return f"DTSTART;VALUE=DATE:{start:%Y%m%d}", f"DTEND;VALUE=DATE:{end:%Y%m%d}"
    return f"DTSTART{_time(start, each.time_zone)}", f"DTEND{_time(end, each.time_zone)}"


def _time(local: datetime, zone: str) -> str:
    # Of an hour that comes twice, local time can only say the first.
    if zone == "UTC" or local.fold:
        return f":{_wall(local.astimezone(UTC))}Z"
    return f";TZID={zone}:{_wall(local)}"


def _wall(at: datetime) -> str:
    # strftime takes four times as long, and a feed has fifty thousand of these.
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
    # RFC 5545 §3.1: no more than 75 octets, and no character torn apart.
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
        WHERE owner_id = %(user_id)s::uuid
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
      AND (%(after)s::timestamptz IS NULL OR (start_at, id) > (%(after)s::timestamptz, %(after_id)s::uuid))
    ORDER BY start_at, id LIMIT {PAGE}
    """
)

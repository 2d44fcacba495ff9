"""Opening hours: spans of the wall clock for each weekday, and dates that have other hours.

An instant is open if the zone's wall clock shows a time within a span of that day. So changes of the clock need no rule
of their own: an hour that is skipped is not open, and an hour that comes twice is open twice.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from appointments.calendar.bookable.spans import Span, union
from appointments.db import Micros, micros
from appointments.shared.errors import Violation

DAY_MINUTES = 1440
MINUTE: Micros = 60_000_000
DAY: Micros = DAY_MINUTES * MINUTE

MAX_WEEK = 100
MAX_SPECIAL_DAYS = 1000
MAX_SPANS_OF_DAY = 24

_FIRST_DAY = date(2000, 1, 1)  # where PostgreSQL begins to count; it was a Saturday
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_SCAN = timedelta(hours=6)  # no zone changes its clock twice within so little


@dataclass(frozen=True, slots=True)
class DayHours:
    """``[start_minute, end_minute)`` on a day's wall clock. ``weekday`` is 1, Monday, to 7, Sunday; 0 for a date."""

    weekday: int
    start_minute: int
    end_minute: int


@dataclass(frozen=True, slots=True)
class SpecialDay:
    """A date, such as 2026-12-24, with hours of its own. Without hours it is closed."""

    date: str
    hours: tuple[DayHours, ...] = ()


@dataclass(frozen=True, slots=True)
class Hours:
    """A week, and the dates that differ. An empty week is always open."""

    week: tuple[DayHours, ...] = ()
    special_days: tuple[SpecialDay, ...] = ()

    def to_json(self) -> dict[str, Any] | None:
        """The form in which the database keeps it. None: always open."""
        if self == ALWAYS:
            return None
        return {
            "week": [[each.weekday, each.start_minute, each.end_minute] for each in self.week],
            "special_days": [
                [day.date, [[each.start_minute, each.end_minute] for each in day.hours]] for day in self.special_days
            ],
        }

    def dumps(self) -> str | None:
        """The same as JSON."""
        stored = self.to_json()
        return None if stored is None else json.dumps(stored)

    @classmethod
    def from_json(cls, stored: dict[str, Any] | None) -> "Hours":
        """Read hours from the database's form."""
        if stored is None:
            return ALWAYS
        return cls(
            tuple(DayHours(*span) for span in stored["week"]),
            tuple(
                SpecialDay(day, tuple(DayHours(0, *span) for span in spans)) for day, spans in stored["special_days"]
            ),
        )


ALWAYS = Hours()


def violations(hours: Hours, field: str) -> list[Violation]:
    """Every rule that hours break. ``field`` is their path in the request."""
    return [Violation(f"{field}.{path}", description) for path, description in _problems(hours)]


def _problems(hours: Hours) -> Iterator[tuple[str, str]]:
    if len(hours.week) > MAX_WEEK:
        yield "week", f"must be at most {MAX_WEEK} spans, are {len(hours.week):,}"
    else:
        for index, span in enumerate(hours.week):
            if not 1 <= span.weekday <= 7:
                yield f"week[{index}].weekday", "must be from 1, Monday, to 7, Sunday"
        yield from _span_problems(hours.week, "week")
    if len(hours.special_days) > MAX_SPECIAL_DAYS:
        yield "special_days", f"must be at most {MAX_SPECIAL_DAYS:,}, are {len(hours.special_days):,}"
        return
    seen: set[str] = set()
    for index, day in enumerate(hours.special_days):
        here = f"special_days[{index}]"
        if not _is_date(day.date):
            yield f"{here}.date", "must be a date from 1970 to 2100, such as 2026-12-24"
        elif day.date in seen:
            yield f"{here}.date", "is there already; each date may have hours of its own once"
        seen.add(day.date)
        if len(day.hours) > MAX_SPANS_OF_DAY:
            yield f"{here}.hours", f"must be at most {MAX_SPANS_OF_DAY} spans, are {len(day.hours):,}"
        else:
            yield from _span_problems(day.hours, f"{here}.hours")


def _span_problems(spans: Sequence[DayHours], path: str) -> Iterator[tuple[str, str]]:
    for index, span in enumerate(spans):
        here = f"{path}[{index}]"
        if not 0 <= span.start_minute < DAY_MINUTES:
            yield f"{here}.start_minute", f"must be from 0 to {DAY_MINUTES - 1:,}"
        elif not span.start_minute < span.end_minute <= DAY_MINUTES:
            yield f"{here}.end_minute", f"must be after start_minute and at most {DAY_MINUTES:,}"
        elif any(
            span.weekday == other.weekday
            and span.start_minute < other.end_minute
            and other.start_minute < span.end_minute
            for other in spans[:index]
        ):
            yield here, "overlaps another span of that day"


def _is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    try:
        return 1970 <= date.fromisoformat(text).year <= 2100
    except ValueError:
        return False


def opened(hours: Hours, zone: str, first: Micros, end: Micros) -> list[Span]:
    """When hours are open within ``[first, end)``, as a set of instants."""
    table = _table(hours)
    found: list[Span] = []
    for start, stop, offset in clock(zone, first, end):
        for day in range((start + offset) // DAY, (stop + offset - 1) // DAY + 1):
            for opens, closes in table.of(day):
                here = max(start, day * DAY + opens - offset), min(stop, day * DAY + closes - offset)
                if here[0] < here[1]:
                    found.append(here)
    return union(found)


def midnights(zone: str, first: Micros, end: Micros) -> list[Micros]:
    """The instants within ``[first, end)`` at which a zone's wall clock shows midnight, also if it does so twice."""
    return [
        day * DAY - offset
        for start, stop, offset in clock(zone, first, end)
        for day in range(-(-(start + offset) // DAY), (stop + offset - 1) // DAY + 1)
    ]


def local_day(zone: str, at: Micros) -> int:
    """The date on a zone's wall clock, as days since 2000-01-01."""
    return (at + clock(zone, at, at + 1)[0][2]) // DAY


def clock(zone: str, first: Micros, end: Micros) -> list[tuple[Micros, Micros, Micros]]:
    """The UTC offsets of a zone within ``[first, end)``, as tuples of from, until and offset."""
    changes: list[tuple[Micros, Micros]] = []
    for year in range(_year(first), _year(end) + 1):
        for change in _changes(zone, year):
            if not changes or changes[-1][1] != change[1]:
                changes.append(change)
    starts = [at for at, _ in changes] + [end]
    pieces = [
        (max(at, first), min(until, end), offset) for (at, offset), until in zip(changes, starts[1:], strict=True)
    ]
    return [piece for piece in pieces if piece[0] < piece[1]]


def _year(at: Micros) -> int:
    return (_EPOCH + at // 1_000_000 * _SECOND).year


_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


@lru_cache(maxsize=2048)
def _changes(zone: str, year: int) -> tuple[tuple[Micros, Micros], ...]:
    """The beginning of a year (UTC) and each change of the zone's offset in it, with the offset from then on."""
    at, next_year = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    tz = ZoneInfo(zone)
    offset = at.astimezone(tz).utcoffset()
    changes = [(micros(at), _micros(offset))]
    while at < next_year:
        later = min(at + _SCAN, next_year)
        if later.astimezone(tz).utcoffset() != offset:
            before = at
            while later - before > _SECOND:
                middle = before + (later - before) // 2
                middle = middle.replace(microsecond=0)
                if middle.astimezone(tz).utcoffset() == offset:
                    before = middle
                else:
                    later = middle
            offset = later.astimezone(tz).utcoffset()
            if later < next_year:
                changes.append((micros(later), _micros(offset)))
        at = later
    return tuple(changes)


def _micros(offset: timedelta | None) -> Micros:
    return (offset or timedelta()) // timedelta(microseconds=1)


class _Table:
    """The open spans of each day, in microseconds since midnight on the wall clock."""

    def __init__(self, hours: Hours) -> None:
        self._week: list[list[Span]] = [[] for _ in range(7)]
        for span in hours.week:
            self._week[span.weekday - 1].append(_of_day(span))
        if not hours.week:
            self._week = [[(0, DAY)]] * 7
        self._special = {
            (date.fromisoformat(day.date) - _FIRST_DAY).days: [_of_day(span) for span in day.hours]
            for day in hours.special_days
        }

    def of(self, day: int) -> list[Span]:
        """The spans of a day, given as days since 2000-01-01."""
        special = self._special.get(day)
        return self._week[(day + 5) % 7] if special is None else special


_table = lru_cache(maxsize=1024)(_Table)


def _of_day(span: DayHours) -> Span:
    return span.start_minute * MINUTE, span.end_minute * MINUTE

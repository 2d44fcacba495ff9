"""When in the week a series takes time, and a proof from that alone that two series never meet.

Most series of a crowded room differ in the day or the hour, every week. To see that takes microseconds, to expand them
for ten years milliseconds. The proof is one-sided: without it they may meet or not, and have to be expanded.

An occurrence begins at its wall time minus an offset of its zone (RFC 5545 §3.3.5), and takes exact time from there.
So two occurrences with the same offset overlap only if they do on the clock. If two of one zone have different offsets,
the clock changes between their starts: where both can be near such a change, there is no proof. Series of different
zones are compared in UTC, at every offset that their zones have.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from appointments.calendar.bookable.hours import DAY, clock
from appointments.calendar.recurrence import Freq, Rule
from appointments.calendar.series import SeriesSpec
from appointments.db import Micros, micros

WEEK = 7 * DAY
_EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 - a wall time
_MICROSECOND = timedelta(microseconds=1)
_MOST_STARTS = 100


class Week(NamedTuple):
    """The wall times at which occurrences can begin, in microseconds of a week; what each takes around that."""

    zone: str
    starts: tuple[Micros, ...]
    before: Micros
    after: Micros


class Change(NamedTuple):
    """A change of a zone's clock: where in the week both clocks show it, and by how much it moves."""

    first: Micros
    last: Micros
    by: Micros


def week_of(spec: SeriesSpec, before: timedelta, after: timedelta) -> Week | None:
    """When in the week a series can take time, with these buffers. None: that is too much to be told, or whole days."""
    if spec.first.all_day:
        return None
    rule = spec.parsed
    walls = [spec.start_wall, *spec.walls_of(spec.added)]
    if len(walls) > _MOST_STARTS:
        return None
    starts = {(wall - _EPOCH) // _MICROSECOND % WEEK for wall in walls}
    if rule:
        times = (len(rule.by_hour) or 1) * (len(rule.by_minute) or 1) * (len(rule.by_second) or 1)
        if times > _MOST_STARTS // 7:
            return None
        starts |= set(_ruled(rule, spec.start_wall))
    return Week(
        spec.first.time_zone, tuple(sorted(starts)), before // _MICROSECOND, (spec.length + after) // _MICROSECOND
    )


def _ruled(rule: Rule, start: datetime) -> Iterable[Micros]:
    """Where in the week a rule can happen. BYDAY limits every rule to its weekdays, whatever else it says."""
    weekdays: Iterable[int] = {weekday for _, weekday in rule.by_day}
    if not weekdays:
        weekdays = [start.weekday()] if rule.freq == Freq.WEEKLY else range(7)
    first = _EPOCH.weekday()
    for weekday in weekdays:
        for hour in rule.by_hour or (start.hour,):
            for minute in rule.by_minute or (start.minute,):
                for second in rule.by_second or (start.second,):
                    of_day = (hour * 60 + minute) * 60 + min(second, 59)
                    yield (weekday - first) % 7 * DAY + of_day * 1_000_000 + start.microsecond


def never_meet(one: Week, other: Week, since: datetime, until: datetime) -> bool:
    """Whether it is certain that no occurrences of two series that begin in ``[since, until)`` overlap."""
    if one.before + one.after >= WEEK or other.before + other.after >= WEEK:
        return False
    first, end = micros(since) - 2 * WEEK, micros(until) + 2 * WEEK
    if one.zone != other.zone:
        return _are_apart(_in_utc(one, first, end), _in_utc(other, first, end))
    if not _are_apart(one, other):
        return False
    reach = one.before + one.after + other.before + other.after
    return not any(
        _touches(one, each, reach) and _touches(other, each, reach) for each in _changes(one.zone, first, end)
    )


def _are_apart(one: Week, other: Week) -> bool:
    mine, theirs = one.before + one.after, other.before + other.after
    return not any(
        (b - other.before - a + one.before) % WEEK < mine or (a - one.before - b + other.before) % WEEK < theirs
        for a in one.starts
        for b in other.starts
    )


def _in_utc(week: Week, first: Micros, end: Micros) -> Week:
    offsets = {offset for _, _, offset in _pieces(week.zone, first // DAY, end // DAY)}
    return week._replace(starts=tuple({(start - offset) % WEEK for start in week.starts for offset in offsets}))


def _touches(week: Week, change: Change, reach: Micros) -> bool:
    """Whether an occurrence can begin so near a change of the clock, by any of the two clocks."""
    first, width = change.first - reach - change.by, change.last - change.first + 2 * (reach + change.by)
    return width >= WEEK or any((start - first) % WEEK <= width for start in week.starts)


@lru_cache(maxsize=512)
def _pieces(zone: str, first_day: int, end_day: int) -> tuple[tuple[Micros, Micros, Micros], ...]:
    return tuple(clock(zone, first_day * DAY, (end_day + 1) * DAY))


@lru_cache(maxsize=512)
def _changes_on(zone: str, first_day: int, end_day: int) -> frozenset[Change]:
    pieces = _pieces(zone, first_day, end_day)
    return frozenset(
        Change(
            (at + min(before, after)) % WEEK,
            (at + min(before, after)) % WEEK + abs(after - before),
            abs(after - before),
        )
        for (_, _, before), (at, _, after) in pairwise(pieces)
    )


def _changes(zone: str, first: Micros, end: Micros) -> frozenset[Change]:
    return _changes_on(zone, first // DAY, end // DAY)

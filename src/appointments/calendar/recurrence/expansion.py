"""Expanding a rule into wall times, from any day on, without stepping there from the start.

A period is a day, a week, a month or a year, as FREQ says. Which days of a month or year a rule selects depends only on
its length and the weekday on which it begins. So each kind is computed once: 28 kinds of months, and 28 of years (for
weeks the length of the previous year matters, too).

The Gregorian calendar repeats every 400 years, that is 146,097 days or 20,871 weeks. If no period has had an occurrence
for so long, none ever will. So a rule that never happens is recognised in a few milliseconds.
"""

from collections.abc import Iterator, Sequence, Set
from datetime import MAXYEAR, date, datetime, time
from itertools import count as count_from
from math import gcd

from appointments.calendar.recurrence.rule import Freq, Rule

LAST_YEAR = MAXYEAR

_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_LAST_DAY = date.max.toordinal()
_DAYS_IN_CYCLE = 146_097
_SUSPICIOUS = 48
"""After so many empty periods it is worth checking whether any period can have an occurrence."""

_CYCLE = {Freq.YEARLY: 400, Freq.MONTHLY: 4_800, Freq.WEEKLY: 20_871}
"""Periods after which the calendar repeats."""


def walls(
    rule: Rule,
    start: datetime,
    *,
    since: datetime | None = None,
    last_year: int = LAST_YEAR,
    with_start: bool = False,
) -> Iterator[datetime]:
    """The wall times of a rule in order, each once. This respects COUNT but not UNTIL.

    Args:
        rule: the rule.
        start: DTSTART, naive. Parts that the rule leaves out, such as the time of day, are taken from it.
        since: leave out earlier ones. Without COUNT they cost no time either.
        last_year: the last year to look at.
        with_start: whether the start is an occurrence even if the rule does not select it. It then counts for COUNT.
    """
    left = rule.count
    if with_start:
        if since is None or start >= since:
            yield start
        left = None if left is None else left - 1
    # With COUNT the earlier ones have to be counted, too.
    floor = start if since is None or rule.count is not None else max(start, since)
    for wall in _unlimited(rule, start, floor, last_year):
        if left is not None and left <= 0:
            return
        if with_start and wall == start:
            continue
        left = None if left is None else left - 1
        if since is None or wall >= since:
            yield wall


def _unlimited(rule: Rule, start: datetime, floor: datetime, last_year: int) -> Iterator[datetime]:
    times = _Times(rule, start.time())
    if not rule.by_set_pos:
        for period in _periods(rule, start, floor, last_year):
            for day in period:
                on = date.fromordinal(day)
                for index in range(len(times)):
                    if (wall := datetime.combine(on, times[index])) >= floor:
                        yield wall
        return
    for period in _periods(rule, start, floor, last_year):
        for index in _chosen(rule.by_set_pos, len(period) * len(times)):
            day, moment = divmod(index, len(times))
            if (wall := datetime.combine(date.fromordinal(period[day]), times[moment])) >= floor:
                yield wall


class _Times:
    """The times of a day, in order. They are computed when needed, because there may be 86,400."""

    def __init__(self, rule: Rule, start: time) -> None:
        self._hours = rule.by_hour or (start.hour,)
        self._minutes = rule.by_minute or (start.minute,)
        # RFC 5545 §3.3.12: implementations without leap seconds read second 60 as second 59.
        self._seconds = tuple(sorted({min(second, 59) for second in rule.by_second})) or (start.second,)
        self._rest = start.microsecond

    def __len__(self) -> int:
        return len(self._hours) * len(self._minutes) * len(self._seconds)

    def __getitem__(self, index: int) -> time:
        index, second = divmod(index, len(self._seconds))
        hour, minute = divmod(index, len(self._minutes))
        return time(self._hours[hour], self._minutes[minute], self._seconds[second], self._rest)


def _chosen(positions: Sequence[int], size: int) -> list[int]:
    """The indexes that the positions of BYSETPOS select from a set of this size, in order."""
    places = (position - 1 if position > 0 else size + position for position in positions)
    return sorted({place for place in places if 0 <= place < size})


def _periods(rule: Rule, start: datetime, floor: datetime, last_year: int) -> Iterator[Sequence[int]]:
    """The days of each period that is not empty, as ordinals, from the period that ``floor`` is in."""
    smallest = min((abs(position) for position in rule.by_set_pos), default=1)
    needed = -(-smallest // len(_Times(rule, start.time())))  # days
    if rule.freq == Freq.DAILY:
        if needed == 1:
            yield from ((day,) for day in _days(rule, start, floor, last_year))
        return
    if rule.freq == Freq.WEEKLY and needed > max(len(rule.by_day), 1):
        return
    make = {Freq.WEEKLY: _weeks, Freq.MONTHLY: _months, Freq.YEARLY: _years}[rule.freq]
    patience = _CYCLE[rule.freq] // gcd(_CYCLE[rule.freq], rule.interval)
    empty = 0
    for period in make(rule, start, floor, last_year):
        if len(period) >= needed:
            empty = 0
            yield period
        else:
            empty += 1
            if empty > patience or (empty == _SUSPICIOUS and not _is_possible(rule, start, needed)):
                return


def _years(rule: Rule, start: datetime, floor: datetime, last_year: int) -> Iterator[Sequence[int]]:
    kinds: dict[tuple[int, bool, bool], tuple[int, ...]] = {}
    base, begin = start.year, floor.year
    if rule.by_week_no:
        base, begin = (_year_of_week(each, rule.week_start) for each in (start, floor))
    first = base + _skipped(begin - base, rule.interval)
    # The last week of a year may end in the next one, and the first of the next begin in this one.
    for year in range(first, last_year + 1 + bool(rule.by_week_no and last_year < MAXYEAR), rule.interval):
        new_year = date(year, 1, 1).toordinal()
        kind = (new_year - 1) % 7, _is_leap(year - 1), _is_leap(year)
        if (days := kinds.get(kind)) is None:
            meant = _days_of_weeks(rule, start, year) if rule.by_week_no else _year_days(rule, start, year)
            days = kinds[kind] = tuple(sorted(meant))
        yield [new_year + day for day in days]


def _year_days(rule: Rule, start: datetime, year: int) -> set[int]:
    """The days of a year that a rule without BYWEEKNO selects, counted from 0."""
    spans, weekday = _month_spans(_is_leap(year)), date(year, 1, 1).weekday()
    length = sum(spans[-1])
    months, by_month_day = rule.by_month, rule.by_month_day
    if not (rule.by_year_day or by_month_day or rule.by_day):
        months, by_month_day = months or (start.month,), (start.day,)
    days = set(range(length))
    if months or by_month_day:
        days = {
            first + day
            for first, size in [spans[month - 1] for month in months or range(1, 13)]
            for day in (_month_days(by_month_day, size) if by_month_day else range(size))
        }
    if rule.by_year_day:
        days &= {day - 1 if day > 0 else length + day for day in rule.by_year_day}
    if rule.by_day:
        scopes = [spans[month - 1] for month in rule.by_month] or [(0, length)]
        days &= {
            first + day for first, size in scopes for day in _weekdays_in(rule.by_day, size, (weekday + first) % 7)
        }
    return days


def _days_of_weeks(rule: Rule, start: datetime, year: int) -> set[int]:
    """The days that BYWEEKNO selects, counted from 1 January. Some may be in the year before or after."""
    new_year = date(year, 1, 1).toordinal()
    first, weeks = _weeks_of(year, rule.week_start)
    weekdays = {day for _, day in rule.by_day}
    if not (rule.by_year_day or rule.by_month_day or rule.by_day):
        weekdays = {start.weekday()}
    found: set[int] = set()
    for number in rule.by_week_no:
        week = number - 1 if number > 0 else weeks + number
        if 0 <= week < weeks:
            found.update(range(first + 7 * week, first + 7 * week + 7))
    return {
        offset
        for offset in found
        if 1 <= new_year + offset <= _LAST_DAY and _is_meant(rule, weekdays, date.fromordinal(new_year + offset))
    }


def _weeks_of(year: int, week_start: int) -> tuple[int, int]:
    """The day on which the first week of a year begins, counted from 1 January, and how many weeks the year has.

    The first week is the first one with at least four days in the year.
    """
    length = 366 if _is_leap(year) else 365
    weekday = date(year, 1, 1).weekday()
    first, following = (
        -into if into <= 3 else 7 - into for into in ((weekday - week_start) % 7, (weekday + length - week_start) % 7)
    )
    return first, (length + following - first) // 7


def _year_of_week(day: date, week_start: int) -> int:
    """The year that the week of a day belongs to: the one with most of the week's days."""
    middle = day.toordinal() - (day.weekday() - week_start) % 7 + 3
    return date.fromordinal(min(max(middle, 1), _LAST_DAY)).year


def _month_spans(leap: bool) -> list[tuple[int, int]]:
    """For each month the day of the year on which it begins, counted from 0, and how many days it has."""
    lengths = (31, 29, *_LENGTHS[2:]) if leap else _LENGTHS
    return [(sum(lengths[:month]), lengths[month]) for month in range(12)]


def _months(rule: Rule, start: datetime, floor: datetime, last_year: int) -> Iterator[Sequence[int]]:
    kinds: dict[tuple[int, int], tuple[int, ...]] = {}
    wanted = frozenset(rule.by_month or range(1, 13))
    base = start.year * 12 + start.month - 1
    first = base + _skipped(floor.year * 12 + floor.month - 1 - base, rule.interval)
    for number in range(first, (last_year + 1) * 12, rule.interval):
        year, month = divmod(number, 12)
        if month + 1 not in wanted:
            yield ()
            continue
        length = 29 if month == 1 and _is_leap(year) else _LENGTHS[month]
        ordinal = date(year, month + 1, 1).toordinal()
        kind = length, (ordinal - 1) % 7
        if (days := kinds.get(kind)) is None:
            days = kinds[kind] = tuple(sorted(_days_of_month(rule, start, *kind)))
        yield [ordinal + day for day in days]


def _days_of_month(rule: Rule, start: datetime, length: int, weekday: int) -> set[int]:
    """The days that a monthly rule selects in a month that begins on this weekday, counted from 0."""
    found = set(_month_days(rule.by_month_day or (() if rule.by_day else (start.day,)), length))
    if not rule.by_day:
        return found
    weekdays = set(_weekdays_in(rule.by_day, length, weekday))
    return found & weekdays if rule.by_month_day else weekdays


def _is_possible(rule: Rule, start: datetime, needed: int) -> bool:
    """Whether any kind of month has enough days that a monthly rule selects. Always true for other rules."""
    return rule.freq != Freq.MONTHLY or any(
        len(_days_of_month(rule, start, length, weekday)) >= needed for length in range(28, 32) for weekday in range(7)
    )


def _month_days(by_month_day: Sequence[int], length: int) -> Iterator[int]:
    for day in by_month_day:
        if abs(day) <= length:
            yield day - 1 if day > 0 else length + day


def _weekdays_in(by_day: Sequence[tuple[int, int]], length: int, weekday: int) -> Iterator[int]:
    """The days that BYDAY selects in a month or year that begins on this weekday, counted from 0."""
    for ordinal, wanted in by_day:
        every = range((wanted - weekday) % 7, length, 7)
        if not ordinal:
            yield from every
        elif abs(ordinal) <= len(every):
            yield every[ordinal - 1 if ordinal > 0 else ordinal]


def _weeks(rule: Rule, start: datetime, floor: datetime, last_year: int) -> Iterator[Sequence[int]]:
    base = start.toordinal() - (start.weekday() - rule.week_start) % 7
    step = 7 * rule.interval
    first = base + _skipped(floor.toordinal() - base, step)
    weekdays = {day for _, day in rule.by_day} or {start.weekday()}
    offsets = sorted((day - rule.week_start) % 7 for day in weekdays)
    last = date(last_year, 12, 31).toordinal()
    for monday in range(first, last + 1, step):
        days = [monday + offset for offset in offsets if 1 <= monday + offset <= last]
        if rule.by_month:
            days = [day for day in days if date.fromordinal(day).month in rule.by_month]
        yield days


def _days(rule: Rule, start: datetime, floor: datetime, last_year: int) -> Iterator[int]:
    """The days that a daily rule selects. Each day is either in or out, so a year is kept as a bit mask."""
    base, step = start.toordinal(), rule.interval
    first = base + _skipped(floor.toordinal() - base, step)
    last = date(last_year, 12, 31).toordinal()
    if not (rule.by_month or rule.by_month_day or rule.by_day):
        yield from range(first, last + 1, step)
        return
    if step % 7 == 0 and rule.by_day and start.weekday() not in {day for _, day in rule.by_day}:
        return  # it always falls on the weekday of its start
    if step > 366:
        weekdays = {day for _, day in rule.by_day}
        yield from (day for day in range(first, last + 1, step) if _is_meant(rule, weekdays, date.fromordinal(day)))
        return
    kinds: dict[tuple[bool, int], int] = {}
    stride = sum(1 << day for day in range(0, 366, step))
    empty = 0
    for year in count_from(date.fromordinal(min(first, last)).year):
        if year > last_year or empty > 400 * step // gcd(step, _DAYS_IN_CYCLE) + 400:
            return
        new_year = date(year, 1, 1).toordinal()
        kind = _is_leap(year), (new_year - 1) % 7
        if (meant := kinds.get(kind)) is None:
            meant = kinds[kind] = _meant_days(rule, *kind)
        hits = meant & (stride << ((base - new_year) % step))
        empty = 0 if hits else empty + 1
        while hits:
            lowest = hits & -hits
            if (day := new_year + lowest.bit_length() - 1) >= first:
                yield day
            hits ^= lowest


def _meant_days(rule: Rule, leap: bool, weekday: int) -> int:
    """The days of a year that a daily rule selects, as a bit mask. Bit 0 is 1 January."""
    weekdays = {day for _, day in rule.by_day} or set(range(7))
    meant = 0
    for month, (first, length) in enumerate(_month_spans(leap), 1):
        if not rule.by_month or month in rule.by_month:
            for day in _month_days(rule.by_month_day, length) if rule.by_month_day else range(length):
                if (weekday + first + day) % 7 in weekdays:
                    meant |= 1 << (first + day)
    return meant


def _is_meant(rule: Rule, weekdays: Set[int], day: date) -> bool:
    """Whether the BY parts of a rule select this day. No ``weekdays`` means any weekday."""
    if rule.by_month and day.month not in rule.by_month:
        return False
    if weekdays and day.weekday() not in weekdays:
        return False
    if rule.by_year_day:
        length = 366 if _is_leap(day.year) else 365
        number = day.timetuple().tm_yday
        if number not in rule.by_year_day and number - length - 1 not in rule.by_year_day:
            return False
    if not rule.by_month_day:
        return True
    length = 29 if day.month == 2 and _is_leap(day.year) else _LENGTHS[day.month - 1]
    return day.day in rule.by_month_day or day.day - length - 1 in rule.by_month_day


def _skipped(distance: int, interval: int) -> int:
    """The largest multiple of the interval within a distance: how far the expansion can jump ahead."""
    return max(distance, 0) // interval * interval


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)

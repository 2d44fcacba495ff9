"""Whether a time can be booked. Searching for free time and booking use the same code, so they agree.

Candidates are starts in order, all with the same length. A mask says which of them are allowed: an integer whose bit
``i`` stands for the start ``i``. A search asks for thousands of starts at once, a booking for one.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from appointments.calendar.bookable.hours import DAY, Hours, clock, opened
from appointments.calendar.bookable.rules import BookingRules
from appointments.calendar.bookable.spans import Span, gaps
from appointments.db import Micros

HOURS = frozenset({"within_hours"})
NOTICE = frozenset({"past_changes", "min_notice", "horizon"})

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms on which a person or resource can be booked. ``zone`` is that of the hours, days and steps."""

    zone: str
    hours: Hours
    rules: BookingRules


def allowed(
    terms: Terms, starts: Sequence[Micros], length: Micros, *, now: Micros, full_days: Collection[int] = ()
) -> Iterator[tuple[str, int]]:
    """Yield each rule's name and the mask of starts that it allows, in the order in which rules are judged.

    ``within_hours`` is always included, and the caller decides whether it counts. ``full_days`` are the days on which
    the daily limit has been reached, counted from 2000-01-01 in the zone of the terms.
    """
    rules = terms.rules
    everything = (1 << len(starts)) - 1
    first, last = starts[0], starts[-1]
    yield "within_hours", starting_in(starts, opened(terms.hours, terms.zone, first, last + length), length)
    if not rules.past_changes:
        yield "past_changes", _from(starts, now)
    if rules.min_notice:
        yield "min_notice", _from(starts, now + rules.min_notice // _MICROSECOND)
    if rules.horizon:
        yield "horizon", everything & ~_from(starts, now + rules.horizon // _MICROSECOND + 1)
    if rules.min_duration:
        yield "min_duration", everything if length * _MICROSECOND >= rules.min_duration else 0
    if rules.max_duration:
        yield "max_duration", everything if length * _MICROSECOND <= rules.max_duration else 0
    if rules.step:
        step = rules.step // _MICROSECOND
        yield "step", _where(starts, terms.zone, lambda wall: wall % DAY % step == 0)
    if rules.daily_limit and full_days:
        yield "daily_limit", _where(starts, terms.zone, lambda wall: wall // DAY not in full_days)


def changeable(rules: BookingRules, start: Micros, now: Micros) -> str | None:
    """The name of the rule that forbids moving or cancelling an appointment with this start. None: it is allowed."""
    if not rules.past_changes and start < now:
        return "past_changes"
    if rules.change_notice and now + rules.change_notice // _MICROSECOND > start:
        return "change_notice"
    return None


def free(
    starts: Sequence[Micros], length: Micros, taken: Sequence[Span], *, before: Micros = 0, after: Micros = 0
) -> int:
    """The mask of starts that are free, including a buffer ``before`` the start and one ``after`` the end."""
    between = gaps(taken, starts[0] - before, starts[-1] + length + after)
    if before or after:
        between = [(first + before, end - after) for first, end in between]
    return starting_in(starts, between, length)


def starting_in(starts: Sequence[Micros], spans: Iterable[Span], length: Micros) -> int:
    """The mask of starts from which this length lies entirely within one of the spans."""
    mask = 0
    for first, end in spans:
        begin = bisect_left(starts, first)
        stop = bisect_left(starts, end - length + 1, begin)
        mask |= ((1 << (stop - begin)) - 1) << begin
    return mask


def _from(starts: Sequence[Micros], since: Micros) -> int:
    begin = bisect_left(starts, since)
    return ((1 << (len(starts) - begin)) - 1) << begin


def _where(starts: Sequence[Micros], zone: str, holds: Callable[[Micros], bool]) -> int:
    mask, index = 0, 0
    for _, until, offset in clock(zone, starts[0], starts[-1] + 1):
        while index < len(starts) and starts[index] < until:
            if holds(starts[index] + offset):
                mask |= 1 << index
            index += 1
    return mask

"""The recurrence set of RFC 5545: the occurrences of a rule in a time zone, plus RDATEs, minus EXDATEs."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, time, timedelta
from heapq import heapify, heappop, heappush, merge
from typing import NamedTuple
from zoneinfo import ZoneInfo

from appointments.calendar.recurrence.expansion import LAST_YEAR, walls
from appointments.calendar.recurrence.rule import Rule
from appointments.calendar.recurrence.wall import instant, wall_at

_NONE = timedelta()


class Occurrence(NamedTuple):
    """The instant in UTC, and the wall time that the rule gave it (RECURRENCE-ID).

    The zone's clock does not show this wall time at the instant if it skips it.
    """

    at: datetime
    wall: datetime


def occurrences(
    rule: Rule | None,
    start: datetime,
    zone: ZoneInfo | None = None,
    *,
    added: Iterable[datetime] = (),
    excluded: Iterable[datetime] = (),
    since: datetime | None = None,
    until: datetime | None = None,
    last_year: int = LAST_YEAR,
    with_start: bool = False,
) -> Iterator[Occurrence]:
    """The occurrences in order of their instants, each instant once.

    A wall time that the zone skips is moved later by the length of the gap. If another occurrence is at that instant
    already, there is only one.

    Args:
        rule: the rule. None: only the start, and the added dates.
        start: DTSTART as a wall time.
        zone: the time zone. None: a clock without summer time, whose wall times are taken as UTC.
        added: RDATE, as wall times.
        excluded: EXDATE, as wall times. Occurrences at the same instant are left out.
        since: leave out occurrences before this instant.
        until: leave out occurrences at this instant or later.
        last_year: the last year to look at.
        with_start: whether the start is an occurrence even if the rule does not select it.
    """
    clock = zone or ZoneInfo("UTC")
    left_out = {instant(wall, clock) for wall in excluded}
    extra = sorted({Occurrence(instant(wall, clock), wall) for wall in added})
    if rule is None:
        ruled: Iterator[Occurrence] = iter([Occurrence(instant(start, clock), start)])
    else:
        # Two days cover the largest jump of any clock, which is a skipped day.
        begin = wall_at(since, clock) - timedelta(days=2) if since else None
        nominal = walls(rule, start, since=begin, last_year=last_year, with_start=with_start)
        ruled = _until(_in_order(nominal, clock), _last(rule, clock))
    before: datetime | None = None
    for each in merge(ruled, extra):
        if until and each.at >= until:
            return
        if each.at != before and each.at not in left_out and (since is None or each.at >= since):
            yield each
        before = each.at


def _in_order(nominal: Iterator[datetime], zone: ZoneInfo) -> Iterator[Occurrence]:
    """Sort by instants: a skipped wall time is moved later, perhaps past the ones that follow it."""
    held: list[Occurrence] = []
    for wall in nominal:
        before, after = zone.utcoffset(wall) or _NONE, zone.utcoffset(wall.replace(fold=1)) or _NONE
        at = (wall - before).replace(tzinfo=UTC)
        # In a gap the reading with fold=1 is the earlier one. No later wall time can have an instant before it.
        earliest = at if before >= after else at - (after - before)
        while held and held[0].at <= earliest:
            yield heappop(held)
        if earliest == at and not held:
            yield Occurrence(at, wall)
        else:
            heappush(held, Occurrence(at, wall))
    heapify(held)
    while held:
        yield heappop(held)


def _until(ruled: Iterator[Occurrence], last: datetime | None) -> Iterator[Occurrence]:
    for each in ruled:
        if last and each.at > last:
            return
        yield each


def _last(rule: Rule, zone: ZoneInfo) -> datetime | None:
    """The last instant that UNTIL allows. UNTIL is inclusive."""
    if rule.until is None:
        return None
    if not isinstance(rule.until, datetime):
        return instant(datetime.combine(rule.until, time.max), zone)
    return rule.until.astimezone(UTC) if rule.until.tzinfo else instant(rule.until, zone)


def happens(rule: Rule, start: datetime, zone: ZoneInfo | None = None, *, last_year: int = LAST_YEAR) -> bool:
    """Whether a rule has any occurrence at all, from its start on."""
    return next(occurrences(rule, start, zone, last_year=last_year), None) is not None

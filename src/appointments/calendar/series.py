"""A series: what a person decides about it (:class:`SeriesSpec`), its row (:class:`Series`), and when it happens.

Pure. A recurrence rule gives wall times in the series' zone. An occurrence is identified by its wall time, because a
change of the zone's clock rules (tzdata) cannot alter that. The instant of an occurrence follows from these rules.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice, pairwise
from typing import Any, LiteralString, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from appointments.calendar.appointment import NO_TIME, Attendee, Spec, seconds, stored
from appointments.calendar.appointment import to_values as spec_values
from appointments.calendar.recurrence import (
    BadRule,
    Rule,
    check_until,
    happens,
    instant,
    is_skipped,
    occurrences,
    parse,
    wall_at,
    walls,
)
from appointments.calendar.validation import EARLIEST, LATEST, begins_day
from appointments.calendar.validation import violations as violations_of
from appointments.db import Micros, Row
from appointments.shared.errors import Violation
from appointments.shared.validation import ZONES

MOST = 1_000
"""The most occurrences of a series that ends. All of them become rows at once."""

MOST_DATES = 1_000
FARTHEST = timedelta(days=3_652)
"""How far ahead occurrences of endless series become rows: ten years."""

_MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1)


class Slot(NamedTuple):
    """One occurrence: its wall time, and the instants at which it starts and ends."""

    wall: datetime
    start_at: datetime
    end_at: datetime


@dataclass(frozen=True, slots=True)
class SeriesSpec:
    """What recurs, and when. ``first`` is the spec of the first occurrence; the others differ only in their times.

    ``rule`` is an RRULE without its name. If it is "", only the start and the added dates are occurrences. ``added``
    (RDATE) and ``excluded`` (EXDATE) are instants.
    """

    first: Spec
    rule: str = ""
    added: tuple[datetime, ...] = ()
    excluded: tuple[datetime, ...] = ()

    @property
    def zone(self) -> ZoneInfo:
        """Whose clock it follows."""
        return ZoneInfo(self.first.time_zone)

    @property
    def start_wall(self) -> datetime:
        """DTSTART: the wall time of the first occurrence."""
        return wall_at(self.first.start_at, self.zone)

    @property
    def length(self) -> timedelta:
        """How long each occurrence takes: elapsed time, or for whole days the number of calendar days."""
        if self.first.all_day:
            return wall_at(self.first.end_at, self.zone).date() - wall_at(self.first.start_at, self.zone).date()
        return self.first.end_at - self.first.start_at

    def ending(self, start: datetime) -> datetime:
        """When an occurrence ends that starts then: whole days last as many days, whatever the clock does in them."""
        if self.first.all_day:
            return day_begins(wall_at(start, self.zone) + self.length, self.zone)
        return start + self.length

    @property
    def parsed(self) -> Rule | None:
        """The rule, parsed. For whole days its parts about the time of day are dropped."""
        rule = parse(self.rule) if self.rule else None
        return replace(rule, by_hour=(), by_minute=(), by_second=()) if rule and self.first.all_day else rule

    @property
    def endless(self) -> bool:
        """Whether nothing ends it."""
        rule = self.parsed
        return rule is not None and rule.endless

    def walls_of(self, instants: Sequence[datetime]) -> list[datetime]:
        """What the series' clock shows at these instants."""
        return [wall_at(each, self.zone) for each in instants]

    def slots(self, *, since: datetime | None = None, until: datetime | None = None) -> Iterator[Slot]:
        """The occurrences that start in ``[since, until)``, in order. The start is always one unless it is excluded."""
        if self.endless:
            yield from self._expanded(since, until)
            return
        for slot in first_slots(self):
            if (since is None or slot.start_at >= since) and (until is None or slot.start_at < until):
                yield slot

    def _expanded(self, since: datetime | None, until: datetime | None) -> Iterator[Slot]:
        zone, length, all_day = self.zone, self.length, self.first.all_day
        found = occurrences(
            self.parsed,
            self.start_wall,
            zone,
            added=self.walls_of(self.added),
            excluded=self.walls_of(self.excluded),
            since=since,
            until=until,
            last_year=LATEST.year,
            with_start=True,
        )
        for at, wall in found:
            if all_day:
                slot = Slot(wall, day_begins(wall, zone), day_begins(wall + length, zone))
            else:
                slot = Slot(wall, at, at + length)
            if slot.end_at > LATEST:
                return
            yield slot


@lru_cache(maxsize=64)
def first_slots(spec: SeriesSpec) -> tuple[Slot, ...]:
    """The occurrences of a series that ends. If it has too many, this stops at one more than allowed."""
    return tuple(islice(spec._expanded(None, None), MOST + 1))


def day_begins(midnight: datetime, zone: ZoneInfo) -> datetime:
    """The first instant of a day, which is later than midnight where the clock skips midnight."""
    at = instant(midnight, zone)
    if not is_skipped(midnight, zone):
        return at
    early, late = at - timedelta(days=1), at
    while late - early > timedelta(seconds=1):
        middle = early + (late - early) // 2
        early, late = (middle, late) if wall_at(middle, zone) < midnight else (early, middle)
    return late.replace(microsecond=0)


def violations(spec: SeriesSpec, now: datetime) -> list[Violation]:
    """Every rule that the spec breaks. Empty if it is worth trying to book it."""
    first = spec.first
    found = [
        Violation(each.field.replace("appointment.", "series.", 1), each.description) for each in violations_of(first)
    ]
    dated = not any(each.field in {"series.start_time", "series.end_time", "series.time_zone"} for each in found)
    if not spec.rule and not spec.added:
        found.append(Violation("series.recurrence_rule", "is required, or added_times"))
    if first.time_zone in ZONES:
        found += _date_problems(spec)
    if spec.rule:
        try:
            rule = parse(spec.rule)
            check_until(rule, zoned=not first.all_day, date_only=first.all_day)
            if dated and spec.parsed and not happens(spec.parsed, spec.start_wall, spec.zone, last_year=LATEST.year):
                raise BadRule("never happens")  # noqa: TRY301 - one way to say it
        except BadRule as bad:
            found.append(Violation("series.recurrence_rule", str(bad)))
    if found:
        return found
    return _expansion_problems(spec, now)


def _date_problems(spec: SeriesSpec) -> Iterator[Violation]:
    for name, times in (("added_times", spec.added), ("excluded_times", spec.excluded)):
        if len(times) > MOST_DATES:
            yield Violation(f"series.{name}", f"must be at most {MOST_DATES:,}, are {len(times):,}")
            continue
        for index, each in enumerate(times):
            if not EARLIEST <= each <= LATEST:
                yield Violation(f"series.{name}[{index}]", "must be in the years 1970 to 2100")
            elif spec.first.all_day and not begins_day(each, spec.zone):
                yield Violation(f"series.{name}[{index}]", f"must be the first instant of a day in {spec.zone.key}")


def _expansion_problems(spec: SeriesSpec, now: datetime) -> list[Violation]:
    if spec.endless:
        if spec.first.start_at > now + FARTHEST:
            return [Violation("series.start_time", "must be at most ten years ahead, because the series has no end")]
        if len(list(islice(spec.slots(until=now), MOST + 1))) > MOST:
            return [Violation("series.start_time", f"is too long ago: more than {MOST:,} occurrences are over by now")]
        # A dense series is judged by its first MOST occurrences, a sparse one as far ahead as it can become rows.
        slots = list(islice(spec.slots(until=now + FARTHEST), MOST))
    else:
        slots = list(islice(spec.slots(), MOST + 1))
        if len(slots) > MOST:
            field = "series.recurrence_rule" if spec.rule else "series.added_times"
            return [
                Violation(field, f"has more than {MOST:,} occurrences; let the series have no end, or an earlier one")
            ]
    if not slots:
        return [Violation("series.excluded_times", "leave no occurrence")]
    return overlap_problems(spec, slots, NO_TIME)


def overlap_problems(spec: SeriesSpec, slots: Sequence[Slot], further: timedelta) -> list[Violation]:
    """Find occurrences that overlap each other, buffers included. ``further`` is the buffers of a resource."""
    if spec.first.transparent:
        return []
    gap = spec.first.buffer_before + spec.first.buffer_after + further
    for one, other in pairwise(slots):
        if one.end_at + gap > other.start_at:
            what = f"makes occurrences overlap: that of {one.wall.isoformat()} and that of {other.wall.isoformat()}"
            return [Violation("series.end_time", what + (", buffers included" if gap else ""))]
    return []


COLUMNS: LiteralString = """
    series.id::text AS id_text, series.owner_id::text AS owner_text, series.title, series.description, series.location,
    nullif(series.attendees, '[]') AS attendees, series.resource_ids::text[] AS resource_texts, series.buffer_before,
    series.buffer_after, series.transparent, series.all_day, series.start_wall, series.length, series.time_zone,
    series.rule, series.added, series.excluded, series.endless, series.previous_id::text AS previous_text,
    series.created_at, series.updated_at, series.deleted_at, series.version, series.reminders, series.followers
"""


class Series(NamedTuple):
    """A row of ``series``, column by column. ``length`` is in microseconds, buffers are in seconds."""

    id_text: str
    owner_text: str
    title: str
    description: str
    location: str
    attendees: tuple[Attendee, ...]
    resource_ids: list[str] | None
    buffer_before: int
    buffer_after: int
    transparent: bool
    all_day: bool
    start_wall: datetime
    length: int
    time_zone: str
    rule: str
    added: list[datetime]
    excluded: list[datetime]
    endless: bool
    previous_text: str | None
    created_at: Micros
    updated_at: Micros
    deleted_at: Micros | None
    version: int
    reminders: list[int] | None
    followers: list[str] | None = None
    """The folded addresses whose last answer to all of it was to follow. It counts beside an answer that accepts."""

    @property
    def id(self) -> UUID:
        """Its id."""
        return UUID(self.id_text)

    @property
    def owner_id(self) -> UUID:
        """Whose it is."""
        return UUID(self.owner_text)

    @property
    def etag(self) -> str:
        """The version as an entity tag (AIP-154)."""
        return f'"{self.version}"'

    @property
    def spec(self) -> SeriesSpec:
        """What a person decided about it."""
        zone = ZoneInfo(self.time_zone)
        length = timedelta(microseconds=self.length)
        if self.all_day:
            start, end = day_begins(self.start_wall, zone), day_begins(self.start_wall + length, zone)
        else:
            start = instant(self.start_wall, zone)
            end = start + length
        first = Spec(
            self.title, start, end, self.time_zone, self.description, self.location, self.attendees,
            tuple(self.resource_ids or ()), timedelta(seconds=self.buffer_before), timedelta(seconds=self.buffer_after),
            self.transparent, self.all_day, None if self.reminders is None else tuple(self.reminders),
        )  # fmt: skip
        dates = (tuple(instant(wall, zone) for wall in walls) for walls in (self.added, self.excluded))
        return SeriesSpec(first, self.rule, *dates)


def from_row(row: Row) -> Series:
    """Read a row of :data:`COLUMNS`."""
    attendees = tuple(Attendee(**guest) for guest in row[5]) if row[5] else ()
    return Series._make((*row[:5], attendees, *row[6:]))


def to_values(spec: SeriesSpec) -> dict[str, Any]:
    """The named parameters that write a spec."""
    first = spec.first
    return {
        "title": first.title,
        "description": first.description,
        "location": first.location,
        "attendees": spec_values(first)["attendees"],
        "resource_ids": first.resources or None,
        "buffer_before": seconds(first.buffer_before),
        "buffer_after": seconds(first.buffer_after),
        "transparent": first.transparent,
        "all_day": first.all_day,
        "start_wall": spec.start_wall,
        "length": spec.length // _MICROSECOND,
        "time_zone": first.time_zone,
        "rule": spec.rule,
        "added": sorted(set(spec.walls_of(spec.added))),
        "excluded": sorted(set(spec.walls_of(spec.excluded))),
        "endless": spec.endless,
        "reminders": stored(first.reminders),
    }


def shifted(spec: SeriesSpec, old: SeriesSpec, given: Set[str]) -> SeriesSpec:
    """If the start has moved on the clock, move the dates and UNTIL by as much, unless they were ``given``.

    A spec whose new start is none, by its zone or its time, is returned as it is: :func:`violations` tells why.
    """
    if spec.first.time_zone not in ZONES or not EARLIEST <= spec.first.start_at <= LATEST:
        return spec
    by = spec.start_wall - old.start_wall
    if not by and spec.zone == old.zone:
        return spec
    zone = spec.zone

    def move(times: tuple[datetime, ...]) -> tuple[datetime, ...]:
        return tuple(instant(wall + by, zone) for wall in old.walls_of(times))

    rule = parse(spec.rule) if spec.rule and "rule" not in given else None
    if rule and rule.until is not None:
        until = rule.until
        if not isinstance(until, datetime):
            until += timedelta(days=by.days)
        elif until.tzinfo:
            until = instant(wall_at(until, old.zone) + by, zone)
        rule = replace(rule, until=until)
    return replace(
        spec,
        added=spec.added if "added" in given else move(old.added),
        excluded=spec.excluded if "excluded" in given else move(old.excluded),
        rule=str(rule) if rule else spec.rule,
    )


def divided(spec: SeriesSpec, at: datetime) -> tuple[SeriesSpec, SeriesSpec]:
    """Split a series at a wall time: what comes before it, and what begins with it. COUNT is shared out.

    A half that is a single occurrence without a rule has its start among the added times.
    """
    zone, rule, all_day = spec.zone, spec.parsed, spec.first.all_day
    moment = _begins(at, zone, all_day=all_day)
    excluded = tuple(each for each in spec.excluded if each >= moment)
    added = tuple(each for each in spec.added if each > moment)
    before, after, start = "", "", at
    if rule:
        nominal = walls(rule, spec.start_wall, last_year=LATEST.year, with_start=True)
        number = 0
        following: datetime | None = None
        for wall in nominal:
            if wall >= at:
                following = wall
                break
            number += 1
        if rule.count is not None:
            before = str(replace(rule, count=number))
        else:
            before = str(replace(rule, until=at.date() - _DAY if all_day else moment - timedelta(seconds=1)))
        if following is not None:
            # The new series starts at an occurrence of the rule, not at an added date: INTERVAL counts from the start,
            # and the parts that the rule leaves out (such as the weekday) are taken from it.
            start = following
            after = str(rule if rule.count is None else replace(rule, count=rule.count - number))
            if following != at:
                added = (moment, *added)
    begin = _begins(start, zone, all_day=all_day)
    end = _begins(start + spec.length, zone, all_day=True) if all_day else begin + spec.length
    earlier = tuple(each for each in spec.added if each < moment)
    if not before:
        earlier = earlier or (spec.first.start_at,)
    if not after:
        added = added or (begin,)
    return (
        replace(spec, rule=before, added=earlier, excluded=tuple(each for each in spec.excluded if each < moment)),
        SeriesSpec(replace(spec.first, start_at=begin, end_at=end), after, added, excluded),
    )


def rejoined_at(part: SeriesSpec, whole: SeriesSpec) -> Slot | None:
    """The first occurrence of a whole series that its first part does not have. None: the part does not end before."""
    if part.endless:
        return None
    slots = list(part._expanded(None, None))
    if not slots:
        return None
    last = slots[-1]
    return next((slot for slot in whole.slots(since=last.start_at) if slot.wall > last.wall), None)


def _begins(wall: datetime, zone: ZoneInfo, *, all_day: bool) -> datetime:
    return day_begins(wall, zone) if all_day else instant(wall, zone)


def utc_now() -> datetime:
    """The current time."""
    return datetime.now(UTC)

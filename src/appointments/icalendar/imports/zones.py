"""Which IANA zone a file means by a TZID, and when a wall time is if it means none of them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import chain, islice
from zoneinfo import ZoneInfo

from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

from appointments.calendar.recurrence import BadRule, Freq, instant, occurrences, parse
from appointments.icalendar.imports.lines import Component
from appointments.shared.validation import ZONES

MOST_OBSERVANCES = 100
MOST_ONSETS = 2_000
_ROUND = timedelta(hours=1)

_BY_FOLDED = {name.lower(): name for name in sorted(ZONES)}
_WINDOWS = {name.lower(): zone for name, zone in WINDOWS_TO_OLSON.items() if zone in ZONES}
_OFFSET = re.compile(r"([+-])(\d\d)(\d\d)(\d\d)?")
_WALL = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z?")


@dataclass(frozen=True, slots=True)
class Onset:
    """When an offset from UTC begins: an instant, and the wall time before it."""

    at: datetime
    wall: datetime
    before: timedelta
    after: timedelta


@dataclass(frozen=True, slots=True)
class Clock:
    """What a TZID stands for: an IANA zone; or, where no zone is like it, the offsets that the file gives.

    ``note`` says how the zone was found, where that is not plain.
    """

    zone: str | None
    onsets: tuple[Onset, ...] = ()
    note: str = ""

    def instant(self, wall: datetime) -> datetime:
        """When this clock shows a wall time."""
        if self.zone:
            return instant(wall, ZoneInfo(self.zone))
        return (wall - _offset_at(self.onsets, wall)).replace(tzinfo=UTC)


class UnknownZone(ValueError):
    """A TZID that nobody knows. The message is for whoever has the file."""


class Clocks:
    """The clocks of a file. ``home`` is the zone of times that have none, and is preferred among those alike."""

    def __init__(self, definitions: Sequence[Component], home: str) -> None:
        self._definitions = {_tzid(each): each for each in reversed(definitions)}
        self._home = home
        self._known: dict[str, Clock] = {}

    @property
    def home(self) -> Clock:
        """The clock of times without a zone."""
        return Clock(self._home)

    def find(self, tzid: str) -> Clock:
        """The clock of a TZID.

        Raises:
            UnknownZone: it is the name of no zone, and is not defined in the file.
        """
        if tzid not in self._known:
            self._known[tzid] = self._look_up(tzid)
        return self._known[tzid]

    def _look_up(self, tzid: str) -> Clock:
        if name := named(tzid):
            return Clock(name)
        definition = self._definitions.get(tzid)
        if definition is None:
            raise UnknownZone(f"TZID {tzid[:100]!r} is no known time zone, and the file does not define it")
        if (location := definition.first("X-LIC-LOCATION")) and (name := named(location.text)):
            return Clock(name)
        onsets = tuple(sorted(islice(_onsets(definition), MOST_ONSETS), key=lambda onset: onset.at))
        if not onsets:
            raise UnknownZone(f"TZID {tzid[:100]!r}: its VTIMEZONE on line {definition.number} cannot be read")
        said = f"TZID {tzid[:100]!r} is no IANA time zone"
        if alike := _like(onsets, self._home):
            return Clock(alike, note=f"{said}; by its rules it is taken for {alike}")
        return Clock(None, onsets, f"{said}, nor are its rules those of one; it is planned in {self._home}")


def named(tzid: str) -> str | None:
    """The IANA zone that a name stands for: its own, one of Windows, or one behind somebody's prefix."""
    name = tzid.strip().strip('"').lower()
    if found := _BY_FOLDED.get(name) or _WINDOWS.get(name):
        return found
    parts = name.split("/")
    tails = ("/".join(parts[-length:]) for length in (3, 2) if len(parts) > length)
    return next((_BY_FOLDED[tail] for tail in tails if tail in _BY_FOLDED), None)


def _tzid(definition: Component) -> str:
    line = definition.first("TZID")
    return line.text if line else ""


def _onsets(definition: Component) -> Iterator[Onset]:
    return chain.from_iterable(_onsets_of(each) for each in definition.parts[:MOST_OBSERVANCES])


def _onsets_of(observance: Component) -> Iterator[Onset]:
    """When the offset of a STANDARD or a DAYLIGHT begins. What cannot be read has none."""
    start, before, after = (observance.first(name) for name in ("DTSTART", "TZOFFSETFROM", "TZOFFSETTO"))
    found = _WALL.fullmatch(start.value) if start else None
    if not (found and before and after):
        return
    offsets = _offset(before.value), _offset(after.value)
    try:
        first = datetime(*map(int, found.groups()))  # type: ignore[arg-type]  # noqa: DTZ001 - a wall time
    except ValueError:
        return
    if offsets[0] is None or offsets[1] is None:
        return
    yield from (Onset(_utc(wall, offsets[0]), wall, offsets[0], offsets[1]) for wall in _walls(observance, first))


def _walls(observance: Component, first: datetime) -> Iterator[datetime]:
    yield first.replace(year=max(first.year, 2))
    if line := observance.first("RRULE"):
        try:
            rule = parse(line.value)
        except BadRule:
            return
        if rule.freq is Freq.YEARLY:
            since = datetime(1969, 1, 1, tzinfo=UTC)
            found = occurrences(rule, first, since=since, last_year=2101)
            yield from (each.wall for each in islice(found, MOST_ONSETS))
    for line in observance.all("RDATE"):
        for value in line.value.split(","):
            if found_date := _WALL.fullmatch(value):
                try:
                    yield datetime(*map(int, found_date.groups()))  # type: ignore[arg-type]  # noqa: DTZ001
                except ValueError:
                    return


def _utc(wall: datetime, offset: timedelta) -> datetime:
    return (wall - offset).replace(tzinfo=UTC)


def _offset(value: str) -> timedelta | None:
    found = _OFFSET.fullmatch(value.strip())
    if not found:
        return None
    hours, minutes, seconds = int(found[2]), int(found[3]), int(found[4] or 0)
    size = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    if size >= timedelta(hours=24):
        return None
    return -size if found[1] == "-" else size


def _offset_at(onsets: Sequence[Onset], wall: datetime) -> timedelta:
    begun = [onset for onset in onsets if onset.wall <= wall]
    return begun[-1].after if begun else onsets[0].before


def _like(onsets: tuple[Onset, ...], home: str) -> str | None:
    """The IANA zone whose clock is this one's for the next years: the home zone if it is, else the best known."""
    year = datetime.now(UTC).year
    since, until = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 3, 1, 1, tzinfo=UTC)
    near = [onset.at for onset in onsets if since <= onset.at < until]
    moments = [at + by for at in near for by in (-_ROUND, timedelta(), _ROUND)]
    moments += [since + timedelta(days=15 * number) for number in range(72)]
    wanted = [(at, _offset_since(onsets, at)) for at in moments]
    for name in (home, *_candidates()):
        zone = ZoneInfo(name)
        if all(at.astimezone(zone).utcoffset() == offset for at, offset in wanted):
            return name
    return None


@cache
def _candidates() -> tuple[str, ...]:
    best_known = sorted(set(_WINDOWS.values()))
    rest = sorted(name for name in ZONES - set(best_known) if "/" in name or name == "UTC")
    return ("UTC", *best_known, *rest)


def _offset_since(onsets: Sequence[Onset], at: datetime) -> timedelta:
    begun = [onset for onset in onsets if onset.at <= at]
    return begun[-1].after if begun else onsets[0].before

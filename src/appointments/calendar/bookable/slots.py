"""Slots: the times at which all requirements can be booked together. Pure arithmetic; masks are those of ``terms``."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

from appointments.calendar.bookable.hours import DAY, midnights, opened
from appointments.calendar.bookable.spans import Span, at_least, gaps
from appointments.calendar.bookable.terms import HOURS, NOTICE, Terms, allowed, free
from appointments.db import Micros

AROUND: Micros = 14 * DAY
"""Where there is a choice, the load of a subject is counted from so long before a slot's day until so long after."""

_SIDE: Micros = 2 * DAY


@dataclass(frozen=True, slots=True)
class Subject:
    """A person or resource whose time is searched.

    ``units`` holds for each unit the set of spans in which it is taken. The subject is free where one of its units is.
    ``before`` and ``after`` are buffers that must be free as well. ``full_days`` is as in
    :func:`~appointments.calendar.bookable.terms.allowed`.
    """

    terms: Terms
    units: tuple[list[Span], ...]
    before: Micros = 0
    after: Micros = 0
    full_days: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Requirement:
    """``count`` of these subjects, which are indexes into the list of all subjects."""

    subjects: tuple[int, ...]
    count: int


class Obstacles(NamedTuple):
    """How many starts were looked at, and how many of them each obstacle ruled out.

    A start counts for the first obstacle that rules it out, in the order of the fields.
    """

    looked_at: int = 0
    hours: int = 0
    notice: int = 0
    rules: int = 0
    busy: int = 0
    buffers: int = 0

    def __add__(self, other: tuple[int, ...]) -> "Obstacles":  # type: ignore[override]
        return Obstacles(*(one + another for one, another in zip(self, other, strict=True)))


class Slot(NamedTuple):
    """A start, and the subjects that would be booked: ``count`` of them for each requirement."""

    start: Micros
    subjects: tuple[int, ...]


def grid(
    subjects: Sequence[Subject], requirements: Sequence[Requirement], step: Micros, first: Micros, end: Micros
) -> list[Micros]:
    """The candidate starts within ``[first, end)``: every ``step`` from each opening on.

    In openings of more than a day, and where everything is closed, they start anew at each midnight in the zone of the
    first subject. They do not depend on where the window begins, so that the pages of a search fit together.
    """
    since, until = first - _SIDE, end + _SIDE
    open_to = [opened(each.terms.hours, each.terms.zone, since, until) for each in subjects]
    openings = at_least(
        len(requirements), [at_least(each.count, [open_to[of] for of in each.subjects]) for each in requirements]
    )
    breaks = midnights(subjects[0].terms.zone, since, until)
    anchors = list(breaks)
    for opens, closes in openings:
        if closes - opens <= DAY:
            anchors = [at for at in anchors if not opens < at < closes]
        if opens > since:
            anchors.append(opens)
    fixed = set(anchors)
    edges = sorted(fixed | {begin for begin, _ in gaps(openings, since, until)})
    starts: list[Micros] = []
    for at, following in pairwise([*edges, until]):
        # Closed time does not begin a new count: the starts go on at the steps counted from midnight.
        origin = at if at in fixed else breaks[max(0, bisect_right(breaks, at) - 1)]
        begin = max(at, first)
        begin += -(begin - origin) % step
        starts.extend(range(begin, min(following, end), step))
    return starts


def search(
    subjects: Sequence[Subject],
    requirements: Sequence[Requirement],
    starts: Sequence[Micros],
    length: Micros,
    *,
    now: Micros,
) -> tuple[list[Slot], Obstacles]:
    """The slots among these starts, and the obstacles that ruled out the others.

    Where there is a choice, the subjects with the least load around that time are chosen; of equals the first.
    """
    if not starts:
        return [], Obstacles()
    left = [_left(each, starts, length, now) for each in subjects]
    everything = (1 << len(starts)) - 1
    kept = [everything]
    for stage in range(_STAGES):
        mask = everything
        for each in requirements:
            mask &= _at_least(each.count, [left[of][stage] for of in each.subjects])
        kept.append(mask)
    lost = [before.bit_count() - after.bit_count() for before, after in pairwise(kept)]
    choosers = [_Chooser(each, subjects, left) for each in requirements]
    slots = [
        Slot(starts[bit], tuple(chosen for chooser in choosers for chosen in chooser.choose(bit, starts[bit])))
        for bit in _bits(kept[-1])
    ]
    return slots, Obstacles(len(starts), *lost)


_STAGES = 5


def _left(subject: Subject, starts: Sequence[Micros], length: Micros, now: Micros) -> list[int]:
    """The masks of starts that are left after each stage: hours, notice, rules, busy time, buffers."""
    everything = (1 << len(starts)) - 1
    hours = notice = rules = everything
    for name, mask in allowed(subject.terms, starts, length, now=now, full_days=subject.full_days):
        if name in HOURS:
            hours &= mask
        elif name in NOTICE:
            notice &= mask
        else:
            rules &= mask
    busy = buffered = 0
    for taken in subject.units:
        mask = free(starts, length, taken)
        busy |= mask
        if subject.before or subject.after:
            mask = free(starts, length, taken, before=subject.before, after=subject.after)
        buffered |= mask
    return list(accumulate([hours, notice, rules, busy, buffered], int.__and__))


def _at_least(count: int, masks: Sequence[int]) -> int:
    """The bits that are set in at least ``count`` of these masks."""
    reached = [-1, *[0] * count]  # every bit is set in at least 0 of them
    for mask in masks:
        for number in range(count, 0, -1):
            reached[number] |= reached[number - 1] & mask
    return reached[count]


def _bits(mask: int) -> Iterator[int]:
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


class _Chooser:
    """Chooses the subjects of a requirement that have the least load around a time."""

    def __init__(self, requirement: Requirement, subjects: Sequence[Subject], left: Sequence[Sequence[int]]) -> None:
        self._requirement = requirement
        self._left = [(of, left[of][-1]) for of in requirement.subjects]
        self._has_choice = requirement.count < len(requirement.subjects)
        self._loads = {of: _Load(subjects[of]) for of in requirement.subjects} if self._has_choice else {}

    def choose(self, bit: int, start: Micros) -> list[int]:
        free_then = [of for of, mask in self._left if mask >> bit & 1]
        if self._has_choice:
            day = start // DAY * DAY
            free_then.sort(key=lambda of: self._loads[of].around(day))
        return free_then[: self._requirement.count]


class _Load:
    """The load of a subject: how much of its time is taken around a day, averaged over its units."""

    def __init__(self, subject: Subject) -> None:
        self._units = [
            ([first for first, _ in taken], [0, *accumulate(end - first for first, end in taken)], taken)
            for taken in subject.units
        ]

        self._days: dict[Micros, float] = {}

    def around(self, day: Micros) -> float:
        if (known := self._days.get(day)) is None:
            known = self._days[day] = self._around(day)
        return known

    def _around(self, at: Micros) -> float:
        return sum(self._until(*unit, at + AROUND) - self._until(*unit, at - AROUND) for unit in self._units) / len(
            self._units
        )

    @staticmethod
    def _until(firsts: list[Micros], sums: list[Micros], taken: list[Span], at: Micros) -> Micros:
        index = bisect_right(firsts, at)
        if not index:
            return 0
        return sums[index - 1] + min(at, taken[index - 1][1]) - firsts[index - 1]

"""Slots: the times at which everything that is required can be booked. Pure arithmetic; masks as in ``terms``."""

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
"""How far before and after a slot's day it counts what somebody has been booked, where there is a choice."""

_SIDE: Micros = 2 * DAY


@dataclass(frozen=True, slots=True)
class Subject:
    """Somebody or something whose time is looked at.

    ``units`` says when each unit of it is taken: a set each. It is free where one of them is. ``before`` and ``after``
    is what has to be free around, ``full_days`` as in :func:`~appointments.calendar.bookable.terms.allowed`.
    """

    terms: Terms
    units: tuple[list[Span], ...]
    before: Micros = 0
    after: Micros = 0
    full_days: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Requirement:
    """So many of these subjects, which are numbers in the list of all."""

    subjects: tuple[int, ...]
    count: int


class Obstacles(NamedTuple):
    """How many starts were looked at, and how many each obstacle took away: the first one, in this order."""

    looked_at: int = 0
    hours: int = 0
    notice: int = 0
    rules: int = 0
    busy: int = 0
    buffers: int = 0

    def __add__(self, other: tuple[int, ...]) -> "Obstacles":  # type: ignore[override]
        return Obstacles(*(one + another for one, another in zip(self, other, strict=True)))


class Slot(NamedTuple):
    """A start, and who would be taken: for each requirement as many subjects as it counts."""

    start: Micros
    subjects: tuple[int, ...]


def grid(
    subjects: Sequence[Subject], requirements: Sequence[Requirement], step: Micros, first: Micros, end: Micros
) -> list[Micros]:
    """The starts within ``[first, end)`` that are looked at, ``step`` apart from each opening on.

    Where it is open for longer than a day they begin anew each midnight, and so they do where it is closed, in the zone
    of the first subject. They do not depend on where a window begins, so that the pages of a list fit together.
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
        # Where a closed time begins the starts go on as they were counted from midnight.
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
    """The slots among these starts, and what the others came to nothing for.

    Where there is a choice those are taken who have been booked least around that time, the first of equals.
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
    """What is left of the starts after hours, notice, rules, what is busy, and buffers."""
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
    """Where at least so many of these masks are."""
    reached = [-1, *[0] * count]  # everywhere there are at least none
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
    """Takes those of a requirement who have been booked least around a time."""

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
    """How much of a subject is taken around a time, a unit on average."""

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

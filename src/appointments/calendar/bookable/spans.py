"""Spans of time and sets of them. Pure.

A span is ``(first, end)``, the end exclusive, in microseconds as PostgreSQL counts instants. A set is a list of spans
in order that neither overlap nor touch.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import islice

from appointments.db import Micros

Span = tuple[Micros, Micros]


def union(spans: Iterable[Span]) -> list[Span]:
    """The set of times that at least one of these spans covers."""
    merged: list[Span] = []
    for first, end in sorted(spans):
        if merged and first <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        elif first < end:
            merged.append((first, end))
    return merged


def at_least(count: int, sets: Sequence[Sequence[Span]]) -> list[Span]:
    """The set of times that at least ``count`` of these sets cover."""
    if len(sets) == 1 == count:
        return list(sets[0])
    edges = sorted((at, step) for spans in sets for first, end in spans for at, step in ((first, 1), (end, -1)))
    covered, depth, begun = [], 0, 0
    for at, step in edges:
        if step > 0 and depth == count - 1:
            begun = at
        depth += step
        if step < 0 and depth == count - 1:
            covered.append((begun, at))
    return union(covered)


def gaps(spans: Sequence[Span], first: Micros, end: Micros) -> list[Span]:
    """The part of ``[first, end)`` that a set does not cover."""
    left = []
    begin = max(0, bisect_left(spans, (first, first)) - 1)
    for start, stop in islice(spans, begin, None):
        if start >= end:
            break
        if start > first:
            left.append((first, start))
        first = max(first, stop)
    if first < end:
        left.append((first, end))
    return left

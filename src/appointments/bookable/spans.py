"""Spans of time and sets of them. Pure.

A span is ``(first, end)``, the end exclusive, in microseconds as PostgreSQL counts instants. A set is a list of spans
in order that neither overlap nor touch.
"""

from collections.abc import Iterable, Sequence

from appointments.db import Micros

Span = tuple[Micros, Micros]


def union(spans: Iterable[Span]) -> list[Span]:
    """What any of these spans covers, as a set."""
    merged: list[Span] = []
    for first, end in sorted(spans):
        if merged and first <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        elif first < end:
            merged.append((first, end))
    return merged


def at_least(count: int, sets: Sequence[Sequence[Span]]) -> list[Span]:
    """Where at least ``count`` of these sets are, as a set."""
    edges = sorted((at, step) for spans in sets for first, end in spans for at, step in ((first, 1), (end, -1)))
    covered, depth, begun = [], 0, 0
    for at, step in edges:
        if step > 0 and depth == count - 1:
            begun = at
        depth += step
        if step < 0 and depth == count - 1:
            covered.append((begun, at))
    return union(covered)


def gaps(spans: Iterable[Span], first: Micros, end: Micros) -> list[Span]:
    """What of ``[first, end)`` a set leaves out."""
    left = []
    for start, stop in spans:
        if start > first:
            left.append((first, min(start, end)))
        first = max(first, stop)
        if first >= end:
            return left
    return [*left, (first, end)] if first < end else left

"""Results: rows with what they are compared with, as a table for people and as JSON for machines."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Row:
    """One number. ``against`` names the row or the fact that ``ratio`` relates it to."""

    name: str
    value: float
    unit: str
    against: str = ""
    ratio: float | None = None


def interleaved(rounds: int, cases: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    """Measure every case once a round, each round from another beginning, and take the medians."""
    names, found = list(cases), {name: list[float]() for name in cases}
    for number in range(rounds):
        first = number * len(names) // rounds
        for name in names[first:] + names[:first]:
            found[name].append(cases[name]())
    return {name: median(values) for name, values in found.items()}


def table(rows: Iterable[Row]) -> str:
    """As people read it."""
    lines = []
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:8.2f} × {row.against}"
        lines.append(f"{row.name:<44}{row.value:>12,.{_digits(row.value)}f} {row.unit:<12}{ratio}".rstrip())
    return "\n".join(lines)


def write(path: Path, rows: Iterable[Row]) -> None:
    """As machines read it."""
    path.write_text(json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False) + "\n")


def _digits(value: float) -> int:
    return 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2

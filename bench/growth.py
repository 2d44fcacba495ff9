"""Growth: the same calls for a busy person in databases of different sizes, side by side."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from appointments.db import embedded
from bench.data import BUSY
from bench.load import Generator
from bench.results import Row, interleaved
from bench.stage import Stage, stage

KINDS = ("create", "get", "list day", "list week", "list month")


def growth(
    postgres: embedded.Server, generator: Generator, sizes: tuple[int, ...], *, rounds: int, calls: int
) -> Iterator[Row]:
    """The median latency of one call at a time, against that in the smallest database."""
    with ExitStack() as stack:
        stages = {
            size: stack.enter_context(stage(postgres, generator, f"bench_{size}", busy=size // BUSY)) for size in sizes
        }

        def case(where: Stage, kind: str) -> float:
            return where.drive(kind, calls, in_flight=1).percentile(0.5) * 1000

        for where in stages.values():
            for kind in KINDS:
                case(where, kind)
        # The sizes of one kind come one after the other, so that the machine's load is the same for all.
        cases = {
            f"{kind}, {size:,} appointments": partial(case, where, kind)
            for kind in KINDS
            for size, where in stages.items()
        }
        medians = interleaved(rounds, cases)
        for name, value in medians.items():
            against = f"{name.split(',')[0]}, {min(sizes):,} appointments"
            yield Row(f"p50: {name}", value, "ms", against, value / medians[against])

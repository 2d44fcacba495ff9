"""``python -m bench [--quick]``: set everything up, measure, print a table and write bench/results.json."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from appointments.db import embedded
from bench.cost import cost, throughput
from bench.growth import growth
from bench.life import memory, start
from bench.load import generator
from bench.machine import facts
from bench.results import Row, table, write
from bench.server import POOL
from bench.stage import POSTGRES, READERS, stage
from bench.storm import storm

RESULTS = Path(__file__).with_name("results.json")


def main() -> None:
    """Run it all. Rows are printed as they come."""
    quick = "--quick" in sys.argv[1:]
    began, rows = time.monotonic(), list[Row]()
    with embedded.scratch(settings=POSTGRES) as postgres:
        described = facts() | {"postgres": _version(postgres.dsn), "pool": str(POOL)} | POSTGRES
        print("\n".join(f"{name:<44}{value:>12}" for name, value in described.items()), flush=True)
        for row in measure(postgres, quick=quick):
            rows.append(row)
            print(table([row]), flush=True)
    write(RESULTS, [*(Row(f"fact: {name} = {value}", 0, "") for name, value in described.items()), *rows])
    print(f"\n{time.monotonic() - began:.0f} s; written to {RESULTS.relative_to(Path.cwd())}")


def measure(postgres: embedded.Server, *, quick: bool) -> Iterator[Row]:
    """Everything, one after the other; within each part, side by side."""
    with generator() as clients:
        with stage(postgres, clients, "bench_main", busy=1 if quick else READERS, workers=2) as main_stage:
            yield from cost(main_stage, rounds=3 if quick else 7, calls=300 if quick else 4000)
            yield from throughput(main_stage, rounds=1 if quick else 5, seconds=0.25 if quick else 2)
            yield from storm(main_stage, rounds=2 if quick else 10)
            for engine in ("grpcio", "native"):
                yield from memory(main_stage, calls=5_000 if quick else 1_000_000, engine=engine)
            yield from start(postgres, main_stage.dsn, rounds=1 if quick else 5, processes=3 if quick else 10)
        sizes = (10_000, 50_000) if quick else (10_000, 1_000_000, 10_000_000)
        yield from growth(postgres, clients, sizes, rounds=3 if quick else 5, calls=30 if quick else 500)


def _version(dsn: str) -> str:
    with psycopg.connect(dsn) as connection:
        return str(connection.info.server_version)


if __name__ == "__main__":
    main()

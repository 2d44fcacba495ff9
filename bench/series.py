"""``python -m bench.series [--series 10000] [--shared 1]``: what many series without an end cost to create and to keep.

Weekly series of an hour, each of a person in a room, none of which collide. A person has ``--shared`` of them, and so
has a room: the more there are, the more a new one is held against (for ten years ahead). They are created four at a
time, then the clock is put forward so that every frontier is due, and the task's own function extends all. Memory is
that of this process, where the feature runs; what is kept is what PostgreSQL's files grow by.
"""

import argparse
import asyncio
import os
import resource
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg

from appointments.calendar import frontiers, resources, series_booking
from appointments.calendar.appointment import Spec
from appointments.calendar.materializing import Terms
from appointments.calendar.resource import ResourceSpec, Role
from appointments.calendar.series import SeriesSpec
from appointments.db import Database, embedded
from appointments.db.migrate import migrate
from bench import data
from bench.machine import usage
from bench.stage import POSTGRES, new_database

AT_ONCE = 4
MORE = 20
LATER = timedelta(days=60)
TABLES = "appointments", "bookings", "new_changes", "changes", "series", "series_subjects"
COUNTS = """
    SELECT (SELECT count(*) FROM appointments WHERE series_id IS NOT NULL AND deleted_at IS NULL),
           (SELECT count(*) FROM bookings WHERE appointment_id IS NOT NULL),
           (SELECT count(*) FROM bookings WHERE appointment_id IS NULL)
"""
# What the task asks for beside the tails: series that take no time.
UNBOOKED = "EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) " + frontiers.UNBOOKED.sql


@dataclass(frozen=True, slots=True)
class Stage:
    """Where it happens: the database, its server's process, and who takes part."""

    dsn: str
    postmaster: int
    people: list[UUID]
    rooms: list[UUID]
    shared: int


def spec(stage: Stage, index: int, monday: datetime, *, transparent: bool = False) -> SeriesSpec:
    """The series of a number: each has a slot of the week that nobody else wants of its person or its room."""
    slot = index % stage.shared
    start = monday + timedelta(days=slot // 8, hours=8 + slot % 8)
    rooms = (str(stage.rooms[index // stage.shared]),)
    first = Spec("Every week", start, start + timedelta(hours=1), "Europe/Zurich", resource_ids=rooms)
    if transparent:
        first = replace(first, transparent=True, resource_ids=())
    return SeriesSpec(first, "FREQ=WEEKLY")


@contextmanager
def timed(name: str, stage: Stage, count: int) -> Iterator[None]:
    """Print what it took for each of so many."""
    began, cpu, postgres = time.monotonic(), time.process_time(), usage(stage.postmaster).cpu_seconds
    yield
    seconds, mine = time.monotonic() - began, time.process_time() - cpu
    theirs = usage(stage.postmaster).cpu_seconds - postgres
    print(
        f"{name}: {seconds:.1f} s; each {seconds / count * 1e3:.2f} ms, CPU {mine / count * 1e3:.2f} ms Python"
        f" + {theirs / count * 1e3:.2f} ms PostgreSQL",
        flush=True,
    )


def tell(stage: Stage, count: int) -> None:
    """Print how many rows there are, and what each series takes of disk and of this process's memory."""
    with psycopg.connect(stage.dsn) as connection:
        rows, booked, tails = connection.execute(COUNTS).fetchone() or (0, 0, 0)
        sizes = {
            name: (connection.execute("SELECT pg_total_relation_size(%s::regclass)", (name,)).fetchone() or (0,))[0]
            for name in TABLES
        }
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"  {rows:,} occurrences, {booked:,} bookings, {tails:,} tails")
    print(f"  a series: {sum(sizes.values()) / count / 1024:.1f} KiB of disk:", end=" ")
    print(", ".join(f"{name} {size / count / 1024:.1f}" for name, size in sizes.items()))
    print(f"  this process: {resident / 2**20:.0f} MiB, {peak / 2**20:.0f} at most", flush=True)


async def all_of(works: Iterator[Awaitable[object]]) -> None:
    """Await them, a few at a time."""

    async def some() -> None:
        for work in works:
            await work

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


async def run(stage: Stage, count: int) -> None:
    """Create, extend, look."""
    now = datetime.now(UTC)
    monday = (now - timedelta(days=now.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
    monday += timedelta(days=7)
    async with Database(stage.dsn, size=AT_ONCE) as db:
        room = ResourceSpec("room", "Room", "Europe/Zurich", default_role=Role.BOOKER)
        stage.rooms.extend(
            [(await resources.create(db, stage.people[0], room)).id for _ in range(-(-count // stage.shared))]
        )
        terms = Terms(now=now)

        def create(index: int, *, transparent: bool = False) -> Awaitable[object]:
            owner = stage.people[index % len(stage.people)]
            return series_booking.create(db, owner, spec(stage, index, monday, transparent=transparent), terms)

        tell(stage, count)
        with timed(f"create {count:,}", stage, count):
            # One after the other in time: neighbours share a room, and would wait for each other.
            await all_of(create(index) for index in sorted(range(count), key=lambda index: index % stage.shared))
        tell(stage, count)
        with timed("nothing is due", stage, count):
            assert not await frontiers.extend_due(db, frontiers.HORIZON, now)
        with timed("extend all", stage, count):
            moved = await frontiers.extend_due(db, frontiers.HORIZON, now + LATER)
        print(f"  {moved:,} frontiers were moved")
        tell(stage, count)
        few = count // 50
        await all_of(create(index, transparent=True) for index in range(few))
        print(f"{few:,} more that take no time; how the task finds those whose rows end")
        with psycopg.connect(stage.dsn) as connection:
            connection.execute("ANALYZE series; ANALYZE appointments")
            for until in (now, now + LATER + frontiers.HORIZON):
                for (line,) in connection.execute(UNBOOKED, {"until": until}):
                    print("  ", line)
        with timed("extend those", stage, few):
            await frontiers.extend_unbooked(db, frontiers.HORIZON, now + LATER + LATER)


async def crowd(stage: Stage, sizes: list[int]) -> None:
    """Weekly series of many people in one room, 20 minutes each: what one more costs beside so many."""
    now = datetime.now(UTC)
    monday = (now - timedelta(days=now.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
    monday += timedelta(days=7)
    async with Database(stage.dsn, size=AT_ONCE) as db:
        room = ResourceSpec("room", "Room", "Europe/Zurich", default_role=Role.BOOKER)
        stage.rooms.append((await resources.create(db, stage.people[0], room)).id)

        def weekly(index: int) -> SeriesSpec:
            start = monday + timedelta(minutes=20 * index)
            first = Spec("Every week", start, start + timedelta(minutes=20), "Europe/Zurich")
            return SeriesSpec(replace(first, resource_ids=(str(stage.rooms[0]),)), "FREQ=WEEKLY")

        there = 0
        for size in sizes:
            for index in range(there, size):
                await series_booking.create(db, stage.people[index], weekly(index))
            there = size
            with timed(f"one more beside {size}, looked at only", stage, MORE):
                for index in range(MORE):
                    last = weekly(there + index)
                    await series_booking.create(db, stage.people[there + index], last, Terms(validate_only=True))


def main() -> None:
    """Run it on a database of its own."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--series", type=int, default=10_000)
    options.add_argument("--shared", type=int, default=1, help="1 to 40; its square divides the number of series")
    options.add_argument("--crowd", type=int, nargs="*", help="so many series in one room instead, at most 300")
    asked = options.parse_args()
    count, shared = asked.series, asked.shared
    with embedded.scratch(settings=POSTGRES) as postgres:
        dsn = new_database(postgres, "bench_series")
        asyncio.run(migrate(dsn))
        if asked.crowd:
            people = [person.user_id for person in data.add_people(dsn, max(asked.crowd) + MORE)]
            asyncio.run(crowd(Stage(dsn, postgres.pid, people, [], 1), sorted(asked.crowd)))
            return
        # One more than divides them, so that the slots of a person's series differ.
        people = [person.user_id for person in data.add_people(dsn, count // shared + 1)]
        asyncio.run(run(Stage(dsn, postgres.pid, people, [], shared), count))


if __name__ == "__main__":
    main()

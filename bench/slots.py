"""``python -m bench.slots [--quick] [COUNT ...]``: what searches for free time cost at a million and more appointments.

It times the features themselves, Python included, one call at a time, beside a get: trust the ratios. People have ten
thousand appointments each; they work in office hours of Zurich, and some of their rooms have rules. COUNT is how many
people there are, 100 by default; several COUNTs are as many databases, and each call is made in all of them in turns,
so that the machine's load is the same for all. What PostgreSQL counts of its own accord says whether any table was
read from its beginning to its end.
"""

import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import psycopg
import uvloop

from appointments.calendar import availability, booking, updating
from appointments.calendar.appointment import Spec
from appointments.calendar.availability import Asker, Search, Wanted
from appointments.calendar.bookable.hours import DayHours, Hours
from appointments.calendar.bookable.rules import BookingRules
from appointments.db import Database, embedded
from appointments.db.migrate import migrate
from bench.data import BUSY, FIRST, Person, add_busy_people, add_people, add_rooms, settle
from bench.stage import POSTGRES

OFFICE = Hours(tuple(DayHours(day, 480, 1080) for day in range(1, 6)))
RULES = BookingRules(max_duration=timedelta(hours=4), step=timedelta(minutes=15), daily_limit=100)
MIDDLE = FIRST + timedelta(days=400)
STRANGERS = 10_000
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True)
class Case:
    """One thing to time."""

    name: str
    call: Callable[[], Awaitable[Any]]


@dataclass(frozen=True)
class Times:
    """Of one call: what it took, and what it took of the processor here and in PostgreSQL. Milliseconds."""

    wall: float
    service: float
    postgres: float


@dataclass(frozen=True)
class Stand:
    """A database, and what is timed in it."""

    appointments: int
    db: Database
    dsn: str
    cases: list[Case]


async def main(counts: list[int], rounds: int) -> None:
    """Measure, and print the medians, and the 99th percentile of what a call took."""
    with embedded.scratch(settings=POSTGRES) as postgres:
        async with AsyncExitStack() as stack:
            stands = [await stack.enter_async_context(_stand(postgres.dsn, count)) for count in counts]
            scans = [_scans(stand.dsn) for stand in stands]
            sizes = ", ".join(f"{stand.appointments:,}" for stand in stands)
            print(f"{sizes} appointments, {rounds} rounds; ms: service CPU, PostgreSQL CPU, median, p99; ÷ the first")
            first: dict[str, list[Times]] = {}
            for stand, times in zip(stands, await _time(stands, rounds), strict=True):
                first = first or times
                for name, each in times.items():
                    print(f"{stand.appointments:>12,} {name:<48}{_row(each)}{_ratio(each, first[name])}", flush=True)
            for stand, before in zip(stands, scans, strict=True):
                read = {table: number - before[table] for table, number in _scans(stand.dsn).items()}
                found = {table: number for table, number in read.items() if number}
                print(f"{stand.appointments:>12,} sequential scans: {found or 'none'}")


@asynccontextmanager
async def _stand(server: str, count: int) -> AsyncIterator[Stand]:
    name, began = f"slots_{count}", time.monotonic()
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    dsn = urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    await migrate(dsn)
    people = add_rooms(dsn, add_busy_people(dsn, count))
    # Others, who book nothing, and their rooms: the least table is too large to be read for one of its rows.
    add_rooms(dsn, add_people(dsn, STRANGERS)[: STRANGERS // 5])
    _give_hours(dsn)
    settle(dsn)
    print(f"{count * BUSY:,} appointments were there after {time.monotonic() - began:.0f} s", flush=True)
    # One connection, whose server process the kernel is asked about.
    async with Database(dsn, size=1) as db:
        yield Stand(count * BUSY, db, dsn, _cases(db, people))


def _scans(dsn: str) -> dict[str, int]:
    """How often each table has been read from its beginning to its end."""
    with psycopg.connect(dsn) as connection:
        # What a connection has counted is told by it a second later at most.
        time.sleep(2)
        return dict(connection.execute("SELECT relname, seq_scan FROM pg_stat_user_tables").fetchall())


def _give_hours(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE users SET hours = %s::jsonb, time_zone = 'Europe/Zurich'", [OFFICE.dumps()])


async def _time(stands: list[Stand], rounds: int) -> list[dict[str, list[Times]]]:
    """Every case once a round in each database, so that whatever else the machine does falls on all of them."""
    backends = []
    for stand in stands:
        async with stand.db.connection() as connection:
            backends.append(Path(f"/proc/{connection.info.backend_pid}/schedstat"))
    found: list[dict[str, list[Times]]] = [{case.name: [] for case in stand.cases} for stand in stands]
    for number in range(rounds + 3):
        for cases in zip(*(stand.cases for stand in stands), strict=True):
            for case, backend, times in zip(cases, backends, found, strict=True):
                before = _now(backend)
                await case.call()
                taken = Times(*(later - at for at, later in zip(before, _now(backend), strict=True)))
                if number >= 3:
                    times[case.name].append(taken)
    return found


def _now(backend: Path) -> tuple[float, float, float]:
    ran = int(backend.read_text().split()[0]) / 1e6
    return time.perf_counter() * 1000, time.process_time() * 1000, ran


def _row(times: list[Times]) -> str:
    wall = sorted(each.wall for each in times)
    service, postgres = (statistics.median(getattr(each, part) for each in times) for part in ("service", "postgres"))
    return f"{service:8.2f}{postgres:8.2f}{statistics.median(wall):9.2f}{wall[int(len(wall) * 0.99) - 1]:9.2f}"


def _ratio(times: list[Times], first: list[Times]) -> str:
    """How much more the processor had to do than in the first database: both parts together."""

    def median(of: list[Times]) -> float:
        return statistics.median(each.service + each.postgres for each in of)

    return f"{median(times) / median(first):8.2f}"


def _cases(db: Database, people: list[Person]) -> list[Case]:
    turns, numbers = cycle(people), iter(range(10**9))
    asker = Asker(people[0].user_id)

    def ids(number: int) -> list[str]:
        return [str(next(turns).user_id) for _ in range(min(number, len(people)))]

    def search(wanted: Callable[[], tuple[Wanted, ...]], days: int, size: int) -> Callable[[], Awaitable[Any]]:
        async def call() -> None:
            await availability.search(
                db, asker, Search(wanted(), HOUR / 2, MIDDLE, MIDDLE + days * DAY, HOUR / 2), size=size
            )

        return call

    def any_of(number: int) -> Callable[[], tuple[Wanted, ...]]:
        return lambda: (Wanted(tuple(ids(number))),)

    def all_of(number: int) -> Callable[[], tuple[Wanted, ...]]:
        return lambda: tuple(Wanted((each,)) for each in ids(number))

    async def get() -> None:
        person = next(turns)
        await booking.get(db, person.user_id, UUID(person.appointments[0]))

    async def free_busy(number: int, days: int = 90) -> None:
        await availability.free_busy(db, asker, ids(number), MIDDLE, MIDDLE + days * DAY)

    async def create(*, ruled: bool = False, ttl: timedelta | None = None, rooms: int = 1) -> None:
        person = next(turns)
        room = person.rooms[1 if ruled else 0]
        start = datetime(2040, 1, 1, tzinfo=UTC) + next(numbers) * HOUR
        spec = Spec("Bench", start, start + HOUR / 2, "UTC", resource_ids=(room,) * rooms)
        made = await booking.create(db, person.user_id, spec, ttl=ttl)
        if ttl:
            await updating.delete(db, person.user_id, made.id)

    async def rule_rooms() -> None:
        async with db.connection() as connection:
            await connection.execute(
                "UPDATE resources SET booking_rules = %s::jsonb WHERE id = ANY (%s)",
                [RULES.dumps(), [UUID(person.rooms[1]) for person in people]],
            )

    async def ruled() -> None:
        if not ready:
            await rule_rooms()
            ready.append(uuid4())
        await create(ruled=True)

    ready: list[UUID] = []
    return [
        Case("get", get),
        Case("slots of 1 person, 14 days", search(any_of(1), 14, 1000)),
        Case("slots of 1 person, 90 days", search(any_of(1), 90, 1000)),
        Case("a page of 50 of 1 person in 90 days", search(any_of(1), 90, 50)),
        Case("a page of 50, any of 20 people, 7 days", search(any_of(20), 7, 50)),
        Case("any of 20 people, 90 days", search(any_of(20), 90, 1000)),
        Case("all of 2 people, 90 days", search(all_of(2), 90, 1000)),
        Case("all of 20 people, 90 days", search(all_of(20), 90, 1000)),
        Case("free and busy of 1 person, 90 days", lambda: free_busy(1)),
        Case("free and busy of 20 people, 90 days", lambda: free_busy(20)),
        Case("free and busy of 50 people, 92 days", lambda: free_busy(50, 92)),
        Case("create, alone", lambda: create(rooms=0)),
        Case("create with a room", create),
        Case("create with a room that has rules", ruled),
        Case("hold a room, and delete the hold", lambda: create(ttl=HOUR)),
    ]


if __name__ == "__main__":
    is_quick = "--quick" in sys.argv[1:]
    sizes = [int(each) for each in sys.argv[1:] if each.isdigit()] or [5 if is_quick else 100]
    uvloop.run(main(sizes, 20 if is_quick else 100))

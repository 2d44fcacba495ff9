"""``python -m bench.slots [--quick]``: what searches for free time cost at a million and more appointments.

It times the features themselves, Python included, one call at a time, beside a get: trust the ratios. A hundred
people have ten thousand appointments each; they work in office hours of Zurich, and some of their rooms have rules.
"""

import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any
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
from bench.data import FIRST, Person, add_busy_people, add_rooms, settle
from bench.stage import POSTGRES

OFFICE = Hours(tuple(DayHours(day, 480, 1080) for day in range(1, 6)))
RULES = BookingRules(max_duration=timedelta(hours=4), step=timedelta(minutes=15), daily_limit=100)
MIDDLE = FIRST + timedelta(days=400)
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


async def main(*, quick: bool) -> None:
    """Measure, and print the medians, and the 99th percentile of what a call took."""
    count, rounds = (5, 20) if quick else (100, 100)
    with embedded.scratch(settings=POSTGRES) as postgres:
        await migrate(postgres.dsn)
        people = add_rooms(postgres.dsn, add_busy_people(postgres.dsn, count))
        _give_hours(postgres.dsn)
        settle(postgres.dsn)
        # One connection, whose server process the kernel is asked about.
        async with Database(postgres.dsn, size=1) as db:
            print(f"{count * 10_000:,} appointments, {rounds} rounds; ms: service CPU, PostgreSQL CPU, median, p99")
            for name, times in (await _time(db, _cases(db, people), rounds)).items():
                print(f"{name:<48}{_row(times)}", flush=True)


def _give_hours(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE users SET hours = %s::jsonb, time_zone = 'Europe/Zurich'", [OFFICE.dumps()])


async def _time(db: Database, cases: list[Case], rounds: int) -> dict[str, list[Times]]:
    """Every case once a round, so that whatever else the machine does falls on all of them."""
    async with db.connection() as connection:
        backend = Path(f"/proc/{connection.info.backend_pid}/schedstat")
    times: dict[str, list[Times]] = {case.name: [] for case in cases}
    for number in range(rounds + 3):
        for case in cases:
            before = _now(backend)
            await case.call()
            if number >= 3:
                times[case.name].append(Times(*(later - at for at, later in zip(before, _now(backend), strict=True))))
    return times


def _now(backend: Path) -> tuple[float, float, float]:
    ran = int(backend.read_text().split()[0]) / 1e6
    return time.perf_counter() * 1000, time.process_time() * 1000, ran


def _row(times: list[Times]) -> str:
    wall = sorted(each.wall for each in times)
    service, postgres = (statistics.median(getattr(each, part) for each in times) for part in ("service", "postgres"))
    return f"{service:8.2f}{postgres:8.2f}{statistics.median(wall):9.2f}{wall[int(len(wall) * 0.99) - 1]:9.2f}"


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

    async def free_busy(number: int) -> None:
        await availability.free_busy(db, asker, ids(number), MIDDLE, MIDDLE + 90 * DAY)

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
        Case("create, alone", lambda: create(rooms=0)),
        Case("create with a room", create),
        Case("create with a room that has rules", ruled),
        Case("hold a room, and delete the hold", lambda: create(ttl=HOUR)),
    ]


if __name__ == "__main__":
    uvloop.run(main(quick="--quick" in sys.argv[1:]))

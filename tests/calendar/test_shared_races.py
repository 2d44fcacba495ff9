"""Races for rooms and units: one winner for each, nobody fails for another reason, no deadlock, and no call is long.

A deadlock would cost its victim a second, and be retried: PostgreSQL counts them, and here there may be none.
``APPOINTMENTS_STORM_SECONDS`` makes the storm longer. With ``-s`` the longest calls are printed.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import cycle, islice
from time import monotonic
from typing import Any
from uuid import UUID

import psycopg
import pytest

from appointments import auth
from appointments.auth import Passwords
from appointments.calendar import booking, resources, updating
from appointments.calendar.appointment import Appointment, Spec
from appointments.calendar.resource import ResourceSpec
from appointments.db import Database
from appointments.shared.errors import Conflict, Denied, Fault, NotFound, Taken, Unauthenticated, Unmet
from tests.audit import audit, deadlocks
from tests.auth.signing_in import SECRET
from tests.people import HOUR, TEN, add_room, add_user, shared

ROUNDS = 20
RACERS = 100
STORM_SECONDS = float(os.environ.get("APPOINTMENTS_STORM_SECONDS", "8"))
LONGEST_CALL = 2.0
"""Seconds. A call waits for its turn among a hundred, and for whoever holds a subject's lock, and for nothing else."""
BYSTANDERS = 50
"""A machine that is busy with other things makes every statement longer. So a call may also take as long as so many of
the longest statement of a bystander, who waits for nothing but the machine: a hundred callers share ten connections, so
each waits for ten turns of about five statements. On an idle machine that is about LONGEST_CALL, too."""


@pytest.fixture(autouse=True)
async def no_deadlock(dsn: str) -> AsyncIterator[None]:
    """No race of this file may end in one."""
    yield
    assert await deadlocks(dsn) == 0


@pytest.fixture
async def db(no_deadlock: None, dsn: str) -> AsyncIterator[Database]:
    """The features' view of the database, hung up before the deadlocks are counted."""
    async with Database(dsn, size=10) as database:
        yield database


class Race:
    """Calls at the same time, and how long they take."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.bystander = 0.0

    async def run(self, *attempts: Awaitable[Any]) -> list[Any]:
        """What each returned or raised, when all run at once."""
        return await asyncio.gather(*map(self.timed, attempts), return_exceptions=True)

    async def outcomes(self, *attempts: Awaitable[Any]) -> Counter[str]:
        """How the attempts ended when all run at once."""
        results = await self.run(*attempts)
        return Counter("OK" if isinstance(result, Appointment) else type(result).__name__ for result in results)

    async def timed(self, attempt: Awaitable[Any]) -> Any:
        """Do it, and note how long it took."""
        started = monotonic()
        try:
            return await attempt
        finally:
            self.longest = max(self.longest, monotonic() - started)

    async def stand_by(self, connection: "psycopg.AsyncConnection[Any]") -> None:
        """Run a statement that needs nothing of anybody, again and again: how long it takes is up to the machine."""
        while True:
            started = monotonic()
            await connection.execute("SELECT count(*) FROM appointments WHERE id = gen_random_uuid()")
            self.bystander = max(self.bystander, monotonic() - started)
            await asyncio.sleep(0.01)


@pytest.fixture
async def race(no_deadlock: None, dsn: str) -> AsyncIterator[Race]:
    """A race, and that in the end none of its calls has taken long."""
    race = Race()
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        standing_by = asyncio.create_task(race.stand_by(connection))
        yield race
        standing_by.cancel()
        with suppress(asyncio.CancelledError):
            await standing_by
    print(f"longest call {race.longest:.2f} s, of a bystander {race.bystander:.3f} s")  # noqa: T201 - with -s
    assert race.longest < max(LONGEST_CALL, BYSTANDERS * race.bystander)


async def test_a_room_and_its_booker_have_one_winner(db: Database, race: Race, stranger: UUID) -> None:
    """Ten people, ten clients each, one room: one is booked, ninety-nine are told so."""
    people = [await add_user(db) for _ in range(RACERS // 10)]
    room = await add_room(db, stranger)
    for round_ in range(ROUNDS):
        slot = shared(room, start=TEN + round_ * HOUR)
        ended = await race.outcomes(*(booking.create(db, person, slot) for person in people for _ in range(10)))
        assert {"OK": 1, "Conflict": RACERS - 1} == ended
    assert 0 == await audit(db)


async def test_a_person_alone_has_one_winner_whatever_the_room(db: Database, race: Race, owner: UUID) -> None:
    """A hundred clients of one person, half of them with a room and half without."""
    room = await add_room(db, owner)
    for round_ in range(ROUNDS):
        start = TEN + round_ * HOUR
        slots = [shared(room, start=start), shared(start=start)] * (RACERS // 2)
        ended = await race.outcomes(*(booking.create(db, owner, slot) for slot in slots))
        assert {"OK": 1, "Conflict": RACERS - 1} == ended
    assert 0 == await audit(db)


async def test_overlapping_sets_of_rooms(db: Database, race: Race, stranger: UUID) -> None:
    """Five of ten rooms, in random order: winners share no room, and every loser wanted one of theirs."""
    chance = random.Random(7)
    rooms = [await add_room(db, stranger) for _ in range(10)]
    people = [await add_user(db) for _ in range(RACERS)]
    for round_ in range(ROUNDS):
        start = TEN + round_ * HOUR
        wanted = [shared(*chance.sample(rooms, 5), start=start) for _ in people]
        results = await race.run(*(booking.create(db, who, what) for who, what in zip(people, wanted, strict=True)))
        assert {True} == {isinstance(each, Appointment | Conflict) for each in results}
        winners = [set(each.resource_ids or ()) for each in results if isinstance(each, Appointment)]
        taken = set[str]().union(*winners)
        assert 5 * len(winners) == len(taken) > 0
        for what, result in zip(wanted, results, strict=True):
            if isinstance(result, Conflict):
                assert {str(each) for each in result.resource_ids} <= set(what.resource_ids)
                assert taken & set(what.resource_ids)
    assert 0 == await audit(db)


async def test_twelve_units_have_twelve_winners(db: Database, race: Race, stranger: UUID) -> None:
    """A hundred people for twelve bikes: exactly twelve, none fails while units are left."""
    people = [await add_user(db) for _ in range(RACERS)]
    bikes = await add_room(db, stranger, units=12)
    for round_ in range(ROUNDS):
        slot = shared(bikes, start=TEN + round_ * HOUR)
        ended = await race.outcomes(*(booking.create(db, person, slot) for person in people))
        assert {"OK": 12, "Conflict": RACERS - 12} == ended
    assert 0 == await audit(db)


async def test_as_many_as_there_are_units_all_win(db: Database, race: Race, stranger: UUID) -> None:
    """Twelve at once for twelve units: they do not fail each other."""
    people = [await add_user(db) for _ in range(12)]
    bikes = await add_room(db, stranger, units=12)
    for round_ in range(ROUNDS):
        slot = shared(bikes, start=TEN + round_ * HOUR)
        assert {"OK": 12} == await race.outcomes(*(booking.create(db, person, slot) for person in people))


async def test_moves_onto_one_room_have_one_winner(db: Database, race: Race, stranger: UUID) -> None:
    """A hundred appointments of ten people, moved into one room at one time, and then all of them to the next one."""
    people = [await add_user(db) for _ in range(10)]
    room = await add_room(db, stranger)
    start = TEN + 1000 * HOUR
    booked = [
        await booking.create(db, person, shared(room, start=start + (10 * number + index) * HOUR))
        for number, person in enumerate(people)
        for index in range(10)
    ]

    def to(goal: datetime) -> Any:
        return lambda old: replace(old, start_at=goal, end_at=goal + HOUR)

    for round_ in range(ROUNDS):
        goal = TEN + round_ * HOUR
        ended = await race.outcomes(*(updating.update(db, each.owner_id, each.id, to(goal)) for each in booked))
        assert {"OK": 1, "Conflict": RACERS - 1} == ended
    assert 0 == await audit(db)


async def test_appointments_that_exchange_their_rooms(db: Database, race: Race, stranger: UUID) -> None:
    """Each wants the room of another one, and gets it only if that one has gone first; nobody waits in a ring."""
    rooms = [await add_room(db, stranger) for _ in range(6)]
    people = [await add_user(db) for _ in rooms]
    booked = [await booking.create(db, who, shared(room)) for who, room in zip(people, rooms, strict=True)]
    chance = random.Random(3)

    def give(*wanted: UUID) -> Any:
        return lambda old: replace(old, resource_ids=tuple(map(str, wanted)))

    for _ in range(ROUNDS):
        ended = await race.outcomes(
            *(
                updating.update(db, each.owner_id, each.id, give(*chance.sample(rooms, chance.randrange(3))))
                for each in islice(cycle(booked), RACERS)
            )
        )
        assert set(ended) <= {"OK", "Conflict"}
        assert 0 == await audit(db)


async def test_times_that_are_exchanged(db: Database, race: Race, stranger: UUID) -> None:
    """Two appointments of two people keep moving onto each other's time in the same two rooms."""
    rooms = [await add_room(db, stranger), await add_room(db, stranger)]
    people = [await add_user(db), await add_user(db)]
    booked = [await booking.create(db, who, shared(*rooms, start=TEN + i * HOUR)) for i, who in enumerate(people)]

    def to(hours: int) -> Any:
        start = TEN + hours * HOUR
        return lambda old: replace(old, start_at=start, end_at=start + HOUR)

    moves = [(hours, each) for hours in (0, 1, 2) for each in booked]
    for _ in range(ROUNDS):
        ended = await race.outcomes(
            *(updating.update(db, each.owner_id, each.id, to(hours)) for hours, each in islice(cycle(moves), RACERS))
        )
        assert set(ended) <= {"OK", "Conflict"}
    assert 0 == await audit(db)


class Storm:
    """People and rooms that come and go while everybody books."""

    def __init__(self, db: Database, race: Race) -> None:
        self.db = db
        self.race = race
        self.house = auth.build(db, Passwords(cost=4), secret=SECRET)
        self.people: list[UUID] = []
        self.rooms: list[UUID] = []
        self.manager = UUID(int=0)
        self.ended: Counter[str] = Counter()

    async def begin(self) -> None:
        """Twelve people, six rooms of one to three units."""
        self.manager = await add_user(self.db)
        self.people = [await add_user(self.db) for _ in range(12)]
        self.rooms = [await add_room(self.db, who, units=1 + index % 3) for index, who in enumerate(self.people[:6])]

    async def live(self, seed: int, until: float) -> None:
        """One client of somebody at a time."""
        chance = random.Random(seed)
        while monotonic() < until:
            try:
                await self.race.timed(self.act(chance))
            except Fault as fault:
                self.ended[type(fault).__name__] += 1
            else:
                self.ended["OK"] += 1

    async def act(self, chance: random.Random) -> None:
        """Do one thing."""
        who = chance.choice(self.people)
        what = chance.choices(
            ["create", "move", "give", "delete", "undelete", "resize", "close", "open", "erase"],
            [30, 15, 15, 10, 10, 4, 3, 6, 2],
        )[0]
        room = chance.choice(self.rooms)
        if what == "create":
            await booking.create(self.db, who, self.wanted(chance))
        elif what in {"move", "give", "delete", "undelete"}:
            await self.amend(what, who, chance)
        elif what == "resize":
            count = chance.randrange(1, 4)
            await resources.update(self.db, self.manager, room, _sized(count), is_admin=True)
        elif what == "close":
            await resources.delete(self.db, self.manager, room, force=True, is_admin=True)
        elif what == "open":
            await resources.undelete(self.db, self.manager, room, is_admin=True)
        else:
            self.people.remove(who)  # at once, so that nobody else picks them
            self.people.append(await add_user(self.db))
            await self.house.directory.delete(who, actor_id=self.manager)

    async def amend(self, what: str, who: UUID, chance: random.Random) -> None:
        """Change one of somebody's appointments."""
        async with self.db.connection() as connection:
            cursor = await connection.execute(
                "SELECT id FROM appointments WHERE owner_id = %(who)s AND (deleted_at IS NOT NULL) = %(gone)s LIMIT 20",
                {"who": who, "gone": what == "undelete"},
            )
            found = await cursor.fetchall()
        if not found:
            return
        target, wanted = chance.choice(found)[0], self.wanted(chance)
        if what == "delete":
            await updating.delete(self.db, who, target)
        elif what == "undelete":
            await updating.undelete(self.db, who, target)
        elif what == "move":
            await updating.update(self.db, who, target, lambda old: replace(wanted, resource_ids=old.resource_ids))
        else:
            await updating.update(self.db, who, target, lambda old: replace(old, resource_ids=wanted.resource_ids))

    def wanted(self, chance: random.Random) -> Spec:
        """An hour of a crowded day, in up to three rooms."""
        start = TEN + chance.randrange(24) * HOUR / 2
        rooms = chance.sample(self.rooms, chance.choice([0, 1, 1, 2, 3]))
        return shared(*rooms, start=start, buffer_after=timedelta(minutes=chance.choice([0, 0, 10])))


def _sized(count: int) -> Any:
    def change(spec: ResourceSpec) -> ResourceSpec:
        return replace(spec, units=count)

    return change


async def test_people_and_rooms_come_and_go_in_a_storm(db: Database, race: Race) -> None:
    """Thirty clients book, move, exchange, delete and restore while rooms close and accounts are erased.

    Nobody is told anything but what is true of the moment: a conflict, or that something is no longer there.
    """
    storm = Storm(db, race)
    await storm.begin()
    until = monotonic() + STORM_SECONDS
    await asyncio.gather(*(storm.live(seed, until) for seed in range(30)))
    told = {fault.__name__ for fault in (Conflict, NotFound, Taken, Unauthenticated, Unmet, Denied)}
    assert set(storm.ended) <= {"OK", *told}, storm.ended
    assert storm.ended["OK"] > 100
    assert 0 == await audit(db)
    print(dict(storm.ended))  # noqa: T201 - for whoever runs it by hand with -s
    for person in storm.people:
        with suppress(Conflict):
            await booking.create(db, person, shared())

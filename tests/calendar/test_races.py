"""Races, tested by racing: many at once on one slot, and a storm of everything with an audit at the end."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import replace
from time import monotonic
from uuid import UUID, uuid4

import psycopg
import pytest

from appointments.calendar import booking, updating
from appointments.calendar.appointment import Appointment, Spec
from appointments.db import Database
from appointments.shared.errors import Conflict, NotFound, Taken
from tests.audit import audit
from tests.people import HOUR, TEN, add_user, spec

ROUNDS = 20
RACERS = 100
STORM_SECONDS = 30


async def outcomes(*attempts: Awaitable[Appointment]) -> Counter[str]:
    """How the attempts ended when all run at once."""
    results = await asyncio.gather(*attempts, return_exceptions=True)
    return Counter("OK" if isinstance(result, Appointment) else type(result).__name__ for result in results)


async def test_one_slot_has_one_winner(db: Database, owner: UUID) -> None:
    """A hundred creates for one slot: one wins, the others are told what they collide with."""
    for round_ in range(ROUNDS):
        slot = spec(TEN + round_ * HOUR)
        ended = await outcomes(*(booking.create(db, owner, slot) for _ in range(RACERS)))
        assert {"OK": 1, "Conflict": RACERS - 1} == ended


async def test_updates_onto_one_slot_have_one_winner(db: Database, owner: UUID) -> None:
    """A hundred appointments moved onto one slot: one arrives."""
    for round_ in range(ROUNDS):
        start = TEN + (round_ + 1) * 1000 * HOUR
        booked = [await booking.create(db, owner, spec(start + index * HOUR)) for index in range(RACERS)]
        goal = start - HOUR

        def move(old: Spec, goal=goal) -> Spec:  # type: ignore[no-untyped-def]
            return replace(old, start_at=goal, end_at=goal + HOUR)

        ended = await outcomes(*(updating.update(db, owner, each.id, move) for each in booked))
        assert {"OK": 1, "Conflict": RACERS - 1} == ended


async def test_undeletes_of_one_slot_have_one_winner(db: Database, owner: UUID) -> None:
    """A hundred deleted appointments of one slot restored at once: one comes back."""
    deleted = []
    for _ in range(RACERS):
        created = await booking.create(db, owner, spec())
        deleted.append(await updating.delete(db, owner, created.id))
    for _ in range(ROUNDS):
        ended = await outcomes(*(updating.undelete(db, owner, each.id) for each in deleted))
        assert {"OK": 1, "Conflict": RACERS - 1} == ended
        live = [each for each in deleted if (await booking.get(db, owner, each.id)).deleted_at is None]
        await updating.delete(db, owner, live[0].id)


async def test_one_appointment_is_restored_once(db: Database, owner: UUID) -> None:
    """A hundred undeletes of the same appointment: one restores it, to the others it is not deleted."""
    created = await booking.create(db, owner, spec())
    await updating.delete(db, owner, created.id)
    ended = await outcomes(*(updating.undelete(db, owner, created.id) for _ in range(RACERS)))
    assert {"OK": 1, "Taken": RACERS - 1} == ended


async def test_deletes_and_undeletes_of_one_appointment_leave_it_whole(db: Database, owner: UUID) -> None:
    """However they cross, a deleted appointment takes no time and a live one its own."""
    created = await booking.create(db, owner, spec())

    async def flip() -> None:
        for action in (updating.delete, updating.undelete):
            with suppress(NotFound, Taken):
                await action(db, owner, created.id)

    for _ in range(ROUNDS):
        await asyncio.gather(*(flip() for _ in range(32)))
        assert 0 == await audit(db)
    with suppress(NotFound):
        await updating.delete(db, owner, created.id)
    await booking.create(db, owner, spec())


async def test_a_delete_that_waited_frees_the_booking_that_is_there_now(db: Database, dsn: str, owner: UUID) -> None:
    """While it waits for the row, others delete and restore the appointment: the booking is another one then."""
    created = await booking.create(db, owner, spec())
    async with await psycopg.AsyncConnection.connect(dsn) as others:
        await others.execute("UPDATE appointments SET version = version + 2 WHERE id = %s", [created.id])
        await others.execute(
            """
            INSERT INTO new_changes (calendar_id, kind, item_id, version, changed_at)
            SELECT owner_id, 'appointment.updated', id, generate_series(version - 1, version), now()
            FROM appointments WHERE id = %s
            """,
            [created.id],
        )
        await others.execute("DELETE FROM bookings WHERE appointment_id = %s", [created.id])
        await others.execute(
            """
            INSERT INTO bookings (appointment_id, subject_id, during)
            SELECT id, owner_id, tstzrange(start_at, end_at) FROM appointments WHERE id = %s
            """,
            [created.id],
        )
        deleting = asyncio.create_task(updating.delete(db, owner, created.id))
        await until_somebody_waits(db)
        await others.commit()
    assert (await deleting).deleted_at is not None
    assert 0 == await audit(db)
    await booking.create(db, owner, spec())


async def until_somebody_waits(db: Database) -> None:
    """Return when a statement of this database waits for a lock; that must be soon."""
    async with db.connection() as connection, asyncio.timeout(5):
        while True:
            cursor = await connection.execute(
                "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if await cursor.fetchone() is not None:
                return
            await asyncio.sleep(0.01)


async def test_a_retry_storm_gets_one_answer(db: Database, owner: UUID) -> None:
    """A hundred retries of one request at once: one booking, one answer."""
    request_id = uuid4()
    answers = await asyncio.gather(*(booking.create(db, owner, spec(), request_id=request_id) for _ in range(RACERS)))
    assert 1 == len({answer.id for answer in answers})
    assert all(answer == answers[0] for answer in answers)


async def test_an_undelete_does_not_deadlock_with_the_end_of_the_account(db: Database, dsn: str, owner: UUID) -> None:
    """The account is being erased, the undelete waits for that, and then finds nothing."""
    created = await booking.create(db, owner, spec())
    await updating.delete(db, owner, created.id)
    async with (
        await psycopg.AsyncConnection.connect(dsn) as eraser,
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as watcher,
        asyncio.timeout(10),
    ):
        await eraser.execute("SELECT FROM subjects WHERE id = %s FOR UPDATE", [owner])
        undeleting = asyncio.create_task(updating.undelete(db, owner, created.id))
        waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        while not (await watcher.execute(waiting)).rowcount:  # noqa: ASYNC110 - it waits in another process
            await asyncio.sleep(0.01)
        await eraser.execute("DELETE FROM subjects WHERE id = %s", [owner])
        await eraser.commit()
        with pytest.raises(NotFound):
            await undeleting


async def test_moves_in_opposite_order_do_not_deadlock(db: Database, owner: UUID) -> None:
    """Two appointments that keep moving onto each other's place and creates between them all end quickly."""
    first = await booking.create(db, owner, spec())
    second = await booking.create(db, owner, spec(TEN + HOUR))
    started = monotonic()

    async def swap(appointment_id: UUID, hours: int) -> Appointment:
        start = TEN + hours * HOUR
        return await updating.update(
            db, owner, appointment_id, lambda old: replace(old, start_at=start, end_at=start + HOUR)
        )

    for _ in range(30):
        ended = await outcomes(
            *(swap(first.id, hours) for hours in (1, 2, 0)),
            *(swap(second.id, hours) for hours in (0, 2, 1)),
            booking.create(db, owner, spec(TEN + 2 * HOUR)),
        )
        assert set(ended) <= {"OK", "Conflict"}
    # A single deadlock costs PostgreSQL a second to notice.
    assert monotonic() - started < 20


class Worker:
    """Does random things for one user to appointments of its own, and remembers what was acknowledged."""

    def __init__(self, db: Database, user_id: UUID, seed: int) -> None:
        self.db, self.user_id, self.random = db, user_id, random.Random(seed)
        self.live: dict[UUID, Spec] = {}
        self.deleted: dict[UUID, Spec] = {}

    def some_plan(self) -> Spec:
        """A spec in a crowded day."""
        return spec(TEN + self.random.randrange(48) * HOUR / 2, self.random.randrange(1, 5) * HOUR / 2)

    async def act(self) -> None:
        """Do one thing."""
        actions = [self.create, self.create, self.update, self.delete, self.undelete]
        with suppress(Conflict, NotFound, Taken):
            await self.random.choice(actions)()

    async def create(self) -> None:
        wanted = self.some_plan()
        created = await booking.create(self.db, self.user_id, wanted)
        self.live[created.id] = wanted

    async def update(self) -> None:
        if not self.live:
            return
        target, wanted = self.random.choice(list(self.live)), self.some_plan()
        await updating.update(self.db, self.user_id, target, lambda _: wanted)
        self.live[target] = wanted

    async def delete(self) -> None:
        if not self.live:
            return
        target = self.random.choice(list(self.live))
        await updating.delete(self.db, self.user_id, target)
        self.deleted[target] = self.live.pop(target)

    async def undelete(self) -> None:
        if not self.deleted:
            return
        target = self.random.choice(list(self.deleted))
        await updating.undelete(self.db, self.user_id, target)
        self.live[target] = self.deleted.pop(target)


async def test_a_storm_leaves_exactly_what_was_acknowledged(db: Database) -> None:
    """Twenty users, three workers each, at random: no overlap, every acknowledged write there, no refused one."""
    users = [await add_user(db) for _ in range(20)]
    workers = [Worker(db, users[seed % 20], seed) for seed in range(60)]
    until = monotonic() + STORM_SECONDS

    async def live(worker: Worker) -> None:
        while monotonic() < until:
            await worker.act()

    await asyncio.gather(*map(live, workers))
    assert 0 == await audit(db)
    for worker in workers:
        for kept, gone in ((worker.live, False), (worker.deleted, True)):
            for appointment_id, wanted in kept.items():
                found = await booking.get(db, worker.user_id, appointment_id)
                assert (wanted, gone) == (found.spec, found.deleted_at is not None)


async def test_users_do_not_disturb_each_other(db: Database) -> None:
    """The same slot for fifty people at once: all get it."""
    people = [await add_user(db) for _ in range(50)]
    assert {"OK": 50} == await outcomes(*(booking.create(db, each, spec()) for each in people))

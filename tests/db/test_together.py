"""Creates that share a statement: each has an answer of its own, and nobody is the worse for the company."""

import asyncio
from uuid import UUID, uuid4

import psycopg
import pytest

from appointments import booking
from appointments.appointment import Appointment
from appointments.db import Database
from appointments.errors import Conflict, NotFound, Unauthenticated
from appointments.plan import Attendee, Plan
from tests.db.people import HOUR, TEN, add_user, plan

PEOPLE = 30


async def together(db: Database, *plans: tuple[UUID, Plan]) -> list[object]:
    """Everybody's answer, or what was raised for them."""
    return await asyncio.gather(*(booking.create(db, owner, wanted) for owner, wanted in plans), return_exceptions=True)


async def statements(db: Database) -> int:
    """How many transactions have made the bookings that are there."""
    async with db.connection() as connection:
        cursor = await connection.execute("SELECT count(DISTINCT xmin::text) FROM bookings")
        row = await cursor.fetchone()
        assert row
        return int(row[0])


async def test_concurrent_creates_share_statements(db: Database) -> None:
    """Thirty people at once: far fewer transactions, and everybody has what they asked for."""
    people = [await add_user(db) for _ in range(PEOPLE)]
    plans = [
        Plan(f"Title {index}", TEN, TEN + HOUR, "UTC", "é" * index, "", (Attendee(f"a{index}@example.com"),))
        for index in range(PEOPLE)
    ]
    answers = await together(db, *zip(people, plans, strict=True))
    assert await statements(db) < PEOPLE / 2
    for owner, wanted, answer in zip(people, plans, answers, strict=True):
        assert isinstance(answer, Appointment)
        assert (owner, wanted) == (answer.owner_id, answer.plan)
        assert answer == await booking.get(db, owner, answer.id)


async def test_a_collision_is_nobody_elses(db: Database) -> None:
    """Some find their time taken: they are told so, and the others are booked."""
    people = [await add_user(db) for _ in range(PEOPLE)]
    for owner in people[::3]:
        await booking.create(db, owner, plan())
    answers = await together(db, *((owner, plan()) for owner in people))
    assert [Conflict] * len(people[::3]) == [type(answer) for answer in answers[::3]]
    booked = [answer for index, answer in enumerate(answers) if index % 3]
    assert {Appointment} == {type(answer) for answer in booked}


async def test_a_refused_statement_is_run_for_each_alone(db: Database) -> None:
    """An account that was deleted and a request id used before fail the shared statement, and only their own calls."""
    people = [await add_user(db) for _ in range(PEOPLE)]
    request_id = uuid4()
    first = await booking.create(db, people[1], plan(), request_id=request_id)
    ghost = uuid4()
    answers = await asyncio.gather(
        booking.create(db, ghost, plan()),
        *(booking.create(db, owner, plan(TEN + HOUR)) for owner in people[2:]),
        booking.create(db, people[0], plan(), request_id=uuid4()),
        booking.create(db, people[1], plan(), request_id=request_id),
        return_exceptions=True,
    )
    assert Unauthenticated is type(answers[0])
    assert all(isinstance(answer, Appointment) for answer in answers[1:])
    assert first == answers[-1]


async def test_who_leaves_takes_nobody_along(db: Database) -> None:
    """Half of the callers are cancelled while their statement waits: the others get their answers."""
    people = [await add_user(db) for _ in range(PEOPLE)]
    async with db.connection() as connection, connection.transaction():
        await connection.execute("LOCK TABLE bookings IN SHARE MODE")
        calls = [asyncio.create_task(booking.create(db, owner, plan())) for owner in people]
        await asyncio.sleep(0.2)
        for call in calls[::2]:
            call.cancel()
        await asyncio.sleep(0)
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert {asyncio.CancelledError} == {type(answer) for answer in answers[::2]}
    assert {Appointment} == {type(answer) for answer in answers[1::2]}


async def test_a_statement_that_nobody_waits_for_is_ended(db: Database, dsn: str) -> None:
    """All callers are cancelled: PostgreSQL stops working for them, and the next callers are served."""
    people = [await add_user(db) for _ in range(PEOPLE)]
    async with db.connection() as connection, connection.transaction():
        await connection.execute("LOCK TABLE bookings IN SHARE MODE")
        calls = [asyncio.create_task(booking.create(db, owner, plan())) for owner in people]
        await asyncio.sleep(0.2)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as watcher, asyncio.timeout(10):
            while await _waiting(watcher):  # noqa: ASYNC110 - what is waited for is in another process
                await asyncio.sleep(0.02)
    answers = await together(db, *((owner, plan()) for owner in people))
    assert {Appointment} == {type(answer) for answer in answers}


async def _waiting(watcher: psycopg.AsyncConnection) -> int:
    cursor = await watcher.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    row = await cursor.fetchone()
    assert row
    return int(row[0])


@pytest.mark.parametrize("count", [1, 2, 7])
async def test_one_person_may_book_several_times_at_once(db: Database, owner: UUID, count: int) -> None:
    """They take turns, and all are booked."""
    answers = await together(db, *((owner, plan(TEN + index * HOUR)) for index in range(count)))
    assert {Appointment} == {type(answer) for answer in answers}


async def test_concurrent_gets_show_nobody_elses(db: Database, owner: UUID, stranger: UUID) -> None:
    """The same appointments, asked for at once by their owner and by somebody else: found, and not found."""
    mine = [await booking.create(db, owner, plan(TEN + index * HOUR)) for index in range(PEOPLE)]
    for _ in range(5):
        answers = await asyncio.gather(
            *(booking.get(db, who, each.id) for each in mine for who in (stranger, owner, owner)),
            return_exceptions=True,
        )
        assert {NotFound} == {type(answer) for answer in answers[::3]}
        assert mine == answers[1::3] == answers[2::3]


async def test_who_waits_for_a_lock_holds_up_nobody_else(db: Database, owner: UUID, stranger: UUID, dsn: str) -> None:
    """Somebody's creates wait for a transaction that does not end; other people's are booked meanwhile."""
    async with await psycopg.AsyncConnection.connect(dsn) as other:
        # The creates' foreign keys wait for this.
        await other.execute("SELECT FROM users WHERE id = %s FOR UPDATE", [owner])
        stuck = [asyncio.create_task(booking.create(db, owner, plan(TEN + index * HOUR))) for index in range(4)]
        await asyncio.sleep(0.1)
        async with asyncio.timeout(4):  # less than lock_timeout
            assert Appointment is type(await booking.create(db, stranger, plan()))
        assert [False] * 4 == [call.done() for call in stuck]
        await other.rollback()
        assert {Appointment} == {type(answer) for answer in await asyncio.gather(*stuck)}


async def test_who_shares_a_statement_with_somebody_who_waits_is_booked(db: Database, owner: UUID, dsn: str) -> None:
    """One of those whom a statement is run for waits for a lock: the others are booked meanwhile, again and again."""
    people = [await add_user(db) for _ in range(PEOPLE)]
    async with await psycopg.AsyncConnection.connect(dsn) as other:
        await other.execute("SELECT FROM users WHERE id = %s FOR UPDATE", [owner])
        others = [asyncio.create_task(booking.create(db, people[0], plan()))]  # has the first turn, so the rest gathers
        stuck = asyncio.create_task(booking.create(db, owner, plan()))
        others += [asyncio.create_task(booking.create(db, each, plan())) for each in people[1:]]
        async with asyncio.timeout(4):  # less than lock_timeout
            assert {Appointment} == {type(answer) for answer in await asyncio.gather(*others)}
            answers = await together(db, *((each, plan(TEN + HOUR)) for each in people))
            assert {Appointment} == {type(answer) for answer in answers}
        assert not stuck.done()
        await other.rollback()
        assert Appointment is type(await stuck)

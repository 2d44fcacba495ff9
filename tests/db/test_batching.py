"""Creates that share a statement: each has an answer of its own, and nobody is the worse for the company."""

import asyncio
from collections import Counter
from collections.abc import Awaitable
from dataclasses import replace
from uuid import UUID, uuid4

import psycopg
import pytest

from appointments.calendar import booking, updating
from appointments.calendar.appointment import Appointment, Attendee, Spec, to_values
from appointments.calendar.log import BY_OWNER
from appointments.db import Database, Row, Statement, batching
from appointments.db.batching import Batcher
from appointments.db.statement import Values
from appointments.shared.errors import Conflict, Invalid, NotFound, Unauthenticated
from tests.audit import deadlocks
from tests.people import HOUR, TEN, add_user, spec

PEOPLE = 30


async def together(db: Database, *plans: tuple[UUID, Spec]) -> list[object]:
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
        Spec(f"Title {index}", TEN, TEN + HOUR, "UTC", "é" * index, "", (Attendee(f"a{index}@example.com"),))
        for index in range(PEOPLE)
    ]
    answers = await together(db, *zip(people, plans, strict=True))
    assert await statements(db) < PEOPLE / 2
    for owner, wanted, answer in zip(people, plans, answers, strict=True):
        assert isinstance(answer, Appointment)
        assert (owner, wanted) == (answer.owner_id, answer.spec)
        assert answer == await booking.get(db, owner, answer.id)


async def test_people_who_ask_for_the_same_get_it_each(db: Database) -> None:
    """A value that all requests share is written once. Request ids differ, and some requests have none."""
    people = [await add_user(db) for _ in range(PEOPLE)]
    ids = [None if index % 3 else UUID(int=index + 1) for index in range(PEOPLE)]
    answers = await asyncio.gather(
        *(booking.create(db, owner, spec(), request_id=each) for owner, each in zip(people, ids, strict=True))
    )
    assert await statements(db) < PEOPLE / 2
    for owner, answer, each in zip(people, answers, ids, strict=True):
        assert answer == await booking.get(db, owner, answer.id)
        assert spec() == answer.spec
        if each:
            assert answer == await booking.create(db, owner, spec(), request_id=each)


async def test_a_collision_is_nobody_elses(db: Database) -> None:
    """Some find their time taken: they are told so, and the others are booked."""
    people = [await add_user(db) for _ in range(PEOPLE)]
    for owner in people[::3]:
        await booking.create(db, owner, spec())
    answers = await together(db, *((owner, spec()) for owner in people))
    assert [Conflict] * len(people[::3]) == [type(answer) for answer in answers[::3]]
    booked = [answer for index, answer in enumerate(answers) if index % 3]
    assert {Appointment} == {type(answer) for answer in booked}


async def test_a_refused_statement_is_run_for_each_alone(db: Database) -> None:
    """An account that was deleted and a request id used before fail the shared statement, and only their own calls."""
    people = [await add_user(db) for _ in range(PEOPLE)]
    request_id = uuid4()
    first = await booking.create(db, people[1], spec(), request_id=request_id)
    ghost = uuid4()
    answers = await asyncio.gather(
        booking.create(db, ghost, spec()),
        *(booking.create(db, owner, spec(TEN + HOUR)) for owner in people[2:]),
        booking.create(db, people[0], spec(), request_id=uuid4()),
        booking.create(db, people[1], spec(), request_id=request_id),
        return_exceptions=True,
    )
    assert Unauthenticated is type(answers[0])
    assert all(isinstance(answer, Appointment) for answer in answers[1:])
    assert first == answers[-1]


async def test_a_request_id_used_before_is_nobody_elses_trouble(db: Database, owner: UUID) -> None:
    """Its create shares a statement, which is not refused for its sake; whoever repeats it gets the first answer."""
    request_id = uuid4()
    first = await booking.create(db, owner, spec(), request_id=request_id)
    people = [await add_user(db) for _ in range(PEOPLE)]
    answers = await asyncio.gather(
        booking.create(db, people[0], spec()),
        booking.create(db, owner, spec(), request_id=request_id),
        *(booking.create(db, each, spec(), request_id=uuid4()) for each in people[1:]),
    )
    assert first == answers[1]
    assert PEOPLE + 1 == len({answer.id for answer in answers})
    assert await statements(db) < PEOPLE / 2


async def test_who_leaves_takes_nobody_along(db: Database) -> None:
    """Half of the callers are cancelled while their statement waits: the others get their answers."""
    people = [await add_user(db) for _ in range(PEOPLE)]
    async with db.connection() as connection, connection.transaction():
        await connection.execute("LOCK TABLE bookings IN SHARE MODE")
        calls = [asyncio.create_task(booking.create(db, owner, spec())) for owner in people]
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
        calls = [asyncio.create_task(booking.create(db, owner, spec())) for owner in people]
        await asyncio.sleep(0.2)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as watcher, asyncio.timeout(10):
            while await _waiting(watcher):  # noqa: ASYNC110 - what is waited for is in another process
                await asyncio.sleep(0.02)
    answers = await together(db, *((owner, spec()) for owner in people))
    assert {Appointment} == {type(answer) for answer in answers}


async def _waiting(watcher: psycopg.AsyncConnection) -> int:
    cursor = await watcher.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    row = await cursor.fetchone()
    assert row
    return int(row[0])


@pytest.mark.parametrize("count", [1, 2, 7, 200])
async def test_one_person_may_book_several_times_at_once(db: Database, owner: UUID, count: int) -> None:
    """They share statements too, and all are booked."""
    answers = await together(db, *((owner, spec(TEN + index * HOUR)) for index in range(count)))
    assert {Appointment} == {type(answer) for answer in answers}
    assert await statements(db) <= 2 + count // 20


async def test_one_person_in_ones_own_way_is_booked_once(db: Database, owner: UUID, stranger: UUID) -> None:
    """Overlapping creates of one person in one statement: one is booked, the others are told; a neighbour fits."""
    wanted = [
        (stranger, spec()),
        *((owner, spec(TEN + index * HOUR / 4)) for index in range(4)),
        (owner, spec(TEN + HOUR)),
    ]
    answers = await together(db, *wanted)
    kinds = Counter(type(answer) for answer in answers[1:5])
    assert {Appointment: 1, Conflict: 3} == kinds
    assert Appointment is type(answers[0])
    assert type(answers[5]) is (Appointment if isinstance(answers[1], Appointment) else Conflict)


async def test_a_request_id_sent_twice_at_once_books_once(db: Database, owner: UUID, stranger: UUID) -> None:
    """A retry that shares a statement with its original gets the same answer."""
    request_id = uuid4()
    answers = await asyncio.gather(
        booking.create(db, stranger, spec()),
        *(booking.create(db, owner, spec(), request_id=request_id) for _ in range(5)),
        booking.create(db, owner, spec(TEN + HOUR), request_id=uuid4()),
    )
    assert 1 == len({answer.id for answer in answers[1:6]})
    assert 3 == len({answer.id for answer in answers})


async def test_of_many_who_want_one_slot_one_is_sent(db: Database, owner: UUID, stranger: UUID) -> None:
    """The others learn from its answer that there is nothing for them; who wants something else is not among them."""
    sent: list[int] = []

    async def fetch(statement: Statement, values: Values) -> list[Row]:
        sent.append(1 if statement is booking.CREATE else len(values["id"]))
        return await db.fetch(statement, values)

    sharing = Batcher(fetch, booking.CREATE, booking.CREATE_MANY)

    def ask(who: UUID, hours: int) -> Awaitable[Row | None]:
        wanted = spec(TEN + hours * HOUR)
        values = to_values(wanted) | {"id": uuid4(), "owner_id": who, "request_id": None, "request_digest": None}
        return sharing.run(values | BY_OWNER.values, (who, wanted.start_at))

    answers = await asyncio.gather(ask(stranger, 1), *(ask(owner, 0) for _ in range(100)), ask(stranger, 0))
    assert [1, 2] == sent
    assert [True, True, *[False] * 99, True] == [answer is not None for answer in answers]


@pytest.mark.parametrize("company", [[], [1]])
async def test_who_comes_for_a_slot_that_is_being_booked_is_not_sent(
    db: Database, owner: UUID, stranger: UUID, company: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is booked alone or with others; who wants another slot is sent as before."""
    monkeypatch.setattr(batching, "PATIENCE", 10)
    sent: list[int] = []
    under_way, arrived = asyncio.Event(), asyncio.Event()

    async def fetch(statement: Statement, values: Values) -> list[Row]:
        sent.append(1 if statement is booking.CREATE else len(values["id"]))
        if len(sent) == 1 + len(company):
            under_way.set()
            await arrived.wait()
        return await db.fetch(statement, values)

    sharing = Batcher(fetch, booking.CREATE, booking.CREATE_MANY)

    def ask(who: UUID, hours: int) -> "asyncio.Task[Row | None]":
        wanted = spec(TEN + hours * HOUR)
        values = to_values(wanted) | {"id": uuid4(), "owner_id": who, "request_id": None, "request_digest": None}
        return asyncio.ensure_future(sharing.run(values | BY_OWNER.values, (who, wanted.start_at)))

    first = [ask(stranger, 1)] if company else []
    first += [ask(owner, 0), *(ask(stranger, 2) for _ in company)]
    await under_way.wait()
    rivals = [ask(owner, 0) for _ in range(20)]
    other = ask(owner, 3)
    await asyncio.sleep(0)
    arrived.set()
    assert None not in await asyncio.gather(*first, other)
    assert [None] * 20 == await asyncio.gather(*rivals)
    assert [1, *[2] * len(company), 1] == sent


@pytest.mark.parametrize("others", [0, 1])
async def test_a_rival_that_fails_leaves_the_slot_to_the_next(
    db: Database, owner: UUID, stranger: UUID, others: int
) -> None:
    """The first of a slot had used its request id for something else: the second is booked, in company or not."""
    request_id = uuid4()
    await booking.create(db, owner, spec(), request_id=request_id)
    answers = await asyncio.gather(
        booking.create(db, stranger, spec()),
        booking.create(db, owner, spec(TEN + HOUR), request_id=request_id),
        *(booking.create(db, owner, spec(TEN + HOUR)) for _ in range(3)),
        *(booking.create(db, stranger, spec(TEN + HOUR)) for _ in range(others)),
        return_exceptions=True,
    )
    assert [Appointment, Invalid] == [type(answer) for answer in answers[:2]]
    assert {Appointment: 1, Conflict: 2} == Counter(type(answer) for answer in answers[2:5])
    assert [Appointment] * others == [type(answer) for answer in answers[5:]]


async def test_who_asks_for_much_keeps_nobody_waiting(db: Database, owner: UUID, stranger: UUID) -> None:
    """Somebody who comes after five hundred creates of one person is booked before most of them."""
    many = [asyncio.create_task(booking.create(db, owner, spec(TEN + index * HOUR))) for index in range(500)]
    await asyncio.sleep(0)
    await booking.create(db, stranger, spec())
    assert sum(call.done() for call in many) < 250
    await asyncio.gather(*many)


async def test_of_whom_a_statement_has_several_rows_the_subject_is_locked(
    db: Database, owner: UUID, stranger: UUID, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of a booking has to wait until all of the owner's are made; whoever has one row is not kept waiting."""
    monkeypatch.setattr(batching, "PATIENCE", 10)  # however long the look at the locks takes, nobody overtakes
    free: list[set[UUID]] = []

    async def fetch(statement: Statement, values: Values) -> list[Row]:
        async with db.connection() as connection, connection.transaction():
            rows = await connection.fetch(statement, values)
            async with await psycopg.AsyncConnection.connect(dsn) as other:
                cursor = await other.execute("SELECT id FROM subjects FOR NO KEY UPDATE SKIP LOCKED")
                free.append({row[0] for row in await cursor.fetchall()})
            return rows

    sharing = Batcher(fetch, booking.CREATE, booking.CREATE_MANY)
    wanted = [(stranger, TEN), (owner, TEN), (stranger, TEN + HOUR), (owner, TEN + HOUR)]
    rows = await asyncio.gather(
        *(
            sharing.run(
                to_values(spec(start))
                | {"id": uuid4(), "owner_id": who, "request_id": None, "request_digest": None, **BY_OWNER.values}
            )
            for who, start in wanted
        )
    )
    assert [who for who, _ in wanted] == [row[1] for row in rows if row]
    assert [{owner, stranger}, {stranger}] == free


async def test_moves_onto_bookings_that_are_being_made_never_lock_up(dsn: str) -> None:
    """Two processes' creates of one person share statements, a long appointment moves over them: no deadlock."""
    async with Database(dsn) as one, Database(dsn) as other:
        owner, *strangers = [await add_user(one) for _ in range(3)]
        long = await booking.create(one, owner, Spec("Long", TEN - 100 * HOUR, TEN - 80 * HOUR, "UTC"))
        for round_ in range(60):
            start = TEN + round_ * 100 * HOUR

            def move(old: Spec, start=start) -> Spec:  # type: ignore[no-untyped-def]
                return replace(old, start_at=start, end_at=start + 20 * HOUR)

            answers = await asyncio.gather(
                booking.create(one, strangers[0], spec(start)),  # has the first turn, so that the others gather
                booking.create(other, strangers[1], spec(start)),
                *(booking.create(one, owner, spec(start + index * HOUR)) for index in range(20)),
                updating.update(one, owner, long.id, move),
                *(booking.create(other, owner, spec(start + index * HOUR)) for index in reversed(range(20))),
                return_exceptions=True,
            )
            assert {Appointment, Conflict} >= {type(answer) for answer in answers}
    assert await deadlocks(dsn) == 0


async def test_concurrent_gets_show_nobody_elses(db: Database, owner: UUID, stranger: UUID) -> None:
    """The same appointments, asked for at once by their owner and by somebody else: found, and not found."""
    mine = [await booking.create(db, owner, spec(TEN + index * HOUR)) for index in range(PEOPLE)]
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
        stuck = [asyncio.create_task(booking.create(db, owner, spec(TEN + index * HOUR))) for index in range(4)]
        await asyncio.sleep(0.1)
        async with asyncio.timeout(4):  # less than lock_timeout
            assert Appointment is type(await booking.create(db, stranger, spec()))
        assert [False] * 4 == [call.done() for call in stuck]
        await other.rollback()
        assert {Appointment} == {type(answer) for answer in await asyncio.gather(*stuck)}


async def test_who_shares_a_statement_with_somebody_who_waits_is_booked(db: Database, owner: UUID, dsn: str) -> None:
    """One of those whom a statement is run for waits for a lock: the others are booked meanwhile, again and again."""
    people = [await add_user(db) for _ in range(PEOPLE)]
    async with await psycopg.AsyncConnection.connect(dsn) as other:
        await other.execute("SELECT FROM users WHERE id = %s FOR UPDATE", [owner])
        others = [asyncio.create_task(booking.create(db, people[0], spec()))]  # has the first turn, so the rest gathers
        stuck = asyncio.create_task(booking.create(db, owner, spec()))
        others += [asyncio.create_task(booking.create(db, each, spec())) for each in people[1:]]
        async with asyncio.timeout(4):  # less than lock_timeout
            assert {Appointment} == {type(answer) for answer in await asyncio.gather(*others)}
            answers = await together(db, *((each, spec(TEN + HOUR)) for each in people))
            assert {Appointment} == {type(answer) for answer in answers}
        assert not stuck.done()
        await other.rollback()
        assert Appointment is type(await stuck)

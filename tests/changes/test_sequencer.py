"""Positions: everything that is committed gets one, once, and whoever has read up to one has missed nothing."""

import asyncio
import random
from uuid import UUID, uuid4

import psycopg
import pytest

from appointments.calendar import booking
from appointments.changes import reading, sequencer
from appointments.changes.sequencer import Sequencer
from appointments.db import Database
from tests.changes.following import one, running
from tests.people import HOUR, TEN, spec

WRITE = (
    b"INSERT INTO new_changes (calendar_id, kind, item_id, version, changed_at) VALUES (%s, 'test.made', %s, %s, now())"
)


async def write(dsn: str, items: list[UUID], *, seconds: float) -> int:
    """Write versions of items, each transaction for a random while open, some rolled back; return how many stayed."""
    stayed = 0
    chance = random.Random(str(items))
    versions = dict.fromkeys(items, 0)
    until = asyncio.get_running_loop().time() + seconds
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        while asyncio.get_running_loop().time() < until:
            chosen = chance.sample(items, 2)
            for item in chosen:
                await connection.execute(WRITE, [item, item, versions[item] + 1])
            await asyncio.sleep(chance.random() * 0.02)
            if chance.random() < 0.1:
                await connection.rollback()
                continue
            await connection.commit()
            stayed += len(chosen)
            for item in chosen:
                versions[item] += 1
    return stayed


async def test_a_reader_misses_nothing_while_everybody_writes_and_numbers(db: Database, dsn: str) -> None:
    """Eight writers whose transactions commit out of order, three that number, a reader: all, once, in order."""
    everything: list[reading.Entry] = []

    async def read() -> None:
        while True:
            position = everything[-1].position if everything else 0
            everything.extend((await reading.after(db, position, 50))[1])
            await asyncio.sleep(0.001)

    numberers = [Sequencer(db) for _ in range(3)]
    background = [asyncio.create_task(each.run()) for each in numberers] + [asyncio.create_task(read())]
    written = sum(await asyncio.gather(*(write(dsn, [uuid4() for _ in range(4)], seconds=2.0) for _ in range(8))))
    await numberers[0].settle()
    end = (await reading.head(db)).last_position
    while not everything or everything[-1].position < end:  # noqa: ASYNC110 - a state, not an event
        await asyncio.sleep(0.01)
    for task in background:
        task.cancel()
    await asyncio.gather(*background, return_exceptions=True)
    assert written == len(everything)
    versions: dict[UUID, int] = {}
    for entry in everything:
        assert versions.get(entry.item_id, 0) + 1 == entry.version
        versions[entry.item_id] = entry.version
    assert list(range(1, written + 1)) == [entry.position for entry in everything]


async def test_who_has_just_been_answered_finds_it_settled(db: Database, owner: UUID) -> None:
    """Even while another transaction that numbers is under way."""
    await booking.create(db, owner, spec())
    async with db.connection() as other:
        await other.execute("BEGIN")
        await other.execute("SELECT FROM change_head FOR NO KEY UPDATE")
        settling = asyncio.create_task(Sequencer(db).settle())
        await asyncio.sleep(0.05)
        assert not settling.done()
        await other.execute("ROLLBACK")
    await settling
    assert 1 == (await reading.head(db)).last_position


async def test_a_transaction_elsewhere_holds_nobody_up(db: Database, postgres_dsn: str, owner: UUID) -> None:
    """A writer that stays open in another database of the same cluster, and one in this: others are numbered."""
    async with await psycopg.AsyncConnection.connect(postgres_dsn) as elsewhere, db.connection() as here:
        await elsewhere.execute("SELECT pg_current_xact_id()")
        await here.execute("BEGIN")
        await here.execute(WRITE, [owner, owner, 1])
        await booking.create(db, owner, spec())
        await Sequencer(db).settle()
        assert ["appointment.created"] == [entry.kind for entry in (await reading.after(db, 0, 10))[1]]
        await here.execute("COMMIT")
        await Sequencer(db).settle()
    assert ["appointment.created", "test.made"] == [entry.kind for entry in (await reading.after(db, 0, 10))[1]]


async def test_the_search_skips_what_is_done_and_misses_nothing_that_was_open(db: Database, owner: UUID) -> None:
    """The floor rises only past ids that no open transaction has drawn."""
    sequencer = Sequencer(db)
    async with db.connection() as here:
        await here.execute("BEGIN")
        await here.execute(WRITE, [owner, owner, 1])
        for hours in range(5):
            await booking.create(db, owner, spec(TEN + hours * HOUR))
            await sequencer.settle()
        assert 0 == sequencer._floor
        await here.execute("COMMIT")
    for _ in range(4):
        await sequencer.settle()
    assert 6 == sequencer._floor == (await reading.head(db)).last_position
    await booking.create(db, owner, spec(TEN - HOUR))
    await sequencer.settle()
    assert 7 == (await reading.head(db)).last_position


async def test_the_first_change_of_all_is_not_skipped(db: Database, owner: UUID) -> None:
    """A sequence that nobody has drawn from says 1 as one does of which 1 was drawn."""
    sequencer = Sequencer(db)
    for _ in range(5):
        await sequencer.settle()
    await booking.create(db, owner, spec())
    await sequencer.settle()
    assert 1 == (await reading.head(db)).last_position


async def test_what_a_dead_process_has_written_is_numbered_by_another(db: Database, dsn: str, owner: UUID) -> None:
    """Nobody wakes it: the tick finds it."""
    async with running(db):
        async with await psycopg.AsyncConnection.connect(dsn) as killed:
            await killed.execute(WRITE, [owner, owner, 1])
        async with asyncio.timeout(10):
            while not (await reading.after(db, 0, 1))[1]:  # noqa: ASYNC110 - a state, not an event
                await asyncio.sleep(0.01)


async def test_the_log_forgets_what_is_old(db: Database, dsn: str, owner: UUID) -> None:
    """From the oldest on, and up to the first that is young enough; it knows up to where."""
    for version, age in enumerate((40, 35, 20, 32, 0), start=1):
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            await connection.execute(
                "INSERT INTO new_changes (calendar_id, kind, item_id, version, changed_at)"
                " VALUES (%s, 'test.made', %s, %s, now() - %s * interval '1 day')",
                [owner, owner, version, age],
            )
    await Sequencer(db).settle()
    assert 2 == await sequencer.prune(db, 30)
    assert [3, 4, 5] == [entry.version for entry in (await reading.after(db, 0, 10))[1]]
    assert 2 == (await reading.head(db)).pruned_position
    assert 0 == await sequencer.prune(db, 30)


@pytest.mark.parametrize("rows", [0, 1])
async def test_an_idle_log_writes_nothing(db: Database, owner: UUID, rows: int) -> None:
    """Four questions a second of every process, for ever: none of them may need a transaction number."""
    for _ in range(rows):
        await booking.create(db, owner, spec())
    sequencer = Sequencer(db)
    await sequencer.settle()
    before = await one(db, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
    for _ in range(5):
        await sequencer.settle()
    assert before == await one(db, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text")


async def test_the_very_first_change_of_a_database_does_not_wait(db: Database, dsn: str) -> None:
    """A sequence that has given no number yet must not look like one that has given its first."""
    sequencer = Sequencer(db)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        for _ in range(10):
            # Transactions come and go meanwhile, so that the search for changes may begin further on.
            await connection.execute("SELECT pg_current_xact_id()")
            await sequencer.settle()
        item = uuid4()
        await connection.execute(WRITE, [item, item, 1])
    await sequencer.settle()
    assert 1 == (await reading.head(db)).last_position

"""A real streaming pair: nobody reads less than they have written, and a replica that fails fails no call."""

import asyncio
import logging
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from appointments.calendar import booking, listing
from appointments.calendar.appointment import Attendee
from appointments.db import Database, embedded
from appointments.db.embedded import Server
from appointments.db.migrate import migrate
from appointments.db.replica import LOOK_SECONDS, Position, Replica, position
from appointments.db.statement import Row, Statement, Values
from appointments.shared.errors import NotFound
from tests import standby
from tests.people import HOUR, TEN, add_user, spec

PAIRS = int(os.environ.get("REPLICA_PAIRS", "300"))
NOTICED = LOOK_SECONDS * 4

_log = logging.getLogger(__name__)


@dataclass
class Pair:
    """A primary, and the folder of a standby that is served by the test."""

    primary: Server
    copy: Path


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """A migrated primary and a copy of it."""
    # Committed is sent at once. Without that the log is written five times a second, and a replica is always behind.
    with embedded.scratch(settings={"synchronous_commit": "on"}) as primary:
        asyncio.run(migrate(primary.dsn))
        with standby.copied(primary) as copy:
            yield Pair(primary, copy)


@asynccontextmanager
async def reading(pair: Pair, replica: Server) -> AsyncIterator[Database]:
    """The features' view of the pair, once the standby is as far as the primary."""
    await asyncio.to_thread(standby.wait_until_equal, pair.primary.dsn, replica.dsn)
    async with Database(pair.primary.dsn, replica=replica.dsn) as db:
        await until(db, usable=True)
        yield db


async def until(db: Database, *, usable: bool) -> None:
    """Return when the replica is read, or is not any more."""
    replica = db._replica
    assert isinstance(replica, Replica)
    async with asyncio.timeout(NOTICED + 10):
        while replica._usable != usable:  # noqa: ASYNC110 - there is no event, it is looked at
            await asyncio.sleep(0.02)


def hold(replica: Server, *, back: bool) -> None:
    """Let the standby receive, but not replay."""
    with psycopg.connect(replica.dsn, autocommit=True) as connection:
        connection.execute(b"SELECT pg_wal_replay_pause()" if back else b"SELECT pg_wal_replay_resume()")


async def titles(db: Database, owner: UUID, after: str = "") -> list[str]:
    """What a list shows somebody."""
    window = listing.Window(owner, None, None, False)
    return [each.title for each in (await listing.page(db.reads(owner, after), window)).appointments]


async def test_a_person_sees_their_own_writes(pair: Pair) -> None:
    """At once and always, while others may read what the replica has: which shows that it is read at all."""
    with standby.following(pair.copy) as replica:
        async with reading(pair, replica) as db:
            owner = await add_user(db)
            await asyncio.to_thread(standby.wait_until_equal, pair.primary.dsn, replica.dsn)
            hold(replica, back=True)
            await booking.create(db, owner, spec())
            assert [] == await titles(db, owner)  # nobody has told that it was written
            written = await db.note_write(owner)
            assert ["Haircut"] == await titles(db, owner)
            assert [] == await titles(db, uuid4())
            assert db._replica
            db._replica._written.clear()  # as in another process
            assert ["Haircut"] == await titles(db, owner, after=written)
            assert ["Haircut"] == await titles(db, owner, after="no position")
            hold(replica, back=False)


async def test_invitations_are_read_from_the_replica_as_far_as_it_is(pair: Pair) -> None:
    """A list of one who is invited is two statements there, and neither reads less than the reader has seen."""
    with standby.following(pair.copy) as replica:
        async with reading(pair, replica) as db:
            owner, guest = await add_user(db), await add_user(db)
            with psycopg.connect(pair.primary.dsn, autocommit=True) as connection:
                connection.execute("UPDATE users SET email_verified_at = now() WHERE id = %s", (guest,))
            with_guest = replace(spec(), attendees=(Attendee(f"{guest}@example.com"),))
            await booking.create(db, owner, with_guest)
            await asyncio.to_thread(standby.wait_until_equal, pair.primary.dsn, replica.dsn)
            answered = count_answers(db)
            assert ["Haircut"] == await titles(db, guest)
            assert {True: 2} == answered
            hold(replica, back=True)
            await booking.create(db, owner, replace(with_guest, start_at=TEN + HOUR, end_at=TEN + 2 * HOUR))
            written = await db.note_write(owner)
            assert ["Haircut"] == await titles(db, guest)
            assert ["Haircut"] * 2 == await titles(db, guest, after=written)
            hold(replica, back=False)


async def test_no_read_is_stale(pair: Pair) -> None:
    """Write through one process, read through two others: one's replica lags by up to 30 ms, and stalls at times."""
    with (
        standby.following(pair.copy) as steady,
        standby.copied(pair.primary) as copy,
        standby.following(copy) as lagging,
    ):
        async with Database(pair.primary.dsn) as writer, reading(pair, steady) as near, reading(pair, lagging) as far:
            # Who brings a position along is known to no process: each of these has a memory of its own.
            answered = {near: count_answers(near), far: count_answers(far)}
            stop = asyncio.Event()
            lag = asyncio.create_task(asyncio.to_thread(hold_at_random, lagging, stop))

            async def write_and_read() -> int:
                stale = 0
                owner = await add_user(writer)
                for number in range(PAIRS // 20):
                    created = await booking.create(writer, owner, spec(TEN + number * HOUR))
                    after = await near.note_write(owner)
                    for db in (near, far):
                        try:
                            await booking.get(db.reads(uuid4(), after), owner, created.id)
                        except NotFound:
                            stale += 1
                return stale

            stale = await asyncio.gather(*(write_and_read() for _ in range(10)))
            stop.set()
            await lag
    text = "%d pairs, %d stale; answered by the steady replica: %s, by the one that lags: %s"
    _log.info(text, PAIRS, sum(stale), *({**each} for each in answered.values()))
    assert 0 == sum(stale)
    # With a replica that never answers nothing would be shown.
    assert all(each[True] for each in answered.values())


def count_answers(db: Database) -> Counter[bool]:
    """Count from now on how many reads the replica answers (True), and how many it leaves to the primary."""
    replica, counted = db._replica, Counter[bool]()
    assert replica
    fetch = replica._fetch

    async def counting(statement: Statement, values: Values, after: Position) -> list[Row] | None:
        rows = await fetch(statement, values, after)
        counted[rows is not None] += 1
        return rows

    replica._fetch = counting  # type: ignore[method-assign]
    return counted


def hold_at_random(replica: Server, stop: asyncio.Event) -> None:
    """Let the standby replay in fits and starts."""
    chance = random.Random(17)
    with psycopg.connect(replica.dsn, autocommit=True) as connection:
        while not stop.is_set():
            connection.execute("SELECT pg_wal_replay_pause()")
            time.sleep(0.3 if chance.random() < 0.02 else chance.uniform(0, 0.03))
            connection.execute("SELECT pg_wal_replay_resume()")
            time.sleep(chance.uniform(0, 0.03))


async def test_a_replica_that_dies_and_comes_back_fails_no_call(pair: Pair) -> None:
    """Killed, hanging, back again: each list is answered, and it is read again."""
    with standby.following(pair.copy) as replica:
        async with reading(pair, replica) as db:
            owner = await add_user(db)
            os.kill(replica.pid, signal.SIGSTOP)
            for pid in _processes(replica.pid):
                os.kill(pid, signal.SIGSTOP)
            assert [] == await titles(db, owner)
            await until(db, usable=False)
            assert [] == await titles(db, owner)
            for pid in (*_processes(replica.pid), replica.pid):
                os.kill(pid, signal.SIGCONT)
            await until(db, usable=True)
            lists = asyncio.create_task(_many(db, owner))
            await asyncio.sleep(0.05)
            for pid in (replica.pid, *_processes(replica.pid)):
                os.kill(pid, signal.SIGKILL)
            await until(db, usable=False)
            assert 200 == await lists


async def _many(db: Database, owner: UUID) -> int:
    answered = 0
    for _ in range(200):
        await titles(db, owner)
        answered += 1
        await asyncio.sleep(0.005)
    return answered


def _processes(postmaster: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()]


async def test_a_replica_of_an_idle_primary_is_not_behind(pair: Pair) -> None:
    """After a switch of segments, as backups make it, nothing is missing, although the log goes on further on."""
    with standby.following(pair.copy) as replica:
        async with reading(pair, replica) as db:
            for _ in range(2):  # an unused segment is not switched
                await add_user(db)
                with psycopg.connect(pair.primary.dsn, autocommit=True) as connection:
                    connection.execute("SELECT pg_switch_wal()")
                await asyncio.to_thread(standby.wait_until_equal, pair.primary.dsn, replica.dsn)
                assert db._replica
                db._replica._behind.clear()
                await db._replica._look()
                assert [] == [*db._replica._behind]
                assert db._replica._usable


async def test_a_promoted_replica_is_not_read(pair: Pair) -> None:
    """It is another primary then, with a history of its own."""
    with standby.copied(pair.primary) as copy, standby.following(copy) as replica:
        async with reading(pair, replica) as db:
            with psycopg.connect(replica.dsn, autocommit=True) as connection:
                connection.execute("SELECT pg_promote()")
            await until(db, usable=False)
            assert [] == await titles(db, await add_user(db))


def test_positions_are_read_as_postgresql_writes_them() -> None:
    """Two halves in hexadecimal; anything else is none."""
    assert [(0x16 << 32) + 0xB374D848, 1, None, None, None, None] == list(
        map(position, ["16/B374D848", "0/1", "", "1", "0/123456789", "0/1 "])
    )

"""Jobs: deferred with their change, run by one, again after a failure or a death, and given up in the end."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from appointments import jobs
from appointments.db import Connection, Database
from appointments.jobs import GiveUp, Job, Kind, Later, Runner
from tests.service import ROOT

NOON = datetime(2030, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Clock:
    """The time, until a test turns it."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC) + timedelta(seconds=1)

    def __call__(self) -> datetime:
        """The time."""
        return self.time


class Worker:
    """A runner of one kind that remembers what it was given."""

    def __init__(self, db: Database, *outcomes: Exception | None, **decided: object) -> None:
        self.clock = Clock()
        self.ran: list[Job] = []
        self._outcomes = list(outcomes)
        self.runner = Runner(db, [Kind("test", self._run, **decided)], now=self.clock)  # type: ignore[arg-type]

    async def _run(self, job: Job) -> None:
        self.ran.append(job)
        if self._outcomes and (outcome := self._outcomes.pop(0)):
            raise outcome

    async def after(self, wait: timedelta = timedelta()) -> int:
        """Let time pass, run what is due, and return how often this kind has run by then."""
        self.clock.time += wait
        await self.runner.run_due()
        return len(self.ran)


async def defer(db: Database, **decided: object) -> None:
    """One job of the kind."""
    async with db.connection() as connection:
        await jobs.defer(connection, "test", **decided)  # type: ignore[arg-type]


async def standing(db: Database) -> tuple[int, int, int]:
    """How many of the kind wait, run and were given up."""
    return next(((c.waiting, c.running, c.failed) for c in await jobs.counts(db) if c.kind == "test"), (0, 0, 0))


async def test_a_job_goes_with_its_change(db: Database) -> None:
    """What rolls back has no job; what commits has its job, with what it was given."""

    async def work(connection: Connection, *, fails: bool) -> None:
        await jobs.defer(connection, "test", payload={"name": "Ada", "fails": fails})
        if fails:
            raise ZeroDivisionError

    worker = Worker(db)
    with pytest.raises(ZeroDivisionError):
        await db.transact(lambda connection: work(connection, fails=True))
    await db.transact(lambda connection: work(connection, fails=False))
    assert 1 == await worker.after()
    assert {"name": "Ada", "fails": False} == worker.ran[0].payload
    assert (0, 0, 0) == await standing(db)


async def test_a_job_is_not_run_before_its_time(db: Database) -> None:
    """And then it is."""
    worker = Worker(db)
    await defer(db, due_at=worker.clock.time + 10 * MINUTE)
    assert [0, 1] == [await worker.after(9 * MINUTE), await worker.after(MINUTE)]


async def test_jobs_of_one_key_are_one(db: Database) -> None:
    """Whoever defers it again joins it: the newest payload, the earliest time."""
    worker = Worker(db)
    await defer(db, key="a", payload={"n": 1}, due_at=worker.clock.time + 30 * MINUTE)
    await defer(db, key="a", payload={"n": 2}, due_at=worker.clock.time + 10 * MINUTE)
    await defer(db, key="a", payload={"n": 3}, due_at=worker.clock.time + 90 * MINUTE)
    await defer(db, key="b", payload={"n": 4}, due_at=worker.clock.time + 90 * MINUTE)
    assert [1, 2] == [await worker.after(10 * MINUTE), await worker.after(90 * MINUTE)]
    assert [3, 4] == [job.payload["n"] for job in worker.ran]


async def test_a_job_that_is_deferred_while_it_runs_runs_once_more(db: Database) -> None:
    """It has perhaps read what has changed since; this holds for one that fails, too."""
    for outcome in (None, GiveUp("no")):
        ran: list[int] = []

        async def run(job: Job, ran: list[int] = ran, outcome: Exception | None = outcome) -> None:
            ran.append(job.payload["n"])
            if job.payload["n"] == 1:
                await defer(db, key="a", payload={"n": 2})
                if outcome:
                    raise outcome

        runner = Runner(db, [Kind("test", run)])
        await defer(db, key="a", payload={"n": 1})
        await runner.run_due()
        assert ([1, 2], (0, 0, 0)) == (ran, await standing(db))


async def test_a_failure_is_tried_again_with_growing_pauses_and_given_up_in_the_end(db: Database) -> None:
    """Other jobs go on; whoever looks sees why."""
    worker = Worker(db, *[RuntimeError("broken")] * 99, pause=MINUTE, patience=timedelta(hours=2))
    await defer(db)
    times: list[int] = []
    for minute in range(180):
        if await worker.after(MINUTE) > len(times):
            times.append(minute)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps == sorted(gaps)
    assert 5 <= len(times) <= 8
    assert (0, 0, 1) == await standing(db)
    async with db.connection() as connection:
        cursor = await connection.execute("SELECT error FROM jobs WHERE kind = 'test'")
        assert ("RuntimeError: broken",) == await cursor.fetchone()


async def test_a_job_may_say_when_to_try_again_or_that_there_is_no_use(db: Database) -> None:
    """At its own time, and never."""
    worker = Worker(db, Later("busy", after=7 * MINUTE), GiveUp("no such thing"))
    await defer(db)
    assert [1, 1, 2, 2] == [await worker.after(wait) for wait in (MINUTE, 6 * MINUTE, MINUTE, timedelta(days=1))]
    assert (0, 0, 1) == await standing(db)
    await defer(db, key="again")
    assert (0, 0, 1) != await standing(db)


async def test_a_recurring_kind_has_one_job_for_ever(db: Database) -> None:
    """However many runners there are, and whether it fails or not."""
    first = Worker(db, None, RuntimeError("broken"), GiveUp("no"), every=10 * MINUTE, pause=MINUTE)
    second = Worker(db, every=10 * MINUTE)
    assert [1, 0] == [await first.after(), await second.after()]
    for _ in range(3):
        await first.after(11 * MINUTE)
    assert 4 == len(first.ran)
    assert (1, 0, 0) == await standing(db)


async def test_many_runners_run_each_job_once(db: Database) -> None:
    """Ten of them over three hundred jobs."""
    ran: Counter[int] = Counter()

    async def run(job: Job) -> None:
        ran[job.payload["n"]] += 1
        await asyncio.sleep(0)

    for number in range(300):
        await defer(db, payload={"n": number})
    await asyncio.gather(*(Runner(db, [Kind("test", run)]).run_due() for _ in range(10)))
    assert dict.fromkeys(range(300), 1) == dict(ran)


async def test_a_runner_that_stops_leaves_its_jobs_to_others(db: Database) -> None:
    """At once, not when the lease would end; and what ends in time is done."""
    started = asyncio.Event()

    async def hang(job: Job) -> None:
        started.set()
        await asyncio.sleep(60)

    runner = Runner(db, [Kind("test", hang)])
    await defer(db)
    task = asyncio.create_task(runner.run())
    await started.wait()
    await runner.stop(0.01)
    await task
    assert (1, 0, 0) == await standing(db)
    assert 1 == await Worker(db).after()


KILLED = """
import asyncio, os, signal, sys
from datetime import timedelta
from appointments.db import Database
from appointments.jobs import Kind, Runner

async def die(job):
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    async with Database(sys.argv[1]) as db:
        await Runner(db, [Kind("test", die)]).run()

asyncio.run(main())
"""


async def test_the_job_of_a_killed_worker_comes_back(db: Database, dsn: str) -> None:
    """kill -9 in the middle: nobody has to notice, its lease ends, and the next run knows that it is not the first."""
    await defer(db)
    killed = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", KILLED, dsn], cwd=ROOT, env=dict(os.environ), timeout=60, check=False
    )
    assert -signal.SIGKILL == killed.returncode
    assert (0, 1, 0) == await standing(db)
    worker = Worker(db)
    assert [0, 1] == [await worker.after(), await worker.after(MINUTE)]
    assert (2, (0, 0, 0)) == (worker.ran[0].attempts, await standing(db))


async def test_a_run_whose_lease_was_lost_changes_nothing(db: Database) -> None:
    """A worker that was held up for longer than its lease must not take the job from the next one."""
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def slow(job: Job) -> None:
        inside.set()
        await go_on.wait()

    clock = Clock()
    late = Runner(db, [Kind("test", slow)], now=clock)
    await defer(db)
    lost = asyncio.create_task(late.run_due())
    await inside.wait()
    worker = Worker(db, Later("not yet", after=MINUTE))
    assert 1 == await worker.after(2 * MINUTE)
    go_on.set()
    await lost
    assert (1, 0, 0) == await standing(db)
    assert 2 == await worker.after(MINUTE)


async def test_what_is_deferred_can_be_stored(db: Database) -> None:
    """An error text with what PostgreSQL cannot store does not keep a job from being recorded."""
    worker = Worker(db, RuntimeError("nul \x00 and more" * 100))
    await defer(db, payload=json.loads('{"name": "Ünïcode"}'))
    await worker.after()
    assert (1, 0, 0) == await standing(db)

"""Runs due jobs, a few at a time, until it is told to stop.

Any number of processes may run the jobs of one database: each job is leased by one of them. A job may take
:data:`MOST_SECONDS`; longer work has to be split, by deferring another job for the rest. The leases of a worker that is
killed end by themselves.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

import structlog

from appointments.db import Database
from appointments.jobs import queue
from appointments.jobs.queue import Job
from appointments.shared import tracing
from appointments.shared.errors import Unavailable

LEASE = timedelta(seconds=60)
MOST_SECONDS = 50.0
"""How long a job may take. This is shorter than its lease, so that no second run can begin beside it."""

POLL_SECONDS = 0.5
"""How often the table is polled. An empty answer costs the database about ten microseconds."""

AT_ONCE = 8
"""How many jobs a process runs at once. They share the database connections of its requests."""

LONGEST_PAUSE = timedelta(hours=1)

_log = structlog.get_logger("appointments.jobs")


class Later(Exception):
    """A job cannot be done now. It is retried, after ``after`` if that is given."""

    def __init__(self, reason: str, *, after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.after = after


class GiveUp(Exception):
    """A job can never be done, so it is not retried."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of job, and the function that runs one.

    A failed job is retried after ``pause``, then after twice that and so on, until ``patience`` has passed since it was
    deferred. With ``every`` there is always one job of this kind, which runs that often.
    """

    name: str
    run: Callable[[Job], Awaitable[None]]
    pause: timedelta = timedelta(seconds=30)
    patience: timedelta = timedelta(hours=24)
    every: timedelta | None = None


class Runner:
    """Runs jobs of these kinds. ``now`` is the clock; if it returns None, the database's clock is used."""

    def __init__(
        self,
        db: Database,
        kinds: Iterable[Kind],
        *,
        at_once: int = AT_ONCE,
        lease: timedelta = LEASE,
        poll_seconds: float = POLL_SECONDS,
        now: Callable[[], datetime | None] = lambda: None,
    ) -> None:
        self._db = db
        self._kinds = {kind.name: kind for kind in (*kinds, Kind("jobs.sweep", self._sweep, every=timedelta(hours=1)))}
        self._at_once = at_once
        self._lease = lease
        self._poll_seconds = poll_seconds
        self._now = now
        self._running: dict[asyncio.Task[None], Job] = {}
        self._wake = asyncio.Event()
        self._stopping = False

    async def run(self) -> None:
        """Run jobs as they become due, until :meth:`stop`."""
        ensured = False
        while not self._stopping:
            leased = 0
            try:
                if not ensured:
                    await self._ensure()
                    ensured = True
                leased = await self._begin(self._at_once - len(self._running))
            except Unavailable:
                pass  # db/database.py has logged it
            except Exception as error:  # noqa: BLE001 - the last line: a runner that ends would end all jobs
                _log.error("the table of jobs cannot be read", exc_info=error)
            if not leased or len(self._running) >= self._at_once:
                await self._pause()

    async def run_due(self) -> int:
        """Run everything that is due, including what becomes due meanwhile. Return how many runs that took."""
        await self._ensure()
        runs = 0
        while leased := await self._begin(self._at_once):
            runs += leased
            await asyncio.gather(*self._running)
        return runs

    async def stop(self, seconds: float) -> None:
        """Start nothing more, and give running jobs so many seconds. Those that are not done by then run elsewhere."""
        self._stopping = True
        self._wake.set()
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _pause(self) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(self._poll_seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _ensure(self) -> None:
        await queue.ensure(
            self._db, [kind.name for kind in self._kinds.values() if kind.every is not None], now=self._now()
        )

    async def _begin(self, most: int) -> int:
        if most <= 0:
            return 0
        leased = await queue.lease(
            self._db, [*self._kinds], lease=uuid4(), most=most, length=self._lease, now=self._now()
        )
        for job in leased:
            task = asyncio.create_task(self._run(job))
            self._running[task] = job
            task.add_done_callback(self._ended)
        return len(leased)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._wake.set()
        if not task.cancelled() and (error := task.exception()):
            # The outcome could not be written, so the job runs again when its lease ends.
            _log.warning("a job's end could not be recorded", error=repr(error))

    async def _run(self, job: Job) -> None:
        with tracing.work(f"job {job.kind}", {"appointments.job.attempts": job.attempts}, job.cause):
            await self._work_off(job)

    async def _work_off(self, job: Job) -> None:
        kind = self._kinds[job.kind]
        try:
            async with asyncio.timeout(min(MOST_SECONDS, self._lease.total_seconds())):
                await kind.run(job)
        except asyncio.CancelledError:
            await asyncio.shield(queue.retry(self._db, job, timedelta(), error="its worker stopped", now=self._now()))
            raise
        except GiveUp as error:
            await self._failed(kind, job, str(error))
        except Later as error:
            await self._try_again(kind, job, str(error), error.after)
        except Exception as error:  # noqa: BLE001 - whatever it is, the job is not done, and others must go on
            if not isinstance(error, (TimeoutError, Unavailable)):
                _log.error("a job failed", kind=job.kind, id=job.id, attempts=job.attempts, exc_info=error)
            await self._try_again(kind, job, f"{type(error).__name__}: {error}", None)
        else:
            if kind.every is None:
                await queue.finish(self._db, job)
            else:
                await queue.retry(self._db, job, kind.every, error=None, now=self._now())
            tracing.done("finished")

    async def _try_again(self, kind: Kind, job: Job, reason: str, after: timedelta | None) -> None:
        pause = after if after is not None else self._backoff(kind, job.attempts)
        if kind.every is None and job.waited + pause > kind.patience:
            await self._failed(kind, job, reason)
            return
        tracing.done("tried again")
        _log.info("a job is tried again", kind=job.kind, id=job.id, attempts=job.attempts, reason=reason)
        await queue.retry(self._db, job, pause, error=reason, now=self._now())

    async def _failed(self, kind: Kind, job: Job, reason: str) -> None:
        tracing.done("failed")
        if kind.every is not None:
            await queue.retry(self._db, job, kind.every, error=reason, now=self._now())
            return
        _log.error("a job was given up", kind=job.kind, id=job.id, attempts=job.attempts, reason=reason)
        await queue.fail(self._db, job, error=reason, now=self._now())

    def _backoff(self, kind: Kind, attempts: int) -> timedelta:
        longest = min(LONGEST_PAUSE, kind.every or LONGEST_PAUSE)
        pause: timedelta = min(kind.pause * 2 ** min(attempts - 1, 20), longest)
        return pause * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not a secret

    async def _sweep(self, job: Job) -> None:  # noqa: ARG002
        await queue.sweep(self._db)

"""Runs the jobs that are due, a few at a time, until it is told to stop.

Any number of processes may run jobs of one database: each job is leased by one of them. A job has :data:`MOST_SECONDS`;
what takes longer defers its rest. A worker that is killed leaves leases behind, which end by themselves.
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
from appointments.shared.errors import Unavailable

LEASE = timedelta(seconds=60)
MOST_SECONDS = 50.0
"""How long a job may take: well within its lease, so that no second run begins beside it."""

POLL_SECONDS = 0.5
"""How often the table is asked. An empty answer costs the database some ten microseconds."""

AT_ONCE = 8
"""How many jobs a process runs at once; they share its connections with the requests."""

LONGEST_PAUSE = timedelta(hours=1)

_log = structlog.get_logger("appointments.jobs")


class Later(Exception):
    """A job cannot be done now; it is tried again, after ``after`` if that is given."""

    def __init__(self, reason: str, *, after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.after = after


class GiveUp(Exception):
    """A job cannot be done at all."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of job, and what runs one.

    A failed run is repeated after ``pause``, then after twice that and so on, until ``patience`` has passed since the
    job was deferred. With ``every`` there is one job of the kind for ever, which runs that often.
    """

    name: str
    run: Callable[[Job], Awaitable[None]]
    pause: timedelta = timedelta(seconds=30)
    patience: timedelta = timedelta(hours=24)
    every: timedelta | None = None


class Runner:
    """Runs jobs of these kinds. ``now`` is the clock; None is the database's."""

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
        """Run what becomes due, until :meth:`stop`."""
        ensured = False
        while not self._stopping:
            leased = 0
            try:
                if not ensured:
                    await self._ensure()
                    ensured = True
                leased = await self._begin(self._at_once - len(self._running))
            except Unavailable:
                pass  # the database seam has said so
            except Exception as error:  # noqa: BLE001 - the last line: a runner that ends would end all jobs
                _log.error("the table of jobs cannot be read", exc_info=error)
            if not leased or len(self._running) >= self._at_once:
                await self._pause()

    async def run_due(self) -> int:
        """Run everything that is due now, what becomes due meanwhile included; return how many runs that took."""
        await self._ensure()
        runs = 0
        while leased := await self._begin(self._at_once):
            runs += leased
            await asyncio.gather(*self._running)
        return runs

    async def stop(self, seconds: float) -> None:
        """Begin nothing more, and give what runs so many seconds; what is not done by then is left for others."""
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
            # How it went could not be written down: the lease ends by itself, and the job runs again.
            _log.warning("a job's end could not be recorded", error=repr(error))

    async def _run(self, job: Job) -> None:
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

    async def _try_again(self, kind: Kind, job: Job, reason: str, after: timedelta | None) -> None:
        pause = after if after is not None else self._backoff(kind, job.attempts)
        if kind.every is None and job.waited + pause > kind.patience:
            await self._failed(kind, job, reason)
            return
        _log.info("a job is tried again", kind=job.kind, id=job.id, attempts=job.attempts, reason=reason)
        await queue.retry(self._db, job, pause, error=reason, now=self._now())

    async def _failed(self, kind: Kind, job: Job, reason: str) -> None:
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

"""The job queue, a table: defer, lease, finish, retry, give up.

:data:`LEASE` moves ``due_at`` past the end of the lease. So if a worker dies, its jobs become due again by themselves,
and nobody has to notice the death. Every statement is a transaction of its own and keeps nothing in the session, so all
of this works through a transaction pooler.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from appointments.db import Connection, Database, Statement, instant

KEPT = timedelta(days=30)
"""How long jobs that were given up are kept for inspection."""

MAX_ERROR = 500


@dataclass(frozen=True, slots=True)
class Job:
    """A leased job. ``attempts`` includes the current one. ``lease`` identifies this run of the job.

    ``waited`` is how long ago it was deferred, ``cause`` the span that was being worked in then, if it was recorded.
    """

    id: int
    kind: str
    key: str | None
    payload: Mapping[str, Any]
    attempts: int
    waited: timedelta
    cause: str | None
    lease: UUID


@dataclass(frozen=True, slots=True)
class Counts:
    """How many jobs of one kind are in each state. ``oldest_due_at`` is since when the oldest of them has been due."""

    kind: str
    waiting: int
    running: int
    failed: int
    oldest_due_at: datetime | None


# Deferring a waiting job again can only make it run earlier. A running job may have read its data before the latest
# change, so it runs once more afterwards (again_at).
DEFER = Statement(
    """
    INSERT INTO jobs (kind, key, payload, due_at, deferred_at)
    VALUES (%(kind)s::text, %(key)s::text, %(payload)s::jsonb, coalesce(%(due_at)s::timestamptz, now()), now())
    ON CONFLICT ON CONSTRAINT jobs_once DO UPDATE SET
        payload = excluded.payload, cause = excluded.cause,
        due_at = CASE WHEN jobs.lease IS NULL THEN least(jobs.due_at, excluded.due_at) ELSE jobs.due_at END,
        again_at = CASE WHEN jobs.lease IS NOT NULL
                        THEN least(coalesce(jobs.again_at, excluded.due_at), excluded.due_at) END,
        attempts = CASE WHEN jobs.failed_at IS NULL THEN jobs.attempts ELSE 0 END,
        deferred_at = CASE WHEN jobs.failed_at IS NULL THEN jobs.deferred_at ELSE excluded.deferred_at END,
        failed_at = NULL, error = NULL
    """
)


async def defer(
    connection: Connection,
    kind: str,
    *,
    key: str | None = None,
    payload: Mapping[str, Any] | None = None,
    due_at: datetime | None = None,
) -> None:
    """Have a job run after this transaction has committed, not before ``due_at`` (None: as soon as possible).

    With a ``key`` there is one job of that kind and key: if it still waits, its payload is replaced and it runs at the
    earlier of the two times. To avoid deadlocks, a transaction that defers several keys does so in their order, and
    after everything else that it locks.
    """
    values = {"kind": kind, "key": key, "payload": json.dumps(payload or {}).encode(), "due_at": due_at}
    await connection.fetch(DEFER, values)


LEASE = Statement(
    """
    UPDATE jobs SET
        lease = %(lease)s::uuid, attempts = attempts + 1,
        due_at = coalesce(%(now)s::timestamptz, now()) + %(milliseconds)s::bigint * interval '1 millisecond'
    WHERE id IN (
        SELECT id FROM jobs
        WHERE due_at <= coalesce(%(now)s::timestamptz, now()) AND failed_at IS NULL AND kind = ANY (%(kinds)s::text[])
        ORDER BY due_at LIMIT %(most)s::integer FOR UPDATE SKIP LOCKED
    )
    RETURNING id, kind, key, payload, attempts,
        (extract(epoch FROM coalesce(%(now)s::timestamptz, now()) - deferred_at) * 1000)::bigint, cause
    """
)


async def lease(
    db: Database, kinds: Sequence[str], *, lease: UUID, most: int, length: timedelta, now: datetime | None
) -> list[Job]:
    """Lease at most ``most`` due jobs, for ``length`` from ``now`` (None: the database's clock)."""
    values = {
        "kinds": kinds,
        "lease": lease,
        "most": most,
        "milliseconds": length // timedelta(milliseconds=1),
        "now": now,
    }
    rows = await db.fetch(LEASE, values)
    return [Job(row[0], row[1], row[2], row[3], row[4], timedelta(milliseconds=row[5]), row[6], lease) for row in rows]


FINISH = Statement(
    """
    WITH done AS (
        DELETE FROM jobs WHERE id = %(id)s::bigint AND lease = %(lease)s::uuid AND again_at IS NULL
    )
    UPDATE jobs SET lease = NULL, due_at = again_at, again_at = NULL, attempts = 0, deferred_at = now(), error = NULL
    WHERE id = %(id)s::bigint AND lease = %(lease)s::uuid AND again_at IS NOT NULL
    """
)

RETRY = Statement(
    """
    UPDATE jobs SET
        lease = NULL, again_at = NULL, error = %(error)s::text,
        attempts = CASE WHEN %(error)s::text IS NULL THEN 0 ELSE attempts END,
        due_at = least(again_at, coalesce(%(now)s::timestamptz, now())
                 + %(milliseconds)s::bigint * interval '1 millisecond')
    WHERE id = %(id)s::bigint AND lease = %(lease)s::uuid
    """
)

FAIL = Statement(
    """
    UPDATE jobs SET
        lease = NULL, again_at = NULL, error = %(error)s::text, due_at = coalesce(again_at, due_at),
        failed_at = CASE WHEN again_at IS NULL THEN coalesce(%(now)s::timestamptz, now()) END,
        attempts = CASE WHEN again_at IS NULL THEN attempts ELSE 0 END,
        deferred_at = CASE WHEN again_at IS NULL THEN deferred_at ELSE now() END
    WHERE id = %(id)s::bigint AND lease = %(lease)s::uuid
    """
)


async def finish(db: Database, job: Job) -> None:
    """Delete a job that is done. If it was deferred again meanwhile, it runs once more."""
    # If the lease has passed to another run, this matches nothing: the other run finishes the job.
    await db.fetch(FINISH, {"id": job.id, "lease": job.lease})


async def retry(db: Database, job: Job, after: timedelta, *, error: str | None, now: datetime | None) -> None:
    """Have the job run again. Without an ``error`` the run has not failed, and attempts are counted from 0 again."""
    values = {
        "id": job.id,
        "lease": job.lease,
        "error": _short(error) if error else None,
        "milliseconds": after // timedelta(milliseconds=1),
        "now": now,
    }
    await db.fetch(RETRY, values)


async def fail(db: Database, job: Job, *, error: str, now: datetime | None) -> None:
    """Give the job up. If it was deferred again meanwhile, it runs again."""
    await db.fetch(FAIL, {"id": job.id, "lease": job.lease, "error": _short(error), "now": now})


ENSURE = Statement(
    """
    INSERT INTO jobs (kind, key, payload, due_at, deferred_at)
    SELECT kind, '', '{}', coalesce(%(now)s::timestamptz, now()), now() FROM unnest(%(kinds)s::text[]) AS kind
    ON CONFLICT ON CONSTRAINT jobs_once DO NOTHING
    """
)


async def ensure(db: Database, kinds: Sequence[str], *, now: datetime | None) -> None:
    """Insert the single job of each of these recurring kinds, if it is missing."""
    await db.fetch(ENSURE, {"kinds": sorted(kinds), "now": now})


SWEEP = Statement("DELETE FROM jobs WHERE failed_at < now() - %(days)s::integer * interval '1 day'")


async def sweep(db: Database) -> None:
    """Delete jobs that were given up long ago."""
    await db.fetch(SWEEP, {"days": KEPT.days})


COUNTS = Statement(
    """
    SELECT kind, count(*) FILTER (WHERE failed_at IS NULL AND lease IS NULL),
           count(*) FILTER (WHERE lease IS NOT NULL), count(*) FILTER (WHERE failed_at IS NOT NULL),
           min(due_at) FILTER (WHERE failed_at IS NULL AND due_at <= now())
    FROM jobs GROUP BY kind ORDER BY kind
    """
)


async def counts(db: Database) -> list[Counts]:
    """How many jobs of each kind are in each state."""
    rows = await db.fetch(COUNTS, {})
    return [Counts(row[0], row[1], row[2], row[3], None if row[4] is None else instant(row[4])) for row in rows]


LIST = Statement(
    """
    SELECT id, kind, coalesce(key, ''), due_at, attempts, lease IS NOT NULL, failed_at, coalesce(error, '') FROM jobs
    WHERE (%(kind)s::text IS NULL OR kind = %(kind)s::text) AND (NOT %(failed)s::boolean OR failed_at IS NOT NULL)
    ORDER BY id DESC LIMIT %(limit)s::integer
    """
)

RUN_AGAIN = Statement(
    """
    UPDATE jobs SET failed_at = NULL, error = NULL, attempts = 0, due_at = now(), deferred_at = now()
    WHERE id = %(id)s::bigint AND lease IS NULL RETURNING id
    """
)

# The one job of a recurring kind has the empty key, and has to stay.
CANCEL = Statement(
    "DELETE FROM jobs WHERE id = %(id)s::bigint AND lease IS NULL AND key IS DISTINCT FROM '' RETURNING id"
)


@dataclass(frozen=True, slots=True)
class Listed:
    """A job as an operator sees it: without its payload, which may be of a person."""

    id: int
    kind: str
    key: str
    due_at: datetime
    attempts: int
    running: bool
    failed_at: datetime | None
    error: str


async def listing(db: Database, *, kind: str | None = None, failed: bool = False, limit: int = 100) -> list[Listed]:
    """Jobs, the latest first; of one kind, or those that were given up."""
    rows = await db.fetch(LIST, {"kind": kind, "failed": failed, "limit": limit})
    return [
        Listed(row[0], row[1], row[2], instant(row[3]), row[4], row[5], instant(row[6]) if row[6] else None, row[7])
        for row in rows
    ]


async def run_again(db: Database, job_id: int) -> bool:
    """Have a job that waits or was given up run now, as if for the first time; False: there is none."""
    return bool(await db.fetch(RUN_AGAIN, {"id": job_id}))


async def cancel(db: Database, job_id: int) -> bool:
    """Forget a job that does not run; False: there is none, or it is a recurring one."""
    return bool(await db.fetch(CANCEL, {"id": job_id}))


def _short(error: str) -> str:
    return error.replace("\x00", "")[:MAX_ERROR]

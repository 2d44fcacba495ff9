"""The database, as the features see it: single statements, and transactions that are run again after a deadlock.

Connections are in autocommit, so a single statement is a transaction of its own and costs one round trip. If the
database cannot be reached, the driver's error becomes :class:`~appointments.shared.errors.Unavailable`, without any of
its text. After a lost connection a statement is never sent again, because it may have been committed.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import psycopg

from appointments.db.batching import Batcher
from appointments.db.gathering import Gathering
from appointments.db.pool import Pool
from appointments.db.replica import Reads, Replica, position
from appointments.db.statement import Connection, Micros, Row, Statement, Values, instant, micros
from appointments.shared import tracing
from appointments.shared.errors import Unavailable

__all__ = ["Connection", "Database", "Micros", "Reads", "Row", "Statement", "instant", "micros"]

T = TypeVar("T")

ATTEMPTS = 4
"""How often a transaction is run that PostgreSQL keeps ending to resolve a deadlock."""

MOST_QUESTIONS = 32
"""How many questions one statement answers."""

_BEGIN, _COMMIT, _ROLLBACK = Statement("BEGIN"), Statement("COMMIT"), Statement("ROLLBACK")
_CAUSE = Statement("SELECT set_config('appointments.cause', %(cause)s::text, true)")
"""Whichever statement of the transaction defers a job, the job's row has it by the column's default."""

_AWAY = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction)
_BROKEN_OFF = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)

_log = logging.getLogger(__name__)


class Database:
    """Connections to one PostgreSQL. Each has one user at a time.

    ``prepare`` must be off behind a pooler that changes servers between transactions. Session settings would be lost
    there too, so the pooler has to bring the time limits (deploy/pgbouncer.ini). ``replica`` is the DSN of a
    streaming replica, to which :meth:`reads` may go.
    """

    def __init__(self, dsn: str, *, size: int = 10, prepare: bool = True, replica: str | None = None) -> None:
        self._pool = Pool(dsn, size=size, prepare=prepare)
        self._replica = Replica(replica, self, size=size, prepare=prepare) if replica else None
        # Two connections are left to those who write.
        self._most_readers = max(1, size - 2)
        self._batchers: dict[Statement, Batcher] = {}
        self._gatherings: dict[Statement, Gathering[Values, list[Row]]] = {}
        self.written = asyncio.Event()
        """Set whenever something may have been written to the log of changes, through here."""

    async def __aenter__(self) -> "Database":
        await self._pool.open()
        if self._replica:
            await self._replica.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._replica:
            await self._replica.close()
        await self._pool.close()

    def reads(self, user_id: UUID, after: str = "") -> Reads:
        """Where to read for somebody, who sees everything that they have written.

        ``after`` is what :meth:`note_write` returned to them, perhaps in another process. What is no position there is
        taken for one that no replica has reached.
        """
        if self._replica is None or (after and position(after) is None):
            return self
        return self._replica.reads(user_id, position(after) or 0)

    async def note_write(self, user_id: UUID) -> str:
        """Tell that somebody has just written.

        Returns:
            What they bring along to read it; "" where there is no replica.
        """
        return await self._replica.note_write(user_id) if self._replica else ""

    def connection(self) -> "Lease":
        """Lend a connection for single statements, for the length of an ``async with``.

        Raises:
            Unavailable: there is no connection to be had, or it was lost on the way.
        """
        return Lease(self._pool, self.written)

    async def fetch(self, statement: Statement, values: Values) -> list[Row]:
        """Run one statement, which is a transaction of its own, and return its rows.

        Raises:
            Unavailable: there is no connection to be had, or it was lost on the way.
        """
        async with Lease(self._pool, self.written) as connection:
            return await connection.fetch(statement, values)

    async def share(self, one: Statement, many: Statement, values: Values, slot: Hashable = None) -> Row | None:
        """Run ``one``, or share ``many`` with concurrent requests: see :class:`~appointments.db.batching.Batcher`."""
        if (batcher := self._batchers.get(one)) is None:
            batcher = self._batchers[one] = Batcher(self.fetch, one, many)
        return await batcher.run(values, slot)

    async def fetch_shared(self, statement: Statement, values: Values, *, together: bool = False) -> list[Row]:
        """Run a short statement that only reads, and return its rows. Under load it is run for many readers together.

        Then PostgreSQL spends less than half as long on each. Who asks the same is answered once. If a statement for
        many is refused, each has a turn alone. ``together``: many ask in one turn of the loop, and none goes alone.

        Raises:
            Unavailable: there is no connection to be had, or it was lost on the way.
        """
        if (gathering := self._gatherings.get(statement)) is None:
            answer = partial(self._answer, statement)
            gathering = Gathering(answer, most=MOST_QUESTIONS, most_alone=self._most_readers)
            self._gatherings[statement] = gathering
        if not together and gathering.begin_alone():
            try:
                return await self.fetch(statement, values)
            finally:
                gathering.ended_alone()
        try:
            return await gathering.answer(values)
        except psycopg.Error:
            return await self.fetch(statement, values)

    async def _answer(self, statement: Statement, questions: Sequence[Values]) -> list[list[Row]]:
        many = statement.for_many
        asked = [tuple(values[name] for name in many.parameters) for values in questions]
        answers: dict[tuple[Any, ...], list[Row]] = {question: [] for question in asked}
        columns = zip(*answers, strict=True)
        in_order = list(answers.values())
        for row in await self.fetch(many, dict(zip(many.parameters, map(list, columns), strict=True))):
            in_order[row[0] - 1].append(row[1:])
        return [answers[question] for question in asked]

    async def transact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run ``work`` in a transaction. It runs again if PostgreSQL ended it to resolve a deadlock.

        An exception from ``work`` rolls back. So what has to be kept must be *returned*, a refusal too.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with Lease(self._pool, self.written) as connection:
                    return await _transaction(connection, work)
            except _BROKEN_OFF as error:
                if attempt == ATTEMPTS:
                    raise Unavailable("Too many changes at once.", retry_after=0.1) from error
                await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311 - jitter, not a secret
        raise AssertionError("unreachable")


class Lease:
    """A connection while a block lasts. If the database cannot be reached, the block ends with Unavailable."""

    __slots__ = ("_connection", "_pool", "_written")

    def __init__(self, pool: Pool, written: asyncio.Event) -> None:
        self._pool = pool
        self._written = written

    async def __aenter__(self) -> Connection:
        try:
            self._connection = await self._pool.acquire()
        except psycopg.Error as error:
            raise _unavailable(error) from error
        return self._connection

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if self._connection.has_written:
            self._connection.has_written = False
            self._written.set()
        await self._pool.release(self._connection)
        if isinstance(error, _AWAY) and not isinstance(error, _BROKEN_OFF):
            raise _unavailable(error) from error


async def _transaction(connection: Connection, work: Callable[[Connection], Awaitable[T]]) -> T:
    await connection.fetch(_BEGIN, {})
    try:
        if cause := tracing.traceparent():
            await connection.fetch(_CAUSE, {"cause": cause})
        result = await work(connection)
    except BaseException:
        # If that fails too, the connection is broken, and the pool will find out.
        with suppress(psycopg.Error):
            await connection.fetch(_ROLLBACK, {})
        raise
    await connection.fetch(_COMMIT, {})
    return result


def _unavailable(error: psycopg.Error) -> Unavailable:
    _log.warning("database: %s: %s", type(error).__name__, error)
    return Unavailable("The database does not answer at the moment.")

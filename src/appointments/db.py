"""The database, as the features see it: single statements, transactions that survive a deadlock, and one failure.

Connections are in autocommit, so a single statement is a transaction of its own and costs one round trip. Whatever the
driver says about a database that is away becomes :class:`~appointments.errors.Unavailable`; nothing of its text reaches
a caller. A statement that was sent is never sent again after a lost connection: it may have been committed.
"""

import asyncio
import logging
import random
import select
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from appointments.errors import Unavailable

Connection = psycopg.AsyncConnection[TupleRow]

T = TypeVar("T")

ACQUIRE_SECONDS = 3.0
"""How long a request waits for a connection: shorter than people wait, longer than a restart of the pool."""

STATEMENT_TIMEOUT = "10s"
LOCK_TIMEOUT = "5s"

ATTEMPTS = 4
"""One try and three retries of a transaction that PostgreSQL ended for another's sake."""

_log = logging.getLogger(__name__)


class Database:
    """A pool of connections to one PostgreSQL."""

    def __init__(self, dsn: str, *, size: int = 10) -> None:
        self._pool = AsyncConnectionPool(
            dsn,
            connection_class=psycopg.AsyncConnection[TupleRow],
            kwargs={"autocommit": True, "application_name": "appointments", "connect_timeout": 5},
            min_size=min(2, size),
            max_size=size,
            configure=_configure,
            open=False,
            timeout=ACQUIRE_SECONDS,
            # The pool doubles its pause after each failed reconnection. Giving up after a second instead lets the next
            # request try at once, so that the service is back within moments of the database's return.
            reconnect_timeout=1.0,
        )

    async def __aenter__(self) -> "Database":
        await self._pool.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._pool.close(timeout=2.0)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection for single statements.

        Raises:
            Unavailable: there is no connection to be had, or it was lost on the way.
        """
        try:
            connection = await self._acquire()
            try:
                yield connection
            finally:
                await self._pool.putconn(connection)
        except (
            psycopg.OperationalError,
            psycopg.InterfaceError,
            psycopg.errors.ReadOnlySqlTransaction,
        ) as error:
            if isinstance(error, psycopg.errors.DeadlockDetected | psycopg.errors.SerializationFailure):
                raise
            _log.warning("database unavailable: %s: %s", type(error).__name__, error)
            raise Unavailable("The database does not answer at the moment.") from error

    async def _acquire(self) -> Connection:
        while True:
            connection: Connection = await self._pool.getconn()
            if not _hung_up(connection):
                return connection
            await connection.close()
            await self._pool.putconn(connection)

    async def transact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run ``work`` in a transaction, again if PostgreSQL broke it off to resolve a deadlock.

        What ``work`` raises rolls back; what it must persist it has to *return*.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self.connection() as connection, connection.transaction():
                    return await work(connection)
            except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure) as error:
                if attempt == ATTEMPTS:
                    raise Unavailable("Too many changes at once.", retry_after=0.1) from error
                await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311 - jitter, not a secret
        raise AssertionError("unreachable")


async def _configure(connection: Connection) -> None:
    # By SET, not by a start-up parameter: pgbouncer refuses those it does not know.
    await connection.execute(
        "SELECT set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false),"
        " set_config('TimeZone', 'UTC', false)",
        [STATEMENT_TIMEOUT, LOCK_TIMEOUT],
    )


def _hung_up(connection: Connection) -> bool:
    # An idle connection has nothing to read, unless the server has closed it. One system call, no round trip.
    if connection.closed:
        return True
    poller = select.poll()
    poller.register(connection.pgconn.socket, select.POLLIN)
    return bool(poller.poll(0))

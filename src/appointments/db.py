"""The database, as the features see it: single statements, transactions that survive a deadlock, and one failure.

Connections are in autocommit, so a single statement is a transaction of its own and costs one round trip. Whatever the
driver says about a database that is away becomes :class:`~appointments.errors.Unavailable`; nothing of its text reaches
a caller. A statement that was sent is never sent again after a lost connection: it may have been committed.
"""

import asyncio
import json
import logging
import random
import select
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from appointments.errors import Unavailable
from appointments.statement import Connection, Row, Statement, Values
from appointments.together import Together

__all__ = ["Connection", "Database", "Row", "Statement"]

T = TypeVar("T")

ACQUIRE_SECONDS = 2.0
"""How long a request waits for a connection: shorter than people wait, longer than a restart of the database."""

ASK_SECONDS = 0.25

STATEMENT_TIMEOUT = "10s"
LOCK_TIMEOUT = "5s"

ATTEMPTS = 4
"""One try and three retries of a transaction that PostgreSQL ended for another's sake."""

_BEGIN, _COMMIT, _ROLLBACK = Statement("BEGIN"), Statement("COMMIT"), Statement("ROLLBACK")

_AWAY = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction)
_BROKEN_OFF = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)

_log = logging.getLogger(__name__)


class Database:
    """Connections to one PostgreSQL, each lent to one user at a time.

    ``prepare`` must be off behind a pooler that changes servers between transactions. There is no session to set
    anything for then either: the pooler brings the time limits (deploy/pgbouncer.ini).
    """

    def __init__(self, dsn: str, *, size: int = 10, prepare: bool = True) -> None:
        self._prepare = prepare
        self._pool = AsyncConnectionPool(
            dsn,
            connection_class=Connection,
            kwargs={
                "autocommit": True,
                "application_name": "appointments",
                "connect_timeout": 5,
                # We prepare ourselves, and the driver's own clean-up would take ours with it.
                "prepare_threshold": None,
            },
            min_size=min(2, size),
            max_size=size,
            configure=self._configure,
            open=False,
            # The pool doubles its pause after each failed reconnection. Giving up after a second instead lets the next
            # request try at once, so that the service is back within moments of the database's return.
            reconnect_timeout=1.0,
        )
        self._free = size
        self._together: dict[Statement, Together] = {}
        self._queue: deque[asyncio.Future[Connection | None]] = deque()

    async def __aenter__(self) -> "Database":
        await self._pool.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._pool.close(timeout=2.0)

    def connection(self) -> "Loan":
        """Lend a connection for single statements, for the length of an ``async with``.

        Raises:
            Unavailable: there is no connection to be had, or it was lost on the way.
        """
        return Loan(self)

    async def fetch(self, statement: Statement, values: Values) -> list[Row]:
        """Run one statement, which is a transaction of its own, and return its rows.

        Raises:
            Unavailable: there is no connection to be had, or it was lost on the way.
        """
        async with Loan(self) as connection:
            return await connection.fetch(statement, values)

    async def share(self, one: Statement, many: Statement, values: Values, *, writes: bool) -> Row | None:
        """Run ``one``, which concurrent requests share as ``many``: see :class:`~appointments.together.Together`."""
        if (together := self._together.get(one)) is None:
            together = self._together[one] = Together(self.fetch, one, many, writes=writes)
        return await together.run(values)

    async def transact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run ``work`` in a transaction, again if PostgreSQL broke it off to resolve a deadlock.

        What ``work`` raises rolls back; what it must persist it has to *return*.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with Loan(self) as connection:
                    return await _transaction(connection, work)
            except _BROKEN_OFF as error:
                if attempt == ATTEMPTS:
                    raise Unavailable("Too many changes at once.", retry_after=0.1) from error
                await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311 - jitter, not a secret
        raise AssertionError("unreachable")

    async def take(self) -> Connection:
        """Wait for a connection; whoever takes one gives it back."""
        # A turn in the pool's own queue costs more than a statement, so that queue stays empty: there are as many
        # permits as connections, and a connection goes from hand to hand while somebody waits for one.
        if self._free:
            self._free -= 1
        elif connection := await self._turn():
            return connection
        try:
            while _hung_up(fresh := await self._fresh()):
                await fresh.close()
                await self._pool.putconn(fresh)
        except BaseException as error:
            if isinstance(error, PoolTimeout):
                self._send_away()
            self._pass_on(None)
            raise
        return fresh

    async def _fresh(self) -> Connection:
        # The pool connects when it is asked, and gives up after a second; who waits on has to ask again.
        until = asyncio.get_running_loop().time() + ACQUIRE_SECONDS
        while True:
            try:
                return await self._pool.getconn(ASK_SECONDS)
            except PoolTimeout:
                if asyncio.get_running_loop().time() > until:
                    raise

    async def give(self, connection: Connection) -> None:
        """Give a connection back, in whatever state it is."""
        if self._queue and connection.idle and not _hung_up(connection) and self._pass_on(connection):
            return
        try:
            await self._pool.putconn(connection)
        finally:
            self._pass_on(None)

    async def _turn(self) -> Connection | None:
        turn: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.exception() is None:  # it came in the same moment: nobody else has it
                if connection := turn.result():
                    await self.give(connection)
                else:
                    self._pass_on(None)
            raise

    def _send_away(self) -> None:
        # There was no connection to be had for ACQUIRE_SECONDS, so whoever waits for a turn waits in vain. As long as
        # there are connections a turn comes, and only a call's deadline ends the wait for it.
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_exception(PoolTimeout("there is no connection to be had"))

    def _pass_on(self, connection: Connection | None) -> bool:
        """Give the next in line a turn, with the connection or the permit alone. False: nobody took the connection."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(connection)
                return True
        if connection is None:
            self._free += 1
        return False

    async def _configure(self, connection: Connection) -> None:
        connection.prepares = self._prepare
        set_json_loads(_json, connection)
        if not self._prepare:
            return
        # By SET, not by a start-up parameter: pgbouncer refuses those it does not know.
        await connection.execute(
            "SELECT set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false),"
            " set_config('TimeZone', 'UTC', false)",
            [STATEMENT_TIMEOUT, LOCK_TIMEOUT],
        )


class Loan:
    """A connection while a block lasts. What the driver says about a database that is away leaves it as Unavailable."""

    __slots__ = ("_connection", "_db")

    def __init__(self, db: Database) -> None:
        self._db = db

    async def __aenter__(self) -> Connection:
        try:
            self._connection = await self._db.take()
        except psycopg.Error as error:
            raise _unavailable(error) from error
        return self._connection

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        await self._db.give(self._connection)
        if isinstance(error, _AWAY) and not isinstance(error, _BROKEN_OFF):
            raise _unavailable(error) from error


async def _transaction(connection: Connection, work: Callable[[Connection], Awaitable[T]]) -> T:
    await connection.fetch(_BEGIN, {})
    try:
        result = await work(connection)
    except BaseException:
        # If that fails too the connection is no good, and the pool finds out.
        with suppress(psycopg.Error):
            await connection.fetch(_ROLLBACK, {})
        raise
    await connection.fetch(_COMMIT, {})
    return result


def _json(data: str | bytes) -> Any:
    # Nearly every list of attendees is empty, and the parser takes longer than the rest of a row.
    return [] if data == b"[]" else json.loads(data)


def _unavailable(error: psycopg.Error) -> Unavailable:
    _log.warning("database unavailable: %s: %s", type(error).__name__, error)
    return Unavailable("The database does not answer at the moment.")


def _hung_up(connection: Connection) -> bool:
    # An idle connection has nothing to read, unless the server has closed it. One system call, no round trip.
    if connection.closed:
        return True
    poller = select.poll()
    poller.register(connection.pgconn.socket, select.POLLIN)
    return bool(poller.poll(0))

"""The connection pool: the driver's, with a shortcut in front of it.

The driver's pool connects, renews old connections and closes superfluous ones. Taking a connection from it and giving
it back costs about as much as a statement, though. So a connection that is released stays here: it goes straight to
whoever waits for one, or else on a pile. Every few seconds the pile goes back to the driver's pool, which then does its
work. docs/booking.md says how this fits into a create.
"""

import asyncio
from collections import deque
from typing import LiteralString

from psycopg_pool import AsyncConnectionPool, PoolTimeout

from appointments.db.statement import Connection
from appointments.shared import metrics

ACQUIRE_SECONDS = 2.0
"""How long a request waits where there is no connection at all. A restart of the database is shorter."""

ASK_SECONDS = 0.25
"""How long the driver's pool gets for each attempt at a connection."""

PILE_SECONDS = 5.0
"""How long connections lie on the pile before they go back to the pool."""

_SETTINGS: LiteralString = """
    SELECT set_config('statement_timeout', '10s', false), set_config('lock_timeout', '5s', false),
           set_config('TimeZone', 'UTC', false)
"""


class Pool:
    """At most ``size`` connections to one PostgreSQL. Behind a pooler in transaction mode ``prepare`` must be off."""

    def __init__(self, dsn: str, *, size: int, prepare: bool, name: str = "primary") -> None:
        self._prepare = prepare
        self._pool = AsyncConnectionPool(
            dsn,
            connection_class=Connection,
            kwargs={
                "autocommit": True,
                "application_name": "appointments",
                "connect_timeout": 5,
                # We prepare statements ourselves. The driver's clean-up of its own would deallocate ours too.
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
        # There are as many permits as connections. So nobody waits in the driver's queue, except for a new connection.
        self._size = self._permits = size
        self._asking = 0
        self._queue: deque[asyncio.Future[Connection | None]] = deque()
        self._pile: list[Connection] = []
        self._timer: asyncio.TimerHandle | None = None
        self._clearing: asyncio.Task[None] | None = None
        metrics.CONNECTIONS_MAX.labels(name).set(size)
        used, idle = (metrics.CONNECTIONS.labels(name, state) for state in ("used", "idle"))
        metrics.observed(used, lambda: self._size - self._permits - self._asking)
        metrics.observed(idle, self._count_idle)
        metrics.observed(metrics.CONNECTIONS_PENDING.labels(name), lambda: len(self._queue) + self._asking)

    def _count_idle(self) -> int:
        return len(self._pile) + int(self._pool.get_stats().get("pool_available", 0))

    async def open(self) -> None:
        """Begin to connect, in the background."""
        await self._pool.open()

    async def close(self) -> None:
        """Close every connection."""
        if self._timer:
            self._timer.cancel()
        if self._clearing:
            await self._clearing
        await self._clear()
        await self._pool.close(timeout=2.0)

    async def acquire(self) -> Connection:
        """Wait for a connection. Its user has to :meth:`release` it.

        Raises:
            PoolTimeout: there was none for ACQUIRE_SECONDS.
        """
        if self._permits:
            self._permits -= 1
        elif connection := await self._turn():
            return connection
        try:
            while (connection := self._pile.pop() if self._pile else await self._fresh()).hung_up:
                await connection.close()
                await self._pool.putconn(connection)
        except BaseException as error:
            if isinstance(error, PoolTimeout):
                metrics.CONNECTION_TIMEOUTS.inc()
                self._send_away()
            self._pass_on(None)
            raise
        return connection

    async def release(self, connection: Connection) -> None:
        """Give a connection back, in whatever state it is."""
        # If somebody is asking the driver's pool, it goes there, because the pool may not be able to make another.
        if connection.idle and not self._asking and not self._pool.closed:
            if not self._queue:
                self._put_on_pile(connection)
                return
            if not connection.hung_up and self._pass_on(connection):
                return
        try:
            await self._pool.putconn(connection)
        finally:
            self._pass_on(None)

    def _put_on_pile(self, connection: Connection) -> None:
        self._pile.append(connection)
        self._permits += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PILE_SECONDS, self._begin_to_clear)

    def _begin_to_clear(self) -> None:
        self._timer = None
        self._clearing = asyncio.create_task(self._clear())

    async def _clear(self) -> None:
        for _ in range(len(self._pile)):
            if self._pile:
                await self._pool.putconn(self._pile.pop(0))  # the one at the bottom has not been used for longest

    async def _fresh(self) -> Connection:
        # The driver's pool connects when it is asked, and gives up after a second. To wait longer is to ask again.
        until = asyncio.get_running_loop().time() + ACQUIRE_SECONDS
        self._asking += 1
        try:
            while True:
                try:
                    return await self._pool.getconn(ASK_SECONDS)
                except PoolTimeout:
                    if asyncio.get_running_loop().time() > until:
                        raise
        finally:
            self._asking -= 1

    async def _turn(self) -> Connection | None:
        turn: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            with metrics.CONNECTION_WAIT.time():
                return await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.exception() is None:  # it came in the same moment, so it is passed on
                if connection := turn.result():
                    await self.release(connection)
                else:
                    self._pass_on(None)
            raise

    def _send_away(self) -> None:
        # There was no connection for ACQUIRE_SECONDS, so everybody who waits for a turn waits in vain. While there are
        # connections every turn comes, and only the call's deadline ends the wait for it.
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_exception(PoolTimeout("there is no connection to be had"))

    def _pass_on(self, connection: Connection | None) -> bool:
        """Give the next in line a turn, with the connection or a permit alone; returns whether somebody took it."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(connection)
                return True
        if connection is None:
            self._permits += 1
        return False

    async def _configure(self, connection: Connection) -> None:
        connection.prepares = self._prepare
        if self._prepare:
            # Not as start-up parameters, because pgbouncer refuses those that it does not know.
            await connection.execute(_SETTINGS)

"""Reads from a streaming replica, which never show somebody less than they have written.

Whoever wrote brings the position of their write in PostgreSQL's log. The replica is asked first whether it has come so
far, and read in a *later* statement: within one statement the snapshot is older than the answer, and a read may be
stale. Where it has not come so far within :data:`PATIENCE`, or is away, the primary is read instead. So a replica that
lags, dies or comes back costs no failed call. It is looked at twice a second.

Which of a person's writes came last is also remembered in this process, for callers that bring no position along.
"""

import asyncio
import logging
import re
from collections import OrderedDict, deque
from contextlib import suppress
from typing import Protocol
from uuid import UUID

import psycopg

from appointments.db.pool import Pool
from appointments.db.statement import Row, Statement, Values
from appointments.shared import metrics
from appointments.shared.errors import Unavailable

PATIENCE = 0.02
"""Seconds that a read waits for the replica to catch up: about as long as a read takes altogether."""

ANSWER_SECONDS = 1.0
"""After so long a replica that does not answer is away."""

LOOK_SECONDS = 0.5
MOST_BEHIND = 10.0
"""Seconds that it may lag before nobody reads there any more, not even who has written nothing."""

REMEMBERED_SECONDS = 30.0
REMEMBERED = 16_384
"""People whose last write is remembered."""

Position = int
"""A place in the write-ahead log (LSN), in bytes."""

_log = logging.getLogger(__name__)
_POSITION = re.compile(r"([0-9A-F]{1,8})/([0-9A-F]{1,8})", re.ASCII)

REPLAYED = Statement("SELECT pg_last_wal_replay_lsn() - '0/0'::pg_lsn, pg_is_in_recovery()")
WRITTEN = Statement("SELECT pg_current_wal_insert_lsn()::text")
SENDABLE = Statement("SELECT pg_current_wal_flush_lsn() - '0/0'::pg_lsn")
"""How far a replica can be. The position of inserts stands behind the header of a page that has nothing on it yet, so
after a switch of segments (a backup, an archive's timeout) no replica reaches it until something is written again."""


class Reads(Protocol):
    """Where something can be read: the primary, or a replica that has come far enough."""

    async def fetch(self, statement: Statement, values: Values) -> list[Row]:
        """Run one statement that writes nothing, and return its rows."""

    async def fetch_shared(self, statement: Statement, values: Values) -> list[Row]:
        """The same for a short one, which may be run for concurrent readers together."""


def position(text: str) -> Position | None:
    """Read a position as PostgreSQL writes it, such as ``16/B374D848``; None if it is none."""
    found = _POSITION.fullmatch(text)
    return (int(found[1], 16) << 32) + int(found[2], 16) if found else None


class Replica:
    """One replica, beside the primary that ``primary`` reads."""

    def __init__(self, dsn: str, primary: Reads, *, size: int, prepare: bool) -> None:
        self._pool = Pool(dsn, size=size, prepare=prepare, name="replica")
        self._primary = primary
        self._usable = False
        self._behind: deque[tuple[float, Position]] = deque()
        self._written: OrderedDict[UUID, tuple[float, Position]] = OrderedDict()
        self._watching: asyncio.Task[None] | None = None
        self._reading: set[asyncio.Task[list[Row] | None]] = set()

    async def open(self) -> None:
        """Begin to connect and to watch it."""
        await self._pool.open()
        await self._look()
        self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Hang up."""
        if self._watching:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching
        await self._pool.close()

    def reads(self, user_id: UUID, after: Position) -> Reads:
        """Where somebody reads who has seen the primary at ``after`` (0: who brings nothing along)."""
        now = asyncio.get_running_loop().time()
        written_at, own = self._written.get(user_id, (0.0, 0))
        if now - written_at < REMEMBERED_SECONDS:
            after = max(after, own)
        return _Fresh(self, after)

    async def note_write(self, user_id: UUID) -> str:
        """Remember that somebody has just written, and return the position to bring along."""
        text = str((await self._primary.fetch(WRITTEN, {}))[0][0])
        self._written[user_id] = asyncio.get_running_loop().time(), position(text) or 0
        self._written.move_to_end(user_id)
        if len(self._written) > REMEMBERED:
            self._written.popitem(last=False)
        return text

    async def fetch(self, statement: Statement, values: Values, after: Position) -> list[Row]:
        """Read from the replica, or from the primary if it is away or has not come so far."""
        if self._usable:
            # A task of its own: one that hangs is left behind, and cancelling it would take as long again.
            reading = asyncio.create_task(self._fetch(statement, values, after))
            self._reading.add(reading)
            reading.add_done_callback(self._reading.discard)
            try:
                done, _ = await asyncio.wait({reading}, timeout=ANSWER_SECONDS)
            except asyncio.CancelledError:
                reading.cancel()
                raise
            if not done:
                reading.add_done_callback(_forget)
                self._set_usable("it does not answer")
            elif (rows := reading.result()) is not None:
                metrics.REPLICA_READS.labels("answered").inc()
                return rows
            else:
                metrics.REPLICA_READS.labels("behind").inc()
                return await self._primary.fetch(statement, values)
        metrics.REPLICA_READS.labels("away").inc()
        return await self._primary.fetch(statement, values)

    async def _fetch(self, statement: Statement, values: Values, after: Position) -> list[Row] | None:
        """None: it has not come so far, or it failed, which the next look will tell."""
        try:
            connection = await self._pool.acquire()
            try:
                until = asyncio.get_running_loop().time() + PATIENCE
                while after:
                    replayed, _ = (await connection.fetch(REPLAYED, {}))[0]
                    if replayed is not None and replayed >= after:
                        break
                    if asyncio.get_running_loop().time() > until:
                        return None
                    await asyncio.sleep(PATIENCE / 8)
                return await connection.fetch(statement, values)
            finally:
                await self._pool.release(connection)
        except psycopg.Error as error:
            self._set_usable(str(error))
            return None

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._look()

    async def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        # Without the primary nobody knows how far it is; then it stays what it was.
        with suppress(Unavailable, psycopg.Error):
            self._behind.append((now, (await self._primary.fetch(SENDABLE, {}))[0][0]))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                connection = await self._pool.acquire()
                try:
                    replayed, recovering = (await connection.fetch(REPLAYED, {}))[0]
                finally:
                    await self._pool.release(connection)
        except (psycopg.Error, TimeoutError) as error:
            self._set_usable(str(error) or "it does not answer")
            return
        while self._behind and replayed is not None and self._behind[0][1] <= replayed:
            self._behind.popleft()
        seconds = now - self._behind[0][0] if self._behind else 0.0
        metrics.REPLICA_LAG.set(seconds)
        if not recovering:
            self._set_usable("it is no replica, or not any more")
        elif seconds > MOST_BEHIND:
            self._set_usable(f"it is {seconds:.0f} s behind")
        else:
            self._set_usable("")

    def _set_usable(self, fault: str) -> None:
        """Note what is wrong with it, "" if nothing is, and say so in the log when that changes."""
        if self._usable == (not fault):
            return
        self._usable = not fault
        if fault:
            _log.warning("replica: reading from the primary: %s", fault)
        else:
            _log.info("replica: reading from it")


class _Fresh:
    """The replica, for somebody who has seen the primary at a position."""

    __slots__ = ("_after", "_replica")

    def __init__(self, replica: Replica, after: Position) -> None:
        self._replica = replica
        self._after = after

    async def fetch(self, statement: Statement, values: Values) -> list[Row]:
        return await self._replica.fetch(statement, values, self._after)

    fetch_shared = fetch


def _forget(task: asyncio.Task[list[Row] | None]) -> None:
    if not task.cancelled():
        task.exception()

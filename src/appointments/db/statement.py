"""Statements that run often: prepared once per connection, with parameters and results in binary.

The driver's cursors are made for any statement, and cost five times as much (docs/performance.md). The service runs the
same few statements all day, so these go straight to libpq through the driver's own binding. The driver still connects,
decodes values and names errors. docs/booking.md says how this fits into a create.
"""

import asyncio
import logging
import re
import select
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property, partial
from itertools import count
from operator import attrgetter
from struct import Struct
from typing import Any, LiteralString, Self, TypeVar

import psycopg
from psycopg import abc, pq
from psycopg.adapt import Transformer
from psycopg.rows import TupleRow
from psycopg.types.numeric import Int8BinaryLoader

from appointments.shared import tracing

T = TypeVar("T")
R = TypeVar("R")
Row = tuple[Any, ...]
Values = dict[str, Any]

Micros = int
"""An instant as PostgreSQL counts it: microseconds since :data:`EPOCH`. Statements take datetimes and return this."""

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

_PARAMETER = re.compile(r"%\((\w+)\)s::(\w+)(\[\])?|%(.)")
_WRITES = re.compile(r"\b(INSERT) INTO (\w+)|\b(UPDATE) (\w+)\s+SET|\b(DELETE) FROM (\w+)")
_READS = re.compile(r"\bFROM (\w+)")
_NAMED = re.compile(r"\b(\w+) AS (?:NOT )?(?:MATERIALIZED )?\(")
_MICROSECOND = timedelta(microseconds=1)
_int4 = Struct(">i").pack
_int8 = Struct(">q").pack
_int4s = Struct(">iiiii").pack  # of an array: dimensions, whether it has nulls, type, length, first index
_NULL = b"\xff\xff\xff\xff"

_ENCODERS: dict[str, Callable[[Any], bytes]] = {
    "bigint": _int8,
    "boolean": lambda value: b"\x01" if value else b"\x00",
    "bytea": bytes,
    "integer": _int4,
    "jsonb": lambda value: b"\x01" + value,  # the format's version, then the text
    "text": str.encode,
    "timestamp": lambda value: _int8(micros(value.replace(tzinfo=UTC))),
    "timestamptz": lambda value: _int8(micros(value)),
    "uuid": attrgetter("bytes"),
}
"""How a parameter of each type is written in PostgreSQL's binary format. JSON is given as bytes."""

CANCEL_SECONDS = 5.0
"""How long a cancelled statement gets to end. After that its connection is closed."""

_GOOD = {pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK}
_OIDS = {
    "bigint": 20,
    "boolean": 16,
    "bytea": 17,
    "integer": 23,
    "jsonb": 3802,
    "text": 25,
    "timestamp": 1114,
    "timestamptz": 1184,
    "uuid": 2950,
}
"""PostgreSQL's numbers of the types that arrays can be made of. They never change."""

_numbers = count(1)
_log = logging.getLogger(__name__)


def micros(value: datetime) -> Micros:
    """Convert an aware datetime to microseconds since :data:`EPOCH`."""
    return (value - EPOCH) // _MICROSECOND


def instant(value: Micros) -> datetime:
    """Convert microseconds since :data:`EPOCH` to an aware datetime."""
    return EPOCH + value * _MICROSECOND


class Statement:
    """SQL with the driver's placeholders. Each is cast, and the cast says its type: ``%(id)s::uuid``."""

    def __init__(self, sql: LiteralString) -> None:
        self.sql = sql
        self.parameters: dict[str, Callable[[Any], bytes]] = {}
        self.text = _PARAMETER.sub(self._placeholder, sql).encode()
        self.summary = _summary(sql)
        self.formats = [pq.Format.BINARY] * len(self.parameters)
        self.writes_changes = "INTO new_changes" in sql

    @cached_property
    def for_many(self) -> "Statement":
        """The same for many at once. Its parameters are arrays: of each, what every one of them has.

        Each row begins with the number of the one whom it is for, counted from one. Each one's rows are in their order.
        Each is planned as it is alone: joined with all that are asked for, it would be looked for in the whole table.
        """
        types: dict[str, str] = {}
        for name, type_, array, _ in _PARAMETER.findall(self.sql):
            if array:
                raise ValueError(f"an array cannot be one of many in {self.sql}")
            if name:
                types[name] = type_
        each = _PARAMETER.sub(lambda match: f'asked."{match[1]}"' if match[1] else match[0], self.sql)
        names = ", ".join(f'"{name}"' for name in types)
        arrays = ", ".join(f"(SELECT %({name})s::{type_}[])" for name, type_ in types.items())
        many = Statement(
            f"""
            SELECT number, answer.* FROM unnest({arrays}) WITH ORDINALITY AS asked ({names}, number)
            CROSS JOIN LATERAL (SELECT one.* FROM ({each}) AS one OFFSET 0) AS answer
            """
        )
        many.summary = self.summary
        return many

    def _placeholder(self, match: re.Match[str]) -> str:
        name, type_, array, escaped = match.groups()
        if not name:
            if escaped != "%":
                raise ValueError(f"a parameter without a cast in {self.sql}")
            return "%"
        self.parameters[name] = partial(_array, type_) if array else _ENCODERS[type_]
        return f"${[*self.parameters].index(name) + 1}::{type_}{array or ''}"

    def encode(self, values: Values) -> list[bytes | None]:
        """Return the parameters in binary, in the order of the placeholders."""
        return [
            None if (value := values[name]) is None else encoded(value) for name, encoded in self.parameters.items()
        ]


@cache
def _summary(sql: str) -> str:
    """What a statement writes first, else reads, and where: its name in traces, such as ``INSERT bookings``."""
    if found := _WRITES.search(sql):
        return " ".join(filter(None, found.groups()))
    named = {"unnest", *_NAMED.findall(sql)}
    tables = [table for table in _READS.findall(sql) if table not in named]
    return f"SELECT {tables[0]}" if tables else sql.split(maxsplit=1)[0]


def _array(type_: str, values: Sequence[Any]) -> bytes:
    encode = _ENCODERS[type_]
    if values and values[0] is not None and values.count(values[0]) == len(values):
        same = encode(values[0])
        return _int4s(1, 0, _OIDS[type_], len(values), 1) + (len(same).to_bytes(4) + same) * len(values)
    parts = [_int4s(1, any(value is None for value in values), _OIDS[type_], len(values), 1)]
    for value in values:
        encoded = None if value is None else encode(value)
        parts += (_NULL,) if encoded is None else (len(encoded).to_bytes(4), encoded)
    return b"".join(parts)


class _Cursor(psycopg.AsyncCursor[R]):
    """A cursor whose statements are seen in traces."""

    async def execute(  # type: ignore[override]  # no template strings, which Python has from 3.14 on
        self,
        query: abc.QueryNoTemplate,
        params: abc.Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> Self:
        with tracing.query(_summary(query) if isinstance(query, str) else "statement"):
            return await super().execute(query, params, prepare=prepare, binary=binary)


class Connection(psycopg.AsyncConnection[TupleRow]):
    """A connection that also runs a :class:`Statement`. It has one user at a time."""

    prepares = True
    """Whether statements are prepared. They must not be behind a pooler that changes servers between transactions."""

    has_written = False
    """Whether a statement that writes to the log of changes was run since somebody looked."""

    def __init__(self, pgconn: pq.abc.PGconn) -> None:
        super().__init__(pgconn)
        self.cursor_factory = _Cursor
        # Most instants go on to a message, which needs no datetime. Cursors read text: this is for statements alone.
        self.adapters.register_loader("timestamptz", Int8BinaryLoader)
        self._statement_names: dict[Statement, bytes] = {}
        self._statement_loaders: dict[Statement, abc.Transformer] = {}
        self._answer: asyncio.Future[pq.abc.PGresult | None] | None = None
        self._result: pq.abc.PGresult | None = None
        self._watched: int | None = None
        self._poller: select.poll | None = None

    @property
    def idle(self) -> bool:
        """Whether no statement and no transaction is under way."""
        return self.pgconn.transaction_status == pq.TransactionStatus.IDLE

    @property
    def hung_up(self) -> bool:
        """Whether the server has closed an idle connection. One system call: there is nothing else to read on it."""
        if self.closed:
            return True
        if self._poller is None:
            self._poller = select.poll()
            self._poller.register(self.pgconn.socket, select.POLLIN)
        return bool(self._poller.poll(0))

    async def fetch(self, statement: Statement, values: Values) -> list[Row]:
        """Run a statement and return its rows. If the caller is cancelled, PostgreSQL cancels the statement too.

        Raises:
            psycopg.Error: the statement failed, or the connection was lost.
        """
        with tracing.query(statement.summary):
            return await self._fetch(statement, values)

    async def _fetch(self, statement: Statement, values: Values) -> list[Row]:
        parameters = statement.encode(values)
        if statement.writes_changes:
            self.has_written = True
        name = (self._statement_names.get(statement) or await self._prepare(statement)) if self.prepares else None
        try:
            if name:
                self.pgconn.send_query_prepared(name, parameters, statement.formats, result_format=pq.Format.BINARY)
            else:
                self.pgconn.send_query_params(
                    statement.text, parameters, param_formats=statement.formats, result_format=pq.Format.BINARY
                )
        finally:
            self._check()
        result = await self._received()
        if loader := self._statement_loaders.get(statement):
            # A statement's columns have the same types every time.
            loader.set_pgresult(result, set_loaders=False)
        else:
            loader = self._statement_loaders[statement] = Transformer(self)
            loader.set_pgresult(result)
        return loader.load_rows(0, result.ntuples, tuple)

    async def _prepare(self, statement: Statement) -> bytes:
        # Each attempt has a name of its own, because one that was cancelled may have arrived all the same.
        name = b"appointments_%d" % next(_numbers)
        try:
            self.pgconn.send_prepare(name, statement.text)
        finally:
            self._check()
        await self._received()
        self._statement_names[statement] = name
        return name

    async def _received(self) -> pq.abc.PGresult:
        loop = asyncio.get_running_loop()
        while self._flush():  # the request is larger than the socket's buffer
            await _writable(loop, self.pgconn.socket)
        try:
            result = await self._read(loop)
        except asyncio.CancelledError:
            await self._abandon(loop)
            raise
        if result is None:
            raise psycopg.OperationalError("the connection was lost")
        if result.status not in _GOOD:
            raise psycopg.errors.error_from_result(result)
        return result

    def _flush(self) -> bool:
        try:
            return bool(self.pgconn.flush())
        finally:
            self._check()

    def _check(self) -> None:
        # A failed send may close the socket at once, and the next connection may get its number. A reader that stayed
        # on that number would never be called. When it was removed it would take the other connection's with it.
        if self.pgconn.status == pq.ConnStatus.BAD:
            self._unwatch(asyncio.get_running_loop())
            raise psycopg.OperationalError("the connection was lost")

    async def _read(self, loop: asyncio.AbstractEventLoop) -> pq.abc.PGresult | None:
        self._answer, self._result = loop.create_future(), None
        if self._watched is None:
            self._watched = self.pgconn.socket
            loop.add_reader(self._watched, self._readable, loop)
        return await self._answer

    def _readable(self, loop: asyncio.AbstractEventLoop) -> None:
        answer, pgconn = self._answer, self.pgconn
        if answer is None or answer.done():
            # Nobody has asked, so the server has hung up. The connection's next user will see that.
            self._unwatch(loop)
            return
        try:
            pgconn.consume_input()
            self._take_result(answer)
            while not answer.done() and _is_broken(pgconn.socket):
                # uvloop reports a socket in error once, so what is left on it has to be read now.
                pgconn.consume_input()
                self._take_result(answer)
        except psycopg.Error as error:
            answer.set_exception(error)
        if pgconn.status == pq.ConnStatus.BAD:
            self._unwatch(loop)  # before the socket's number is somebody else's

    def _take_result(self, answer: asyncio.Future[pq.abc.PGresult | None]) -> None:
        while not self.pgconn.is_busy():
            result = self.pgconn.get_result()
            # After a fatal error there is a second one, which only says that the connection is gone.
            if self._result is None:
                self._result = result
            if result is None:
                answer.set_result(self._result)
                break

    def _unwatch(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._watched is not None:
            loop.remove_reader(self._watched)
            self._watched = None

    async def wait(self, gen: abc.PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Run an operation of the driver's. It watches the socket by itself, and there can be only one watcher."""
        self._unwatch(asyncio.get_running_loop())
        return await super().wait(gen, interval, timeout)

    async def close(self) -> None:
        """Close the connection."""
        self._unwatch(asyncio.get_running_loop())
        await super().close()

    async def _abandon(self, loop: asyncio.AbstractEventLoop) -> None:
        # The caller has gone. The answer is read all the same, because the connection's next user must not get it.
        if self.pgconn.transaction_status != pq.TransactionStatus.ACTIVE:
            return
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                await self.cancel_safe(timeout=CANCEL_SECONDS)
                await self._read(loop)
        except (TimeoutError, psycopg.Error) as error:
            _log.warning("a statement could not be cancelled, closing its connection: %s", error)
            await self.close()
        except BaseException:
            await self.close()
            raise


async def _writable(loop: asyncio.AbstractEventLoop, socket: int) -> None:
    writable = asyncio.Event()
    loop.add_writer(socket, writable.set)
    try:
        await writable.wait()
    finally:
        loop.remove_writer(socket)


def _is_broken(socket: int) -> bool:
    poller = select.poll()
    poller.register(socket, 0)  # errors and hang-ups are always reported
    return bool(poller.poll(0))

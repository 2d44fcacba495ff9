"""Concurrent writes that share a round trip: while a statement is under way, whoever else wants it is gathered, and the
next one is run for all of them.

Each has an answer of its own, and nobody fails another: if PostgreSQL refuses the shared statement, which undoes it,
each gets a turn alone. If the connection is lost nobody knows what was done: all are told, and nothing is sent again.
Everybody's first request goes before anybody's second, so that who asks for much keeps nobody waiting. The statement is
told of whom it has several rows: it has to lock these subjects (docs/adr/0008).
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence, Set
from contextvars import Context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg
from psycopg_pool import PoolTimeout

from appointments import metrics, tracing
from appointments.db.statement import Row, Statement, Values
from appointments.errors import Unavailable

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

PATIENCE = 0.05
"""Seconds after which a statement that still waits, for a lock perhaps, no longer keeps other people waiting."""

MOST = 64
"""Rows in one statement: more saves nothing and makes the first wait for the last."""

Key = tuple[UUID, UUID]
Fetch = Callable[[Statement, Values], Awaitable[list[Row]]]


@dataclass(eq=False, slots=True)
class _Request:
    key: Key
    values: Values
    answer: asyncio.Future[Row | None]
    share: "_Share | None" = None
    span: "SpanContext | None" = field(default_factory=tracing.current)

    @property
    def owner(self) -> UUID:
        return self.key[1]


class Batcher:
    """Runs ``one``, or for several at once ``many``, whose parameters are arrays; and ``crowded``, of owners.

    The rows of both begin with their id and their owner's, and a row is given only to who asked for exactly these two.
    """

    def __init__(self, fetch: Fetch, one: Statement, many: Statement) -> None:
        self._fetch = fetch
        self._one = one
        self._many = many
        self._waiting: list[_Request] = []
        self._refused: list[_Request] = []
        self._busy = False
        self._overdue: set[UUID] = set()

    async def run(self, values: Values) -> Row | None:
        """Run the statement for these values, ``id`` and ``owner_id`` among them; None if it has no row for them.

        Raises:
            psycopg.Error: the statement was refused.
            Unavailable: there is no connection to be had, or it was lost on the way.
        """
        owner = values["owner_id"]
        if not self._busy and owner not in self._overdue:
            end = self._begin({owner})
            try:
                return await self._run_alone(values)
            finally:
                end()
        request = _Request((values["id"], owner), values, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        try:
            return await request.answer
        except asyncio.CancelledError:
            if request.share:
                request.share.leave()
            raise

    def _begin(self, owners: Set[UUID]) -> Callable[[], None]:
        """Keep everybody waiting until the returned function is called, but after PATIENCE only these owners."""

        def lose_patience() -> None:
            self._overdue |= owners
            self._busy = False
            self._start()

        def end() -> None:
            timer.cancel()
            # An owner has one statement under way, so either all of these are overdue or none is.
            if owners <= self._overdue:
                self._overdue -= owners
            else:
                self._busy = False
            self._start()

        self._busy = True
        timer = asyncio.get_running_loop().call_later(PATIENCE, lose_patience)
        return end

    def _start(self) -> None:
        """Run the next statement for those who wait, if it is time for one."""
        if self._busy:
            return
        if chosen := self._next_refused() or self._next_share():
            end = self._begin({request.owner for request in chosen})
            _Share(self._serve(chosen), chosen).task.add_done_callback(lambda _: end())

    def _next_refused(self) -> list[_Request]:
        self._refused = [request for request in self._refused if not request.answer.done()]
        for index, request in enumerate(self._refused):
            if request.owner not in self._overdue:
                return [self._refused.pop(index)]
        return []

    def _next_share(self) -> list[_Request]:
        waiting = [request for request in self._waiting if not request.answer.done()]
        turns: Counter[UUID] = Counter()
        ready: list[tuple[int, int]] = []
        for place, request in enumerate(waiting):
            if request.owner not in self._overdue:
                ready.append((turns[request.owner], place))
                turns[request.owner] += 1
        chosen = {place for _, place in sorted(ready)[:MOST]}
        self._waiting = [request for place, request in enumerate(waiting) if place not in chosen]
        return [waiting[place] for place in sorted(chosen)]

    async def _serve(self, requests: Sequence[_Request]) -> None:
        """Give every request its answer, or a turn of its own."""
        if len(requests) == 1:
            await self._serve_alone(requests[0])
            return
        metrics.SHARED_ROWS.observe(len(requests))
        try:
            with tracing.share(request.span for request in requests):
                rows = {row[:2]: row for row in await self._run_statement(self._many, self._together(requests))}
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            if _undone(error):
                self._refused += requests
                return
            for request in requests:
                _fail(request, error)
        else:
            for request in requests:
                if not request.answer.done():
                    request.answer.set_result(rows.get(request.key))

    async def _serve_alone(self, request: _Request) -> None:
        try:
            row = await self._run_alone(request.values)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is for the one who asked
            _fail(request, error)
        else:
            if not request.answer.done():
                request.answer.set_result(row)

    async def _run_alone(self, values: Values) -> Row | None:
        metrics.SHARED_ROWS.observe(1)
        rows = await self._run_statement(self._one, values)
        return rows[0] if rows else None

    async def _run_statement(self, statement: Statement, values: Values) -> list[Row]:
        try:
            return await self._fetch(statement, values)
        except Unavailable as error:
            if isinstance(error.__cause__, PoolTimeout):
                # Who waits would ask for a connection next, in vain as well.
                for request in self._waiting + self._refused:
                    _fail(request, error)
            raise

    def _together(self, requests: Sequence[_Request]) -> Values:
        rows_of = Counter(request.owner for request in requests)
        return {
            **{name: [request.values[name] for request in requests] for name in self._one.parameters},
            "crowded": [owner for owner, rows in rows_of.items() if rows > 1],
        }


class _Share:
    """Those whom one statement is run for."""

    def __init__(self, work: Coroutine[None, None, None], requests: Sequence[_Request]) -> None:
        self._requests = requests
        for request in requests:
            request.share = self
        # A context of its own: it is nobody's in particular.
        self.task = asyncio.create_task(work, context=Context())

    def leave(self) -> None:
        """One of them has gone: if it was the last, nobody needs the statement to end."""
        if all(request.answer.done() for request in self._requests):
            self.task.cancel()


def _fail(request: _Request, error: Exception) -> None:
    if not request.answer.done():
        request.answer.set_exception(error)


def _undone(error: Exception) -> bool:
    """Whether PostgreSQL itself said so: what it refuses it has not done. Class 57P is its own end, 08 the line's."""
    cause = error.__cause__ if isinstance(error, Unavailable) else error
    state = cause.sqlstate if isinstance(cause, psycopg.Error) else None
    return bool(state) and not str(state).startswith(("57P", "08"))

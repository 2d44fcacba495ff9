"""Request batching: concurrent writes share one round trip.

While a statement is under way, requests are gathered. The next statement is run for all of them. Each request gets an
answer of its own, and none can make another fail:

- If PostgreSQL refuses a shared statement, that statement is undone. Then each of its requests gets a turn alone.
- If the connection is lost, nobody knows what was done. All its requests are told so, and nothing is sent again.
- Everybody's first request goes before anybody's second, so that a person who asks for much keeps nobody else waiting.
- Of several requests for one slot the first alone is sent, because only one can have it. The others, and whoever comes
  for it meanwhile, are told that there is no row for them. So a hundred who want one time are one row of a statement.

docs/booking.md draws the states of a request and of a statement, and says why shared statements cannot deadlock.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Container, Hashable, Sequence, Set
from contextvars import Context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg
from psycopg_pool import PoolTimeout

from appointments.db.statement import Row, Statement, Values
from appointments.shared import metrics, tracing
from appointments.shared.errors import Unavailable

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

PATIENCE = 0.05
"""Seconds after which a statement is overdue. It may be waiting for a lock; other people do not wait with it then."""

MOST = 64
"""Rows in one statement. More would save nothing and make the first request wait for the last."""

Key = tuple[UUID, UUID]
Fetch = Callable[[Statement, Values], Awaitable[list[Row]]]


@dataclass(eq=False, slots=True)
class _Request:
    key: Key
    slot: Hashable
    values: Values
    answer: asyncio.Future[Row | None]
    turn: "_Turn | None" = None
    span: "SpanContext | None" = field(default_factory=tracing.current)

    @property
    def owner(self) -> UUID:
        return self.key[1]


@dataclass(eq=False, slots=True)
class _Turn:
    """A statement under way. Everybody waits for it while it is the batcher's current one; then it is overdue.

    Nobody but its own owners waits for an overdue statement. Their next requests do wait, so that one person's trouble
    takes one connection.
    """

    owners: Set[UUID]
    requests: Sequence[_Request] = ()
    timer: asyncio.TimerHandle | None = None
    task: asyncio.Task[None] | None = None

    def leave(self) -> None:
        """Note that one of its requests was cancelled. If it was the last, nobody needs the statement to end."""
        if self.task and all(request.answer.done() for request in self.requests):
            self.task.cancel()


class Batcher:
    """Runs ``one`` for a request that is alone, and ``many`` for several at once.

    The parameters of ``many`` are arrays of those of ``one``, and ``crowded``: the owners of more than one row, whose
    subjects it has to lock. The rows of both begin with their id and their owner's. A request gets only the row that
    has exactly these two.
    """

    def __init__(self, fetch: Fetch, one: Statement, many: Statement) -> None:
        self._fetch = fetch
        self._one = one
        self._many = many
        self._gathered: list[_Request] = []
        self._refused: list[_Request] = []
        self._current: _Turn | None = None
        self._overdue: set[UUID] = set()

    async def run(self, values: Values, slot: Hashable = None) -> Row | None:
        """Run the statement for these values, ``id`` and ``owner_id`` among them; None if it has no row for them.

        ``slot`` is what only one request can have. None is also the answer to one that came together with an earlier
        request for the same slot, whatever became of that: look why, and ask again if nothing is in the way.

        Raises:
            psycopg.Error: the statement was refused.
            Unavailable: there is no connection to be had, or it was lost on the way.
        """
        owner = values["owner_id"]
        if self._current is None and owner not in self._overdue:
            turn = self._begin(_Turn({owner}))
            try:
                row = await self._run_alone(values)
                self._tell_rivals({slot})
                return row
            finally:
                self._end(turn)
        key = values["id"], owner
        request = _Request(key, slot or key, values, asyncio.get_running_loop().create_future())
        self._gathered.append(request)
        try:
            return await request.answer
        except asyncio.CancelledError:
            if request.turn:
                request.turn.leave()
            raise

    def _begin(self, turn: _Turn) -> _Turn:
        self._current = turn
        turn.timer = asyncio.get_running_loop().call_later(PATIENCE, self._mark_overdue, turn)
        return turn

    def _mark_overdue(self, turn: _Turn) -> None:
        self._current = None
        self._overdue |= turn.owners
        self._start()

    def _end(self, turn: _Turn) -> None:
        assert turn.timer is not None  # noqa: S101 - it has begun
        turn.timer.cancel()
        if turn is self._current:
            self._current = None
        else:
            self._overdue -= turn.owners
        self._start()

    def _start(self) -> None:
        """Run the next statement for those who wait, if it is time for one."""
        if self._current is not None:
            return
        if chosen := self._next_refused() or self._next_gathered():
            turn = self._begin(_Turn({request.owner for request in chosen}, chosen))
            for request in chosen:
                request.turn = turn
            # In a context of its own, because it is nobody's in particular.
            turn.task = asyncio.create_task(self._serve(chosen), context=Context())
            turn.task.add_done_callback(lambda _: self._end(turn))

    def _next_refused(self) -> list[_Request]:
        self._refused = [request for request in self._refused if not request.answer.done()]
        for index, request in enumerate(self._refused):
            if request.owner not in self._overdue:
                return [self._refused.pop(index)]
        return []

    def _next_gathered(self) -> list[_Request]:
        waiting = [request for request in self._gathered if not request.answer.done()]
        rivals: dict[Hashable, list[int]] = {}
        for place, request in enumerate(waiting):
            if request.owner not in self._overdue:
                rivals.setdefault(request.slot, []).append(place)
        turns: Counter[UUID] = Counter()
        ready: list[tuple[int, list[int]]] = []
        for places in rivals.values():
            owner = waiting[places[0]].owner
            ready.append((turns[owner], places))
            turns[owner] += 1
        chosen = {place for _, places in sorted(ready)[:MOST] for place in places}
        self._gathered = [request for place, request in enumerate(waiting) if place not in chosen]
        return [waiting[place] for place in sorted(chosen)]

    async def _serve(self, requests: Sequence[_Request]) -> None:
        """Give every request its answer, or put it among those that get a turn alone."""
        first_of_slot = {request.slot: request for request in reversed(requests)}
        sent = [request for request in requests if first_of_slot[request.slot] is request]
        try:
            if len(sent) == 1:
                with tracing.share([sent[0].span]):
                    row = await self._run_alone(sent[0].values)
                rows = {row[:2]: row} if row else {}
            else:
                metrics.SHARED_ROWS.observe(len(sent))
                with tracing.share(request.span for request in sent):
                    rows = {row[:2]: row for row in await self._run_statement(self._many, self._arrays(sent))}
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            for request in requests:
                # What a statement alone is refused for concerns nobody else.
                if _undone(error) and [request] != sent:
                    self._refused.append(request)
                else:
                    _fail(request, error)
        else:
            for request in requests:
                if not request.answer.done():
                    is_sent = first_of_slot[request.slot] is request
                    request.answer.set_result(rows.get(request.key) if is_sent else None)
            self._tell_rivals(first_of_slot)

    def _tell_rivals(self, slots: Container[Hashable]) -> None:
        """Tell those who came while a statement was under way, for a slot of its, that there is no row for them."""
        for request in self._gathered:
            if request.slot in slots and not request.answer.done():
                request.answer.set_result(None)

    async def _run_alone(self, values: Values) -> Row | None:
        metrics.SHARED_ROWS.observe(1)
        rows = await self._run_statement(self._one, values)
        return rows[0] if rows else None

    async def _run_statement(self, statement: Statement, values: Values) -> list[Row]:
        try:
            return await self._fetch(statement, values)
        except Unavailable as error:
            if isinstance(error.__cause__, PoolTimeout):
                # The others who wait would ask for a connection next, and in vain too.
                for request in self._gathered + self._refused:
                    _fail(request, error)
            raise

    def _arrays(self, requests: Sequence[_Request]) -> Values:
        rows_of = Counter(request.owner for request in requests)
        # UNNEST fills up the shorter of its arrays with NULL, so a column of nothing else need not be sent.
        columns = {name: [request.values[name] for request in requests] for name in self._one.parameters}
        return {
            **{name: [] if values.count(None) == len(values) else values for name, values in columns.items()},
            "crowded": [owner for owner, rows in rows_of.items() if rows > 1],
        }


def _fail(request: _Request, error: Exception) -> None:
    if not request.answer.done():
        request.answer.set_exception(error)


def _undone(error: Exception) -> bool:
    """Whether PostgreSQL refused the statement, so that nothing of it was done.

    Errors of class 08 (the connection) and 57P (the server's shutdown) leave that open.
    """
    cause = error.__cause__ if isinstance(error, Unavailable) else error
    state = cause.sqlstate if isinstance(cause, psycopg.Error) else None
    return bool(state) and not str(state).startswith(("57P", "08"))

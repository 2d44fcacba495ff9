"""Concurrent requests that share a round trip: while a statement is under way, whoever else wants it is gathered, and
the next one is run for all of them.

Each has an answer of its own, and nobody fails another: if PostgreSQL refuses the shared statement, which undoes it, it
is run for each alone. If the connection is lost nobody knows what was done, so all are told, and nothing is sent again.
A share of a statement that writes has at most one row of each owner, in the owners' order; without that two shares, or
a share and a change of a booking, could wait for each other (docs/adr/0008).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import psycopg

from appointments.errors import Unavailable
from appointments.statement import Row, Statement, Values

LANES = 2
"""How many shared statements are under way at once: while PostgreSQL works on one, the next is gathered."""

PATIENCE = 0.05
"""Seconds after which a statement that still waits, for a lock perhaps, no longer keeps the others waiting."""

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


class Together:
    """Runs ``one``, or for several at once ``many``, whose parameters are arrays.

    The rows of both begin with their id and their owner's, and a row is given only to who asked for exactly these two.
    """

    def __init__(self, fetch: Fetch, one: Statement, many: Statement, *, writes: bool) -> None:
        self._fetch = fetch
        self._one = one
        self._many = many
        self._writes = writes
        self._waiting: list[_Request] = []
        self._lanes = LANES

    async def run(self, values: Values) -> Row | None:
        """Run the statement for these values, ``id`` and ``owner_id`` among them; None if it has no row for them.

        Raises:
            psycopg.Error: the statement was refused.
            Unavailable: there is no connection to be had, or it was lost on the way.
        """
        if self._lanes:
            self._lanes -= 1
            lane = _Lane(self.start)
            try:
                return await self._run_alone(values)
            finally:
                lane.leave()
        key = (values["id"], values["owner_id"])
        request = _Request(key, values, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        try:
            return await request.answer
        except asyncio.CancelledError:
            if request.share:
                request.share.leave()
            raise

    async def _run_alone(self, values: Values) -> Row | None:
        rows = await self._fetch(self._one, values)
        return rows[0] if rows else None

    def start(self) -> None:
        """Use a free lane for those who wait, or leave it free."""
        chosen: dict[object, _Request] = {}
        left: list[_Request] = []
        for request in self._waiting:
            if request.answer.done():
                continue
            place = request.key[1] if self._writes else request
            if len(chosen) < MOST and place not in chosen:
                chosen[place] = request
            else:
                left.append(request)
        self._waiting = left
        if not chosen:
            self._lanes += 1
            return
        share = _Share(self, sorted(chosen.values(), key=_owner) if self._writes else list(chosen.values()))
        lane = _Lane(self.start)
        share.task.add_done_callback(lambda _: lane.leave())

    async def serve(self, requests: Sequence[_Request]) -> None:
        """Give every request its answer."""
        if len(requests) == 1:
            await self._serve_alone(requests[0])
            return
        values = {name: [request.values[name] for request in requests] for name in self._many.parameters}
        try:
            rows = {row[:2]: row for row in await self._fetch(self._many, values)}
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            if _undone(error):
                await asyncio.gather(*map(self._serve_alone, requests))
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


class _Lane:
    """A lane in use, until it is left or PATIENCE has passed."""

    def __init__(self, start: Callable[[], None]) -> None:
        self._start: Callable[[], None] | None = start
        self._timer = asyncio.get_running_loop().call_later(PATIENCE, self.leave)

    def leave(self) -> None:
        """Let the next one have it, once."""
        start, self._start = self._start, None
        if start:
            self._timer.cancel()
            start()


class _Share:
    """Those whom one statement is run for."""

    def __init__(self, together: Together, requests: Sequence[_Request]) -> None:
        self._requests = requests
        for request in requests:
            request.share = self
        self.task = asyncio.create_task(together.serve(requests))

    def leave(self) -> None:
        """One of them has gone: if it was the last, nobody needs the statement to end."""
        if all(request.answer.done() for request in self._requests):
            self.task.cancel()


def _owner(request: _Request) -> UUID:
    return request.key[1]


def _fail(request: _Request, error: Exception) -> None:
    if not request.answer.done():
        request.answer.set_exception(error)


def _undone(error: Exception) -> bool:
    """Whether PostgreSQL itself said so: what it refuses it has not done. Class 57P is its own end, 08 the line's."""
    cause = error.__cause__ if isinstance(error, Unavailable) else error
    state = cause.sqlstate if isinstance(cause, psycopg.Error) else None
    return bool(state) and not str(state).startswith(("57P", "08"))

"""Streams that stay open: how many there may be, for how long, and what ends them early.

A stream has no deadline, so what a deadline does for a call is done here. It ends by itself after 15 to 30 minutes. The
identity that opened it is looked at again every few seconds, so that it outlives neither its token nor its session or
key by more than five. A client that takes nothing does not hold it for ever. At a shutdown it is told to go on
elsewhere.

Thousands of them are idle at any time, so a stream is one small object here: one clock serves all of them, and their
identities are looked up together.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Generic, TypeVar
from uuid import UUID

import structlog

from appointments.shared import metrics
from appointments.shared.errors import Fault, TooMany, Unavailable

AGE_SECONDS = (15 * 60.0, 30 * 60.0)
"""How long a stream lasts at most: a number between these, so that not all come back at once."""

CHECK_SECONDS = 4.0
"""How often identities are looked at again. With the time that it takes, an ended session is noticed within five."""

STALLED_SECONDS = 60.0
"""How long a client may take nothing while there is something for it."""

MOST_OF_ONE = 20
MOST = 10_000

ENDED_AT_ONCE = 100

P = TypeVar("P")

_log = structlog.get_logger("appointments")


class Stream(Generic[P]):
    """One that is open, for the length of a block in a task of its own."""

    __slots__ = ("_cancelling", "_ends_at", "_fault", "_is_over", "_streams", "_task", "_user_id", "proof")

    def __init__(self, streams: "Streams[P]", user_id: UUID, proof: P, ends_at: float) -> None:
        self.proof = proof
        self._streams = streams
        self._user_id = user_id
        self._ends_at = ends_at
        self._fault: Fault | None = None
        self._is_over = False

    def __enter__(self) -> "Stream[P]":
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - streams are tasks
        self._task, self._cancelling = task, task.cancelling()
        self._streams.add(self, self._user_id)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self._streams.remove(self, self._user_id)
        was_ended, self._is_over = self._is_over, True
        # Somebody else may have cancelled the task at the same time: then that counts.
        if was_ended and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            if self._fault is not None:
                raise self._fault from None
            return True
        return False

    def end(self, fault: Fault | None = None) -> None:
        """End the block with a fault, or silently; unless it is ending already."""
        if not self._is_over:
            self._is_over, self._fault = True, fault
            self._task.cancel()

    def look(self, now: float) -> None:
        """End it silently if it is old."""
        if now >= self._ends_at:
            self.end()


class Streams(Generic[P]):
    """The open streams of one process.

    ``look_again`` gets all of them every few seconds, and ends those whose ``proof`` is not good any more.
    """

    def __init__(
        self,
        look_again: Callable[[Sequence[Stream[P]]], Awaitable[None]],
        *,
        most: int = MOST,
        most_of_one: int = MOST_OF_ONE,
        age: tuple[float, float] = AGE_SECONDS,
        stalled: float = STALLED_SECONDS,
    ) -> None:
        self._look_again = look_again
        self._most = most
        self._most_of_one = most_of_one
        self._age = age
        self._stalled = stalled
        self._open: set[Stream[P]] = set()
        self._of: Counter[UUID] = Counter()
        self._draining = False
        metrics.observed(metrics.STREAMS, lambda: len(self._open))

    def __len__(self) -> int:
        return len(self._open)

    def admitted(self, user_id: UUID, proof: P) -> Stream[P]:
        """Let a user open one. It counts, and may be ended, for the length of a ``with`` block.

        Raises:
            TooMany: the user has too many.
            Unavailable: there are too many in all, or the server is about to stop.
        """
        if self._draining:
            raise _stopping()
        if len(self._open) >= self._most:
            raise Unavailable("Too many streams are open here.", reason="TOO_MANY_STREAMS", retry_after=5.0)
        if self._of[user_id] >= self._most_of_one:
            raise TooMany(f"You have {self._most_of_one} streams open already.", reason="TOO_MANY_STREAMS")
        ends_at = asyncio.get_running_loop().time() + random.uniform(*self._age)  # noqa: S311 - jitter, not a secret
        return Stream(self, user_id, proof, ends_at)

    def add(self, stream: Stream[P], user_id: UUID) -> None:
        """Count one."""
        self._of[user_id] += 1
        self._open.add(stream)

    def remove(self, stream: Stream[P], user_id: UUID) -> None:
        """It has ended."""
        self._open.discard(stream)
        self._of[user_id] -= 1
        if not self._of[user_id]:
            del self._of[user_id]

    async def sent(self, sending: Awaitable[object]) -> None:
        """Wait until a client has taken what it is sent.

        Raises:
            Unavailable: it takes nothing.
        """
        try:
            async with asyncio.timeout(self._stalled):
                await sending
        except TimeoutError:
            raise too_slow() from None

    async def keep_checking(self) -> None:
        """Look at all open streams again and again, until cancelled: at their age and at their identities."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            now = loop.time()
            streams = list(self._open)
            for stream in streams:
                stream.look(now)
            try:
                await self._look_again(streams)
            except Unavailable:
                continue  # nobody knows; the streams go on
            except Exception as error:  # noqa: BLE001 - the last line: no stream would be looked at any more
                _log.error("streams cannot be checked", exc_info=error)

    async def drain(self, seconds: float) -> None:
        """Admit no more, and end all of them over so many seconds, so that not all come back elsewhere at once."""
        self._draining = True
        streams = list(self._open)
        for start in range(0, len(streams), ENDED_AT_ONCE):
            if start:
                await asyncio.sleep(seconds * ENDED_AT_ONCE / len(streams))
            for stream in streams[start : start + ENDED_AT_ONCE]:
                stream.end(_stopping())


def too_slow() -> Unavailable:
    """Why a stream ends whose client takes nothing."""
    return Unavailable("The stream is read too slowly. Go on from the last cursor.", reason="SLOW_READER")


def _stopping() -> Unavailable:
    wait = random.uniform(0.1, 1.0)  # noqa: S311 - jitter, not a secret
    return Unavailable("The server is shutting down. Go on from the last cursor.", retry_after=wait)

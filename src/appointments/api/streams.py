"""Streams that stay open: how many there may be, for how long, and what ends them early.

A stream has no deadline, so what a deadline does for a call is done here. It ends by itself after 15 to 30 minutes. The
identity that opened it is looked at again every few seconds, so that it outlives neither its token nor its session or
key by more than five. A client that takes nothing does not hold it for ever. At a shutdown it is told to go on
elsewhere.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from uuid import UUID

from appointments.api.caller import Caller
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

CHECKED_AT_ONCE = 100
ENDED_AT_ONCE = 100

Check = Callable[[], Awaitable[object]]
"""Raises a Fault if the identity that a stream was opened with is not good any more."""


class Stream:
    """One that is open. Its limit is the clock that ends it, and ``fault`` says why; None: it was old."""

    __slots__ = ("check", "fault", "limit")

    def __init__(self, check: Check, limit: asyncio.Timeout) -> None:
        self.check = check
        self.limit = limit
        self.fault: Fault | None = None

    def end(self, fault: Fault) -> None:
        """End it with a fault, unless it is ending already."""
        if self.fault is None:
            self.fault = fault
            self.close()

    def close(self) -> None:
        """End it silently."""
        with suppress(RuntimeError):  # it has ended by itself
            self.limit.reschedule(asyncio.get_running_loop().time())


class Streams:
    """The open streams of one process."""

    def __init__(
        self,
        *,
        most: int = MOST,
        most_of_one: int = MOST_OF_ONE,
        age: tuple[float, float] = AGE_SECONDS,
        stalled: float = STALLED_SECONDS,
    ) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._age = age
        self._stalled = stalled
        self._open: set[Stream] = set()
        self._of: Counter[UUID] = Counter()
        self._draining = False
        metrics.observed(metrics.STREAMS, lambda: len(self._open))

    def __len__(self) -> int:
        return len(self._open)

    @asynccontextmanager
    async def admitted(self, caller: Caller, check: Check) -> AsyncIterator[Stream]:
        """Count a stream, and end the block when the stream has to end: silently when it is old.

        Raises:
            TooMany: the caller has too many.
            Unavailable: there are too many in all, or the server is about to stop; also later.
            Fault: the identity is not good any more.
        """
        if self._draining:
            raise _stopping()
        if len(self._open) >= self._most:
            raise Unavailable("Too many streams are open here.", reason="TOO_MANY_STREAMS", retry_after=5.0)
        if self._of[caller.user_id] >= self._most_of_one:
            raise TooMany(f"You have {self._most_of_one} streams open already.", reason="TOO_MANY_STREAMS")
        limit = asyncio.timeout(random.uniform(*self._age))  # noqa: S311 - jitter, not a secret
        stream = Stream(check, limit)
        self._of[caller.user_id] += 1
        self._open.add(stream)
        try:
            async with limit:
                yield stream
        except TimeoutError:
            if not limit.expired():
                raise
            if stream.fault is not None:
                raise stream.fault from None
        finally:
            self._open.discard(stream)
            self._of[caller.user_id] -= 1
            if not self._of[caller.user_id]:
                del self._of[caller.user_id]

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
        """Look at the identities of all open streams again and again, until cancelled."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            streams = list(self._open)
            for start in range(0, len(streams), CHECKED_AT_ONCE):
                await asyncio.gather(*map(_check, streams[start : start + CHECKED_AT_ONCE]))

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


async def _check(stream: Stream) -> None:
    try:
        await stream.check()
    except Unavailable:
        return  # nobody knows; the stream goes on
    except Fault as fault:
        stream.end(fault)

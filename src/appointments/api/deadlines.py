"""An end for every call: one timer looks at all calls a few times a second, because a timer for each costs more.

The servers end calls at their clients' deadlines, to the millisecond. This is for the calls whose clients set none, and
for those that were not ended in time.
"""

import asyncio
from types import TracebackType

INTERVAL = 0.25
"""Seconds between two looks, and so what an end may be late."""


class Deadlines:
    """The calls in flight."""

    def __init__(self) -> None:
        self._running: set[Limit] = set()
        self._timer: asyncio.TimerHandle | None = None

    def within(self, seconds: float) -> "Limit":
        """Cancel what runs in the returned context after so many seconds; there that becomes a TimeoutError."""
        return Limit(self, seconds)

    def add(self, limit: "Limit", loop: asyncio.AbstractEventLoop) -> None:
        """Look at this one, too."""
        self._running.add(limit)
        if self._timer is None:
            self._timer = loop.call_later(INTERVAL, self._look, loop)

    def remove(self, limit: "Limit") -> None:
        """It has ended."""
        self._running.discard(limit)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for limit in self._running:
            limit.look(now)
        self._timer = loop.call_later(INTERVAL, self._look, loop) if self._running else None


class Limit:
    """One call's. As asyncio.timeout, but that it is entered without waiting."""

    __slots__ = ("_cancelling", "_deadlines", "_end", "_passed", "_seconds", "_task")

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self._deadlines = deadlines
        self._seconds = seconds
        self._passed = False

    def __enter__(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - calls are tasks
        self._task, self._cancelling, self._end = task, task.cancelling(), loop.time() + self._seconds
        self._deadlines.add(self, loop)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._deadlines.remove(self)
        # Somebody else may have cancelled the call at the same time: then that counts.
        if self._passed and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def look(self, now: float) -> None:
        """Cancel the call, once, if its time is over."""
        if now >= self._end and not self._passed:
            self._passed = True
            self._task.cancel()

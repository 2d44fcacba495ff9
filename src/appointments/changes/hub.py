"""One reader of the log in each process, which hands every entry to those who follow its calendar.

It asks the database thirty times a second where the log ends, and at once after a batch of its own process, while
anybody follows; never once for each follower. What an entry is about is read once for all of them.

A follower's entries wait in a queue of their own. Who does not take them is told so, and their queue is given up.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import structlog

from appointments.calendar.appointment import Appointment
from appointments.changes import reading
from appointments.changes.cursor import Cursor
from appointments.changes.numbering import Sequencer
from appointments.changes.reading import Entry, Head
from appointments.db import Database
from appointments.shared.errors import Fault, Unavailable

POLL_SECONDS = 0.03
AWAY_SECONDS = 0.5
"""How long to leave a database alone that has not answered."""

PAGE = 1000
MOST_WAITING = 1000
"""Entries in a queue."""

_log = structlog.get_logger("appointments.changes")


class News(NamedTuple):
    """Entries of one calendar, and the appointments that they are about."""

    entries: Sequence[Entry]
    found: Mapping[UUID, Appointment]


@dataclass(eq=False, slots=True)
class Subscription:
    """What one follower has not taken yet. Everything after ``since`` comes through here."""

    since: Cursor
    _queue: deque[News]
    _size: int = 0
    _waiter: asyncio.Future[None] | None = None
    _over: Fault | None = None

    async def take(self, seconds: float) -> News | None:
        """The next news, or None if there are none for so many seconds.

        Raises:
            Unavailable: the follower was too slow, or the log has begun anew.
        """
        if not self._queue and self._over is None:
            loop = asyncio.get_running_loop()
            waiter = self._waiter = loop.create_future()
            timer = loop.call_later(seconds, _settle, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                self._waiter = None
        if self._over is not None:
            raise self._over
        if not self._queue:
            return None
        news = self._queue.popleft()
        self._size -= len(news.entries)
        return news

    def put(self, news: News) -> None:
        """Add news, unless there is too much already."""
        if self._size + len(news.entries) > MOST_WAITING:
            self.end(Unavailable("The stream is read too slowly. Go on from the last cursor.", reason="SLOW_READER"))
        elif self._over is None:
            self._queue.append(news)
            self._size += len(news.entries)
            self._wake()

    def end(self, fault: Fault) -> None:
        """Give up: the follower gets the fault instead of anything that waits."""
        self._queue.clear()
        self._size, self._over = 0, fault
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None:
            _settle(self._waiter)


def _settle(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class Hub:
    """Reads on behalf of one process, which also numbers."""

    def __init__(self, db: Database, sequencer: Sequencer) -> None:
        self.sequencer = sequencer
        self._db = db
        self._followers: dict[UUID, set[Subscription]] = defaultdict(set)
        self._wanted = asyncio.Event()
        self._starting = asyncio.Lock()
        self._read: Cursor | None = None
        self._delivered: Cursor | None = None

    async def run(self) -> None:
        """Read until cancelled. While the database is away, wait for it."""
        while True:
            await self._wanted.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self.sequencer.numbered.wait()
            self.sequencer.numbered.clear()
            try:
                await self._read_on()
            except Unavailable:
                await asyncio.sleep(AWAY_SECONDS)
            except Exception as error:  # noqa: BLE001 - the last line: nobody would learn of anything any more
                _log.error("changes cannot be read", exc_info=error)
                await asyncio.sleep(AWAY_SECONDS)

    @property
    def end(self) -> Cursor:
        """Up to where everything has been handed out. Only while somebody follows."""
        assert self._delivered is not None  # noqa: S101 - a subscription has seen to it
        return self._delivered

    async def start(self) -> None:
        """Find out where the log ends, if nobody follows yet: what comes from now on will be handed out.

        Raises:
            Unavailable: the database does not answer.
        """
        async with self._starting:
            if self._read is None:
                self._read = self._delivered = (await reading.head(self._db)).end
                self._wanted.set()

    @contextmanager
    def subscribed(self, calendar_id: UUID) -> Iterator[Subscription]:
        """Follow a calendar for the length of a block, in the same step as :meth:`start` has ended."""
        assert self._read is not None  # noqa: S101 - see above
        subscription = Subscription(self._read, deque())
        self._followers[calendar_id].add(subscription)
        try:
            yield subscription
        finally:
            self._followers[calendar_id].discard(subscription)
            if not self._followers[calendar_id]:
                del self._followers[calendar_id]
            if not self._followers:
                self._wanted.clear()
                self._read = self._delivered = None

    async def _read_on(self) -> None:
        head = await reading.head(self._db)
        if self._read is None or self._has_begun_anew(head):
            return
        while (at := self._read) and at.position < head.last_position:
            entries = await reading.after(self._db, at.position, PAGE)
            if self._read is not at:
                return  # nobody follows any more, or somebody new who begins elsewhere
            await self._hand_out(entries, Cursor(head.epoch, entries[-1].position if entries else head.last_position))

    async def _hand_out(self, entries: Sequence[Entry], end: Cursor) -> None:
        by_calendar: dict[UUID, list[Entry]] = defaultdict(list)
        for entry in entries:
            if entry.calendar_id in self._followers:
                by_calendar[entry.calendar_id].append(entry)
        targets = [(each, by_calendar[calendar]) for calendar in by_calendar for each in self._followers[calendar]]
        # Who comes from here on has been told that these are behind them.
        self._read = end
        try:
            found = await reading.items(self._db, (entry for part in by_calendar.values() for entry in part))
        except BaseException:
            for subscription, _ in targets:
                subscription.end(Unavailable("The database does not answer. Go on from the last cursor."))
            raise
        for subscription, part in targets:
            subscription.put(News(part, found))
        if self._read is not None:
            self._delivered = end

    def _has_begun_anew(self, head: Head) -> bool:
        assert self._read is not None  # noqa: S101
        if head.epoch == self._read.epoch and head.last_position >= self._read.position:
            return False
        over = Unavailable("The log of changes has begun anew.", reason="NEW_EPOCH")
        for followers in self._followers.values():
            for subscription in followers:
                subscription.end(over)
        self._read = self._delivered = head.end
        return True

"""The hub: one reader of the log in each process, which hands every entry to the followers of its calendar.

It asks the database where the log ends thirty times a second while anybody follows, a hundred times while there is
something new, and at once after a batch of its own process; never once for each follower. What an entry is about is
read once for all of them, and what those missed who come back in the same moment is read together.

A follower's entries wait in a queue of their own, those of several calendars in one, in the order of the log. Who does
not take them is told so, and their queue is given up. Most followers wait for something to happen: then there is one
small object of each, and one clock for all.
"""

import asyncio
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain
from typing import NamedTuple
from uuid import UUID

import structlog

from appointments.calendar.appointment import Appointment
from appointments.changes import reading
from appointments.changes.cursor import Cursor
from appointments.changes.reading import Entry, Head
from appointments.changes.sequencer import Sequencer
from appointments.db import Database, micros
from appointments.db.gathering import Gathering
from appointments.shared import metrics
from appointments.shared.errors import Fault, Unavailable

POLL_SECONDS = 0.03
BUSY_POLL_SECONDS = 0.01
BUSY_SECONDS = 1.0
"""For how long after something new the next is looked for sooner."""

AWAY_SECONDS = 0.5
"""How long to wait after the database has not answered."""

TICK_SECONDS = 0.5
"""How late the end of a follower's silence may be."""

PAGE = 1000
MISSED_PAGE = 200
"""Entries that one follower who comes back gets at once."""

BACK_AT_ONCE = 100
"""Followers whose missed entries are read together."""

BACK_APART_SECONDS = 0.01
"""Between two such statements: thousands who come back are taken in one by one, each in less time than this."""

MOST_WAITING = 1000
"""The most entries in a follower's queue."""

_log = structlog.get_logger("appointments.changes")


class News(NamedTuple):
    """Entries of what somebody follows, and the appointments that they are about."""

    entries: Sequence[Entry]
    found: Mapping[UUID, Appointment]


class Missed(NamedTuple):
    """What there was after a position, and where the log ended then."""

    head: Head
    entries: Sequence[Entry]
    found: Mapping[UUID, Appointment]


class Subscription:
    """What one follower has not taken yet, for the length of a block. Everything after ``since`` comes through here.

    Most follow one calendar, so ``also`` is None: the further ones, of who asked for some.
    """

    __slots__ = ("_fault", "_hub", "_queue", "_size", "_until", "_waiter", "also", "calendar_id", "since")

    def __init__(self, hub: "Hub", calendar_id: UUID, since: Cursor, also: Sequence[UUID] = ()) -> None:
        self.calendar_id = calendar_id
        self.also = set(also) or None
        self.since = since
        self._hub = hub
        self._queue: list[News] | None = None
        self._size = 0
        self._until = 0.0
        self._waiter: asyncio.Future[None] | None = None
        self._fault: Fault | None = None

    def __enter__(self) -> "Subscription":
        self._hub.add(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._hub.remove(self)

    def wait(self, seconds: float) -> "asyncio.Future[None]":
        """What is done when there is something to take, and after so many seconds in any case."""
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        self._until = loop.time() + seconds
        if self._queue or self._fault is not None:
            waiter.set_result(None)
        return waiter

    def take(self) -> News | None:
        """The next news, if there are any.

        Raises:
            Unavailable: the follower was too slow, or the log has begun anew.
        """
        if self._fault is not None:
            raise self._fault
        if not self._queue:
            return None
        news = self._queue.pop(0)
        self._size -= len(news.entries)
        self._queue = self._queue or None
        return news

    def put(self, news: News) -> None:
        """Add news, unless there is too much already."""
        if self._size + len(news.entries) > MOST_WAITING:
            self.end(Unavailable("The stream is read too slowly. Go on from the last cursor.", reason="SLOW_READER"))
        elif self._fault is None:
            self._queue = self._queue or []
            self._queue.append(news)
            self._size += len(news.entries)
            self._wake()

    def end(self, fault: Fault) -> None:
        """Give up: the follower gets the fault instead of anything that waits."""
        self._queue, self._size, self._fault = None, 0, fault
        self._wake()

    def keep_to(self, calendar_ids: Container[UUID]) -> None:
        """Follow none of the further calendars any more but these."""
        if self.also:
            for calendar_id in [each for each in self.also if each not in calendar_ids]:
                self.also.remove(calendar_id)
                self._hub.leave(self, calendar_id)

    def look(self, now: float) -> None:
        """Let the follower know if they have waited for long enough."""
        if now >= self._until:
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Hub:
    """Reads on behalf of one process, which also numbers."""

    def __init__(self, db: Database, sequencer: Sequencer) -> None:
        self.sequencer = sequencer
        self._db = db
        # By calendar: who follows nothing else, and who follows it among others.
        self._followers: dict[UUID, list[Subscription]] = {}
        self._merging: dict[UUID, set[Subscription]] = {}
        self._of_several: set[Subscription] = set()
        self._wanted = asyncio.Event()
        self._starting = asyncio.Lock()
        self._read: Cursor | None = None
        self._delivered: Cursor | None = None
        self._moved_at = 0.0
        self._clock: asyncio.TimerHandle | None = None
        self._back: Gathering[tuple[Sequence[UUID], int], Missed] = Gathering(
            self._read_missed, most=BACK_AT_ONCE, apart=BACK_APART_SECONDS
        )
        # One after the other: who asks while one is under way may have written something that it did not see.
        self._settling: Gathering[None, Cursor] = Gathering(self._settle, most=10_000, at_once=1)

    async def run(self) -> None:
        """Read until cancelled. While the database is away, wait for it."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wanted.wait()
            is_busy = loop.time() - self._moved_at < BUSY_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(BUSY_POLL_SECONDS if is_busy else POLL_SECONDS):
                    await self.sequencer.numbered.wait()
            self.sequencer.numbered.clear()
            try:
                await self._read_on(loop)
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

    async def settled(self) -> Cursor:
        """Where the log ends, when everything that was committed before this call has its position.

        Raises:
            Unavailable: the database does not answer.
        """
        return await self._settling.answer(None)

    async def missed(self, calendar_ids: Sequence[UUID], position: int) -> Missed:
        """What has changed in calendars after a position, the first :data:`MISSED_PAGE` entries at most.

        Raises:
            Unavailable: the database does not answer.
        """
        return await self._back.answer((calendar_ids, position))

    async def start(self) -> None:
        """Find out where the log ends, if nobody follows yet: what comes from now on will be handed out.

        Raises:
            Unavailable: the database does not answer.
        """
        if self._read is not None:
            return
        async with self._starting:
            if self._read is None:
                self._read = self._delivered = (await reading.head(self._db)).end
                self._wanted.set()

    def subscribed(self, calendar_id: UUID, also: Sequence[UUID] = ()) -> Subscription:
        """Follow a calendar and further ones for the length of a block, in the same step as :meth:`start` has ended."""
        assert self._read is not None  # noqa: S101 - see above
        return Subscription(self, calendar_id, self._read, also)

    def add(self, subscription: Subscription) -> None:
        """Hand out to one more."""
        if subscription.also is None:
            self._followers.setdefault(subscription.calendar_id, []).append(subscription)
        else:
            self._of_several.add(subscription)
            for calendar_id in (subscription.calendar_id, *subscription.also):
                self._merging.setdefault(calendar_id, set()).add(subscription)
        if self._clock is None:
            self._tick(asyncio.get_running_loop())

    def leave(self, subscription: Subscription, calendar_id: UUID) -> None:
        """One who follows several calendars follows one of them no more."""
        followers = self._merging[calendar_id]
        followers.discard(subscription)
        if not followers:
            del self._merging[calendar_id]

    def remove(self, subscription: Subscription) -> None:
        """They follow no more."""
        if subscription.also is None:
            followers = self._followers[subscription.calendar_id]
            followers.remove(subscription)
            if not followers:
                del self._followers[subscription.calendar_id]
        else:
            self._of_several.discard(subscription)
            for calendar_id in (subscription.calendar_id, *subscription.also):
                self.leave(subscription, calendar_id)
        if not self._is_followed:
            self._wanted.clear()
            self._read = self._delivered = None

    @property
    def _is_followed(self) -> bool:
        return bool(self._followers or self._of_several)

    def _subscriptions(self) -> Iterator[Subscription]:
        return chain(chain.from_iterable(self._followers.values()), self._of_several)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for subscription in self._subscriptions():
            subscription.look(now)
        self._clock = loop.call_later(TICK_SECONDS, self._tick, loop) if self._is_followed else None

    async def _settle(self, askers: Sequence[None]) -> list[Cursor]:
        await self.sequencer.settle()
        return [(await reading.head(self._db)).end] * len(askers)

    async def _read_missed(self, questions: Sequence[tuple[Sequence[UUID], int]]) -> list[Missed]:
        pages = await reading.of_calendars(self._db, questions, MISSED_PAGE)
        found = await reading.items(self._db, (entry for _, entries in pages for entry in entries))
        return [Missed(head, entries, found) for head, entries in pages]

    async def _read_on(self, loop: asyncio.AbstractEventLoop) -> None:
        more = True
        while more and (at := self._read):
            head, entries = await reading.after(self._db, at.position, PAGE)
            if self._read is not at or self._has_begun_anew(head) or at.position >= head.last_position:
                return  # nobody follows any more, or somebody new who begins elsewhere, or there is nothing
            self._moved_at = loop.time()
            more = len(entries) == PAGE
            await self._hand_out(entries, Cursor(head.epoch, entries[-1].position if more else head.last_position))

    async def _hand_out(self, entries: Sequence[Entry], end: Cursor) -> None:
        by_calendar: dict[UUID, list[Entry]] = defaultdict(list)
        merged: dict[Subscription, list[Entry]] = defaultdict(list)
        for entry in entries:
            if entry.calendar_id in self._followers:
                by_calendar[entry.calendar_id].append(entry)
            for subscription in self._merging.get(entry.calendar_id, ()):
                merged[subscription].append(entry)
        targets = [(part, tuple(self._followers[calendar_id])) for calendar_id, part in by_calendar.items()]
        targets += [(part, (subscription,)) for subscription, part in merged.items()]
        # Who comes from here on has been told that these are behind them.
        self._read = end
        try:
            found = await reading.items(self._db, (entry for part, _ in targets for entry in part))
        except BaseException:
            for _, followers in targets:
                for subscription in followers:
                    subscription.end(Unavailable("The database does not answer. Go on from the last cursor."))
            raise
        if targets:
            # The log is in order, so the first has waited longest.
            oldest = min(part[0].changed_at for part, _ in targets)
            metrics.STREAM_LAG.observe(max(0, micros(datetime.now(UTC)) - oldest) / 1_000_000)
        for part, followers in targets:
            news = News(part, found)
            for subscription in followers:
                subscription.put(news)
        if self._read is not None:
            self._delivered = end

    def _has_begun_anew(self, head: Head) -> bool:
        assert self._read is not None  # noqa: S101
        if head.epoch == self._read.epoch and head.last_position >= self._read.position:
            return False
        over = Unavailable("The log of changes has begun anew.", reason="NEW_EPOCH")
        for subscription in self._subscriptions():
            subscription.end(over)
        self._read = self._delivered = head.end
        return True

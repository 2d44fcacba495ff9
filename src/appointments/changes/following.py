"""Following one calendar without a gap: first what has changed since a cursor, then changes as they happen."""

import random
from collections.abc import AsyncGenerator, Callable, Sequence
from operator import attrgetter
from typing import TypeVar

from appointments.changes import reading
from appointments.changes.cursor import Cursor, Follower
from appointments.changes.hub import MISSED_PAGE, Hub, News
from appointments.changes.reading import Batch, Change, Entry
from appointments.db import Database

SILENCE_SECONDS = (12.0, 15.0)
"""After so long without changes an empty batch is sent, which shows that the stream is alive."""

MOST = 20
"""The most changes in one batch. So many of the largest appointments still fit into a message of 4 MiB."""

T = TypeVar("T")


async def follow(
    db: Database, hub: Hub, follower: Follower, cursor: Cursor | None, shape: Callable[[Batch], T]
) -> AsyncGenerator[T]:
    """Yield batches for as long as they are taken: the first one at once, and never none for longer than 16 seconds.

    Without a cursor it begins now. Each batch has the cursor that goes on after it. ``shape`` makes of a batch what is
    yielded: a generator around this one would be another frame for each of thousands of idle streams.

    Raises:
        Expired: some of what came after the cursor is no longer kept, or the log has a new epoch.
        NotFound: the follower does not see the resource, or no longer does.
        Unavailable: the follower is too slow, the log has a new epoch, or the database does not answer.
    """
    role = await reading.role_of(db, follower)
    at = cursor or await hub.settled()
    await hub.start()
    with hub.subscribed(follower.calendar_id) as subscription:
        # Batches are dropped one by one: most of its life a stream waits, and should hold nothing then.
        more = True
        while more:
            more, batches = await _missed(db, hub, follower, role, at=at, until=subscription.since)
            while batches:
                at = batches[0].cursor
                yield shape(batches.pop(0))
        while True:
            await subscription.wait(random.uniform(*SILENCE_SECONDS))  # noqa: S311 - jitter, not a secret
            role, batches = await _news(db, hub, follower, role, at=at, news=subscription.take())
            while batches:
                at = batches[0].cursor
                yield shape(batches.pop(0))


async def _missed(
    db: Database, hub: Hub, follower: Follower, role: int, *, at: Cursor, until: Cursor
) -> tuple[bool, list[Batch]]:
    """Whether there is more up to where the subscription begins, and what there is next."""
    head, entries, found = await hub.missed(follower.calendar_id, at.position)
    head.check(at)
    more = len(entries) == MISSED_PAGE and entries[-1].position < until.position
    entries = [entry for entry in entries if entry.position <= until.position]
    # The epochs are equal: keep the one that all streams have.
    end = Cursor(until.epoch, max(at.position, entries[-1].position if more else until.position))
    return more, _batches(await reading.seen(db, follower, role, entries, found), entries, end)


async def _news(
    db: Database, hub: Hub, follower: Follower, role: int, *, at: Cursor, news: News | None
) -> tuple[int, list[Batch]]:
    """The follower's role from here on, and what they get; of no news, that there are none."""
    if news is None:
        return role, [Batch([], max(at, hub.end, key=attrgetter("position")))]
    entries = [entry for entry in news.entries if entry.position > at.position]
    if not entries:
        return role, []
    if follower.resource_id and any(entry.kind.startswith("resource.") for entry in entries):
        role = await reading.role_of(db, follower)
    changes = await reading.seen(db, follower, role, entries, news.found)
    return role, _batches(changes, entries, Cursor(at.epoch, entries[-1].position))


def _batches(changes: Sequence[Change], entries: Sequence[Entry], end: Cursor) -> list[Batch]:
    """Split changes into batches. The last one has the cursor ``end``. Without changes there is one empty batch."""
    cuts = range(0, len(changes), MOST)
    parts = [(list(changes[cut : cut + MOST]), entries[min(cut + MOST, len(entries)) - 1].position) for cut in cuts]
    batches = [Batch(part, Cursor(end.epoch, position), more=True) for part, position in parts[:-1]]
    return [*batches, Batch(parts[-1][0] if parts else [], end)]

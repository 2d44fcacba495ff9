"""Following calendars without a gap: first what has changed since a cursor, then changes as they happen."""

import random
from collections.abc import AsyncGenerator, Callable, Mapping
from operator import attrgetter
from typing import TypeVar
from uuid import UUID

from appointments.changes import reading
from appointments.changes.cursor import Cursor, Follower
from appointments.changes.hub import MISSED_PAGE, Hub, News
from appointments.changes.reading import Batch, Seen
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
        NotFound: the follower does not see one of the resources, or no longer sees the only one.
        Unavailable: the follower is too slow, the log has a new epoch, or the database does not answer.
    """
    roles = await reading.roles_of(db, follower)
    at = cursor or await hub.settled()
    await hub.start()
    with hub.subscribed(follower.calendar_id, follower.resource_ids) as subscription:
        # Batches are dropped one by one: most of its life a stream waits, and should hold nothing then.
        more = True
        while more:
            more, roles, batches = await _missed(db, hub, follower, roles, at=at, until=subscription.since)
            subscription.keep_to(roles)
            while batches:
                at = batches[0].cursor
                yield shape(batches.pop(0))
        while True:
            await subscription.wait(random.uniform(*SILENCE_SECONDS))  # noqa: S311 - jitter, not a secret
            roles, batches = await _news(db, hub, follower, roles, at=at, news=subscription.take())
            subscription.keep_to(roles)
            while batches:
                at = batches[0].cursor
                yield shape(batches.pop(0))


async def _missed(
    db: Database, hub: Hub, follower: Follower, roles: Mapping[UUID, int], *, at: Cursor, until: Cursor
) -> tuple[bool, Mapping[UUID, int], list[Batch]]:
    """Whether there is more up to where the subscription begins, the roles from here on, and what there is next."""
    head, entries, found = await hub.missed(follower.calendar_ids, at.position)
    head.check(at)
    more = len(entries) == MISSED_PAGE and entries[-1].position < until.position
    entries = [entry for entry in entries if entry.position <= until.position]
    # The epochs are equal: keep the one that all streams have.
    end = Cursor(until.epoch, max(at.position, entries[-1].position if more else until.position))
    seen = await reading.seen(db, follower, roles, entries, found)
    return more, seen.roles, _batches(seen, end)


async def _news(
    db: Database, hub: Hub, follower: Follower, roles: Mapping[UUID, int], *, at: Cursor, news: News | None
) -> tuple[Mapping[UUID, int], list[Batch]]:
    """The follower's roles from here on, and what they get; of no news, that there are none."""
    if news is None:
        return roles, [Batch([], max(at, hub.end, key=attrgetter("position")))]
    entries = [entry for entry in news.entries if entry.position > at.position]
    if not entries:
        return roles, []
    end = Cursor(at.epoch, entries[-1].position)
    seen = await reading.seen(db, follower, roles, entries, news.found)
    return seen.roles, _batches(seen, end)


def _batches(seen: Seen, end: Cursor) -> list[Batch]:
    """Split changes into batches. The last one has the cursor ``end``. Without changes there is one empty batch."""
    changes, entries = seen.changes, seen.entries
    cuts = range(0, len(changes), MOST)
    parts = [(list(changes[cut : cut + MOST]), entries[min(cut + MOST, len(entries)) - 1].position) for cut in cuts]
    batches = [Batch(part, Cursor(end.epoch, position), more=True) for part, position in parts[:-1]]
    return [*batches, Batch(parts[-1][0] if parts else [], end)]

"""Following one calendar: first what has changed since a cursor, then what changes as it happens, without a hole."""

import random
from collections.abc import AsyncGenerator, Sequence

from appointments.changes import reading
from appointments.changes.cursor import Cursor, Follower
from appointments.changes.hub import Hub
from appointments.changes.reading import Batch, Change, Entry
from appointments.db import Database

SILENCE_SECONDS = (12.0, 15.0)
"""After so long without changes there is an answer without any, which says that the stream lives."""

PAGE = 200
MOST = 20
"""Changes in one batch: even the largest appointments then fit into a message of 4 MiB."""


async def follow(db: Database, hub: Hub, follower: Follower, cursor: Cursor | None) -> AsyncGenerator[Batch]:
    """Yield batches for as long as they are taken: the first one at once, and never none for longer than 15 seconds.

    Without a cursor it begins now. Each batch has the cursor that goes on after it.

    Raises:
        Expired: what came after the cursor is not kept any more, or the log has begun anew.
        NotFound: the follower sees no such resource, or not any more.
        Unavailable: they are too slow, the log has begun anew, or the database does not answer.
    """
    role = await reading.role_of(db, follower)
    if cursor is None:
        await hub.sequencer.settle()
        cursor = (await reading.head(db)).end
    await hub.start()
    with hub.subscribed(follower.calendar_id) as subscription:
        at, more = cursor, True
        while more:
            head, entries = await reading.of_calendar(db, follower.calendar_id, at.position, PAGE)
            head.check(at)
            more = len(entries) == PAGE and entries[-1].position < subscription.since.position
            entries = [entry for entry in entries if entry.position <= subscription.since.position]
            end = Cursor(head.epoch, max(at.position, entries[-1].position if more else subscription.since.position))
            changes = await reading.seen(db, follower, role, entries, await reading.items(db, entries))
            for batch in _batches(changes, entries, end):
                yield batch
            at = end
        while True:
            news = await subscription.take(random.uniform(*SILENCE_SECONDS))  # noqa: S311 - jitter, not a secret
            if news is None:
                at = Cursor(at.epoch, max(at.position, hub.end.position))
                yield Batch([], at)
                continue
            entries = [entry for entry in news.entries if entry.position > at.position]
            if follower.resource_id and any(entry.kind.startswith("resource.") for entry in entries):
                role = await reading.role_of(db, follower)
            changes = await reading.seen(db, follower, role, entries, news.found)
            if entries:
                at = Cursor(at.epoch, entries[-1].position)
                for batch in _batches(changes, entries, at):
                    yield batch


def _batches(changes: Sequence[Change], entries: Sequence[Entry], end: Cursor) -> list[Batch]:
    """Cut changes into batches; the last one ends at ``end``, and there is one even without changes."""
    cuts = range(0, len(changes), MOST)
    parts = [(list(changes[cut : cut + MOST]), entries[min(cut + MOST, len(entries)) - 1].position) for cut in cuts]
    batches = [Batch(part, Cursor(end.epoch, position), more=True) for part, position in parts[:-1]]
    return [*batches, Batch(parts[-1][0] if parts else [], end)]

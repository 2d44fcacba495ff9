"""Followers, for the tests of the log."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from appointments.calendar.appointment import Appointment
from appointments.changes import following
from appointments.changes.cursor import Cursor, Follower
from appointments.changes.hub import Hub
from appointments.changes.reading import Batch, Change
from appointments.changes.sequencer import Sequencer
from appointments.db import Database


@asynccontextmanager
async def running(db: Database) -> AsyncIterator[Hub]:
    """What one process runs."""
    hub = Hub(db, Sequencer(db))
    tasks = [asyncio.create_task(hub.run()), asyncio.create_task(hub.sequencer.run())]
    try:
        yield hub
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def follow(db: Database, hub: Hub, follower: Follower, cursor: Cursor | None) -> AsyncGenerator[Batch]:
    """Follow, and take the batches as they are."""
    return following.follow(db, hub, follower, cursor, lambda batch: batch)


class Mirror:
    """A copy of what somebody sees, kept by changes alone. It checks what a follower may rely on."""

    def __init__(self) -> None:
        self.appointments: dict[UUID, Appointment] = {}
        self.versions: dict[UUID, int] = {}
        self.cursor: Cursor | None = None

    def take(self, batch: Batch) -> None:
        """Apply what came."""
        for change in batch.changes:
            self._apply(change)
        self.cursor = batch.cursor

    def _apply(self, change: Change) -> None:
        assert change.item_id
        assert change.version >= self.versions.get(change.item_id, 0), "an older version came after a newer one"
        assert change.version <= self.versions.get(change.item_id, change.version - 1) + 1, "a version is missing"
        self.versions[change.item_id] = change.version
        if change.appointment is not None:
            assert change.appointment.version >= change.version, "what is carried is older than the change"
            self.appointments[change.item_id] = change.appointment
        elif change.gone:
            self.appointments.pop(change.item_id, None)


async def next_changes(batches: AsyncIterator[Batch]) -> Batch:
    """The next batch that has changes."""
    async with asyncio.timeout(10):
        async for batch in batches:
            if batch.changes:
                return batch
    raise AssertionError("the stream has ended")


async def one(db: Database, query: str, *values: Any) -> Any:
    """The one value that a query has."""
    async with db.connection() as connection:
        row = await (await connection.execute(query.encode(), values)).fetchone()
    assert row
    return row[0]

"""Copies of a calendar that are kept by changes alone: by lists and streams, by server-sent events, by a webhook."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import grpc
import httpx
import psycopg
from google.protobuf.json_format import ParseDict

from appointments.v1 import changes_pb2, changes_pb2_grpc
from tests.api.events import cookie, opened
from tests.clients import Person
from tests.service import Server, Target

RETRY = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""How a call ends whose worker or database is killed under it, or that a busy machine has no time for."""

PAUSE = 0.02
"""Seconds until whoever was cut off comes back."""


class Row(NamedTuple):
    """What a copy has of an appointment."""

    version: int
    title: str
    start: datetime
    end: datetime
    deleted: bool


class Copy:
    """It checks what a follower may rely on: no version is missing, and none comes before an older one."""

    def __init__(self) -> None:
        self.rows: dict[UUID, Row] = {}
        self.versions: dict[UUID, int] = {}
        self.cuts = 0
        self.repeated = 0

    def take(self, changes: Sequence[changes_pb2.Change]) -> None:
        """Apply what came."""
        for change in changes:
            id_ = UUID(change.id)
            seen = self.versions.get(id_, 0)
            assert change.version <= seen + 1, f"of {id_} version {change.version} came after {seen}"
            self.repeated += change.version <= seen
            self.versions[id_] = max(seen, change.version)
            appointment = change.appointment
            start, end = (each.ToDatetime(tzinfo=UTC) for each in (appointment.start_time, appointment.end_time))
            row = Row(
                int(appointment.etag.strip('"')), appointment.title, start, end, appointment.HasField("delete_time")
            )
            assert row.version >= change.version, f"of {id_} version {change.version} carries {row.version}"
            if id_ not in self.rows or row.version >= self.rows[id_].version:
                self.rows[id_] = row


def table(dsn: str, owner_id: str) -> dict[UUID, Row]:
    """What a copy should be."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT id, version, title, start_at, end_at, deleted_at IS NOT NULL FROM appointments WHERE owner_id = %s",
            [owner_id],
        )
        return {row[0]: Row(row[1], row[2], row[3].astimezone(UTC), row[4].astimezone(UTC), row[5]) for row in rows}


class Watching(Copy):
    """By WatchChanges and ListChanges in turn, from whatever worker there is, and cut off at random."""

    def __init__(self, cursor: str) -> None:
        super().__init__()
        self.cursor = cursor

    async def follow(self, server: Server, who: Person, stop: asyncio.Event) -> None:
        """Go on until told to stop."""
        chance = random.Random()
        while not stop.is_set():
            self.cuts += 1
            try:
                async with grpc.aio.insecure_channel(
                    server.grpc, options=[("grpc.use_local_subchannel_pool", 1)]
                ) as channel:
                    stub = changes_pb2_grpc.ChangeServiceStub(channel)
                    if chance.random() < 0.3:
                        await self.read(stub, who)
                    else:
                        await self._watch(stub, who, chance.randrange(1, 20), stop)
            except grpc.aio.AioRpcError as error:
                if error.code() not in RETRY:
                    raise
            await asyncio.sleep(PAUSE)

    async def read(self, stub: "changes_pb2_grpc.ChangeServiceAsyncStub", who: Person) -> None:
        """List until there is no more."""
        more = True
        while more:
            request = changes_pb2.ListChangesRequest(cursor=self.cursor)
            answer = await stub.ListChanges(request, metadata=who.metadata, timeout=30)
            self.take(answer.changes)
            self.cursor, more = answer.next_cursor, answer.more

    async def _watch(
        self, stub: "changes_pb2_grpc.ChangeServiceAsyncStub", who: Person, answers: int, stop: asyncio.Event
    ) -> None:
        request = changes_pb2.WatchChangesRequest(cursor=self.cursor)
        async for answer in stub.WatchChanges(request, metadata=who.metadata):
            self.take(answer.changes)
            self.cursor = answer.next_cursor
            answers -= 1
            if not answers or stop.is_set():
                break


class Listening(Copy):
    """By server-sent events, as a browser does: it comes back with the last id that it has seen."""

    def __init__(self, cursor: str) -> None:
        super().__init__()
        self.cursor = cursor

    async def follow(self, way: Target, who: Person) -> None:
        """Go on until cancelled."""
        chance = random.Random()
        while True:
            self.cuts += 1
            try:
                async with opened(way, cookie(way, who, **{"last-event-id": self.cursor})) as (response, events):
                    # A proxy answers 502 for a server that is not there.
                    assert response.status_code in {200, 502, 503, 504}, await response.aread()
                    left = chance.randrange(1, 20)
                    async for event in events:
                        if event.data:
                            self.take(event.answer.changes)
                        self.cursor = event.id or self.cursor
                        left -= 1
                        if not left:
                            break
            except httpx.HTTPError:
                pass
            await asyncio.sleep(PAUSE)


class Called(Copy):
    """By a webhook whose endpoint fails a third of the time, also after it has taken what it was sent."""

    def __init__(self) -> None:
        super().__init__()
        self._chance = random.Random()
        self.failing = True
        self.wrong: list[str] = []

    def answer(self, content: dict[str, Any]) -> int:
        """Take a change, and answer with a status."""
        dice = self._chance.random() if self.failing else 1.0
        if dice < 1 / 6:
            self.cuts += 1
            return 500
        try:
            self.take([ParseDict(content["data"], changes_pb2.Change())])
        except AssertionError as wrong:
            self.wrong.append(str(wrong))
        if dice < 1 / 3:
            self.cuts += 1
            return 503
        return 200

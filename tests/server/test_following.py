"""A copy that is kept by changes alone equals the table, whatever is cut off and whoever is killed meanwhile.

``APPOINTMENTS_STORM_SECONDS`` makes it longer.
"""

import asyncio
import os
import random
import signal
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import grpc
import psycopg

from appointments.v1 import appointments_pb2 as pb
from appointments.v1 import appointments_pb2_grpc, changes_pb2, changes_pb2_grpc
from tests import service
from tests.audit import audit_at
from tests.clients import HOUR, TEN, Person, appointment, person
from tests.service import Server

SECONDS = float(os.environ.get("APPOINTMENTS_STORM_SECONDS", "6"))
WRITERS = 20
MIRRORS = 4
RETRY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN}
"""How a call ends whose worker is killed under it."""


def workers_of(server: Server) -> list[int]:
    """The processes that serve."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return [int(child) for child in children]


class Mirror:
    """A copy: of each appointment its version and whether it is deleted."""

    def __init__(self, cursor: str) -> None:
        self.cursor = cursor
        self.copy: dict[UUID, tuple[int, bool]] = {}
        self.versions: dict[str, int] = {}
        self.cuts = 0

    def take(self, changes: object, cursor: str) -> None:
        """Apply an answer."""
        assert isinstance(changes, list)
        for change in changes:
            seen = self.versions.get(change.id, 0)
            assert change.version == seen + 1 or change.version <= seen, "a version is missing"
            self.versions[change.id] = max(seen, change.version)
            version = int(change.appointment.etag.strip('"'))
            if version >= self.copy.get(UUID(change.id), (0, False))[0]:
                self.copy[UUID(change.id)] = version, change.appointment.HasField("delete_time")
        self.cursor = cursor


async def follow(server: Server, ada: Person, mirror: Mirror, stop: asyncio.Event) -> None:
    """Watch and list by turns, from whatever worker there is, and cut off at random."""
    chance = random.Random()
    while not stop.is_set():
        with suppress(grpc.aio.AioRpcError):
            async with grpc.aio.insecure_channel(
                server.grpc, options=[("grpc.use_local_subchannel_pool", 1)]
            ) as channel:
                stub = changes_pb2_grpc.ChangeServiceStub(channel)
                mirror.cuts += 1
                if chance.random() < 0.3:
                    await read(stub, ada, mirror)
                    continue
                request = changes_pb2.WatchChangesRequest(cursor=mirror.cursor)
                left = chance.randrange(1, 20)
                async for answer in stub.WatchChanges(request, metadata=ada.metadata):
                    mirror.take(list(answer.changes), answer.next_cursor)
                    left -= 1
                    if not left or stop.is_set():
                        break
        await asyncio.sleep(0.01)


async def read(stub: "changes_pb2_grpc.ChangeServiceAsyncStub", ada: Person, mirror: Mirror) -> None:
    """List until there is no more."""
    more = True
    while more:
        request = changes_pb2.ListChangesRequest(cursor=mirror.cursor)
        answer = await stub.ListChanges(request, metadata=ada.metadata, timeout=10)
        mirror.take(list(answer.changes), answer.next_cursor)
        more = answer.more


async def write(server: Server, ada: Person, number: int, stop: asyncio.Event) -> int:
    """Create, change and delete, each writer on days of its own; return how many calls succeeded."""
    done, hours = 0, 0
    async with grpc.aio.insecure_channel(server.grpc, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = appointments_pb2_grpc.AppointmentServiceStub(channel)
        while not stop.is_set():
            hours += 1
            start = TEN + (number * 2000 + hours) * HOUR
            try:
                wanted = pb.CreateAppointmentRequest(appointment=appointment(start))
                made = (await stub.CreateAppointment(wanted, metadata=ada.metadata, timeout=10)).appointment
                renamed = pb.UpdateAppointmentRequest(appointment=pb.Appointment(id=made.id, title="Changed"))
                await stub.UpdateAppointment(renamed, metadata=ada.metadata, timeout=10)
                done += 2
                if hours % 2:
                    deleting = pb.DeleteAppointmentRequest(id=made.id)
                    await stub.DeleteAppointment(deleting, metadata=ada.metadata, timeout=10)
                    done += 1
            except grpc.aio.AioRpcError as error:
                if error.code() not in RETRY:
                    raise
                await asyncio.sleep(0.05)
    return done


async def test_a_copy_equals_the_table_whoever_is_killed(dsn: str) -> None:
    """Twenty writers, four copies that are cut off all the time, and workers that die without a word."""
    with service.start(dsn, {"WORKERS": "2"}) as server:
        async with person(server.grpc) as ada, grpc.aio.insecure_channel(server.grpc) as channel:
            stub = changes_pb2_grpc.ChangeServiceStub(channel)
            start = await stub.ListChanges(changes_pb2.ListChangesRequest(), metadata=ada.metadata)
            mirrors = [Mirror(start.next_cursor) for _ in range(MIRRORS)]
            stop, over = asyncio.Event(), asyncio.Event()
            following = [asyncio.create_task(follow(server, ada, each, over)) for each in mirrors]
            writing = [asyncio.create_task(write(server, ada, number, stop)) for number in range(WRITERS)]
            kills = 0
            until = asyncio.get_running_loop().time() + SECONDS
            while asyncio.get_running_loop().time() < until:
                await asyncio.sleep(2)
                if workers := workers_of(server):
                    os.kill(random.choice(workers), signal.SIGKILL)
                    kills += 1
            stop.set()
            written = sum(await asyncio.gather(*writing))
            over.set()
            await asyncio.gather(*following)
            for mirror in mirrors:
                async with asyncio.timeout(60):
                    while True:
                        try:
                            await read(stub, ada, mirror)
                            break
                        except grpc.aio.AioRpcError as error:
                            if error.code() not in RETRY:
                                raise
                            await asyncio.sleep(0.2)
    with psycopg.connect(dsn) as connection:
        table = connection.execute("SELECT id, version, deleted_at IS NOT NULL FROM appointments").fetchall()
    assert kills
    assert written > 100
    for mirror in mirrors:
        assert {row[0]: (row[1], row[2]) for row in table} == mirror.copy
    assert 0 == audit_at(dsn)

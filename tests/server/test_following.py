"""A copy that is kept by changes alone equals the table, whatever is cut off and whoever is killed meanwhile.

``APPOINTMENTS_STORM_SECONDS`` makes it longer. With ``-s`` what was seen is printed.
"""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import psycopg
import pytest

from appointments.v1 import appointments_pb2 as pb
from appointments.v1 import appointments_pb2_grpc, changes_pb2, changes_pb2_grpc, webhooks_pb2, webhooks_pb2_grpc
from tests import power, service
from tests.audit import audit_at
from tests.changes.webhooks.receiver import receiving
from tests.clients import HOUR, TEN, Person, appointment, person
from tests.power import Postgres
from tests.proxies import in_front
from tests.server.copies import RETRY, Called, Listening, Watching, table
from tests.service import Server

SECONDS = float(os.environ.get("APPOINTMENTS_STORM_SECONDS", "5"))
WRITERS = 20
WATCHING = 4
LISTENING = 2
ENOUGH = 60
"""Writes that have to succeed, however busy the machine is: it goes on until then."""
REST = 0.2
"""Seconds between what a writer does: webhooks have to keep up on two cores."""


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of the test's own."""
    with power.running() as running:
        yield running


def workers_of(server: Server) -> list[int]:
    """The processes that serve."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return [int(child) for child in children]


async def write(server: Server, who: Person, number: int, written: Counter[int], stop: asyncio.Event) -> None:
    """Create, change and delete, each writer on days of its own; count the calls that succeed."""
    hours = 0
    async with grpc.aio.insecure_channel(server.grpc, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = appointments_pb2_grpc.AppointmentServiceStub(channel)
        while not stop.is_set():
            hours += 1
            start = TEN + (number * 4000 + hours) * HOUR
            try:
                wanted = pb.CreateAppointmentRequest(appointment=appointment(start))
                made = (await stub.CreateAppointment(wanted, metadata=who.metadata, timeout=30)).appointment
                renamed = pb.UpdateAppointmentRequest(appointment=pb.Appointment(id=made.id, title=f"Changed {hours}"))
                await stub.UpdateAppointment(renamed, metadata=who.metadata, timeout=30)
                written[number] += 2
                if hours % 2:
                    deleting = pb.DeleteAppointmentRequest(id=made.id)
                    await stub.DeleteAppointment(deleting, metadata=who.metadata, timeout=30)
                    written[number] += 1
            except grpc.aio.AioRpcError as error:
                if error.code() not in RETRY:
                    raise
            await asyncio.sleep(REST)


async def kill_by_turns(server: Server, postgres: Postgres, written: Counter[int]) -> Counter[str]:
    """A worker, then PostgreSQL with all its backends, and so on; neither says a word."""
    kills: Counter[str] = Counter()
    until = asyncio.get_running_loop().time() + SECONDS
    while asyncio.get_running_loop().time() < until or written.total() < ENOUGH:
        await asyncio.sleep(2)
        if workers := workers_of(server):
            os.kill(random.choice(workers), signal.SIGKILL)
            kills["workers"] += 1
        await asyncio.sleep(2)
        await asyncio.to_thread(postgres.kill)
        await asyncio.sleep(0.3)
        await asyncio.to_thread(postgres.start)
        kills["postgres"] += 1
    return kills


@asynccontextmanager
async def called(server: Server, who: Person) -> AsyncIterator[Called]:
    """A copy that a webhook keeps."""
    copy = Called()
    async with receiving() as receiver, grpc.aio.insecure_channel(server.grpc) as channel:
        stub = webhooks_pb2_grpc.WebhookServiceStub(channel)
        wanted = webhooks_pb2.CreateWebhookRequest(webhook=webhooks_pb2.Webhook(url=receiver.url))
        receiver.secret = (await stub.CreateWebhook(wanted, metadata=who.metadata)).secret
        receiver.answer = copy.answer
        yield copy


async def settle(dsn: str) -> None:
    """Post what waits without its pauses, and what killed workers had leased without the rest of their leases."""
    leased = True
    async with asyncio.timeout(60 + SECONDS / 2), await psycopg.AsyncConnection.connect(dsn, autocommit=True) as db:
        while True:
            due = "" if leased else " AND lease IS NULL"
            leased = False
            cursor = await db.execute(
                f"UPDATE webhook_deliveries SET due_at = now() WHERE state = 'waiting'{due}".encode()
            )
            row = await (await db.execute("SELECT FROM webhook_deliveries WHERE state = 'waiting' LIMIT 1")).fetchone()
            if not cursor.rowcount and row is None:
                return
            await asyncio.sleep(0.5)


async def read_to_the_end(server: Server, who: Person, copy: Watching) -> None:
    """List what is left, as soon as there is somebody who answers."""
    async with asyncio.timeout(60), grpc.aio.insecure_channel(server.grpc) as channel:
        while True:
            try:
                await copy.read(changes_pb2_grpc.ChangeServiceStub(channel), who)
            except grpc.aio.AioRpcError as error:
                if error.code() not in RETRY:
                    raise
                await asyncio.sleep(0.2)
            else:
                return


@pytest.mark.timeout(240 + 3 * SECONDS)
async def test_copies_equal_the_table_whoever_is_killed(postgres: Postgres) -> None:
    """Twenty writers of two people; workers and PostgreSQL die by turns, and who follows is cut off all the time.

    Four copies of one of the calendars are kept by lists and streams, two by events behind nginx, one by a webhook
    whose endpoint fails a third of the time. Each has every version, those of one appointment in order, nothing of
    anybody else's, and is in the end what the table is.
    """
    dsn = postgres.server.dsn
    environment = {"WORKERS": "2", "WEBHOOK_ALLOW_PRIVATE": "true", "TRUSTED_PROXY_HOPS": "1"}
    with service.start(dsn, environment) as server, in_front("nginx", server) as way:
        async with person(server.grpc) as ada, person(server.grpc) as bob, called(server, ada) as posted:
            async with grpc.aio.insecure_channel(server.grpc) as channel:
                stub = changes_pb2_grpc.ChangeServiceStub(channel)
                start = await stub.ListChanges(changes_pb2.ListChangesRequest(), metadata=ada.metadata)
            watched = [Watching(start.next_cursor) for _ in range(WATCHING)]
            heard = [Listening(start.next_cursor) for _ in range(LISTENING)]
            stop, over = asyncio.Event(), asyncio.Event()
            following = [asyncio.create_task(copy.follow(server, ada, over)) for copy in watched]
            listening = [asyncio.create_task(copy.follow(way, ada)) for copy in heard]
            written: Counter[int] = Counter()
            writing = [
                asyncio.create_task(write(server, (ada, bob)[number % 2], number, written, stop))
                for number in range(WRITERS)
            ]
            kills = await kill_by_turns(server, postgres, written)
            stop.set()
            await asyncio.gather(*writing)
            over.set()
            await asyncio.gather(*following)
            for copy in watched:
                await read_to_the_end(server, ada, copy)
            posted.failing = False
            await settle(dsn)
            expected = table(dsn, ada.user_id)
            async with asyncio.timeout(60):
                while any(copy.rows != expected for copy in heard):
                    for task in listening:
                        if task.done():
                            task.result()
                    await asyncio.sleep(0.2)
            for task in listening:
                task.cancel()
        seen = [
            f"{len(each.rows)} rows, cut {each.cuts}, repeated {each.repeated}" for each in (*watched, *heard, posted)
        ]
        print(f"{written.total()} writes, killed {dict(kills)}, copies {seen}")  # noqa: T201 - for the report of a long run
    assert kills["workers"]
    assert kills["postgres"]
    for each in (*watched, *heard, posted):
        assert expected == each.rows
    assert [] == posted.wrong
    assert posted.cuts
    assert 0 == audit_at(dsn)

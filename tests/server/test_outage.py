"""PostgreSQL killed and restarted under load: UNAVAILABLE meanwhile, never a wrong answer, back by itself at once."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import grpc
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from appointments.v1 import appointments_pb2 as pb
from appointments.v1 import resources_pb2
from tests import power, service
from tests.audit import audit_at
from tests.clients import HOUR, TEN, Person, appointment, person
from tests.power import Postgres
from tests.service import Server, free_ports

Code = grpc.StatusCode


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of the test's own."""
    with power.running() as postgres:
        yield postgres


@pytest.fixture
def server(postgres: Postgres) -> Iterator[Server]:
    """A server on it."""
    with service.start(postgres.server.dsn, {"TRUSTED_PROXY_HOPS": "1"}) as running:
        yield running


async def health(server: Server) -> int:
    """What ``grpc.health.v1`` says."""
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        return int((await stub.Check(health_pb2.HealthCheckRequest())).status)


async def test_an_outage_is_unavailable_and_ends_by_itself(postgres: Postgres, server: Server) -> None:
    """No call outlives its deadline, readiness and health say so, and five seconds after the return all is well."""
    async with person(server.grpc) as ada:
        first = await ada.create()
        postgres.kill()
        for _ in range(3):
            started = time.monotonic()
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await ada.appointments.GetAppointment(
                    pb.GetAppointmentRequest(id=first.id), metadata=ada.metadata, timeout=10
                )
            assert refused.value.code() == Code.UNAVAILABLE
            assert time.monotonic() - started < 10
        assert not await asyncio.to_thread(service.is_ready, server.url)
        assert await health(server) == health_pb2.HealthCheckResponse.NOT_SERVING
        await asyncio.to_thread(postgres.start)
        back = time.monotonic()
        while not await asyncio.to_thread(service.is_ready, server.url):
            assert time.monotonic() - back < 5
            await asyncio.sleep(0.1)
        found = await ada.appointments.GetAppointment(pb.GetAppointmentRequest(id=first.id), metadata=ada.metadata)
        assert found.appointment == first
        await asyncio.sleep(1.5)
        assert await health(server) == health_pb2.HealthCheckResponse.SERVING


class Worker:
    """Books, moves, deletes and restores appointments of its own, and knows what the server has promised.

    Some of them take rooms too, which everybody wants.
    """

    def __init__(self, who: Person, seed: int, rooms: list[str]) -> None:
        self.who, self.random, self.rooms = who, random.Random(seed), rooms
        self.known: dict[str, pb.Appointment] = {}
        self.doubtful: set[str] = set()
        self.codes: Counter[grpc.StatusCode] = Counter()

    async def act(self) -> None:
        """Do one thing; UNAVAILABLE leaves it in doubt, whatever else was refused must not have happened."""
        target = self.random.choice(list(self.known.values())) if self.known else None
        action = self.random.choice([self.create, self.create, self.update, self.delete, self.undelete])
        try:
            await action(target)
            self.codes[Code.OK] += 1
        except grpc.aio.AioRpcError as error:
            self.codes[error.code()] += 1
            if error.code() in {Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED} and target:
                self.doubtful.add(target.id)
                del self.known[target.id]
            await asyncio.sleep(0.02)

    def span(self) -> pb.Appointment:
        """A time in a crowded week, and perhaps rooms."""
        start = TEN + timedelta(minutes=30 * self.random.randrange(300))
        rooms = self.random.sample(self.rooms, self.random.choice([0, 0, 1, 1, 2, 3]))
        return appointment(start, self.random.randrange(1, 4) * HOUR, resource_ids=rooms)

    async def create(self, _: pb.Appointment | None) -> None:
        request = pb.CreateAppointmentRequest(appointment=self.span())
        answer = await self.who.appointments.CreateAppointment(request, metadata=self.who.metadata, timeout=10)
        self.known[answer.appointment.id] = answer.appointment

    async def update(self, target: pb.Appointment | None) -> None:
        if target is None:
            return
        wanted = self.span()
        wanted.id, wanted.etag = target.id, target.etag
        request = pb.UpdateAppointmentRequest(appointment=wanted)
        answer = await self.who.appointments.UpdateAppointment(request, metadata=self.who.metadata, timeout=10)
        self.known[target.id] = answer.appointment

    async def delete(self, target: pb.Appointment | None) -> None:
        if target is None:
            return
        request = pb.DeleteAppointmentRequest(id=target.id, etag=target.etag)
        answer = await self.who.appointments.DeleteAppointment(request, metadata=self.who.metadata, timeout=10)
        self.known[target.id] = answer.appointment

    async def undelete(self, target: pb.Appointment | None) -> None:
        if target is None:
            return
        request = pb.UndeleteAppointmentRequest(id=target.id)
        answer = await self.who.appointments.UndeleteAppointment(request, metadata=self.who.metadata, timeout=10)
        self.known[target.id] = answer.appointment


async def add_rooms(who: Person) -> list[str]:
    """Five rooms that everybody may book, two of them of several units."""
    added = []
    for units in (1, 1, 1, 2, 4):
        room = resources_pb2.Resource(
            display_name=f"Room for {units}",
            kind=resources_pb2.RESOURCE_KIND_ROOM,
            time_zone="UTC",
            units=units,
            default_role=resources_pb2.RESOURCE_ROLE_BOOKER,
        )
        request = resources_pb2.CreateResourceRequest(resource=room)
        added.append((await who.resources.CreateResource(request, metadata=who.metadata)).resource.id)
    return added


async def test_a_storm_through_five_crashes_keeps_every_promise(postgres: Postgres) -> None:
    """Twenty people and five rooms for half a minute, while PostgreSQL and the service are killed by turns.

    What was acknowledged is there as acknowledged, and nothing overlaps, of people and of units.
    """
    ports = dict(zip(("GRPC_BIND", "HTTP_BIND"), (f"127.0.0.1:{port}" for port in free_ports(2)), strict=True))
    environment = {"TRUSTED_PROXY_HOPS": "1"} | ports
    async with AsyncExitStack() as stack:
        server = stack.enter_context(service.start(postgres.server.dsn, environment))
        people = [await stack.enter_async_context(person(server.grpc)) for _ in range(20)]
        rooms = await add_rooms(people[0])
        workers = [Worker(who, seed, rooms) for seed, who in enumerate(people * 2)]
        over = asyncio.Event()

        async def work(worker: Worker) -> None:
            while not over.is_set():
                await worker.act()

        running = [asyncio.create_task(work(worker)) for worker in workers]
        for crash in range(5):
            await asyncio.sleep(5)
            if crash % 2:
                server.process.kill()
                await asyncio.to_thread(server.process.wait)
                server = stack.enter_context(service.start(postgres.server.dsn, environment, wait=False))
                await asyncio.to_thread(server.wait_until_ready)
            else:
                await asyncio.to_thread(postgres.kill)
                await asyncio.sleep(1)
                await asyncio.to_thread(postgres.start)
        await asyncio.sleep(5)
        over.set()
        await asyncio.gather(*running)
        codes = sum((worker.codes for worker in workers), Counter())
        expected = {Code.OK, Code.ALREADY_EXISTS, Code.NOT_FOUND, Code.UNAVAILABLE, Code.ABORTED}
        assert set(codes) <= expected, codes
        assert codes[Code.OK] > 100
        assert codes[Code.UNAVAILABLE] > 0
        for worker in workers:
            for known in worker.known.values():
                request = pb.GetAppointmentRequest(id=known.id)
                found = await worker.who.appointments.GetAppointment(request, metadata=worker.who.metadata)
                assert found.appointment == known
        kept = [known for worker in workers for known in worker.known.values()]
        assert any(known.resource_ids for known in kept if not known.HasField("delete_time"))
    assert 0 == audit_at(postgres.server.dsn)


async def until_queries(dsn: str, count: int) -> None:
    """Return when so many of the service's statements wait for a lock; that must be soon."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection, asyncio.timeout(4):
        while True:
            cursor = await connection.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE application_name = 'appointments' AND wait_event_type = 'Lock'"
            )
            if await cursor.fetchone() == (count,):
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", ["deadline", "cancel"])
async def test_who_goes_away_takes_the_query_along(postgres: Postgres, server: Server, how: str) -> None:
    """A client's deadline or cancellation ends the statement behind it, though it waits for a lock."""
    dsn = postgres.server.dsn
    async with person(server.grpc) as ada, await psycopg.AsyncConnection.connect(dsn) as blocker:
        booked = await ada.create()
        await blocker.execute("SELECT FROM appointments WHERE id = %s FOR UPDATE", [booked.id])
        call = ada.appointments.DeleteAppointment(
            pb.DeleteAppointmentRequest(id=booked.id), metadata=ada.metadata, timeout=1 if how == "deadline" else 60
        )
        await until_queries(dsn, 1)
        if how == "cancel":
            call.cancel()
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await call
        await until_queries(dsn, 0)
        await blocker.rollback()
        found = await ada.appointments.GetAppointment(pb.GetAppointmentRequest(id=booked.id), metadata=ada.metadata)
        assert found.appointment == booked

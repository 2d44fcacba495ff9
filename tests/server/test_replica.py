"""A service with a replica, from outside: what a caller wrote is there when they read, in whichever process."""

import asyncio

import grpc

from appointments.db import embedded
from appointments.v1 import appointments_pb2 as pb
from appointments.v1 import appointments_pb2_grpc
from tests import service, standby
from tests.clients import Person, person
from tests.clients import appointment as wanted
from tests.db.test_replica import hold


async def listed(grpc_address: str, who: Person, read_after: str = "") -> int:
    """How many appointments a process shows somebody."""
    metadata = (*who.metadata, ("x-read-after", read_after)) if read_after else who.metadata
    async with grpc.aio.insecure_channel(grpc_address) as channel:
        stub = appointments_pb2_grpc.AppointmentServiceStub(channel)
        return len((await stub.ListAppointments(pb.ListAppointmentsRequest(), metadata=metadata)).appointments)


async def test_answers_to_writes_say_what_a_read_must_not_miss() -> None:
    """``x-read-after`` of a create, brought to another process, shows it; without it that process reads the replica."""
    with (
        embedded.scratch() as primary,
        service.start(primary.dsn) as _,
        standby.copied(primary) as copy,
        standby.following(copy) as replica,
    ):
        setting = {"DATABASE_REPLICA_URL": replica.dsn, "TRUSTED_PROXY_HOPS": "1"}
        with service.start(primary.dsn, setting) as first, service.start(primary.dsn, setting) as second:
            await asyncio.to_thread(first.wait_for_line, "replica: reading from it")
            await asyncio.to_thread(second.wait_for_line, "replica: reading from it")
            async with person(first.grpc) as somebody:
                await asyncio.to_thread(standby.wait_until_equal, primary.dsn, replica.dsn)
                hold(replica, back=True)
                call = somebody.appointments.CreateAppointment(
                    pb.CreateAppointmentRequest(appointment=wanted()), metadata=somebody.metadata
                )
                await call
                position = str(dict(await call.trailing_metadata())["x-read-after"])
                seen = [
                    await listed(first.grpc, somebody),
                    await listed(second.grpc, somebody, position),
                    await listed(second.grpc, somebody),
                    await listed(second.grpc, somebody, "nonsense"),
                ]
                hold(replica, back=False)
    assert [1, 1, 0, 1] == seen

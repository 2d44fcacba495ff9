"""Five hundred people who want one room at one time, each over a connection of their own."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from appointments.db import Database
from appointments.v1 import appointments_pb2 as pb
from appointments.v1 import appointments_pb2_grpc, resources_pb2, resources_pb2_grpc
from bench import data
from tests import clients, service
from tests.audit import audit
from tests.service import Server

PEOPLE = 500
HELD = "held"


@pytest.fixture(params=["grpcio", "native"])
def server(request: pytest.FixtureRequest, dsn: str) -> Iterator[Server]:
    """A server of each engine."""
    with service.start(dsn, {"GRPC_SERVER": str(request.param), "JWT_SECRET": data.SECRET}) as running:
        yield running


def open_channel(address: str) -> grpc.aio.Channel:
    """A connection that no other channel shares."""
    return grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])


async def test_five_hundred_connections_hold_one_slot_and_one_has_it(db: Database, dsn: str, server: Server) -> None:
    """The others are all told that the room is taken, and nothing of who has it; so again when it is free again."""
    people = data.add_people(dsn, PEOPLE)
    metadata = [(("authorization", f"Bearer {person.token()}"),) for person in people]
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(open_channel(server.grpc)) for _ in people]
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        stubs = [appointments_pb2_grpc.AppointmentServiceStub(channel) for channel in channels]
        rooms = resources_pb2_grpc.ResourceServiceStub(channels[0])
        everybodys = resources_pb2.Resource(
            kind=resources_pb2.RESOURCE_KIND_ROOM,
            display_name="The only one",
            time_zone="UTC",
            default_role=resources_pb2.RESOURCE_ROLE_BOOKER,
        )
        made = await rooms.CreateResource(
            resources_pb2.CreateResourceRequest(resource=everybodys), metadata=metadata[0]
        )
        room = made.resource.id
        refused = (grpc.StatusCode.ALREADY_EXISTS, pb.ConflictInfo(resource_ids=[room]).SerializeToString())
        held: list[tuple[int, str]] = []

        async def hold(number: int) -> object:
            wanted = clients.appointment(ttl=Duration(seconds=600), resource_ids=[room])
            try:
                answer = await stubs[number].CreateAppointment(
                    pb.CreateAppointmentRequest(appointment=wanted), metadata=metadata[number]
                )
            except grpc.aio.AioRpcError as error:
                if error.code() != grpc.StatusCode.ALREADY_EXISTS:
                    return error.code(), error.details()
                return error.code(), clients.details(error)["ConflictInfo"].SerializeToString()
            assert datetime.now(UTC) < answer.appointment.expire_time.ToDatetime(UTC)
            held.append((number, answer.appointment.id))
            return HELD

        assert Counter({HELD: 1, refused: PEOPLE - 1}) == Counter(await asyncio.gather(*map(hold, range(PEOPLE))))
        ((holder, held_id),) = held
        await stubs[holder].DeleteAppointment(pb.DeleteAppointmentRequest(id=held_id), metadata=metadata[holder])
        assert Counter({HELD: 1, refused: PEOPLE - 1}) == Counter(await asyncio.gather(*map(hold, range(PEOPLE))))
    assert 0 == await audit(db)

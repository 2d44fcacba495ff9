"""Race a running service: a hundred clients for one slot, again and again; prints every status and the slowest round.

    python scripts/race.py [--address 127.0.0.1:50051] [--rounds 20] [--clients 100]

Six races. Of one person: creates of one slot, moves onto one slot, undeletes of one slot. Of sixteen people: one room;
five of ten rooms, chosen at random, all or none; and a resource of twelve units. Exactly one may win each round,
of twelve units twelve, and whoever wins rooms shares none with another winner. The exit code says whether it was so.
"""

import argparse
import asyncio
import random
import sys
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from appointments.v1 import appointments_pb2 as pb
from appointments.v1 import appointments_pb2_grpc, auth_pb2, auth_pb2_grpc, resources_pb2, resources_pb2_grpc

HOUR = timedelta(hours=1)
FIRST = datetime(2031, 1, 1, tzinfo=UTC)
PEOPLE = 16

Results = list[Any]
Fair = Callable[[Results], bool]


def appointment(start: datetime, *rooms: str) -> pb.Appointment:
    """An hour from ``start``."""
    times = [Timestamp(seconds=int(instant.timestamp())) for instant in (start, start + HOUR)]
    return pb.Appointment(title="Race", time_zone="UTC", start_time=times[0], end_time=times[1], resource_ids=rooms)


class Racer:
    """Somebody new, who races against themselves."""

    def __init__(self, channel: grpc.aio.Channel, token: str, clients: int) -> None:
        self._stub: Any = appointments_pb2_grpc.AppointmentServiceStub(channel)
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._clients = clients

    async def create(self, start: datetime, *rooms: str) -> pb.Appointment:
        """Book an hour."""
        request = pb.CreateAppointmentRequest(appointment=appointment(start, *rooms))
        answer: pb.CreateAppointmentResponse = await self._stub.CreateAppointment(request, metadata=self._metadata)
        return answer.appointment

    async def creates(self, round_: int) -> list[Awaitable[Any]]:
        """Everybody books one slot."""
        return [self.create(FIRST + round_ * HOUR) for _ in range(self._clients)]

    async def updates(self, round_: int) -> list[Awaitable[Any]]:
        """Everybody moves an appointment onto one slot."""
        base = FIRST + timedelta(days=365) + round_ * (self._clients + 1) * HOUR
        booked = [await self.create(base + (index + 1) * HOUR) for index in range(self._clients)]
        goal = appointment(base)
        for each in booked:
            each.start_time.CopyFrom(goal.start_time)
            each.end_time.CopyFrom(goal.end_time)
        requests = [pb.UpdateAppointmentRequest(appointment=each) for each in booked]
        return [self._stub.UpdateAppointment(request, metadata=self._metadata) for request in requests]

    async def undeletes(self, round_: int) -> list[Awaitable[Any]]:
        """Everybody restores a deleted appointment of one slot."""
        start = FIRST - timedelta(days=365) + round_ * HOUR
        ids = []
        for _ in range(self._clients):
            ids.append((await self.create(start)).id)
            await self._stub.DeleteAppointment(pb.DeleteAppointmentRequest(id=ids[-1]), metadata=self._metadata)
        requests = [pb.UndeleteAppointmentRequest(id=each) for each in ids]
        return [self._stub.UndeleteAppointment(request, metadata=self._metadata) for request in requests]


class Crowd:
    """Several people who race each other for rooms that everybody may book."""

    def __init__(self, racers: list[Racer], clients: int) -> None:
        self._racers = racers
        self._clients = clients
        self.room = self.bikes = ""
        self.rooms: list[str] = []

    async def prepare(self, service: Any, token: str) -> None:
        """Add the rooms."""

        async def add(units: int) -> str:
            wanted = resources_pb2.Resource(
                display_name="Race",
                kind=resources_pb2.RESOURCE_KIND_ROOM,
                time_zone="UTC",
                units=units,
                default_role=resources_pb2.RESOURCE_ROLE_BOOKER,
            )
            metadata = (("authorization", f"Bearer {token}"),)
            request = resources_pb2.CreateResourceRequest(resource=wanted)
            answer: resources_pb2.CreateResourceResponse = await service.CreateResource(request, metadata=metadata)
            return answer.resource.id

        self.room, self.bikes = await add(1), await add(12)
        self.rooms = [await add(1) for _ in range(10)]

    def _everybody(self, start: datetime, choose: Callable[[], list[str]]) -> list[Awaitable[Any]]:
        return [self._racers[index % len(self._racers)].create(start, *choose()) for index in range(self._clients)]

    async def one_room(self, round_: int) -> list[Awaitable[Any]]:
        """Everybody books one room at one time."""
        return self._everybody(FIRST + timedelta(days=1000) + round_ * HOUR, lambda: [self.room])

    async def some_rooms(self, round_: int) -> list[Awaitable[Any]]:
        """Everybody books five of ten rooms, in any order."""
        return self._everybody(FIRST + timedelta(days=2000) + round_ * HOUR, lambda: random.sample(self.rooms, 5))

    async def units(self, round_: int) -> list[Awaitable[Any]]:
        """Everybody books one of twelve bikes."""
        return self._everybody(FIRST + timedelta(days=3000) + round_ * HOUR, lambda: [self.bikes])


def winners(count: int) -> Fair:
    """Exactly so many."""
    return lambda results: count == sum(not isinstance(each, BaseException) for each in results)


def no_room_twice(results: Results) -> bool:
    """Somebody wins, and no two winners share a room."""
    rooms = [room for each in results if isinstance(each, pb.Appointment) for room in each.resource_ids]
    return 0 < len(rooms) == len(set(rooms))


async def run(name: str, prepare: Callable[[int], Awaitable[list[Awaitable[Any]]]], rounds: int, is_fair: Fair) -> bool:
    """Race, and print how it went."""
    codes: Counter[str] = Counter()
    slowest, fair = 0.0, True
    for round_ in range(rounds):
        attempts = await prepare(round_)
        started = perf_counter()
        results = await asyncio.gather(*attempts, return_exceptions=True)
        slowest = max(slowest, perf_counter() - started)
        found = Counter(each.code().name if isinstance(each, grpc.aio.AioRpcError) else "OK" for each in results)
        fair = fair and found.keys() <= {"OK", "ALREADY_EXISTS"} and is_fair(results)
        codes += found
    print(f"{name:10} {rounds} rounds, slowest {slowest:.3f} s, {dict(codes)}{'' if fair else '  NOT FAIR'}")
    return fair


async def register(auth: Any) -> str:
    """Somebody new; the access token."""
    request = auth_pb2.RegisterRequest(email=f"{uuid.uuid4()}@example.com", password=str(uuid.uuid4()))
    while True:
        try:
            answer: auth_pb2.RegisterResponse = await auth.Register(request)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            await asyncio.sleep(0.25)  # the limiter of registrations
        else:
            return answer.tokens.access_token


async def main() -> bool:
    """Race all the races."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="127.0.0.1:50051")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--clients", type=int, default=100)
    chosen = parser.parse_args()
    async with grpc.aio.insecure_channel(chosen.address) as channel:
        auth: Any = auth_pb2_grpc.AuthServiceStub(channel)
        tokens = [await register(auth) for _ in range(PEOPLE)]
        racers = [Racer(channel, token, chosen.clients) for token in tokens]
        crowd = Crowd(racers, chosen.clients)
        await crowd.prepare(resources_pb2_grpc.ResourceServiceStub(channel), tokens[0])
        races = [
            ("creates", racers[0].creates, winners(1)),
            ("updates", racers[0].updates, winners(1)),
            ("undeletes", racers[0].undeletes, winners(1)),
            ("one room", crowd.one_room, winners(1)),
            ("five rooms", crowd.some_rooms, no_room_twice),
            ("12 units", crowd.units, winners(min(12, chosen.clients, PEOPLE))),
        ]
        return all([await run(name, race, chosen.rounds, fair) for name, race, fair in races])


if __name__ == "__main__":
    sys.exit(not asyncio.run(main()))

"""Race a running service: a hundred clients for one slot, again and again; prints every status and the slowest round.

    python scripts/race.py [--address 127.0.0.1:50051] [--rounds 20] [--clients 100]

Three races: creates of one slot, moves onto one slot, undeletes of one slot. Exactly one may win each round; the exit
code says whether it was so.
"""

import argparse
import asyncio
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
from appointments.v1 import appointments_pb2_grpc, auth_pb2, auth_pb2_grpc

HOUR = timedelta(hours=1)
FIRST = datetime(2031, 1, 1, tzinfo=UTC)


def appointment(start: datetime) -> pb.Appointment:
    """An hour from ``start``."""
    times = [Timestamp(seconds=int(instant.timestamp())) for instant in (start, start + HOUR)]
    return pb.Appointment(title="Race", time_zone="UTC", start_time=times[0], end_time=times[1])


class Racer:
    """Somebody new, who races against themselves."""

    def __init__(self, channel: grpc.aio.Channel, token: str, clients: int) -> None:
        self._stub: Any = appointments_pb2_grpc.AppointmentServiceStub(channel)
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._clients = clients

    async def create(self, start: datetime) -> pb.Appointment:
        """Book an hour."""
        request = pb.CreateAppointmentRequest(appointment=appointment(start))
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


async def run(name: str, prepare: Callable[[int], Awaitable[list[Awaitable[Any]]]], rounds: int) -> bool:
    """Race, and print how it went."""
    codes: Counter[str] = Counter()
    slowest, fair = 0.0, True
    for round_ in range(rounds):
        attempts = await prepare(round_)
        started = perf_counter()
        results = await asyncio.gather(*attempts, return_exceptions=True)
        slowest = max(slowest, perf_counter() - started)
        found = Counter(each.code().name if isinstance(each, grpc.aio.AioRpcError) else "OK" for each in results)
        fair = fair and found == Counter({"OK": 1, "ALREADY_EXISTS": len(attempts) - 1})
        codes += found
    print(f"{name:10} {rounds} rounds, slowest {slowest:.3f} s, {dict(codes)}{'' if fair else '  NOT FAIR'}")
    return fair


async def main() -> bool:
    """Race all three races."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="127.0.0.1:50051")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--clients", type=int, default=100)
    chosen = parser.parse_args()
    async with grpc.aio.insecure_channel(chosen.address) as channel:
        auth: Any = auth_pb2_grpc.AuthServiceStub(channel)
        answer = await auth.Register(
            auth_pb2.RegisterRequest(email=f"{uuid.uuid4()}@example.com", password=str(uuid.uuid4()))
        )
        racer = Racer(channel, answer.tokens.access_token, chosen.clients)
        races = {"creates": racer.creates, "updates": racer.updates, "undeletes": racer.undeletes}
        return all([await run(name, race, chosen.rounds) for name, race in races.items()])


if __name__ == "__main__":
    sys.exit(not asyncio.run(main()))

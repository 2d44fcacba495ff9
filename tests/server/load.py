"""A steady load of careful clients: native ones with round robin and retry, HTTP ones that obey Connection: close."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.client import HTTPConnection
from itertools import count

import grpc

from appointments.v1 import appointments_pb2 as pb
from tests.clients import HOUR, TEN, Person, register
from tests.service import ROOT

SERVICE_CONFIG = re.findall(r"```json\n(.*?)```", (ROOT / "docs/operations.md").read_text(), re.DOTALL)[0]
"""The one to paste."""

CLIENTS = 4


@asynccontextmanager
async def native(address: str, *, per_second: float, careful: bool = True) -> AsyncIterator[Counter[str]]:
    """Call at a steady rate until the block ends; counts the statuses. A third of the calls are bookings."""
    config = [("grpc.service_config", SERVICE_CONFIG)] if careful else [("grpc.enable_retries", 0)]
    options = [*config, ("grpc.use_local_subchannel_pool", 1)]  # a connection of its own for each channel
    channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(CLIENTS)]
    people = [await register(channel) for channel in channels]
    seen: Counter[str] = Counter()

    async def call(person: Person, number: int) -> None:
        try:
            if number % 3:
                await person.appointments.ListAppointments(pb.ListAppointmentsRequest(), metadata=person.metadata)
            else:
                await person.create(TEN + HOUR * number)
        except grpc.aio.AioRpcError as error:
            seen[f"{error.code().name}: {error.details()}"] += 1
        else:
            seen["OK"] += 1

    async with asyncio.TaskGroup() as calls:

        async def keep_calling() -> None:
            for number in count():
                calls.create_task(call(people[number % CLIENTS], number))
                await asyncio.sleep(1 / per_second)

        calling = asyncio.ensure_future(keep_calling())
        try:
            yield seen
        finally:
            calling.cancel()
    for channel in channels:
        await channel.close()


@asynccontextmanager
async def http(address: str, *, per_second: float) -> AsyncIterator[Counter[str]]:
    """Ask at a steady rate on connections that are kept; counts the statuses and the requests to leave."""
    seen: Counter[str] = Counter()
    stop = asyncio.Event()

    async def client() -> None:
        connection = HTTPConnection(address, timeout=30)
        while not stop.is_set():
            leave = await asyncio.to_thread(ask, connection)
            if leave:
                connection.close()  # and the next request opens another
            await asyncio.sleep(CLIENTS / per_second)
        connection.close()

    def ask(connection: HTTPConnection) -> bool:
        try:
            connection.request("GET", "/healthz")
            response = connection.getresponse()
            response.read()
        except OSError as error:
            seen[type(error).__name__] += 1
            return True
        seen[str(response.status)] += 1
        leave = response.getheader("Connection") == "close"
        seen["close"] += leave
        return leave

    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(client())
        try:
            yield seen
        finally:
            stop.set()

"""A client of server-sent events that is cut off all the time, behind nginx, misses nothing.

``APPOINTMENTS_CUTS=1000 pytest -s tests/server/test_event_cuts.py`` cuts a thousand times and prints what was seen.
"""

import asyncio
import os

import pytest

from appointments.v1 import changes_pb2, changes_pb2_grpc
from tests import service
from tests.clients import HOUR, TEN, Person, person
from tests.proxies import in_front
from tests.server.copies import Listening, table
from tests.service import Target

CUTS = int(os.environ.get("APPOINTMENTS_CUTS", "40"))
CLIENTS = 4
MOST_SECONDS = 60.0 + CUTS
"""A second for each cut is several times what it takes."""


async def write(who: Person, stop: asyncio.Event) -> None:
    """Book one hour after the other, a little at a time."""
    hours = 0
    while not stop.is_set():
        await who.create(TEN + hours * HOUR)
        hours += 1
        await asyncio.sleep(0.02)


async def cut_often(copy: Listening, way: Target, who: Person) -> None:
    """Follow until it was cut off often enough."""
    following = asyncio.create_task(copy.follow(way, who))
    while copy.cuts < CUTS / CLIENTS:
        await asyncio.sleep(0.02)
        if following.done():
            following.result()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def catch_up(copy: Listening, way: Target, who: Person, dsn: str) -> None:
    """Follow until nothing is missing."""
    following = asyncio.create_task(copy.follow(way, who))
    expected = table(dsn, who.user_id)
    while copy.rows != expected and not following.done():  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.05)
    if following.done():
        following.result()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


@pytest.mark.timeout(60 + 2 * MOST_SECONDS)
async def test_who_is_cut_off_again_and_again_misses_nothing(dsn: str) -> None:
    """Each copy has every version in order, nothing of anybody else's, and is in the end what the table is."""
    with service.start(dsn, {"TRUSTED_PROXY_HOPS": "1"}) as server, in_front("nginx", server) as way:
        async with person(server.grpc) as ada, person(server.grpc) as bob, asyncio.timeout(MOST_SECONDS):
            stub = changes_pb2_grpc.ChangeServiceStub(ada.channel)
            start = await stub.ListChanges(changes_pb2.ListChangesRequest(), metadata=ada.metadata)
            stop = asyncio.Event()
            writing = [asyncio.create_task(write(who, stop)) for who in (ada, bob)]
            copies = [Listening(start.next_cursor) for _ in range(CLIENTS)]
            await asyncio.gather(*(cut_often(copy, way, ada) for copy in copies))
            stop.set()
            await asyncio.gather(*writing)
            await asyncio.gather(*(catch_up(copy, way, ada, dsn) for copy in copies))
            expected = table(dsn, ada.user_id)
    cuts = [copy.cuts for copy in copies]
    print(f"{cuts} cuts, {len(expected)} rows, repeated {[copy.repeated for copy in copies]}")  # noqa: T201 - the report
    assert [expected] * CLIENTS == [copy.rows for copy in copies]
    assert sum(cuts) >= CUTS

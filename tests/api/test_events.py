"""Server-sent events: from the port itself, and through the proxies that people have in front of it."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest

from appointments.api.rest.cookies import DEVELOPMENT
from appointments.v1 import (
    account_pb2,
    appointments_pb2,
    appointments_pb2_grpc,
    resources_pb2,
    resources_pb2_grpc,
)
from appointments.v1 import changes_pb2 as pb
from tests import service
from tests.api.events import Events, cookie, opened
from tests.clients import HOUR, TEN, Person, appointment, person
from tests.proxies import PROXIES, in_front
from tests.service import Server, Target

NOBODYS = "00000000-0000-4000-8000-000000000000"


async def next_changes(events: Events, count: int = 1) -> list[pb.Change]:
    """So many changes, whatever events they come in."""
    found: list[pb.Change] = []
    async with asyncio.timeout(20):
        async for event in events:
            if event.data:
                assert ("changes", event.answer.next_cursor) == (event.name, event.id)
                found += event.answer.changes
            if len(found) >= count:
                return found
    raise AssertionError("the stream has ended")


@pytest.fixture(scope="module", params=["directly", *PROXIES])
def way(request: pytest.FixtureRequest, server: Target) -> Iterator[Target]:
    """To the port itself, or through a proxy."""
    if request.param == "directly":
        yield server
    else:
        with in_front(request.param, server) as target:
            yield target


async def test_changes_arrive_at_once(way: Target, ada: Person, bob: Person) -> None:
    """Nothing in between holds them back, whatever it compresses or collects; nobody else's are there."""
    async with opened(way, cookie(way, ada)) as (response, events):
        assert (200, "text/event-stream; charset=utf-8") == (response.status_code, response.headers["content-type"])
        assert "no-store" in response.headers["cache-control"]
        first = await anext(events)
        assert 1000 <= int(first.retry) <= 10_000
        for hours in range(3):
            await bob.create(TEN + hours * HOUR)
            began = time.monotonic()
            created = await ada.create(TEN + hours * HOUR)
            (change,) = await next_changes(events)
            assert created == change.appointment
            assert time.monotonic() - began < 5


async def test_who_comes_back_goes_on_where_they_were(way: Target, ada: Person) -> None:
    """Last-Event-ID, as the browser sends it by itself; the cursor is that of the other doors."""
    async with opened(way, cookie(way, ada)) as (_, events):
        last = (await anext(events)).id
    created = await ada.create()
    async with opened(way, cookie(way, ada, **{"last-event-id": last})) as (_, events):
        assert [created.id] == [each.id for each in await next_changes(events)]
    async with opened(way, {"authorization": f"Bearer {ada.tokens.access_token}"}, cursor=last) as (_, events):
        assert [created.id] == [each.id for each in await next_changes(events)]


async def test_events_are_of_rooms_too(way: Target, ada: Person, bob: Person) -> None:
    """As many as are named, each by `resource_ids`; who comes back with the last id may name others."""
    rooms = [await _room(bob) for _ in range(50)]
    async with opened(way, cookie(way, ada), resource_ids=rooms) as (_, events):
        last = (await anext(events)).id
        await bob.create(resource_ids=[rooms[-1]])
        (hidden,) = await next_changes(events)
        assert pb.Change(kind=hidden.kind, change_time=hidden.change_time, resource_id=rooms[-1]) == hidden
    own = await ada.create(TEN + HOUR, resource_ids=[rooms[0]])
    headers = cookie(way, ada, **{"last-event-id": last})
    async with opened(way, headers, resource_ids=[rooms[0]]) as (_, events):
        assert [("", own.id), (rooms[0], own.id)] == [
            (each.resource_id, each.id) for each in await next_changes(events, 2)
        ]


async def _room(manager: Person) -> str:
    wanted = resources_pb2.Resource(
        kind=resources_pb2.RESOURCE_KIND_ROOM,
        display_name="Room",
        time_zone="UTC",
        default_role=resources_pb2.RESOURCE_ROLE_BOOKER,
    )
    stub = resources_pb2_grpc.ResourceServiceStub(manager.channel)
    request = resources_pb2.CreateResourceRequest(resource=wanted)
    return str((await stub.CreateResource(request, metadata=manager.metadata)).resource.id)


@pytest.mark.parametrize(
    ("headers", "query", "status", "reason"),
    [
        ({"cookie": ""}, {}, 401, "UNAUTHENTICATED"),
        ({"cookie": f"{DEVELOPMENT.access}=nonsense"}, {}, 401, "INVALID_ACCESS_TOKEN"),
        ({"sec-fetch-site": "cross-site"}, {}, 403, "ORIGIN_NOT_ALLOWED"),
        ({"origin": "https://elsewhere.example"}, {}, 403, "ORIGIN_NOT_ALLOWED"),
        ({}, {"cursor": "nonsense"}, 400, "INVALID_CURSOR"),
        ({"last-event-id": "nonsense"}, {}, 400, "INVALID_CURSOR"),
        ({}, {"resource_id": "nonsense"}, 400, "INVALID_FIELD"),
        ({}, {"resource_id": NOBODYS}, 404, "NOT_FOUND"),
        ({}, {"resource_ids": ["nonsense"]}, 400, "INVALID_FIELD"),
        ({}, {"resource_ids": [NOBODYS, NOBODYS]}, 400, "INVALID_FIELD"),
        ({}, {"resource_ids": [NOBODYS], "resource_id": NOBODYS}, 400, "INVALID_FIELD"),
        ({}, {"resource_ids": [NOBODYS]}, 404, "RESOURCE_NOT_FOUND"),
    ],
)
async def test_what_is_wrong_is_said_before_the_stream_begins(
    server: Target, ada: Person, headers: dict[str, str], query: dict[str, Any], status: int, reason: str
) -> None:
    """As a problem with a reason, which an EventSource takes as the end."""
    async with opened(server, cookie(server, ada) | headers, **query) as (response, _):
        problem: dict[str, Any] = json.loads(await response.aread())
    assert (status, reason) == (response.status_code, problem["reason"])


async def test_a_cursor_that_has_expired_is_gone(dsn: str) -> None:
    """410, so that a browser does not come back with it."""
    with service.start(dsn) as server:
        async with person(server.grpc) as somebody, opened(server, cookie(server, somebody)) as (_, events):
            last = (await anext(events)).id
            assert 0 == await _appointments("changes", "new-epoch", dsn=dsn)
            async with asyncio.timeout(20):
                async for _ in events:
                    pass
            async with opened(server, cookie(server, somebody, **{"last-event-id": last})) as (response, _):
                problem: dict[str, Any] = json.loads(await response.aread())
            assert (410, "CURSOR_EXPIRED") == (response.status_code, problem["reason"])
            async with opened(server, cookie(server, somebody)) as (_, anew):
                await anext(anew)
                created = await somebody.create()
                assert [created.id] == [each.id for each in await next_changes(anew)]


async def _appointments(*command: str, dsn: str) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "appointments", *command, env={**os.environ, "DATABASE_URL": dsn}
    )
    return await process.wait()


async def test_a_stream_ends_with_its_session(server: Target, ada: Person) -> None:
    """Within five seconds; who comes back is told why."""
    async with opened(server, cookie(server, ada)) as (_, events):
        await anext(events)
        sessions = await ada.account.ListSessions(account_pb2.ListSessionsRequest(), metadata=ada.metadata)
        (current,) = sessions.sessions
        await ada.account.RevokeSession(account_pb2.RevokeSessionRequest(id=current.id), metadata=ada.metadata)
        async with asyncio.timeout(5):
            async for _ in events:
                pass
    async with opened(server, cookie(server, ada)) as (response, _):
        assert 401 == response.status_code


@pytest.mark.parametrize("proxy", list(PROXIES))
async def test_the_server_stops_without_losing_anything(dsn: str, proxy: str) -> None:
    """A stream through a proxy ends at the drain, and goes on at the next server with the last id that it had."""
    with service.start(dsn, {"DRAIN_SECONDS": "5"}) as leaving, in_front(proxy, leaving) as way:
        async with person(leaving.grpc) as somebody:
            async with opened(way, cookie(way, somebody)) as (_, events):
                last = (await anext(events)).id
                stopping = asyncio.create_task(asyncio.to_thread(leaving.stop))
                async with asyncio.timeout(10):
                    try:
                        async for event in events:
                            last = event.id
                    except httpx.RemoteProtocolError:  # a proxy may say so less politely
                        pass
            assert 0 == await stopping
            with service.start(dsn) as successor:
                async with person(successor.grpc):
                    created = await _created_elsewhere(successor, somebody)
                async with opened(successor, cookie(successor, somebody, **{"last-event-id": last})) as (_, events):
                    assert [created] == [each.id for each in await next_changes(events)]


async def _created_elsewhere(target: Server, who: Person) -> str:
    async with grpc.aio.insecure_channel(target.grpc) as channel:
        request = appointments_pb2.CreateAppointmentRequest(appointment=appointment())
        stub = appointments_pb2_grpc.AppointmentServiceStub(channel)
        return str((await stub.CreateAppointment(request, metadata=who.metadata)).appointment.id)


async def test_a_stream_is_logged_when_it_begins_and_when_it_ends(server: Target, ada: Person) -> None:
    """With the request id that its client has given, and no cursor, which is in the query."""
    headers = cookie(server, ada, **{"x-request-id": "events-in-the-log"})
    async with opened(server, headers) as (response, events):
        assert "events-in-the-log" == response.headers["x-request-id"]
        await anext(events)
    if isinstance(server, Server):
        async with asyncio.timeout(10):
            while 2 != server.log().count("events-in-the-log"):  # noqa: ASYNC110 - a file, not an event
                await asyncio.sleep(0.05)

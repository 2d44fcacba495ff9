"""Feeds and exports through the ports, as programs poll them."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import icalendar
import pytest
from google.protobuf.json_format import ParseDict

from appointments.v1 import appointments_pb2 as pb
from appointments.v1 import feeds_pb2, feeds_pb2_grpc
from tests.api.rest import browser, problem, sign_up
from tests.clients import HOUR, TEN, Person
from tests.service import Target

SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
"""A feed shows what is within two years."""


@pytest.fixture
async def client(server: Target) -> AsyncIterator[httpx.AsyncClient]:
    """A calendar program."""
    async with browser(server.url) as opened:
        yield opened


async def new_feed(server: Target, ada: Person, **decided: Any) -> str:
    """A feed; returns its path."""
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        request = feeds_pb2.CreateFeedRequest(feed=feeds_pb2.Feed(display_name="Phone", **decided))
        made = await feeds_pb2_grpc.FeedServiceStub(channel).CreateFeed(request, metadata=ada.metadata)
    return urlsplit(made.url).path


def titles(response: httpx.Response) -> list[str]:
    """Of the events in a calendar."""
    calendar: Any = icalendar.Calendar.from_ical(response.content)
    return [str(each["summary"]) for each in calendar.walk("VEVENT")]


async def test_a_program_subscribes(server: Target, client: httpx.AsyncClient, ada: Person) -> None:
    """Polls with the tag that it has, and is sent the calendar when that has changed, as soon as it has."""
    path = await new_feed(server, ada)
    first = await client.get(path)
    assert (200, "text/calendar; charset=utf-8", []) == (
        first.status_code, first.headers["content-type"], titles(first),
    )  # fmt: skip
    assert "noindex" in first.headers["x-robots-tag"]
    for known in (first.headers["etag"], f"W/{first.headers['etag']}", f'"x", {first.headers["etag"]}', "*"):
        same = await client.get(path, headers={"If-None-Match": known})
        assert (304, b"", first.headers["etag"]) == (same.status_code, same.content, same.headers["etag"])
    created = await ada.create(SOON, title="Größe; 山")
    async with asyncio.timeout(20):
        while True:  # until the change has its place in the log
            changed = await client.get(path, headers={"If-None-Match": first.headers["etag"]})
            if changed.status_code == 200:
                break
            await asyncio.sleep(0.25)
    assert ["Größe; 山"] == titles(changed)
    assert created.id.encode() in changed.content


async def test_a_secret_is_a_secret(server: Target, client: httpx.AsyncClient, ada: Person, bob: Person) -> None:
    """Unknown ones are not found, it is in no log, and it shows its owner's calendar alone, or when it is taken."""
    await ada.create(SOON, title="Ada's secret")
    await bob.create(SOON, title="Bob's secret")
    path, busy = await new_feed(server, ada), await new_feed(server, ada, busy_only=True)
    assert (["Ada's secret"], ["Busy"]) == (titles(await client.get(path)), titles(await client.get(busy)))
    for wrong in (
        "/calendars/x.ics",
        path.removesuffix(".ics"),
        f"{path}x",
        "/calendars/.ics",
        "/calendars/" + "x" * 5000,
    ):
        assert 404 == (await client.get(wrong)).status_code
    secret = path.rpartition("/")[2].removesuffix(".ics")
    assert secret not in server.log()


async def test_a_feed_that_is_polled_all_the_time_is_slowed_down(
    server: Target, client: httpx.AsyncClient, ada: Person
) -> None:
    """By its secret, wherever it is polled from; other feeds are not."""
    path, other = await new_feed(server, ada), await new_feed(server, ada)
    answers = [(await client.get(path)).status_code for _ in range(40)]
    assert {200, 429} == set(answers)
    assert 200 == (await client.get(other)).status_code


async def test_everything_can_be_taken_along(server: Target, client: httpx.AsyncClient) -> None:
    """With the cookie of whoever is signed in: as a calendar, and as the contract's own messages."""
    for path in ("/calendar.ics", "/calendar.json"):
        assert (401, "UNAUTHENTICATED") == problem(await client.get(path))
    await sign_up(client)
    exported = await client.get("/calendar.ics")
    assert (200, []) == (exported.status_code, titles(exported))
    assert "attachment" in exported.headers["content-disposition"]
    assert {"appointments": []} == json.loads((await client.get("/calendar.json")).content)


async def test_an_export_has_all_that_the_contract_has(server: Target, client: httpx.AsyncClient, ada: Person) -> None:
    """With a token too, as programs have it."""
    made = [await ada.create(TEN + number * HOUR, title=f"Nr. {number}") for number in range(3)]
    headers = {"Authorization": ada.metadata[0][1]}
    exported = json.loads((await client.get("/calendar.json", headers=headers)).content)
    assert made == [ParseDict(each, pb.Appointment()) for each in exported["appointments"]]
    assert [f"Nr. {number}" for number in range(3)] == titles(await client.get("/calendar.ics", headers=headers))

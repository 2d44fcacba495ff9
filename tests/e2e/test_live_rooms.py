"""Rooms that are shown are followed by the one stream of the browser, as the person's own calendar is."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest_asyncio
from google.protobuf.message import DecodeError
from playwright.async_api import Locator, Page, Request, Route, expect

from appointments.v1 import appointments_pb2
from appointments.v1 import resources_pb2 as pb
from appointments.v1.changes_pb2 import WatchChangesRequest
from tests import clients, service
from tests.clients import Person
from tests.e2e.conftest import Opener
from tests.e2e.resources import room
from tests.e2e.tab import Tab, at

# Far less than the five minutes after which rooms are asked for by themselves.
SOON = 15_000
STREAM = "**/WatchChanges"
MINUTE = 35
"""Of the hour, when Grace books: nobody does in other tests."""


@pytest_asyncio.fixture(loop_scope="session")
async def grace(running: service.Server) -> AsyncIterator[Person]:
    """Somebody else, who manages rooms."""
    async with clients.person(running.grpc) as person:
        yield person


async def give(manager: Person, resource: pb.Resource, whom: Person, role: "pb.ResourceRole.ValueType") -> None:
    """Grant a role."""
    request = pb.SetResourceAccessRequest(id=resource.id, email=whom.email, role=role)
    await manager.resources.SetResourceAccess(request, metadata=manager.metadata)


async def lab(grace: Person, ada: Person, name: str = "lab") -> pb.Resource:
    """A room of Grace's that Ada may book, and nobody else sees."""
    made = await room(grace, f"A {name} {uuid.uuid4().hex[:6]}", default_role=pb.RESOURCE_ROLE_UNSPECIFIED)
    await give(grace, made, ada, pb.RESOURCE_ROLE_BOOKER)
    return made


def taken(tab: Tab) -> Locator:
    """What Grace has booked in rooms that Ada does not manage; rooms of other tests may be seen beside them."""
    return tab.page.locator("[data-appointment]", has=tab.page.get_by_text("Taken", exact=True)).filter(
        has_text=f":{MINUTE} – "
    )


def heading(tab: Tab, resource: pb.Resource) -> Locator:
    """The heading of a room's column."""
    return tab.page.locator(".resource-label", has_text=resource.display_name)


def opened(page: Page) -> list[WatchChangesRequest]:
    """What streams are asked for from here on."""
    found: list[WatchChangesRequest] = []

    def note(request: Request) -> None:
        if request.url.endswith("/WatchChanges"):
            found.append(asked(request))

    page.on("request", note)
    return found


def asked(request: Request) -> WatchChangesRequest:
    """A request of gRPC-Web: a message behind its length."""
    body = request.post_data_buffer
    if body is None:
        raise DecodeError("a request without a message")
    return WatchChangesRequest.FromString(body[5:])


async def show_rooms(tab: Tab, *resources: pb.Resource) -> None:
    """The day by room, followed: the stream has been opened with them."""
    await tab.show("Day")
    ids = {each.id for each in resources}
    async with tab.page.expect_request(lambda request: _follows(request, ids)):
        await tab.button("Rooms").click()
    for each in resources:
        await expect(heading(tab, each)).to_be_visible()
    await tab.settled()


def _follows(request: Request, ids: set[str]) -> bool:
    return request.url.endswith("/WatchChanges") and ids <= set(asked(request).resource_ids)


async def test_what_somebody_else_books_in_a_room_is_seen_as_it_happens(tab: Tab, ada: Person, grace: Person) -> None:
    """Booked, moved and cancelled; the room alone is read again, and nothing is asked for when nothing happens."""
    theirs = await lab(grace, ada)
    hers = await room(ada, f"A hall {uuid.uuid4().hex[:6]}", default_role=pb.RESOURCE_ROLE_UNSPECIFIED)
    await show_rooms(tab, theirs, hers)
    await asyncio.sleep(1)
    listed: list[str] = []
    tab.page.on("request", lambda sent: listed.append(sent.url) if sent.url.endswith("/ListAppointments") else None)
    booked = await grace.create(at(15, 13, MINUTE), title="Secret", resource_ids=[theirs.id])
    await expect(taken(tab)).to_have_count(1, timeout=SOON)
    await expect(tab.page.get_by_text("Secret")).to_have_count(0)
    assert 1 == len(listed)
    await give(ada, hers, grace, pb.RESOURCE_ROLE_BOOKER)
    await grace.create(at(15, 15, MINUTE), title="In the hall", resource_ids=[hers.id])
    await expect(tab.appointment("In the hall")).to_be_visible(timeout=SOON)
    moved = appointments_pb2.Appointment(id=booked.id)
    moved.start_time.FromDatetime(at(15, 17, MINUTE))
    moved.end_time.FromDatetime(at(15, 18, MINUTE))
    moving = appointments_pb2.UpdateAppointmentRequest(appointment=moved)
    await grace.appointments.UpdateAppointment(moving, metadata=grace.metadata)
    await expect(taken(tab).filter(has_text=f"17:{MINUTE} – ")).to_have_count(1, timeout=SOON)
    await expect(taken(tab)).to_have_count(1)
    cancelling = appointments_pb2.DeleteAppointmentRequest(id=booked.id)
    await grace.appointments.DeleteAppointment(cancelling, metadata=grace.metadata)
    await expect(taken(tab)).to_have_count(0, timeout=SOON)
    await expect(tab.appointment("In the hall")).to_be_visible()
    await tab.button("Next").click()
    await tab.settled()
    await grace.create(at(16, 10, MINUTE), resource_ids=[theirs.id])
    await expect(taken(tab)).to_have_count(1, timeout=SOON)
    assert [] == tab.errors


async def test_a_room_comes_into_the_stream_and_leaves_it_without_a_gap(tab: Tab, ada: Person, grace: Person) -> None:
    """The stream goes on from its cursor; what happens while it is opened again is not missed."""
    theirs = await lab(grace, ada)
    await ada.create(at(15, 9), title="First")
    await expect(tab.appointment("First")).to_be_visible(timeout=SOON)
    streams = opened(tab.page)

    async def book_meanwhile(route: Route) -> None:
        await tab.settled()
        await grace.create(at(15, 13, MINUTE), resource_ids=[theirs.id])
        await ada.create(at(15, 11), title="Meanwhile")
        await route.continue_()

    await tab.page.route(STREAM, book_meanwhile, times=1)
    await show_rooms(tab, theirs)
    await expect(taken(tab)).to_have_count(1, timeout=SOON)
    await expect(tab.appointment("Meanwhile").first).to_be_visible(timeout=SOON)
    async with tab.page.expect_request(STREAM):
        await tab.button("Rooms").click()
    # A room that is shown for a moment only is none that the stream is opened again for.
    await tab.button("Rooms").click()
    await expect(heading(tab, theirs)).to_be_visible()
    await tab.button("Rooms").click()
    await ada.create(at(15, 15), title="Last")
    await expect(tab.appointment("Last")).to_be_visible(timeout=SOON)
    assert any(theirs.id in each.resource_ids for each in streams)
    assert [] == list(streams[-1].resource_ids)
    assert all(each.cursor for each in streams)


async def test_rooms_of_every_tab_are_followed_by_the_one_stream(
    tab: Tab, open_tab: Opener, ada: Person, grace: Person
) -> None:
    """The tab with the stream shows no rooms; another one does, and then its successor follows for itself."""
    theirs = await lab(grace, ada)
    other = await open_tab(beside=tab)
    await expect(other.button("New appointment")).to_be_visible()
    streams, own = opened(tab.page), opened(other.page)
    await other.show("Day")
    async with tab.page.expect_request(lambda request: _follows(request, {theirs.id})):
        await other.button("Rooms").click()
    await expect(heading(other, theirs)).to_be_visible()
    await grace.create(at(15, 13, MINUTE), resource_ids=[theirs.id])
    await expect(taken(other)).to_have_count(1, timeout=SOON)
    assert [] == own
    assert all(each.cursor for each in streams)
    async with other.page.expect_request(lambda request: _follows(request, {theirs.id})):
        await tab.page.close()
    await grace.create(at(15, 16, MINUTE), resource_ids=[theirs.id])
    await expect(taken(other)).to_have_count(2, timeout=SOON)


async def test_a_room_that_one_may_no_longer_see_goes_and_the_others_stay(tab: Tab, ada: Person, grace: Person) -> None:
    """Its column goes at once, and the stream goes on without it."""
    lost, kept = await lab(grace, ada, "lost lab"), await lab(grace, ada, "kept lab")
    await show_rooms(tab, lost, kept)
    async with tab.page.expect_request(lambda request: request.url.endswith("/WatchChanges")) as reopened:
        await give(grace, lost, ada, pb.RESOURCE_ROLE_UNSPECIFIED)
    assert lost.id not in asked(await reopened.value).resource_ids
    await expect(heading(tab, lost)).to_have_count(0, timeout=SOON)
    await grace.create(at(15, 13, MINUTE), resource_ids=[kept.id])
    await expect(taken(tab)).to_have_count(1, timeout=SOON)
    await ada.create(at(15, 15), title="Mine")
    await expect(tab.appointment("Mine")).to_be_visible(timeout=SOON)
    await expect(tab.alert).to_have_count(0)
    assert [] == tab.errors


async def test_a_look_at_rooms_that_fails_is_repeated(tab: Tab, ada: Person, grace: Person) -> None:
    """One room of two is not answered on another day: the other is shown, and the look is repeated by itself."""
    first, other = await lab(grace, ada), await lab(grace, ada)
    for hour, each in ((10, first), (12, other)):
        await grace.create(at(16, hour, MINUTE), resource_ids=[each.id])
    await show_rooms(tab, first, other)
    refused: list[str] = []

    async def refuse(route: Route) -> None:
        body = route.request.post_data_buffer or b""
        if first.id.encode() in body and len(refused) < 2:
            refused.append(route.request.url)
            await route.abort("connectionfailed")
        else:
            await route.continue_()

    await tab.page.route("**/ListAppointments", refuse)
    await tab.button("Next").click()
    await expect(taken(tab)).to_have_count(1, timeout=SOON)
    await expect(taken(tab)).to_have_count(2, timeout=2 * SOON)
    assert 2 == len(refused)
    await expect(tab.alert).to_have_count(0)
    assert {"Failed to load resource: net::ERR_CONNECTION_FAILED"} == set(tab.errors)


async def test_a_room_lost_while_away_is_left_out(tab: Tab, ada: Person, grace: Person) -> None:
    """The stream is refused with it, and goes on without it from the same cursor."""
    lost, kept = await lab(grace, ada, "lost lab"), await lab(grace, ada, "kept lab")
    await show_rooms(tab, lost, kept)
    streams = opened(tab.page)
    await tab.page.context.set_offline(True)
    await give(grace, lost, ada, pb.RESOURCE_ROLE_UNSPECIFIED)
    await grace.create(at(15, 13, MINUTE), resource_ids=[kept.id])
    await tab.page.context.set_offline(False)
    await expect(heading(tab, lost)).to_have_count(0, timeout=SOON)
    await expect(taken(tab)).to_have_count(1, timeout=SOON)
    assert kept.id in streams[-1].resource_ids
    assert lost.id not in streams[-1].resource_ids
    assert streams[-1].cursor


async def test_off_line_and_back_goes_on_where_it_was(tab: Tab, ada: Person, grace: Person) -> None:
    """It resumes at its cursor and shows what happened meanwhile, in one's own calendar and in a room."""
    theirs = await lab(grace, ada)
    await show_rooms(tab, theirs)
    await ada.create(at(15, 9), title="Before")
    await expect(tab.appointment("Before")).to_be_visible(timeout=SOON)
    await tab.page.context.set_offline(True)
    await expect(tab.page.get_by_text("You are offline.")).to_be_visible()
    streams = opened(tab.page)
    await grace.create(at(15, 13, MINUTE), resource_ids=[theirs.id])
    await ada.create(at(15, 15), title="Meanwhile")
    await asyncio.sleep(1)
    await expect(tab.appointment("Meanwhile")).to_have_count(0)
    await expect(taken(tab)).to_have_count(0)
    await tab.page.context.set_offline(False)
    await expect(taken(tab)).to_have_count(1, timeout=SOON)
    await expect(tab.appointment("Meanwhile")).to_be_visible(timeout=SOON)
    assert streams
    assert all(each.cursor for each in streams)
    assert theirs.id in streams[-1].resource_ids


async def test_a_change_that_arrives_waits_for_the_pointer(tab: Tab, ada: Person, grace: Person) -> None:
    """While it is pressed in the calendar nothing moves under it, one's own or a room's; then all is shown."""
    theirs = await lab(grace, ada)
    held = await ada.create(at(15, 9), title="Held")
    await show_rooms(tab, theirs)
    await tab.appointment("Held").scroll_into_view_if_needed()
    box = await tab.appointment("Held").bounding_box()
    assert box
    await tab.page.mouse.move(box["x"] + 20, box["y"] + 10)
    await tab.page.mouse.down()
    await tab.page.mouse.move(box["x"] + 20, box["y"] + 60, steps=4)
    async with tab.page.expect_response("**/ListAppointments"):
        changed = appointments_pb2.Appointment(id=held.id, title="Renamed")
        request = appointments_pb2.UpdateAppointmentRequest(appointment=changed)
        await ada.appointments.UpdateAppointment(request, metadata=ada.metadata)
    async with tab.page.expect_response("**/ListAppointments"):
        await grace.create(at(15, 13, MINUTE), resource_ids=[theirs.id])
    await asyncio.sleep(1)
    assert 0 == await tab.page.get_by_text("Renamed").count()
    assert 0 == await taken(tab).count()
    await tab.page.mouse.up()
    await expect(tab.appointment("Renamed")).to_be_visible(timeout=SOON)
    await expect(taken(tab)).to_have_count(1, timeout=SOON)
    # What was dropped is judged by what was seen.
    await expect(tab.alert).to_contain_text("was not moved, because it was changed somewhere else")
    assert "09:00 – 10:00" == await tab.span_of("Renamed")


async def test_a_change_that_arrives_leaves_an_open_editor_alone(tab: Tab, ada: Person, grace: Person) -> None:
    """What is typed stays; the calendar behind it is up to date, the person's own and a room's."""
    theirs = await lab(grace, ada)
    edited = await ada.create(at(15, 9), title="Edited")
    await show_rooms(tab, theirs)
    await tab.open("Edited")
    await tab.field("Location").fill("Typed here")
    changed = appointments_pb2.Appointment(id=edited.id, title="Renamed", location="Elsewhere")
    request = appointments_pb2.UpdateAppointmentRequest(appointment=changed)
    await ada.appointments.UpdateAppointment(request, metadata=ada.metadata)
    await grace.create(at(15, 13, MINUTE), resource_ids=[theirs.id])
    await expect(tab.appointment("Renamed")).to_be_visible(timeout=SOON)
    await expect(taken(tab)).to_have_count(1, timeout=SOON)
    await expect(tab.field("Title")).to_have_value("Edited")
    await expect(tab.field("Location")).to_have_value("Typed here")
    await tab.button("Save").click()
    await expect(tab.alert).to_contain_text("Somebody changed this appointment")

"""Finding a time with others and in a room: what is offered opens the editor, and can be booked."""

import re
import uuid

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from playwright.async_api import expect

from appointments.v1 import account_pb2, appointments_pb2, resources_pb2
from tests import clients, service
from tests.clients import HOUR, Person
from tests.e2e.conftest import Opener
from tests.e2e.resources import room
from tests.e2e.tab import Tab, at
from tests.e2e.test_access import violations


async def open_at(person: Person, start_minute: int, end_minute: int) -> None:
    """Give somebody hours, the same on every day."""
    week = [
        resources_pb2.DayHours(weekday=day, start_minute=start_minute, end_minute=end_minute) for day in range(1, 8)
    ]
    request = account_pb2.UpdateCurrentUserRequest(
        user=account_pb2.User(time_zone="Europe/Zurich", hours=resources_pb2.Hours(week=week)),
        update_mask=FieldMask(paths=["time_zone", "hours"]),
    )
    await person.account.UpdateCurrentUser(request, metadata=person.metadata)


async def test_a_time_is_found_by_the_keyboard_with_somebody_in_a_room_and_booked(
    tab: Tab, ada: Person, running: service.Server
) -> None:
    """Beside one's own appointments, theirs and the room's; more pages follow; the offer is what is booked."""
    await open_at(ada, 9 * 60, 17 * 60)
    studio = await room(ada, f"Studio {uuid.uuid4().hex[:6]}")
    await ada.create(at(15, 12, 30), HOUR / 2, title="Mine")
    async with clients.person(running.grpc) as grace, clients.person(running.grpc) as joan:
        await grace.create(at(15, 10), 2 * HOUR, title="Hers")
        await joan.create(at(15, 13), HOUR, title="In the room", resource_ids=[studio.id])
        await tab.reload()
        await tab.page.keyboard.press("f")
        dialog = tab.page.get_by_role("dialog", name="Find a time")
        await expect(dialog.get_by_label("How long")).to_be_focused()
        await dialog.get_by_label("With").fill(grace.email)
        await dialog.get_by_label("Room or equipment").select_option(label=studio.display_name)
        await dialog.get_by_label("With").press("Enter")
        await expect(dialog.get_by_role("status")).to_have_text("50 times within 14 days, and there are more.")
        offers = dialog.get_by_role("listitem").get_by_role("button")
        await expect(offers.first).to_have_text("14:00 – 15:00")
        await dialog.get_by_role("button", name="More times").click()
        await expect(dialog.get_by_role("status")).to_contain_text("100 times")
        await offers.first.press("Enter")
        await tab.expect_time("Start", "2030-05-15T14:00")
        await tab.expect_time("End", "2030-05-15T15:00")
        await tab.field("Title").fill("Found")
        await tab.save()
        await expect(tab.appointment("Found")).to_be_visible()
        request = appointments_pb2.ListAppointmentsRequest()
        listed = await ada.appointments.ListAppointments(request, metadata=ada.metadata)
        (found,) = [each for each in listed.appointments if each.title == "Found"]
        assert ([studio.id], [grace.email]) == (list(found.resource_ids), [each.email for each in found.attendees])
    assert [] == tab.errors


async def test_above_the_offers_everybody_and_every_room_has_a_row_with_when_they_are_taken(
    tab: Tab, ada: Person, running: service.Server
) -> None:
    """Never by what; an offer that has the focus is marked on its day; the days can be turned by the keyboard."""
    await open_at(ada, 9 * 60, 17 * 60)
    studio = await room(ada, f"Studio {uuid.uuid4().hex[:6]}")
    await ada.create(at(15, 12, 30), HOUR / 2, title="Mine")
    async with clients.person(running.grpc) as grace:
        await grace.create(at(15, 21), HOUR, title="Hers", resource_ids=[studio.id])
        await grace.create(at(16, 9), 7 * HOUR, title="Hers on Thursday")
        await tab.reload()
        await tab.page.keyboard.press("f")
        dialog = tab.page.get_by_role("dialog", name="Find a time")
        await dialog.get_by_label("With").fill(grace.email)
        await dialog.get_by_label("Room or equipment").select_option(label=studio.display_name)
        await dialog.get_by_label("With").press("Enter")
        table = dialog.get_by_role("table", name=re.compile("^Wednesday,? 15 May 2030$"))
        rows = table.get_by_role("row")
        closed = "outside of their hours 00:00 – 09:00, 17:00 – 00:00."
        await expect(rows).to_have_text(
            [
                re.compile("^Who or what"),
                re.compile(f"^You\\s*Taken 12:30 – 13:00; {closed}\\s*$"),
                re.compile(f"^{grace.email}\\s*Taken 21:00 – 22:00.\\s*$"),
                re.compile(f"^{studio.display_name}\\s*Taken 21:00 – 22:00.\\s*$"),
            ]
        )
        # From seven to the end of what is taken: fifteen hours. One's own half an hour is the 30th part of them.
        track = rows.nth(1).locator(".track")
        width = await track.evaluate("one => one.clientWidth")
        (bar,) = await track.locator(".bar.busy").evaluate_all(
            "all => all.map(one => [one.offsetLeft, one.offsetWidth])"
        )
        assert (11, 1) == (round(30 * bar[0] / width), round(30 * bar[1] / width))
        await expect(dialog.get_by_text("Hers")).to_have_count(0)
        await expect(table.locator(".band")).to_have_count(0)
        thursday = dialog.get_by_role("listitem").get_by_role("button", name="16:00 – 17:00").nth(1)
        await thursday.focus()
        await expect(dialog.get_by_role("table", name=re.compile("^Thursday,? 16 May 2030$"))).to_be_visible()
        await expect(dialog.locator(".band")).to_have_count(3)
        await expect(dialog.get_by_role("row").nth(2)).to_contain_text("Taken 09:00 – 16:00.")
        await dialog.get_by_role("button", name="Previous day").press("Enter")
        await expect(table).to_be_visible()
        await expect(dialog.get_by_role("button", name="Previous day")).to_be_disabled()
        assert [] == await violations(tab.page)
        await thursday.press("Enter")
        await tab.expect_time("Start", "2030-05-16T16:00")
    assert [] == tab.errors


async def test_where_nothing_is_found_it_is_said_why(tab: Tab, ada: Person) -> None:
    """Two hours do not fit into one; of somebody who is not there, nothing is told."""
    await open_at(ada, 9 * 60, 10 * 60)
    await tab.choose("Find a time")
    dialog = tab.page.get_by_role("dialog", name="Find a time")
    await dialog.get_by_label("How long").select_option(label="2 h")
    await dialog.get_by_role("button", name="Find times").click()
    await expect(dialog.get_by_role("status")).to_contain_text("Nothing was found.")
    await expect(dialog.get_by_role("status")).to_contain_text("outside of somebody’s hours")
    await dialog.get_by_label("With").fill("nobody.at.all@example.com")
    await dialog.get_by_role("button", name="Find times").click()
    await expect(dialog.get_by_role("alert")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_finding_a_time_violates_nothing_of_axe(open_tab: Opener, ada: Person, scheme: str) -> None:
    """With offers in any room."""
    for name in ("One", "Other"):
        await room(ada, f"{name} {uuid.uuid4().hex[:6]}", default_role=resources_pb2.RESOURCE_ROLE_UNSPECIFIED)
    tab = await open_tab(email=ada.email, color_scheme=scheme)
    await expect(tab.button("New appointment")).to_be_visible()
    await tab.choose("Find a time")
    dialog = tab.page.get_by_role("dialog", name="Find a time")
    await dialog.get_by_label("Room or equipment").select_option(label="Any that is free")
    await dialog.get_by_role("button", name="Find times").click()
    await expect(dialog.get_by_role("button", name="More times")).to_be_visible()
    await expect(dialog.get_by_role("table")).to_be_visible()
    assert [] == await violations(tab.page)

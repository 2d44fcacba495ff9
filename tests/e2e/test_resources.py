"""Rooms and equipment: seen beside the calendar, managed, and given to others."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from playwright.async_api import Locator, expect

from appointments.v1 import appointments_pb2
from appointments.v1 import resources_pb2 as pb
from tests import clients, service
from tests.clients import HOUR, Person
from tests.e2e.conftest import Opener
from tests.e2e.resources import room
from tests.e2e.tab import TODAY, Tab, at
from tests.e2e.test_access import violations


@pytest_asyncio.fixture(loop_scope="session")
async def grace(running: service.Server) -> AsyncIterator[Person]:
    """Somebody else."""
    async with clients.person(running.grpc) as person:
        yield person


async def grant(manager: Person, resource: pb.Resource, person: Person, role: "pb.ResourceRole.ValueType") -> None:
    """Give a role."""
    request = pb.SetResourceAccessRequest(id=resource.id, email=person.email, role=role)
    await manager.resources.SetResourceAccess(request, metadata=manager.metadata)


async def own_rooms(ada: Person, grace: Person) -> tuple[pb.Resource, pb.Resource]:
    """A room that Ada manages, and one of Grace's that Ada may book."""
    hall = await room(ada, f"A hall {uuid.uuid4().hex[:6]}", default_role=pb.RESOURCE_ROLE_UNSPECIFIED)
    lab = await room(
        grace,
        f"A lab {uuid.uuid4().hex[:6]}",
        default_role=pb.RESOURCE_ROLE_UNSPECIFIED,
        buffer_after=Duration(seconds=1800),
    )
    await grant(ada, hall, grace, pb.RESOURCE_ROLE_BOOKER)
    await grant(grace, lab, ada, pb.RESOURCE_ROLE_BOOKER)
    return hall, lab


def column(tab: Tab, resource: pb.Resource) -> Locator:
    """The cells of a resource."""
    return tab.page.locator(f'[data-column="{resource.id}"]')


async def middle(cell: Locator, hour: float) -> tuple[float, float]:
    """Where that hour is in a column of a day."""
    point = await cell.evaluate(
        """(cell, hour) => {
            const column = cell.closest(".ec-day");
            const main = column.closest(".ec-main");
            const place = () => column.getBoundingClientRect();
            const frame = main.getBoundingClientRect();
            const wanted = place().top + (hour / 24) * place().height;
            // Where it is to be seen already it stays, so that the other end of a drag does too.
            if (wanted < frame.top + 120 || wanted > frame.bottom - 60)
                main.scrollTop += wanted - (frame.top + frame.height / 2);
            const { left, top, width, height } = place();
            return [left + width / 2, top + (hour / 24) * height + 3];
        }""",
        hour,
    )
    return point[0], point[1]


async def test_a_day_shows_each_room_as_a_column_with_what_takes_it(tab: Tab, ada: Person, grace: Person) -> None:
    """Managers see titles, others only that it is taken, with its buffers; one's own are in both columns."""
    hall, lab = await own_rooms(ada, grace)
    await grace.create(at(15, 10), title="Hers in mine", resource_ids=[hall.id])
    await grace.create(at(15, 13), title="Hers in hers", resource_ids=[lab.id])
    await ada.create(at(15, 15), title="Mine", resource_ids=[lab.id])
    await tab.show("Day")
    await tab.button("Rooms").click()
    await expect(tab.page.locator(".ec-col-head").first).to_contain_text("My calendar")
    await expect(tab.page.get_by_text(hall.display_name)).to_be_visible()
    await expect(tab.appointment("Hers in mine")).to_have_count(1)
    await expect(tab.page.get_by_text("Hers in hers")).to_have_count(0)
    taken = tab.page.locator("[data-appointment]", has=tab.page.get_by_text("Taken", exact=True))
    await expect(taken.filter(has_text="13:00 – 14:30")).to_have_count(1)
    await expect(tab.appointment("Mine")).to_have_count(2)
    await taken.filter(has_text="13:00 – 14:30").click()
    await expect(tab.toast).to_contain_text(f"“{lab.display_name}” is taken by somebody else")
    assert [] == await violations(tab.page)
    assert [] == tab.errors


async def bands(cells: Locator) -> list[tuple[str, str]]:
    """From when until when a column of a day is hatched, in its order."""
    found: list[list[float]] = await cells.first.evaluate(
        """cell => {
            const column = cell.closest(".ec-day");
            const { left, width, top, height } = column.getBoundingClientRect();
            const middle = left + width / 2;
            return [...column.closest(".ec-main").querySelectorAll(".ec-bg-event")]
                .filter(band => getComputedStyle(band).backgroundImage.startsWith("repeating-linear-gradient"))
                .map(band => band.getBoundingClientRect())
                .filter(band => band.left < middle && middle < band.right)
                .map(band => [band.top, band.bottom].map(edge => (24 * 60 * (edge - top)) / height))
                .sort(([one], [another]) => one - another);
        }"""
    )
    minutes = [[round(edge) for edge in band] for band in found]
    return [(f"{first // 60}:{first % 60:02}", f"{end // 60}:{end % 60:02}") for first, end in minutes]


async def test_a_day_of_rooms_hatches_what_is_taken_before_and_after(tab: Tab, ada: Person, grace: Person) -> None:
    """A room's buffers and the appointment's in the room's column; what others have taken has them in itself."""
    minute = 60
    private = pb.RESOURCE_ROLE_UNSPECIFIED
    around = {"buffer_before": Duration(seconds=30 * minute), "buffer_after": Duration(seconds=15 * minute)}
    hall = await room(ada, f"A hall {uuid.uuid4().hex[:6]}", default_role=private, **around)
    lab = await room(grace, f"A lab {uuid.uuid4().hex[:6]}", default_role=private, **around)
    plain = await room(ada, f"A nook {uuid.uuid4().hex[:6]}", default_role=private)
    await grant(ada, hall, grace, pb.RESOURCE_ROLE_BOOKER)
    await grant(grace, lab, ada, pb.RESOURCE_ROLE_BOOKER)
    wider: dict[str, Any] = {
        "buffer_before": Duration(seconds=15 * minute),
        "buffer_after": Duration(seconds=10 * minute),
    }
    await grace.create(at(15, 10), title="Hers in mine", resource_ids=[hall.id], **wider)
    await grace.create(at(15, 13), title="Hers in hers", resource_ids=[lab.id], **wider)
    await ada.create(at(15, 15), title="Mine in both", resource_ids=[hall.id, plain.id], **wider)
    await ada.create(at(15, 18), title="Mine in hers", resource_ids=[lab.id])
    await tab.show("Day")
    await tab.button("Rooms").click()
    await expect(tab.appointment("Hers in mine")).to_have_count(1)
    await expect(tab.appointment("Mine in both")).to_have_count(3)
    await expect(tab.page.locator("[data-appointment]").filter(has_text="12:15 – 14:25")).to_have_count(1)
    mine = [("14:45", "15:00"), ("16:00", "16:10")]
    assert mine == await bands(tab.page.locator('[data-column="self"]'))
    # A room's manager sees whose appointment it is, and what it takes around itself.
    hers = [("9:15", "10:00"), ("11:00", "11:25")]
    assert [*hers, ("14:15", "15:00"), ("16:00", "16:25")] == await bands(column(tab, hall))
    assert mine == await bands(column(tab, plain))
    # Others see one span that is taken, of which they cannot tell what is a buffer.
    assert [("17:30", "18:00"), ("19:00", "19:15")] == await bands(column(tab, lab))
    assert [] == tab.errors


async def test_a_page_that_nobody_touches_asks_for_nothing(tab: Tab, ada: Person, grace: Person) -> None:
    """What was answered is drawn, and that is no reason to ask again."""
    _, lab = await own_rooms(ada, grace)
    await grace.create(at(15, 13), title="Hers in hers", resource_ids=[lab.id])
    await tab.show("Day")
    await tab.button("Rooms").click()
    for view in ("Week", "Day"):
        await tab.show(view)
        await expect(tab.page.get_by_text("Taken", exact=True).first).to_be_visible()
        await tab.settled()
        await asyncio.sleep(0.5)  # what was asked for the view has been answered
        await tab.page.evaluate("performance.clearResourceTimings()")
        await asyncio.sleep(1)
        assert [] == await tab.page.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)")


async def test_a_click_in_a_rooms_column_books_the_room(tab: Tab, ada: Person, grace: Person) -> None:
    """The editor has it already; a drag to another column changes the room, and can be undone."""
    hall, lab = await own_rooms(ada, grace)
    await tab.show("Day")
    await tab.button("Rooms").click()
    await tab.page.mouse.click(*await middle(column(tab, hall), 11))
    await expect(tab.page.get_by_role("listitem").filter(has_text=hall.display_name)).to_contain_text("Free")
    await tab.field("Title").fill("In the hall")
    await tab.save()
    await expect(tab.appointment("In the hall")).to_have_count(2)
    await tab.drag(await middle(column(tab, hall), 11.25), await middle(column(tab, lab), 14.25))
    await expect(tab.toast).to_contain_text("14:00 – 15:00")
    response = await ada.appointments.ListAppointments(
        appointments_pb2.ListAppointmentsRequest(), metadata=ada.metadata
    )
    assert [[lab.id]] == [list(each.resource_ids) for each in response.appointments]
    await tab.button("Undo").click()
    await expect(tab.toast).to_contain_text("11:00 – 12:00")
    response = await ada.appointments.ListAppointments(
        appointments_pb2.ListAppointmentsRequest(), metadata=ada.metadata
    )
    assert [[hall.id]] == [list(each.resource_ids) for each in response.appointments]


async def test_a_move_into_a_taken_room_snaps_back_and_names_it(tab: Tab, ada: Person, grace: Person) -> None:
    """It is where it was."""
    hall, lab = await own_rooms(ada, grace)
    await grace.create(at(15, 14), title="Hers", resource_ids=[lab.id])
    await ada.create(at(15, 11), title="Wanderer", resource_ids=[hall.id])
    await tab.show("Day")
    await tab.button("Rooms").click()
    await expect(tab.appointment("Wanderer")).to_have_count(2)
    await tab.drag(await middle(column(tab, hall), 11.25), await middle(column(tab, lab), 14.25))
    await expect(tab.alert).to_contain_text(f"“Wanderer” was not moved. “{lab.display_name}” is taken at this time.")
    await expect(tab.appointment("Wanderer").first.locator(".when")).to_have_text("11:00 – 12:00")


async def test_a_week_shows_each_room_as_a_row_and_works_by_keyboard(tab: Tab, ada: Person, grace: Person) -> None:
    """Arrows walk through days and rooms, cells say how much is in them, Enter books the room on that day."""
    hall, _ = await own_rooms(ada, grace)
    await ada.create(at(16, 10), title="Weekly", resource_ids=[hall.id])
    await tab.page.keyboard.press("r")
    await expect(tab.button("Rooms")).to_have_attribute("aria-pressed", "true")
    await expect(tab.appointment("Weekly")).to_have_count(2)
    focused = tab.page.locator(":focus")
    await tab.page.locator("[data-day][tabindex='0']").focus()
    await expect(focused).to_have_accessible_name(re.compile("^My calendar, Wednesday,? 15 May 2030, free$"))
    await tab.page.keyboard.press("ArrowRight")
    await tab.page.keyboard.press("ArrowDown")
    while await focused.get_attribute("data-column") != hall.id:
        before = await focused.get_attribute("data-column")
        await tab.page.keyboard.press("ArrowDown")
        assert before != await focused.get_attribute("data-column")
    await expect(focused).to_have_accessible_name(
        re.compile(f"^{hall.display_name}, Thursday,? 16 May 2030, 1 appointment$")
    )
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.get_by_role("listitem").filter(has_text=hall.display_name)).to_be_visible()
    await tab.expect_time("Start", "2030-05-16T09:00")
    await tab.page.keyboard.press("Escape")
    await expect(tab.page.get_by_role("dialog")).to_have_count(0)  # it would cover some of what is looked at
    await tab.settled()
    assert [] == await violations(tab.page)
    await tab.button("Month").click()
    await expect(tab.button("Rooms")).to_have_attribute("aria-pressed", "false")
    assert [] == tab.errors


async def test_a_room_is_added_changed_given_to_somebody_deleted_and_restored(
    tab: Tab, open_tab: Opener, grace: Person
) -> None:
    """The whole life of one, in one dialog; whoever it is given to can book it."""
    name = f"Atelier {uuid.uuid4().hex[:6]}"
    await tab.choose("Rooms and equipment")
    dialog = tab.page.get_by_role("dialog")
    await tab.button("Add").click()
    await tab.button("Add").click()
    await expect(tab.alert).to_have_text("Please give it a name.")
    await tab.field("Name").fill(name)
    await tab.field("Seats").fill("6")
    await tab.field("Who can book it").select_option("Only the people listed")
    await tab.button("Add").click()
    await expect(dialog.get_by_role("heading", name=name)).to_be_visible()
    await tab.field("Location").fill("Attic")
    await tab.field("Buffer after").select_option("15 min")
    await tab.button("Save").click()
    await expect(dialog.get_by_text("Saved.")).to_be_visible()
    await tab.field("Email").fill("nobody.at.all@example.com")
    await tab.button("Add person").click()
    await expect(tab.alert).to_be_visible()
    await tab.field("Email").fill(grace.email)
    await tab.button("Add person").click()
    await expect(dialog.get_by_text(f"Added {grace.email}.")).to_be_visible()
    await expect(dialog.get_by_role("listitem").filter(has_text=grace.email)).to_be_visible()
    assert [] == await violations(tab.page)
    other = await open_tab(email=grace.email)
    await other.write("Hers", f"{TODAY}T15:00")
    await other.field("Rooms and equipment").fill(name)
    await expect(other.page.get_by_role("option", name=name)).to_contain_text("Free")
    await other.page.get_by_role("option", name=name).click()
    await other.save()
    await tab.button("Delete").click()
    await expect(tab.alert).to_contain_text("Coming appointments have it.")
    await tab.button("Delete anyway").click()
    await expect(dialog.get_by_text(f"Deleted “{name}”.")).to_be_visible()
    await expect(tab.button(f"Edit {name}")).to_have_count(0)
    assert [] == await violations(tab.page)
    await tab.button("Undo").click()
    await expect(tab.button(f"Edit {name}")).to_be_visible()
    await tab.button(f"Edit {name}").click()
    await expect(tab.field("Location")).to_have_value("Attic")
    await tab.button("Remove Ada").first.click()
    await expect(tab.alert).to_contain_text("Somebody has to manage it")


async def test_a_room_that_one_may_only_see_is_not_offered(tab: Tab, ada: Person, grace: Person) -> None:
    """It is listed without a button, and is not among what can be booked."""
    shown = await room(grace, f"Vault {uuid.uuid4().hex[:6]}", default_role=pb.RESOURCE_ROLE_VIEWER)
    await tab.choose("Rooms and equipment")
    row = tab.page.get_by_role("listitem").filter(has_text=shown.display_name)
    await expect(row).to_contain_text("You can see when it is taken")
    await expect(row.get_by_role("button")).to_have_count(0)
    await tab.page.keyboard.press("Escape")
    await tab.write("Not there")
    await tab.field("Rooms and equipment").fill(shown.display_name)
    await expect(tab.page.get_by_role("option", name="Nothing found.")).to_be_visible()


async def test_a_key_is_made_copied_once_and_revoked(tab: Tab, ada: Person) -> None:
    """Its secret works for a program as far as its scopes say, and is never shown again."""
    await tab.choose("Account")
    await tab.button("New key").click()
    await tab.button("Create key").click()
    await expect(tab.alert).to_have_text("Please say what the key is for.")
    await tab.field("What it is for").fill("Backups")
    await expect(tab.page.get_by_label("Administer, and act for other people")).to_have_count(0)
    await tab.button("Create key").click()
    secret = await tab.field("Secret").input_value()
    assert secret.startswith("apt_")
    await tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await tab.button("Copy").click()
    await expect(tab.button("Copied")).to_be_visible()
    assert secret == await tab.page.evaluate("navigator.clipboard.readText()")
    assert [] == await violations(tab.page)
    key = (("authorization", f"Bearer {secret}"),)
    await ada.create(at(15, 10), HOUR, title="Read by a program")
    response = await ada.appointments.ListAppointments(appointments_pb2.ListAppointmentsRequest(), metadata=key)
    assert ["Read by a program"] == [each.title for each in response.appointments]
    await tab.button("Done").click()
    await tab.page.keyboard.press("Escape")
    await tab.choose("Account")
    row = tab.page.get_by_role("listitem").filter(has_text="Backups")
    await expect(row).to_contain_text("appointments.read")
    await expect(tab.field("Secret")).to_have_count(0)
    await tab.button("Revoke Backups").click()
    await tab.button("Keep").click()
    await tab.button("Revoke Backups").click()
    await tab.button("Revoke now").click()
    await expect(row).to_have_count(0)
    await expect(tab.page.get_by_text("Key revoked.")).to_be_visible()

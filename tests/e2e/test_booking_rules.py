"""Moves, deletions and restores against a rule of a room: it is named, and whoever manages the room may override it."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from playwright.async_api import Locator, expect

from appointments.v1 import appointments_pb2 as pb
from appointments.v1 import resources_pb2
from tests import clients, service
from tests.clients import Person
from tests.e2e.resources import room
from tests.e2e.tab import TODAY, Tab, at
from tests.e2e.test_access import violations
from tests.e2e.test_repeating import choose_scope, repeat

FULL_HOURS = resources_pb2.BookingRules(step=Duration(seconds=3600))


@pytest_asyncio.fixture(loop_scope="session")
async def grace(running: service.Server) -> AsyncIterator[Person]:
    """Somebody else."""
    async with clients.person(running.grpc) as person:
        yield person


async def studio(manager: Person, **decided: object) -> resources_pb2.Resource:
    """A room with a name of its own, that everybody may book."""
    return await room(manager, f"Studio {uuid.uuid4().hex[:6]}", **decided)


async def found(person: Person, appointment_id: str) -> pb.Appointment:
    """What the server has."""
    request = pb.GetAppointmentRequest(id=appointment_id)
    return (await person.appointments.GetAppointment(request, metadata=person.metadata)).appointment


def when(tab: Tab, title: str) -> Locator:
    """The time that an appointment shows."""
    return tab.appointment(title).locator(".when")


async def test_a_manager_drags_against_a_rule_and_undoes_it(tab: Tab, ada: Person) -> None:
    """It snaps back, the message names the room and the rule, and a key press moves it after all: that is recorded."""
    place = await studio(ada, booking_rules=FULL_HOURS)
    booked = await ada.create(at(15, 11), title="Rehearsal", resource_ids=[place.id])
    await tab.reload()
    await expect(tab.appointment("Rehearsal")).to_be_visible()
    await tab.drag(await tab.point(TODAY, 11.25), await tab.point(TODAY, 14.75))
    await expect(tab.alert).to_contain_text(
        f"“Rehearsal” was not moved. A rule of {place.display_name} does not allow it: it must begin at a step of the"
    )
    await expect(when(tab, "Rehearsal")).to_have_text("11:00 – 12:00")
    assert [] == await violations(tab.page)
    assert booked == await found(ada, booked.id)
    await tab.button("Move anyway").focus()
    await tab.page.keyboard.press("Enter")
    await expect(tab.toast).to_contain_text("Moved to Wed 15 May, 14:30 – 15:30.")
    await expect(tab.appointment("Rehearsal")).to_be_focused()
    moved = await found(ada, booked.id)
    assert (at(15, 14, 30), ["step"]) == (moved.start_time.ToDatetime(UTC), list(moved.overridden_rules))
    await tab.button("Undo").focus()
    await tab.page.keyboard.press("Enter")
    await expect(tab.toast).to_contain_text("Moved to Wed 15 May, 11:00 – 12:00.")
    assert booked.start_time == (await found(ada, booked.id)).start_time
    assert [] == tab.errors


async def test_a_manager_deletes_against_a_rule_and_undoes_it(tab: Tab, ada: Person) -> None:
    """What has begun may not be deleted any more, nor restored: for a manager it is, and both are recorded."""
    # The server's clock cannot be set, so the page's is: to a day that is past.
    morning = (datetime.now(UTC) - timedelta(days=3)).replace(hour=8, minute=0, second=0, microsecond=0)
    place = await studio(ada)
    booked = await ada.create(morning + timedelta(hours=1), title="Recital", resource_ids=[place.id])
    place.booking_rules.past_changes = False
    request = resources_pb2.UpdateResourceRequest(resource=place, update_mask=FieldMask(paths=["booking_rules"]))
    await ada.resources.UpdateResource(request, metadata=ada.metadata)
    await tab.page.clock.set_fixed_time(morning)
    await tab.reload()
    await tab.open("Recital")
    await tab.button("Delete").click()
    await expect(tab.alert).to_contain_text(
        f"“Recital” was not deleted. A rule of {place.display_name} does not allow it: it is past."
    )
    await expect(tab.appointment("Recital")).to_be_visible()
    assert not (await found(ada, booked.id)).HasField("delete_time")
    await tab.button("Delete anyway").focus()
    await tab.page.keyboard.press("Enter")
    await expect(tab.toast).to_contain_text("Deleted “Recital”.")
    await expect(tab.appointment("Recital")).to_have_count(0)
    await tab.button("Undo").focus()
    await tab.page.keyboard.press("Enter")
    await expect(tab.toast).to_contain_text("Restored “Recital”.")
    await expect(tab.appointment("Recital")).to_be_focused()
    restored = await found(ada, booked.id)
    assert (False, ["past_changes"]) == (restored.HasField("delete_time"), list(restored.overridden_rules))
    assert [] == tab.errors


async def test_a_restore_against_a_rule_asks_its_manager(tab: Tab, ada: Person) -> None:
    """Undo of a deletion meets a rule that has come since."""
    place = await studio(ada)
    booked = await ada.create(at(15, 11, 30), title="Encore", resource_ids=[place.id])
    await tab.reload()
    await tab.open("Encore")
    async with tab.page.expect_response("**/DeleteAppointment"):
        await tab.button("Delete").click()
    await expect(tab.appointment("Encore")).to_have_count(0)
    place.booking_rules.CopyFrom(FULL_HOURS)
    request = resources_pb2.UpdateResourceRequest(resource=place, update_mask=FieldMask(paths=["booking_rules"]))
    await ada.resources.UpdateResource(request, metadata=ada.metadata)
    await tab.button("Undo").click()
    await expect(tab.alert).to_contain_text(f"“Encore” was not restored. A rule of {place.display_name}")
    await tab.button("Restore anyway").click()
    await expect(tab.toast).to_contain_text("Restored “Encore”.")
    await expect(tab.appointment("Encore")).to_be_focused()
    assert ["step"] == list((await found(ada, booked.id)).overridden_rules)


async def test_who_does_not_manage_the_room_reads_which_rule_it_is(tab: Tab, ada: Person, grace: Person) -> None:
    """They are offered nothing, and it stays where it was."""
    place = await studio(grace, booking_rules=FULL_HOURS)
    booked = await ada.create(at(15, 11), title="Practice", resource_ids=[place.id])
    await tab.reload()
    await expect(tab.appointment("Practice")).to_be_visible()
    await tab.drag(await tab.point(TODAY, 11.25), await tab.point(TODAY, 14.75))
    await expect(tab.alert).to_contain_text(f"“Practice” was not moved. A rule of {place.display_name}")
    await expect(tab.button("Move anyway")).to_have_count(0)
    await expect(when(tab, "Practice")).to_have_text("11:00 – 12:00")
    assert booked == await found(ada, booked.id)


async def test_one_of_a_series_is_moved_against_a_rule_and_all_of_it_is_not(tab: Tab, ada: Person) -> None:
    """A change of a series overrides nothing, so it only names the room and the rule."""
    place = await studio(ada, booking_rules=FULL_HOURS)
    await repeat(tab, "Choir", "2030-05-16T12:00", 2)
    await tab.field("Rooms and equipment").fill(place.display_name)
    await expect(tab.page.get_by_role("option", name=place.display_name)).to_be_visible()
    await tab.field("Rooms and equipment").press("Enter")
    await tab.save("Choir")
    for scope, offers in (("All", 0), ("Only this one", 1)):
        await tab.drag(await tab.point("2030-05-16", 12.25), await tab.point("2030-05-17", 14.75))
        await choose_scope(tab, scope)
        await expect(tab.alert).to_contain_text(f"A rule of {place.display_name} does not allow it")
        await expect(tab.button("Move anyway")).to_have_count(offers)
        await expect(when(tab, "Choir")).to_have_text("12:00 – 13:00")
    await tab.button("Move anyway").click()
    await expect(tab.toast).to_contain_text("Only this one was moved to Fri 17 May, 14:30 – 15:30.")
    await expect(when(tab, "Choir")).to_have_text("14:30 – 15:30")

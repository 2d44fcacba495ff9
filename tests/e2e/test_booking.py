"""Booking, moving, changing, deleting and restoring, with the mouse and in the editor."""

from google.protobuf.field_mask_pb2 import FieldMask
from playwright.async_api import expect

from appointments.v1 import appointments_pb2
from tests.clients import HOUR, Person
from tests.e2e.conftest import Opener
from tests.e2e.tab import TODAY, Tab, at


async def test_a_click_on_a_time_books_it(tab: Tab) -> None:
    """The editor opens at the time that was clicked."""
    await tab.page.mouse.click(*await tab.point("2030-05-14", 11))
    await tab.expect_time("Start", "2030-05-14T11:00")
    await tab.field("Title").fill("Clicked")
    await tab.save()
    assert "11:00 – 12:00" == await tab.span_of("Clicked")


async def test_a_click_on_a_day_of_the_month_books_there(tab: Tab) -> None:
    """At a free hour of that day."""
    await tab.show("Month")
    await tab.page.locator(".ec-day", has=tab.page.locator('[data-day="2030-05-22"]')).click()
    await tab.expect_time("Start", "2030-05-22T09:00")
    await tab.field("Title").fill("Some day")
    await tab.save()
    await expect(tab.appointment("Some day")).to_be_visible()


async def test_every_field_is_kept(tab: Tab) -> None:
    """What is typed comes back after a reload, in the appointment's own zone."""
    await tab.write("Workshop", "2030-05-16T18:00", "2030-05-16T19:30")
    await tab.field("Time zone").select_option("Asia/Tokyo")
    await tab.field("Location").fill("Room 4")
    await tab.field("Notes").fill("Bring the plans.\nAll of them.")
    await tab.field("Attendees").fill("Grace Hopper <grace@example.org>, linus@example.org")
    await expect(tab.page.get_by_text("In Zurich: Thu 16 May, 11:00 – 12:30")).to_be_visible()
    await tab.save()
    await tab.reload()
    assert "11:00 – 12:30" == await tab.span_of("Workshop")
    await expect(tab.appointment("Workshop").get_by_text("18:00 Tokyo")).to_be_visible()
    await tab.open("Workshop")
    expected = {
        "Start time": "18:00",
        "End time": "19:30",
        "Time zone": "Asia/Tokyo",
        "Location": "Room 4",
        "Notes": "Bring the plans.\nAll of them.",
    }
    assert expected == {label: await tab.field(label).input_value() for label in expected}
    people = tab.page.get_by_role("list", name="Invited").get_by_role("listitem")
    assert ["Grace Hopper", "linus@example.org"] == await people.all_inner_texts()


async def test_ends_follows_starts_and_faults_are_beside_their_fields(tab: Tab) -> None:
    """The length stays while the start moves; the browser's and the server's complaints look alike."""
    await tab.write("", "2030-05-16T18:00")
    await tab.expect_time("End", "2030-05-16T19:00")
    await tab.set_time("End", "2030-05-16T17:00")
    await tab.field("Attendees").fill("nobody in particular")
    await tab.button("Save").click()
    await expect(tab.field("Title")).to_have_accessible_description("Please give it a title.")
    await expect(tab.field("Title")).to_be_focused()
    await expect(tab.field("End time")).to_have_accessible_description("The end must be after the start.")
    await tab.field("Title").fill("Better")
    await tab.set_time("End", "2030-05-16T19:00")
    await tab.button("Save").click()
    await expect(tab.field("Attendees")).to_have_attribute("aria-invalid", "true")
    await expect(tab.field("Attendees")).to_be_focused()


async def test_dragging_moves_and_undo_moves_back(tab: Tab, ada: Person) -> None:
    """At once on the screen, and for good on the server."""
    await ada.create(at(15, 11), title="Movable")
    await tab.reload()
    await tab.drag(await tab.point(TODAY, 11.25), await tab.point("2030-05-17", 14.25))
    await expect(tab.toast).to_contain_text("Moved to Fri 17 May, 14:00 – 15:00.")
    await tab.reload()
    assert "14:00 – 15:00" == await tab.span_of("Movable")
    await tab.drag(await tab.point("2030-05-17", 14.25), await tab.point("2030-05-17", 16.25))
    await expect(tab.toast).to_contain_text("16:00 – 17:00")
    await tab.button("Undo").click()
    await expect(tab.toast).to_contain_text("14:00 – 15:00")
    assert "14:00 – 15:00" == await tab.span_of("Movable")


async def test_pulling_the_end_changes_the_length(tab: Tab, ada: Person) -> None:
    """The start stays."""
    await ada.create(at(15, 11), title="Elastic")
    await tab.reload()
    await expect(tab.appointment("Elastic")).to_be_visible()
    x, y = await tab.point(TODAY, 12)
    await tab.drag((x, y - 5), await tab.point(TODAY, 13.25))
    await expect(tab.toast).to_contain_text("11:00 – 13:30")
    await tab.reload()
    assert "11:00 – 13:30" == await tab.span_of("Elastic")


async def test_dragging_a_day_in_the_month_keeps_the_time(tab: Tab, ada: Person) -> None:
    """Another day, the same hour."""
    await ada.create(at(15, 11), title="Whenever")
    await tab.show("Month")
    await tab.reload()
    source = await tab.appointment("Whenever").bounding_box()
    target = await tab.page.locator(".ec-day", has=tab.page.locator('[data-day="2030-05-23"]')).bounding_box()
    assert source is not None
    assert target is not None
    await tab.drag((source["x"] + 20, source["y"] + 5), (target["x"] + 40, target["y"] + 60))
    await expect(tab.toast).to_contain_text("Moved to Thu 23 May, 11:00 – 12:00.")


async def test_undo_restores_what_was_deleted(tab: Tab, ada: Person) -> None:
    """The very same appointment, with everything in it."""
    booked = await ada.create(at(15, 11), title="Precious", location="Vault")
    await tab.reload()
    await tab.open("Precious")
    await tab.button("Delete").click()
    await expect(tab.appointment("Precious")).to_have_count(0)
    await expect(tab.toast).to_contain_text("Deleted “Precious”.")
    await tab.button("Undo").click()
    await expect(tab.appointment("Precious")).to_be_visible()
    await tab.reload()
    await expect(tab.appointment("Precious")).to_have_attribute("data-appointment", booked.id)
    await tab.open("Precious")
    await expect(tab.field("Location")).to_have_value("Vault")


async def test_undo_gives_back_what_a_saved_edit_has_changed(tab: Tab, ada: Person) -> None:
    """Every field that was changed, and only those."""
    booked = await ada.create(at(15, 11), title="Review", location="Vault")
    await tab.reload()
    await tab.open("Review")
    await tab.field("Title").fill("Retrospective")
    await tab.field("Location").fill("")
    await tab.set_time("Start", "2030-05-16T14:00")
    await tab.save()
    await expect(tab.toast).to_contain_text("Saved “Retrospective”.")
    assert "14:00 – 15:00" == await tab.span_of("Retrospective")
    await tab.button("Undo").click()
    await expect(tab.toast).to_contain_text("is as it was before")
    assert "11:00 – 12:00" == await tab.span_of("Review")
    request = appointments_pb2.GetAppointmentRequest(id=booked.id)
    found = (await ada.appointments.GetAppointment(request, metadata=ada.metadata)).appointment
    assert ("Review", "Vault", booked.start_time) == (found.title, found.location, found.start_time)


async def test_undo_of_an_edit_never_undoes_what_came_after(tab: Tab, ada: Person) -> None:
    """Somebody else has changed it meanwhile: that stays, and the person is told."""
    booked = await ada.create(at(15, 11), title="Review")
    await tab.reload()
    await tab.open("Review")
    await tab.field("Title").fill("Retrospective")
    await tab.save()
    await expect(tab.toast).to_contain_text("Saved")
    theirs = appointments_pb2.Appointment(id=booked.id, title="Theirs")
    request = appointments_pb2.UpdateAppointmentRequest(appointment=theirs, update_mask=FieldMask(paths=["title"]))
    await ada.appointments.UpdateAppointment(request, metadata=ada.metadata)
    await tab.button("Undo").click()
    await expect(tab.alert).to_contain_text(
        "“Retrospective” was not changed back, because it was changed somewhere else."
    )
    await expect(tab.appointment("Theirs")).to_be_visible()


async def test_undo_says_when_the_time_is_taken_by_now(tab: Tab, ada: Person) -> None:
    """Restoring books again, so it can conflict."""
    await ada.create(at(15, 11), title="Gone")
    await tab.reload()
    await tab.open("Gone")
    await tab.button("Delete").click()
    await expect(tab.toast).to_contain_text("Deleted")
    await ada.create(at(15, 11, 30), title="Quicker")
    await tab.button("Undo").click()
    await expect(tab.alert).to_contain_text("“Gone” was not restored. This time overlaps “Quicker” (11:30 – 12:30).")


async def test_closing_a_half_written_appointment_loses_nothing(tab: Tab) -> None:
    """Escape closes; what was typed can be reopened."""
    await tab.write("Half a thought")
    await tab.page.keyboard.press("Escape")
    await expect(tab.page.get_by_role("dialog")).to_have_count(0)
    await tab.button("Reopen").click()
    await expect(tab.field("Title")).to_have_value("Half a thought")


async def test_a_long_appointment_spans_its_days(tab: Tab, ada: Person) -> None:
    """In the month it is one bar, and an appointment that began before the window is still there."""
    await ada.create(at(11, 20), 60 * HOUR, title="Conference")
    await tab.reload()
    await expect(tab.appointment("Conference").first).to_be_visible()
    await tab.show("Month")
    await expect(tab.appointment("Conference").first).to_be_visible()


async def test_another_tab_sees_a_change_at_once(tab: Tab, open_tab: Opener) -> None:
    """Tabs of one browser tell each other."""
    other = await open_tab(beside=tab)
    await expect(other.button("New appointment")).to_be_visible()
    await tab.book("News")
    await expect(other.appointment("News")).to_be_visible()

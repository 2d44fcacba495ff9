"""Booking, moving, changing, deleting and restoring, with the mouse and in the editor."""

from playwright.async_api import expect

from tests.clients import HOUR, Person
from tests.e2e.conftest import Opener
from tests.e2e.desk import TODAY, Desk, at


async def test_a_click_on_a_time_books_it(desk: Desk) -> None:
    """The editor opens at the time that was clicked."""
    await desk.page.mouse.click(*await desk.point("2030-05-14", 11))
    await expect(desk.field("Starts")).to_have_value("2030-05-14T11:00")
    await desk.field("Title").fill("Clicked")
    await desk.save()
    assert "11:00 – 12:00" == await desk.span_of("Clicked")


async def test_a_click_on_a_day_of_the_month_books_there(desk: Desk) -> None:
    """At a free hour of that day."""
    await desk.show("Month")
    await desk.page.locator(".ec-day", has=desk.page.locator('[data-day="2030-05-22"]')).click()
    await expect(desk.field("Starts")).to_have_value("2030-05-22T09:00")
    await desk.field("Title").fill("Some day")
    await desk.save()
    await expect(desk.appointment("Some day")).to_be_visible()


async def test_every_field_is_kept(desk: Desk) -> None:
    """What is typed comes back after a reload, in the appointment's own zone."""
    await desk.write("Workshop", "2030-05-16T18:00", "2030-05-16T19:30")
    await desk.field("Time zone").select_option("Asia/Tokyo")
    await desk.field("Location").fill("Room 4")
    await desk.field("Notes").fill("Bring the plans.\nAll of them.")
    await desk.field("Attendees").fill("Grace Hopper <grace@example.org>, linus@example.org")
    await expect(desk.page.get_by_text("In Zurich: Thu 16 May, 11:00 – 12:30")).to_be_visible()
    await desk.save()
    await desk.reload()
    assert "11:00 – 12:30" == await desk.span_of("Workshop")
    await expect(desk.appointment("Workshop").get_by_text("18:00 Tokyo")).to_be_visible()
    await desk.open("Workshop")
    expected = {
        "Starts": "2030-05-16T18:00",
        "Ends": "2030-05-16T19:30",
        "Time zone": "Asia/Tokyo",
        "Location": "Room 4",
        "Notes": "Bring the plans.\nAll of them.",
        "Attendees": "Grace Hopper <grace@example.org>\nlinus@example.org",
    }
    assert expected == {label: await desk.field(label).input_value() for label in expected}


async def test_ends_follows_starts_and_faults_are_beside_their_fields(desk: Desk) -> None:
    """The length stays while the start moves; the browser's and the server's complaints look alike."""
    await desk.write("", "2030-05-16T18:00")
    await expect(desk.field("Ends")).to_have_value("2030-05-16T19:00")
    await desk.field("Ends").fill("2030-05-16T17:00")
    await desk.field("Attendees").fill("nobody in particular")
    await desk.button("Save").click()
    await expect(desk.field("Title")).to_have_accessible_description("Please give it a title.")
    await expect(desk.field("Title")).to_be_focused()
    await expect(desk.field("Ends")).to_have_accessible_description("This must be after the start.")
    await desk.field("Title").fill("Better")
    await desk.field("Ends").fill("2030-05-16T19:00")
    await desk.button("Save").click()
    await expect(desk.field("Attendees")).to_have_attribute("aria-invalid", "true")
    await expect(desk.field("Attendees")).to_be_focused()


async def test_dragging_moves_and_undo_moves_back(desk: Desk, ada: Person) -> None:
    """At once on the screen, and for good on the server."""
    await ada.create(at(15, 11), title="Movable")
    await desk.reload()
    await desk.drag(await desk.point(TODAY, 11.25), await desk.point("2030-05-17", 14.25))
    await expect(desk.toast).to_contain_text("Moved to Fri 17 May, 14:00 – 15:00.")
    await desk.reload()
    assert "14:00 – 15:00" == await desk.span_of("Movable")
    await desk.drag(await desk.point("2030-05-17", 14.25), await desk.point("2030-05-17", 16.25))
    await expect(desk.toast).to_contain_text("16:00 – 17:00")
    await desk.button("Undo").click()
    await expect(desk.toast).to_contain_text("14:00 – 15:00")
    assert "14:00 – 15:00" == await desk.span_of("Movable")


async def test_pulling_the_end_changes_the_length(desk: Desk, ada: Person) -> None:
    """The start stays."""
    await ada.create(at(15, 11), title="Elastic")
    await desk.reload()
    await expect(desk.appointment("Elastic")).to_be_visible()
    x, y = await desk.point(TODAY, 12)
    await desk.drag((x, y - 5), await desk.point(TODAY, 13.25))
    await expect(desk.toast).to_contain_text("11:00 – 13:30")
    await desk.reload()
    assert "11:00 – 13:30" == await desk.span_of("Elastic")


async def test_dragging_a_day_in_the_month_keeps_the_time(desk: Desk, ada: Person) -> None:
    """Another day, the same hour."""
    await ada.create(at(15, 11), title="Whenever")
    await desk.show("Month")
    await desk.reload()
    source = await desk.appointment("Whenever").bounding_box()
    target = await desk.page.locator(".ec-day", has=desk.page.locator('[data-day="2030-05-23"]')).bounding_box()
    assert source is not None
    assert target is not None
    await desk.drag((source["x"] + 20, source["y"] + 5), (target["x"] + 40, target["y"] + 60))
    await expect(desk.toast).to_contain_text("Moved to Thu 23 May, 11:00 – 12:00.")


async def test_undo_restores_what_was_deleted(desk: Desk, ada: Person) -> None:
    """The very same appointment, with everything in it."""
    booked = await ada.create(at(15, 11), title="Precious", location="Vault")
    await desk.reload()
    await desk.open("Precious")
    await desk.button("Delete").click()
    await expect(desk.appointment("Precious")).to_have_count(0)
    await expect(desk.toast).to_contain_text("Deleted “Precious”.")
    await desk.button("Undo").click()
    await expect(desk.appointment("Precious")).to_be_visible()
    await desk.reload()
    await expect(desk.appointment("Precious")).to_have_attribute("data-appointment", booked.id)
    await desk.open("Precious")
    await expect(desk.field("Location")).to_have_value("Vault")


async def test_undo_says_when_the_time_is_taken_by_now(desk: Desk, ada: Person) -> None:
    """Restoring books again, so it can conflict."""
    await ada.create(at(15, 11), title="Gone")
    await desk.reload()
    await desk.open("Gone")
    await desk.button("Delete").click()
    await expect(desk.toast).to_contain_text("Deleted")
    await ada.create(at(15, 11, 30), title="Quicker")
    await desk.button("Undo").click()
    await expect(desk.alert).to_contain_text("“Gone” can’t come back. This time overlaps “Quicker” (11:30 – 12:30).")


async def test_closing_a_half_written_appointment_loses_nothing(desk: Desk) -> None:
    """Escape closes; what was typed can be reopened."""
    await desk.write("Half a thought")
    await desk.page.keyboard.press("Escape")
    await expect(desk.page.get_by_role("dialog")).to_have_count(0)
    await desk.button("Reopen").click()
    await expect(desk.field("Title")).to_have_value("Half a thought")


async def test_a_long_appointment_spans_its_days(desk: Desk, ada: Person) -> None:
    """In the month it is one bar, and an appointment that began before the window is still there."""
    await ada.create(at(11, 20), 60 * HOUR, title="Conference")
    await desk.reload()
    await expect(desk.appointment("Conference").first).to_be_visible()
    await desk.show("Month")
    await expect(desk.appointment("Conference").first).to_be_visible()


async def test_another_tab_sees_a_change_at_once(desk: Desk, open_desk: Opener) -> None:
    """Tabs of one browser tell each other."""
    other = await open_desk(beside=desk)
    await expect(other.button("New appointment")).to_be_visible()
    await desk.book("News")
    await expect(other.appointment("News")).to_be_visible()

"""Two who want the same: conflicts and stale edits, said plainly and never overwritten."""

from playwright.async_api import expect

from tests.clients import Person
from tests.e2e.conftest import Opener
from tests.e2e.desk import TODAY, Desk, at


async def test_a_conflict_names_the_other_keeps_what_was_typed_and_offers_a_free_time(desk: Desk, ada: Person) -> None:
    """The offer is the nearest free time of that day, and it can be booked."""
    await ada.create(at(16, 14), title="Workshop")
    await desk.write("Coffee", "2030-05-16T14:30")
    await desk.field("Notes").fill("With Emmy")
    await desk.button("Save").click()
    await expect(desk.alert).to_contain_text("This time overlaps “Workshop” (14:00 – 15:00).")
    await expect(desk.field("Notes")).to_have_value("With Emmy")
    await desk.button("Use 15:00 – 16:00").click()
    await expect(desk.field("Starts")).to_have_value("2030-05-16T15:00")
    await expect(desk.alert).to_have_count(0)
    await desk.save()
    assert "15:00 – 16:00" == await desk.span_of("Coffee")


async def test_two_browsers_want_one_slot_and_one_gets_it(desk: Desk, open_desk: Opener, ada: Person) -> None:
    """The second is told by what the first has booked in between."""
    other = await open_desk()
    await other.sign_in(ada.email)
    await desk.write("Mine", "2030-05-16T10:00")
    await other.write("Also mine", "2030-05-16T10:00")
    await desk.save()
    await other.button("Save").click()
    await expect(other.alert).to_contain_text("overlaps “Mine” (10:00 – 11:00)")
    await expect(other.field("Title")).to_have_value("Also mine")


async def test_a_full_day_is_said_to_be_full(desk: Desk, ada: Person) -> None:
    """Where no time of that length is left, nothing is offered."""
    await ada.create(at(16, 2), (at(17, 2) - at(16, 2)), title="All day")
    await ada.create(at(15, 20), at(16, 2) - at(15, 20), title="Night before")
    await desk.write("Hopeless", "2030-05-16T10:00")
    await desk.button("Save").click()
    await expect(desk.alert).to_contain_text("No time of this length is free on that day.")


async def test_a_move_onto_another_snaps_back_with_the_reason(desk: Desk, ada: Person) -> None:
    """It is where it was, and the alert says what was in the way."""
    await ada.create(at(15, 11), title="Wanderer")
    await ada.create(at(15, 14), title="Rock")
    await desk.reload()
    await expect(desk.appointment("Rock")).to_be_visible()
    await desk.drag(await desk.point(TODAY, 11.25), await desk.point(TODAY, 14.25))
    await expect(desk.alert).to_contain_text("“Wanderer” is back where it was. This time overlaps “Rock”")
    assert "11:00 – 12:00" == await desk.span_of("Wanderer")


async def test_a_stale_edit_is_shown_and_mine_can_be_kept(desk: Desk, open_desk: Opener, ada: Person) -> None:
    """Only what was changed here is sent, on top of what the other has made of it."""
    await ada.create(at(15, 11), title="Draft")
    await desk.reload()
    await desk.open("Draft")
    other = await open_desk()
    await other.sign_in(ada.email)
    await other.open("Draft")
    await other.field("Location").fill("Room 9")
    await other.field("Title").fill("Their title")
    await other.save()
    await desk.field("Title").fill("My title")
    await desk.button("Save").click()
    await expect(desk.alert).to_contain_text("Somebody changed this appointment")
    await expect(desk.alert).to_contain_text("theirs is “Their title”, yours “My title”")
    await expect(desk.alert).to_contain_text("theirs is “Room 9”")
    await desk.button("Keep my changes").click()
    await expect(desk.appointment("My title")).to_be_visible()
    await desk.open("My title")
    await expect(desk.field("Location")).to_have_value("Room 9")


async def test_a_stale_edit_can_give_way_to_theirs(desk: Desk, open_desk: Opener, ada: Person) -> None:
    """Nothing of mine is sent."""
    await ada.create(at(15, 11), title="Draft")
    await desk.reload()
    await desk.open("Draft")
    other = await open_desk()
    await other.sign_in(ada.email)
    await other.open("Draft")
    await other.field("Title").fill("Their title")
    await other.save()
    await desk.field("Title").fill("My title")
    await desk.button("Save").click()
    await desk.button("Take theirs").click()
    await expect(desk.field("Title")).to_have_value("Their title")
    await desk.save()
    await expect(desk.appointment("Their title")).to_be_visible()


async def test_a_stale_move_is_not_made(desk: Desk, open_desk: Opener, ada: Person) -> None:
    """A drag of what somebody else has moved meanwhile shows where it is now."""
    await ada.create(at(15, 11), title="Contested")
    await desk.reload()
    other = await open_desk()
    await other.sign_in(ada.email)
    await other.open("Contested")
    await other.field("Starts").fill("2030-05-15T16:00")
    await other.save()
    await expect(desk.appointment("Contested")).to_be_visible()
    await desk.drag(await desk.point(TODAY, 11.25), await desk.point(TODAY, 14.25))
    await expect(desk.alert).to_contain_text("was changed somewhere else, so it was not moved")
    assert "16:00 – 17:00" == await desk.span_of("Contested")


async def test_an_edit_of_what_was_deleted_can_restore_it(desk: Desk, open_desk: Opener, ada: Person) -> None:
    """What was typed stays, and comes back with the appointment."""
    await ada.create(at(15, 11), title="Doomed")
    await desk.reload()
    await desk.open("Doomed")
    other = await open_desk()
    await other.sign_in(ada.email)
    await other.open("Doomed")
    await other.button("Delete").click()
    await expect(other.toast).to_contain_text("Deleted")
    await desk.field("Title").fill("Saved after all")
    await desk.button("Save").click()
    await expect(desk.alert).to_contain_text("deleted somewhere else")
    await desk.button("Restore it with my changes").click()
    await expect(desk.appointment("Saved after all")).to_be_visible()

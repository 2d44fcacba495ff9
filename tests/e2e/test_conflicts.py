"""Two who want the same: conflicts and stale edits, said plainly and never overwritten."""

from playwright.async_api import expect

from tests.clients import Person
from tests.e2e.conftest import Opener
from tests.e2e.tab import TODAY, Tab, at


async def test_a_conflict_names_the_other_keeps_what_was_typed_and_offers_a_free_time(tab: Tab, ada: Person) -> None:
    """The offer is the nearest free time of that day, and it can be booked."""
    await ada.create(at(16, 14), title="Workshop")
    await tab.write("Coffee", "2030-05-16T14:30")
    await tab.field("Notes").fill("With Emmy")
    await tab.button("Save").click()
    await expect(tab.alert).to_contain_text("This time overlaps “Workshop” (14:00 – 15:00).")
    await expect(tab.field("Notes")).to_have_value("With Emmy")
    await tab.button("Use 15:00 – 16:00").click()
    await tab.expect_time("Start", "2030-05-16T15:00")
    await expect(tab.alert).to_have_count(0)
    await tab.save()
    assert "15:00 – 16:00" == await tab.span_of("Coffee")


async def test_two_browsers_want_one_slot_and_one_gets_it(tab: Tab, open_tab: Opener, ada: Person) -> None:
    """The second is told by what the first has booked in between."""
    other = await open_tab()
    await other.sign_in(ada.email)
    await tab.write("Mine", "2030-05-16T10:00")
    await other.write("Also mine", "2030-05-16T10:00")
    await tab.save()
    await other.button("Save").click()
    await expect(other.alert).to_contain_text("overlaps “Mine” (10:00 – 11:00)")
    await expect(other.field("Title")).to_have_value("Also mine")


async def test_a_full_day_is_said_to_be_full(tab: Tab, ada: Person) -> None:
    """Where no time of that length is left, nothing is offered."""
    await ada.create(at(16, 2), (at(17, 2) - at(16, 2)), title="All day")
    await ada.create(at(15, 20), at(16, 2) - at(15, 20), title="Night before")
    await tab.write("Hopeless", "2030-05-16T10:00")
    await tab.button("Save").click()
    await expect(tab.alert).to_contain_text("There is no free time of this length on that day.")


async def test_a_move_onto_another_snaps_back_with_the_reason(tab: Tab, ada: Person) -> None:
    """It is where it was, and the alert says what was in the way."""
    await ada.create(at(15, 11), title="Wanderer")
    await ada.create(at(15, 14), title="Rock")
    await tab.reload()
    await expect(tab.appointment("Rock")).to_be_visible()
    await tab.drag(await tab.point(TODAY, 11.25), await tab.point(TODAY, 14.25))
    await expect(tab.alert).to_contain_text("“Wanderer” was not moved. This time overlaps “Rock”")
    assert "11:00 – 12:00" == await tab.span_of("Wanderer")


async def test_a_stale_edit_is_shown_and_mine_can_be_kept(tab: Tab, open_tab: Opener, ada: Person) -> None:
    """Only what was changed here is sent, on top of what the other has made of it."""
    await ada.create(at(15, 11), title="Draft")
    await tab.reload()
    await tab.open("Draft")
    other = await open_tab()
    await other.sign_in(ada.email)
    await other.open("Draft")
    await other.field("Location").fill("Room 9")
    await other.field("Title").fill("Their title")
    await other.save()
    await tab.field("Title").fill("My title")
    await tab.button("Save").click()
    await expect(tab.alert).to_contain_text("Somebody changed this appointment")
    await expect(tab.alert).to_contain_text("theirs is “Their title”, yours “My title”")
    await expect(tab.alert).to_contain_text("theirs is “Room 9”")
    await tab.button("Keep my changes").click()
    await expect(tab.appointment("My title")).to_be_visible()
    await tab.open("My title")
    await expect(tab.field("Location")).to_have_value("Room 9")


async def test_a_stale_edit_can_give_way_to_theirs(tab: Tab, open_tab: Opener, ada: Person) -> None:
    """Nothing of mine is sent."""
    await ada.create(at(15, 11), title="Draft")
    await tab.reload()
    await tab.open("Draft")
    other = await open_tab()
    await other.sign_in(ada.email)
    await other.open("Draft")
    await other.field("Title").fill("Their title")
    await other.save()
    await tab.field("Title").fill("My title")
    await tab.button("Save").click()
    await tab.button("Use their version").click()
    await expect(tab.field("Title")).to_have_value("Their title")
    await tab.save()
    await expect(tab.appointment("Their title")).to_be_visible()


async def test_a_stale_move_is_not_made(tab: Tab, open_tab: Opener, ada: Person) -> None:
    """A drag of what somebody else has moved meanwhile shows where it is now."""
    # Without the stream of changes the tab does not hear of it before.
    await tab.page.route("**/WatchChanges", lambda route: route.abort())
    await ada.create(at(15, 11), title="Contested")
    await tab.reload()
    other = await open_tab()
    await other.sign_in(ada.email)
    await other.open("Contested")
    await other.set_time("Start", "2030-05-15T16:00")
    await other.save()
    await expect(tab.appointment("Contested")).to_be_visible()
    await tab.drag(await tab.point(TODAY, 11.25), await tab.point(TODAY, 14.25))
    await expect(tab.alert).to_contain_text("was not moved, because it was changed somewhere else")
    assert "16:00 – 17:00" == await tab.span_of("Contested")


async def test_an_edit_of_what_was_deleted_can_restore_it(tab: Tab, open_tab: Opener, ada: Person) -> None:
    """What was typed stays, and comes back with the appointment."""
    await ada.create(at(15, 11), title="Doomed")
    await tab.reload()
    await tab.open("Doomed")
    other = await open_tab()
    await other.sign_in(ada.email)
    await other.open("Doomed")
    await other.button("Delete").click()
    await expect(other.toast).to_contain_text("Deleted")
    await tab.field("Title").fill("Saved after all")
    await tab.button("Save").click()
    await expect(tab.alert).to_contain_text("Somebody deleted this appointment")
    await tab.button("Restore with my changes").click()
    await expect(tab.appointment("Saved after all")).to_be_visible()

"""Whom one invites: chips that are typed, pasted and suggested, by keyboard and by mouse."""

import pytest
from playwright.async_api import Locator, expect

from appointments.v1 import appointments_pb2 as pb
from tests.clients import Person
from tests.e2e.conftest import Opener
from tests.e2e.tab import Tab, at
from tests.e2e.test_access import violations
from tests.e2e.test_invitations import confirm

GRACE = pb.Attendee(email="grace@example.org", display_name="Grace Hopper")
LINUS = pb.Attendee(email="linus@example.org")


def chips(tab: Tab) -> Locator:
    """Who is invited, in the editor."""
    return tab.page.get_by_role("list", name="Invited").get_by_role("listitem")


def choices(tab: Tab) -> Locator:
    """Who is suggested."""
    return tab.page.get_by_role("listbox", name="People you know").get_by_role("option")


async def invited(ada: Person, title: str) -> list[tuple[str, str]]:
    """Who the server has in the appointment of that title."""
    found = await ada.appointments.ListAppointments(pb.ListAppointmentsRequest(), metadata=ada.metadata)
    (one,) = [each for each in found.appointments if each.title == title]
    return [(each.email, each.display_name) for each in one.attendees]


async def test_people_one_has_met_are_suggested_and_added_by_keyboard(tab: Tab, ada: Person) -> None:
    """Arrows choose, Enter adds, Escape closes the list alone, Backspace takes the last one away; the editor stays."""
    for hour in (9, 10):
        await ada.create(at(13, hour), title="Met before", attendees=[GRACE])
    await ada.create(at(13, 11), title="Met once", attendees=[LINUS])
    await tab.reload()
    await tab.write("Lunch", "2030-05-16T12:00")
    people = tab.field("Attendees")
    await people.focus()
    await people.press("ArrowDown")
    await expect(choices(tab)).to_have_text(["Grace Hopper grace@example.org", "linus@example.org"])
    await people.press("ArrowDown")
    await expect(choices(tab).nth(1)).to_have_attribute("aria-selected", "true")
    await expect(people).to_have_attribute("aria-activedescendant", "person-1")
    await people.press("Enter")
    await expect(chips(tab)).to_have_text(["linus@example.org"])
    await expect(choices(tab)).to_have_count(0)
    await people.press_sequentially("hop")
    await expect(choices(tab)).to_have_text(["Grace Hopper grace@example.org"])
    await people.press("Escape")
    await expect(choices(tab)).to_have_count(0)
    await people.press_sequentially("p")
    await expect(choices(tab)).to_have_count(1)
    await people.press(",")
    await expect(chips(tab)).to_have_text(["linus@example.org", "Grace Hopper"])
    await people.press_sequentially("third@example.org")
    await people.press("Tab")
    await expect(chips(tab)).to_have_count(3)
    await expect(people).not_to_be_focused()
    await people.focus()
    await people.press("Backspace")
    await expect(chips(tab)).to_have_text(["linus@example.org", "Grace Hopper"])
    await tab.button("Remove linus@example.org").click()
    await expect(chips(tab)).to_have_text(["Grace Hopper"])
    await expect(people).to_be_focused()
    await tab.save()
    assert [("grace@example.org", "Grace Hopper")] == await invited(ada, "Lunch")
    assert [] == tab.errors


async def test_a_list_that_is_pasted_becomes_chips_and_a_wrong_address_says_why(tab: Tab, ada: Person) -> None:
    """It stays, marked, until it is corrected; nothing is saved with it."""
    await tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await tab.write("Party", "2030-05-16T12:00")
    people = tab.field("Attendees")
    pasted = '"Hopper, Grace" <grace@example.org>\nlinus@example.org, nobody; Emmy <emmy@example.org>'
    await tab.page.evaluate("(text) => navigator.clipboard.writeText(text)", pasted)
    await people.focus()
    await people.press("ControlOrMeta+v")
    await expect(chips(tab)).to_have_text(["Hopper, Grace", "linus@example.org", "nobody", "Emmy"])
    await expect(people).to_have_accessible_description("“nobody” is not an address: it has no @.")
    await tab.button("Save").click()
    await expect(people).to_be_focused()
    await expect(people).to_have_attribute("aria-invalid", "true")
    await tab.button("Correct nobody").click()
    await expect(people).to_have_value("nobody")
    await people.press_sequentially("@example.org")
    await people.press("Enter")
    await expect(chips(tab)).to_have_count(4)
    await expect(people).to_have_attribute("aria-invalid", "false")
    # Who is there already is not added again.
    await people.fill("GRACE@example.org,")
    await expect(people).to_have_value("")
    await expect(chips(tab)).to_have_count(4)
    await people.fill("last@example.org")
    await tab.save()
    expected = [
        ("grace@example.org", "Hopper, Grace"),
        ("linus@example.org", ""),
        ("emmy@example.org", "Emmy"),
        ("nobody@example.org", ""),
        ("last@example.org", ""),
    ]
    assert expected == await invited(ada, "Party")
    await tab.open("Party")
    await expect(chips(tab)).to_have_text(
        ["Hopper, Grace", "linus@example.org", "Emmy", "nobody@example.org", "last@example.org"]
    )
    # Nothing was touched, so nothing is said to be lost.
    await tab.button("Cancel").click()
    await expect(tab.page.get_by_role("dialog")).to_have_count(0)
    await expect(tab.toast).to_have_count(0)
    assert [] == tab.errors


async def test_what_was_saved_says_how_many_hear_of_it(tab: Tab, ada: Person, database: str) -> None:
    """Nobody before the organizer's address is confirmed; then who comes or goes, or all of them."""
    await tab.write("Lunch", "2030-05-16T12:00")
    await tab.field("Attendees").fill("a@example.org, b@example.org")
    await tab.save()
    await expect(tab.toast).to_contain_text("2 invited, who get mail once you have confirmed your address.")
    confirm(database, ada)
    await tab.reload()
    await tab.write("Tea", "2030-05-17T12:00")
    await tab.field("Attendees").fill("a@example.org, b@example.org, c@example.org")
    await tab.save()
    await expect(tab.toast).to_contain_text("Saved “Tea”. Sent to 3 people.")
    await tab.open("Tea")
    await tab.button("Remove b@example.org").click()
    await tab.field("Attendees").fill("d@example.org")
    await tab.save()
    await expect(tab.toast).to_contain_text("Saved “Tea”. Sent to 2 people.")
    await tab.open("Tea")
    await tab.field("Location").fill("Garden")
    await tab.save()
    await expect(tab.toast).to_contain_text("Saved “Tea”. Sent to 3 people.")
    await tab.book("Alone", "2030-05-18T12:00")
    await expect(tab.appointment("Alone")).to_be_visible()
    await expect(tab.toast).to_have_count(0)
    assert [] == tab.errors


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_chips_fit_a_phone_and_violate_nothing_of_axe(open_tab: Opener, ada: Person, scheme: str) -> None:
    """Long names, a wrong address and the open list, at 360 pixels."""
    await ada.create(at(13, 9), title="Met", attendees=[GRACE, LINUS])
    tab = await open_tab(email=ada.email, viewport={"width": 360, "height": 740}, color_scheme=scheme)
    await expect(tab.button("New appointment")).to_be_visible()
    await tab.settled()
    await tab.write("On the go", "2030-05-16T18:00")
    people = tab.field("Attendees")
    name = "Wolfeschlegelsteinhausenbergerdorff" * 2
    await people.fill(f"{name} <{'w' * 60}@{'example' * 6}.org>, nobody, ")
    await expect(chips(tab)).to_have_count(2)
    await people.press_sequentially("gra")
    await expect(choices(tab)).to_have_count(1)
    assert [] == await violations(tab.page)
    for box in [await each.bounding_box() for each in [*await chips(tab).all(), choices(tab).first]]:
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
    assert 360 == await tab.page.evaluate("document.documentElement.scrollWidth")
    await choices(tab).first.click()
    await expect(chips(tab)).to_have_count(3)
    assert [] == tab.errors

"""Everything by keyboard alone."""

import re

from playwright.async_api import expect

from tests.clients import PASSWORD, Person
from tests.e2e.conftest import Opener
from tests.e2e.desk import TODAY, Desk, at


async def test_from_signing_in_to_deleting_without_a_mouse(open_desk: Opener, ada: Person) -> None:
    """Sign in, walk to a time, book it, open it, change it, delete it and undo that."""
    desk = await open_desk()
    press, write = desk.page.keyboard.press, desk.page.keyboard.type
    await desk.field("Email").focus()
    await write(ada.email)
    await press("Tab")
    await write(PASSWORD)
    await desk.button("Sign in").focus()
    await press("Enter")
    await expect(desk.button("New appointment")).to_be_visible()
    await desk.settled()
    await desk.button("New appointment").focus()
    await press("Tab")  # the calendar: one stop, at today
    focused = desk.page.locator(":focus")
    await expect(focused).to_have_attribute("data-day", TODAY)
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "Shift+ArrowDown"):
        await press(key)
    await expect(focused).to_have_attribute("data-day", "2030-05-16")
    await expect(focused).to_have_accessible_name(re.compile("^Thursday,? 16 May 2030, 11:30 – 13:00$"))
    await press("Enter")
    await expect(desk.field("Title")).to_be_focused()
    await write("By hand")
    await press("Enter")
    await expect(desk.page.get_by_role("dialog")).to_have_count(0)
    await expect(desk.appointment("By hand")).to_be_focused()
    await press("Enter")
    await expect(desk.field("Title")).to_have_value("By hand")
    await press("Escape")
    await expect(desk.appointment("By hand")).to_be_focused()
    await press("Enter")
    await desk.button("Delete").focus()
    await press("Enter")
    await expect(desk.appointment("By hand")).to_have_count(0)
    await desk.button("Undo").focus()
    await press("Enter")
    await expect(desk.appointment("By hand")).to_be_focused()


async def test_arrows_walk_through_a_month_and_over_its_edge(desk: Desk, ada: Person) -> None:
    """Each day says its date and how much is booked; the page turns by itself."""
    await ada.create(at(16, 11), title="One")
    await desk.show("Month")
    await desk.reload()
    await desk.page.locator(f'[data-day="{TODAY}"]').focus()
    focused = desk.page.locator(":focus")
    await desk.page.keyboard.press("ArrowRight")
    await expect(focused).to_have_accessible_name(re.compile("^Thursday,? 16 May 2030, 1 appointment$"))
    for _ in range(3):
        await desk.page.keyboard.press("ArrowDown")
    await expect(focused).to_have_attribute("data-day", "2030-06-06")
    await expect(desk.page.get_by_role("heading", level=1)).to_have_text("June 2030")
    await desk.page.keyboard.press("PageUp")
    await expect(focused).to_have_attribute("data-day", "2030-05-06")
    await desk.page.keyboard.press("Enter")
    await expect(desk.field("Starts")).to_have_value("2030-05-06T09:00")
    await desk.page.keyboard.press("Escape")
    await expect(focused).to_have_attribute("data-day", "2030-05-06")


async def test_letters_work_in_the_calendar_and_nowhere_else(desk: Desk) -> None:
    """A person who types or dictates must not trip over them (WCAG 2.1.4)."""
    await desk.page.locator(f'[data-day="{TODAY}"]').focus()
    await desk.page.keyboard.press("m")
    await expect(desk.button("Month")).to_have_attribute("aria-pressed", "true")
    await desk.page.keyboard.press("n")
    await expect(desk.field("Title")).to_be_focused()
    await desk.page.keyboard.press("Escape")
    await desk.field("Search").focus()
    await desk.page.keyboard.type("wand")
    await expect(desk.button("Month")).to_have_attribute("aria-pressed", "true")


async def test_focus_is_always_to_be_seen(desk: Desk) -> None:
    """Every stop of the Tab key has an outline and is on the screen."""
    await desk.book("Something")
    seen = set()
    for _ in range(40):
        await desk.page.keyboard.press("Tab")
        stop = await desk.page.evaluate(
            """() => {
                const element = document.activeElement;
                if (element === document.body) return null;
                const { outlineStyle, outlineWidth } = getComputedStyle(element);
                const { left, top, right, bottom } = element.getBoundingClientRect();
                return {
                    name: element.getAttribute("aria-label") || element.textContent.trim() || element.id,
                    outlined: outlineStyle !== "none" && parseFloat(outlineWidth) >= 2,
                    onScreen: right > 0 && bottom > 0 && left < innerWidth && top < innerHeight,
                };
            }"""
        )
        if stop is None:
            continue
        assert stop["outlined"], stop
        assert stop["onScreen"], stop
        seen.add(stop["name"][:12])
    assert len(seen) > 10

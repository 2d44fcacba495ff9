"""Everything by keyboard alone."""

import re

from playwright.async_api import expect

from tests.clients import PASSWORD, Person
from tests.e2e.conftest import Opener
from tests.e2e.tab import TODAY, Tab, at


async def test_from_signing_in_to_deleting_without_a_mouse(open_tab: Opener, ada: Person) -> None:
    """Sign in, walk to a time, book it, open it, change it, delete it and undo that."""
    tab = await open_tab()
    press, write = tab.page.keyboard.press, tab.page.keyboard.type
    await tab.field("Email").focus()
    await write(ada.email)
    await press("Tab")
    await write(PASSWORD)
    await tab.button("Sign in").focus()
    await press("Enter")
    await expect(tab.button("New appointment")).to_be_visible()
    await tab.settled()
    # The calendar has the focus: one stop of the Tab key, at today.
    focused = tab.page.locator(":focus")
    await expect(focused).to_have_attribute("data-day", TODAY)
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "Shift+ArrowDown"):
        await press(key)
    await expect(focused).to_have_attribute("data-day", "2030-05-16")
    await expect(focused).to_have_accessible_name(re.compile("^Thursday,? 16 May 2030, 11:30 – 13:00$"))
    await press("Enter")
    await expect(tab.field("Title")).to_be_focused()
    await write("By hand")
    await press("Enter")
    await expect(tab.page.get_by_role("dialog")).to_have_count(0)
    await expect(tab.appointment("By hand")).to_be_focused()
    await press("Enter")
    await expect(tab.field("Title")).to_have_value("By hand")
    await press("Escape")
    await expect(tab.appointment("By hand")).to_be_focused()
    await press("Enter")
    await tab.button("Delete").focus()
    await press("Enter")
    await expect(tab.appointment("By hand")).to_have_count(0)
    await tab.button("Undo").focus()
    await press("Enter")
    await expect(tab.appointment("By hand")).to_be_focused()


async def test_arrows_walk_through_a_month_and_over_its_edge(tab: Tab, ada: Person) -> None:
    """Each day says its date and how much is booked; the page turns by itself."""
    await ada.create(at(16, 11), title="One")
    await tab.show("Month")
    await tab.reload()
    await tab.page.locator(f'[data-day="{TODAY}"]').focus()
    focused = tab.page.locator(":focus")
    await tab.page.keyboard.press("ArrowRight")
    await expect(focused).to_have_accessible_name(re.compile("^Thursday,? 16 May 2030, 1 appointment$"))
    for _ in range(3):
        await tab.page.keyboard.press("ArrowDown")
    await expect(focused).to_have_attribute("data-day", "2030-06-06")
    await expect(tab.page.get_by_role("heading", level=1)).to_have_text("June 2030")
    await tab.page.keyboard.press("PageUp")
    await expect(focused).to_have_attribute("data-day", "2030-05-06")
    await tab.page.keyboard.press("Enter")
    await tab.expect_time("Start", "2030-05-06T09:00")
    await tab.page.keyboard.press("Escape")
    await expect(focused).to_have_attribute("data-day", "2030-05-06")


async def test_letters_work_in_the_calendar_and_nowhere_else(tab: Tab) -> None:
    """A person who types or dictates must not trip over them (WCAG 2.1.4)."""
    await tab.page.locator(f'[data-day="{TODAY}"]').focus()
    await tab.page.keyboard.press("m")
    await expect(tab.button("Month")).to_have_attribute("aria-pressed", "true")
    await tab.page.keyboard.press("n")
    await expect(tab.field("Title")).to_be_focused()
    await tab.page.keyboard.press("Escape")
    await expect(tab.page.get_by_role("dialog")).to_have_count(0)  # it has given the focus back to the calendar
    await tab.field("Search").focus()
    await tab.page.keyboard.type("wand")
    await expect(tab.button("Month")).to_have_attribute("aria-pressed", "true")


async def test_the_calendar_has_the_focus_after_signing_in_so_that_shortcuts_work(
    open_tab: Opener, ada: Person
) -> None:
    """No click is needed first; ? lists the keys, and what opened a dialog gets the focus back."""
    tab = await open_tab()
    await tab.sign_in(ada.email)
    await expect(tab.page.locator(":focus")).to_have_attribute("data-day", TODAY)
    await tab.page.keyboard.press("?")
    help_dialog = tab.page.get_by_role("dialog", name="Keyboard shortcuts")
    await expect(help_dialog.get_by_text("New appointment")).to_be_visible()
    await expect(help_dialog.get_by_text("Go to today")).to_be_visible()
    await tab.page.keyboard.press("Escape")
    await expect(tab.page.locator(":focus")).to_have_attribute("data-day", TODAY)
    await tab.page.keyboard.press("m")
    await expect(tab.button("Month")).to_have_attribute("aria-pressed", "true")
    await tab.reload()
    await expect(tab.page.locator(":focus")).to_have_attribute("data-day", TODAY)
    await tab.page.keyboard.press("n")
    await expect(tab.field("Title")).to_be_focused()


async def test_the_account_menu_works_by_keyboard(tab: Tab) -> None:
    """Arrows walk, Escape gives the focus back, Enter chooses."""
    press, focused = tab.page.keyboard.press, tab.page.locator(":focus")
    await tab.account_menu.focus()
    await press("ArrowDown")
    await expect(focused).to_have_text("Account")
    await press("ArrowUp")
    await expect(focused).to_have_text("Sign out")
    await press("Escape")
    await expect(tab.account_menu).to_be_focused()
    await expect(tab.page.get_by_role("menu")).to_have_count(0)
    await press("Enter")
    await press("Enter")
    await expect(tab.page.get_by_role("dialog", name="Account")).to_be_visible()
    await press("Escape")
    await expect(tab.account_menu).to_be_focused()


async def test_focus_is_always_to_be_seen(tab: Tab) -> None:
    """Every stop of the Tab key has an outline and is on the screen."""
    await tab.book("Something")
    seen = set()
    for _ in range(40):
        await tab.page.keyboard.press("Tab")
        stop = await tab.page.evaluate(
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

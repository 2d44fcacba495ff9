"""The date and time fields of the editor."""

import re

import pytest
from playwright.async_api import expect

from tests.clients import HOUR, Person
from tests.e2e.conftest import Opener
from tests.e2e.tab import Tab, at


@pytest.mark.parametrize(
    ("typed", "shown"), [("9:30", "09:30"), ("930", "09:30"), ("2pm", "14:00"), ("14", "14:00"), ("12am", "00:00")]
)
async def test_a_time_is_typed_in_any_usual_form(tab: Tab, typed: str, shown: str) -> None:
    """The field shows it on the chosen clock once it is left, and the end goes along."""
    await tab.write("Typed", "2030-05-16T10:00")
    await tab.field("Start time").fill(typed)
    await tab.page.keyboard.press("Tab")
    await expect(tab.field("Start time")).to_have_value(shown)
    await tab.expect_time("End", f"2030-05-16T{(int(shown[:2]) + 1):02}{shown[2:]}")


async def test_the_fields_follow_the_chosen_clock_and_language(open_tab: Opener, ada: Person) -> None:
    """Twelve hours in America, with the month first; the same instant is booked."""
    tab = await open_tab(locale="en-US")
    await tab.sign_in(ada.email)
    await tab.button("New appointment").click()
    await tab.field("Title").fill("American")
    await tab.field("Start date").fill("5/16")
    await tab.field("Start time").fill("14:15")
    await tab.field("End time").fill("3:30 pm")
    await tab.field("Title").focus()
    await expect(tab.field("Start date")).to_have_value("Thu, May 16, 2030")
    await expect(tab.field("Start time")).to_have_value(re.compile(r"2:15\sPM"))
    await expect(tab.field("End time")).to_have_value(re.compile(r"3:30\sPM"))
    await tab.save()
    assert "2:15 PM – 3:30 PM" == (await tab.span_of("American")).replace("\u202f", " ")


async def test_moving_the_start_keeps_the_length_also_of_what_is_booked(tab: Tab, ada: Person) -> None:
    """By typing, from the list, over midnight, and on another day."""
    await ada.create(at(15, 11), HOUR * 2, title="Two hours")
    await tab.reload()
    await tab.open("Two hours")
    await tab.field("Start time").fill("23:00")
    await tab.expect_time("End", "2030-05-16T01:00")
    await tab.field("Start date").fill("friday")
    await tab.expect_time("End", "2030-05-18T01:00")
    await tab.field("Start time").click()
    await tab.page.get_by_role("option", name="08:30").click()
    await tab.expect_time("Start", "2030-05-17T08:30")
    await tab.expect_time("End", "2030-05-17T10:30")
    await tab.save()
    assert "08:30 – 10:30" == await tab.span_of("Two hours")


async def test_the_list_of_ends_says_how_long_it_would_last(tab: Tab) -> None:
    """By keyboard: it opens, walks, chooses; past midnight is the next day; Escape closes the list, not the editor."""
    await tab.write("Late", "2030-05-16T22:30")
    press = tab.page.keyboard.press
    await tab.field("End time").focus()
    await press("ArrowDown")
    await expect(tab.page.get_by_role("option", name="23:30 1 h", exact=True)).to_have_attribute(
        "aria-selected", "true"
    )
    for _ in range(2):
        await press("ArrowDown")
    await expect(tab.page.get_by_role("option", name="00:30 2 h", exact=True)).to_have_attribute(
        "aria-selected", "true"
    )
    await press("Enter")
    await tab.expect_time("End", "2030-05-17T00:30")
    await press("ArrowDown")
    await expect(tab.page.get_by_role("listbox")).to_be_visible()
    await press("Escape")
    await expect(tab.page.get_by_role("listbox")).to_have_count(0)
    await expect(tab.field("Title")).to_have_value("Late")


async def test_a_day_is_picked_from_a_month_by_keyboard(tab: Tab) -> None:
    """Arrows walk through days and over the edge, Enter takes one, Escape leaves it as it was."""
    await tab.write("Picked", "2030-05-30T10:00")
    press, focused = tab.page.keyboard.press, tab.page.locator(":focus")
    await tab.field("Start date").focus()
    await press("ArrowDown")
    await expect(focused).to_have_attribute("data-date", "2030-05-30")
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        await press(key)
    await expect(focused).to_have_attribute("data-date", "2030-06-08")
    await press("Escape")
    await expect(tab.field("Start date")).to_be_focused()
    await tab.expect_time("Start", "2030-05-30T10:00")
    await press("ArrowDown")
    await press("PageDown")
    await press("Enter")
    await expect(tab.field("Start date")).to_be_focused()
    await tab.expect_time("Start", "2030-06-30T10:00")
    await tab.expect_time("End", "2030-06-30T11:00")


async def test_what_cannot_be_read_is_said_and_stays_to_be_corrected(tab: Tab) -> None:
    """Beside its field, which gets the focus."""
    await tab.write("Soon", "2030-05-16T10:00")
    await tab.field("Start time").fill("soonish")
    await tab.button("Save").click()
    await expect(tab.field("Start time")).to_have_accessible_description(
        "Please type a day and a time, such as 16 May and 9:30."
    )
    await expect(tab.field("Start time")).to_be_focused()
    await expect(tab.field("Start time")).to_have_value("soonish")
    await tab.field("Start time").fill("9")
    await tab.save()
    assert "09:00 – 11:00" == await tab.span_of("Soon")

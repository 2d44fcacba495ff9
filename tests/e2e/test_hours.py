"""One's own working hours: written in the account, and shaded in the calendar."""

import re
import uuid

import pytest
from playwright.async_api import Locator, expect

from appointments.v1 import account_pb2, resources_pb2
from tests.clients import Person
from tests.e2e.conftest import Opener
from tests.e2e.resources import room
from tests.e2e.tab import Tab, at
from tests.e2e.test_access import violations


async def hours(person: Person) -> resources_pb2.Hours:
    """What the server has."""
    answer = await person.account.GetCurrentUser(account_pb2.GetCurrentUserRequest(), metadata=person.metadata)
    return answer.user.hours


def spans(days: resources_pb2.Hours) -> list[tuple[int, int, int]]:
    """The week."""
    return [(each.weekday, each.start_minute, each.end_minute) for each in days.week]


async def section(tab: Tab) -> Locator:
    """The part of the account about hours."""
    await tab.choose("Account")
    return tab.page.get_by_role("region", name="Working hours")


async def test_hours_are_written_by_the_keyboard_kept_and_shaded(tab: Tab, ada: Person) -> None:
    """Several spans of a day, a date of its own; what is closed is shaded, and said to whoever does not see it."""
    await expect(tab.page.locator(".closed")).to_have_count(0)
    part = await section(tab)
    await part.get_by_label("Only at certain hours").press("Space")
    await expect(part.get_by_label("Monday")).to_have_value("09:00 – 17:00")
    await part.get_by_label("Monday").fill("13-5pm, 8:30-12")
    await part.get_by_label("Monday").press("Tab")
    await expect(part.get_by_label("Monday")).to_have_value("08:30 – 12:00, 13:00 – 17:00")
    await part.get_by_label("Wednesday").fill("")
    await part.get_by_label("A date with other hours").fill("16 May 2030")
    await part.get_by_role("button", name="Add date").press("Enter")
    thursday = part.get_by_role("textbox", name=re.compile("16 May 2030$"))
    await thursday.fill("10-11")
    await thursday.press("Enter")
    await expect(part.get_by_text("Saved.")).to_be_visible()
    kept = await hours(ada)
    assert [(1, 510, 720), (1, 780, 1020), (2, 540, 1020), (4, 540, 1020), (5, 540, 1020)] == spans(kept)
    assert [("2030-05-16", [(600, 660)])] == [
        (each.date, [(span.start_minute, span.end_minute) for span in each.hours]) for each in kept.special_days
    ]
    await tab.page.keyboard.press("Escape")
    # Monday has three of them, Wednesday and the weekend are closed, the others have two each.
    await expect(tab.page.locator(".closed").first).to_be_attached()
    await tab.show("Day")
    slot = tab.page.locator("[data-day='2030-05-15']")
    await expect(slot).to_have_accessible_name("Wednesday, 15 May 2030, 10:30 – 11:30, outside your hours")
    await tab.button("Next").click()
    await tab.settled()
    await expect(tab.page.locator(".closed")).to_have_count(2)
    slot = tab.page.locator("[data-day='2030-05-16']")
    await expect(slot).to_have_accessible_name("Thursday, 16 May 2030, 10:30 – 11:30, outside your hours")
    # Hours are an offer to others: one's own evening is one's own.
    await tab.book("All the same", "2030-05-16T20:00")
    await tab.reload()
    part = await section(tab)
    await expect(part.get_by_label("Monday")).to_have_value("08:30 – 12:00, 13:00 – 17:00")
    await part.get_by_role("button", name=re.compile("^Remove .*16 May 2030$")).click()
    await part.get_by_label("Only at certain hours").uncheck()
    await part.get_by_role("button", name="Save hours").click()
    await expect(part.get_by_text("Saved.")).to_be_visible()
    assert ([], 0) == (spans(await hours(ada)), len((await hours(ada)).special_days))
    await expect(tab.page.locator(".closed")).to_have_count(0)
    assert [] == tab.errors


async def test_a_day_of_rooms_shades_when_each_is_closed(tab: Tab, ada: Person) -> None:
    """The person's own column, and that of a room on the clock of its own zone."""
    noon = [resources_pb2.DayHours(weekday=day, start_minute=720, end_minute=780) for day in range(1, 8)]
    name = f"0 Hall {uuid.uuid4().hex[:6]}"
    private = resources_pb2.RESOURCE_ROLE_UNSPECIFIED
    await room(ada, name, time_zone="UTC", hours=resources_pb2.Hours(week=noon), default_role=private)
    part = await section(tab)
    await part.get_by_label("Only at certain hours").check()
    await part.get_by_role("button", name="Save hours").click()
    await expect(part.get_by_text("Saved.")).to_be_visible()
    await tab.page.keyboard.press("Escape")
    await tab.button("Rooms").click()
    await tab.show("Day")
    await expect(tab.page.locator("strong").filter(has_text=name)).to_be_visible()
    await expect(tab.page.locator(".closed")).to_have_count(4)
    heights = await tab.page.locator(".closed").evaluate_all("all => all.map(one => one.clientHeight)")
    day = await tab.page.locator(".ec-day:has([data-day])").first.evaluate("one => one.clientHeight")
    assert [7, 9, 9, 14] == sorted(round(24 * height / day) for height in heights)
    assert [] == await violations(tab.page)


async def test_hours_that_cannot_be_read_are_said_and_not_kept(tab: Tab, ada: Person) -> None:
    """Beside the field, and again at the button; a week without any is refused too."""
    part = await section(tab)
    await part.get_by_label("Only at certain hours").check()
    await part.get_by_label("Friday").fill("17-9")
    await part.get_by_label("Friday").press("Tab")
    await expect(part.get_by_label("Friday")).to_have_attribute("aria-invalid", "true")
    await expect(part.get_by_label("Friday")).to_have_accessible_description("Please write it like “09:00 – 17:00”.")
    await part.get_by_role("button", name="Save hours").click()
    await expect(part.get_by_role("alert")).to_contain_text("could not be read")
    for day in ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday"):
        await part.get_by_label(day).fill("")
    await part.get_by_role("button", name="Save hours").click()
    await expect(part.get_by_role("alert")).to_contain_text("one weekday at least")
    assert [] == spans(await hours(ada))


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_hours_violate_nothing_of_axe(open_tab: Opener, ada: Person, scheme: str) -> None:
    """The form with a fault, and the shaded week."""
    tab = await open_tab(email=ada.email, color_scheme=scheme)
    await expect(tab.button("New appointment")).to_be_visible()
    part = await section(tab)
    await part.get_by_label("Only at certain hours").check()
    await part.get_by_label("A date with other hours").fill("24 December 2030")
    await part.get_by_role("button", name="Add date").click()
    await part.get_by_role("button", name="Save hours").click()
    await expect(part.get_by_text("Saved.")).to_be_visible()
    await part.get_by_label("Friday").fill("never")
    await part.get_by_label("Friday").press("Tab")
    assert [] == await violations(tab.page)
    await tab.page.keyboard.press("Escape")
    await ada.create(at(15, 19), title="Late")
    await tab.reload()
    await expect(tab.page.locator(".closed").first).to_be_attached()
    assert [] == await violations(tab.page)

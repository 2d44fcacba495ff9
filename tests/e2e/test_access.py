"""For everyone: no axe violation on any screen in either scheme, small screens, touch, reduced motion."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from playwright.async_api import Page, expect

from appointments.v1 import appointments_pb2, resources_pb2
from tests.clients import HOUR, Person
from tests.e2e.conftest import Opener
from tests.e2e.resources import room
from tests.e2e.tab import Tab, at
from tests.service import ROOT

AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
# Everything of WCAG 2.2 AA, and axe's best practices.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


async def violations(page: Page) -> list[str]:
    """What axe finds, and what it says of it."""
    if not await page.evaluate("'axe' in window"):
        # Through the debugger: the page's own policy lets no foreign script in.
        await page.evaluate(Path(AXE).read_text())
    found: list[dict[str, Any]] = await page.evaluate(
        "async (tags) => (await axe.run({ runOnly: tags })).violations", RULES
    )
    return [f"{each['id']}: {node['html'][:160]}: {node['failureSummary']}" for each in found for node in each["nodes"]]


async def crowd(ada: Person) -> None:
    """Appointments of several kinds."""
    await ada.create(at(13, 9), HOUR / 2, title="Stand-up")
    await ada.create(at(14, 10), title="Design review", location="Studio")
    await ada.create(at(15, 14), title="Call", time_zone="Asia/Tokyo", buffer_before=Duration(seconds=900))
    await ada.create(at(17, 9), title="Open house", transparency=appointments_pb2.TRANSPARENCY_TRANSPARENT)
    await ada.create(at(18, 2) - 2 * HOUR, 24 * HOUR, title="Fair", all_day=True)
    projection = await room(ada, "Projection room", default_role=resources_pb2.RESOURCE_ROLE_UNSPECIFIED)
    await ada.create(at(15, 17), title="Rehearsal", resource_ids=[projection.id])
    await ada.create(at(24, 20), 40 * HOUR, title="Conference")
    for number in range(8):
        await ada.create(at(23, 9 + number), title=f"Busy {number}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_screen_violates_axe(open_tab: Opener, ada: Person, scheme: str) -> None:
    """The forms, the four views, the editor with a conflict, the account, the messages."""
    await crowd(ada)
    tab = await open_tab(color_scheme=scheme)
    screens = {"sign up": await violations(tab.page)}
    await tab.button("Create account").click()
    await expect(tab.field("Email")).to_have_attribute("aria-invalid", "true")
    screens["sign up with faults"] = await violations(tab.page)
    await tab.sign_in(ada.email)
    for view in ("Month", "Day", "Agenda", "Week"):
        await tab.show(view)
        screens[view] = await violations(tab.page)
    await tab.button("Rooms").click()
    await expect(tab.page.get_by_role("strong").filter(has_text="Projection room")).to_be_visible()
    screens["rooms of a week"] = await violations(tab.page)
    await tab.show("Day")
    screens["rooms of a day"] = await violations(tab.page)
    await tab.choose("Rooms and equipment")
    await tab.button("Edit Projection room").first.click()
    await expect(tab.page.get_by_label("What Ada can do")).to_be_visible()
    screens["a room"] = await violations(tab.page)
    await tab.page.keyboard.press("Escape")
    await tab.show("Month")
    await tab.page.get_by_role("button", name="more").first.click()
    screens["more"] = await violations(tab.page)
    await tab.show("Week")
    await tab.write("Conflict", "2030-05-14T10:30")
    screens["editor"] = await violations(tab.page)
    await tab.field("Start date").click()
    screens["month to pick a day"] = await violations(tab.page)
    await tab.field("End time").click()
    screens["list of times"] = await violations(tab.page)
    await tab.field("Title").click()
    await tab.button("Save").click()
    await expect(tab.button("Use 11:00 – 12:00")).to_be_visible()
    screens["conflict"] = await violations(tab.page)
    await tab.button("Cancel").click()
    await expect(tab.toast).to_be_visible()
    screens["message"] = await violations(tab.page)
    await tab.account_menu.click()
    screens["menu"] = await violations(tab.page)
    await tab.page.get_by_role("menuitem", name="Keyboard shortcuts").click()
    await expect(tab.page.get_by_role("dialog")).to_be_visible()
    screens["shortcuts"] = await violations(tab.page)
    await tab.page.keyboard.press("Escape")
    await tab.choose("Account")
    await expect(tab.page.get_by_text("This session")).to_be_visible()
    await tab.button("Show activity").click()
    await tab.button("Delete account").click()
    screens["account"] = await violations(tab.page)
    await tab.page.keyboard.press("Escape")
    await tab.page.context.set_offline(True)
    await tab.button("Next").click()
    await expect(tab.page.get_by_text("You are offline.")).to_be_visible()
    screens["off line"] = await violations(tab.page)
    assert {} == {screen: found for screen, found in screens.items() if found}


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_small_screen_has_room_for_everything(open_tab: Opener, ada: Person, scheme: str) -> None:
    """At 360 pixels nothing is cut off at the side, and axe finds nothing either."""
    await crowd(ada)
    tab = await open_tab(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    await tab.sign_in(ada.email)
    for view in ("Month", "Week", "Day", "Agenda"):
        await tab.show(view)
        assert [] == await violations(tab.page)
        assert 360 == await tab.page.evaluate("document.documentElement.scrollWidth")
        for name in ("New appointment", "Next", "Agenda", "Rooms"):
            box = await tab.button(name).bounding_box()
            assert box is not None
            assert 0 <= box["x"]
            assert box["x"] + box["width"] <= 360
            assert min(box["width"], box["height"]) >= 24  # WCAG 2.5.8
    await tab.write("On the go", "2030-05-16T18:00")
    assert [] == await violations(tab.page)
    await tab.save()
    await expect(tab.appointment("On the go")).to_be_visible()


async def test_a_finger_books_opens_and_moves(open_tab: Opener, ada: Person) -> None:
    """A tap on a day of the month shows it, a tap on a time books it, a long press and a drag move it."""
    tab = await open_tab(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    await tab.sign_in(ada.email)
    await tab.show("Month")
    cell = await tab.page.locator(".ec-day", has=tab.page.locator('[data-day="2030-05-16"]')).bounding_box()
    assert cell is not None
    await tab.page.touchscreen.tap(cell["x"] + cell["width"] / 2, cell["y"] + cell["height"] - 8)
    await expect(tab.button("Day")).to_have_attribute("aria-pressed", "true")
    await tab.settled()
    await tab.page.touchscreen.tap(*await tab.point("2030-05-16", 11))
    await tab.field("Title").fill("Tapped")
    await tab.save()
    assert "11:00 – 12:00" == await tab.span_of("Tapped")
    await tab.appointment("Tapped").tap()
    await expect(tab.field("Title")).to_have_value("Tapped")
    await tab.button("Cancel").click()
    start, end = await tab.point("2030-05-16", 11.25), await tab.point("2030-05-16", 13.25)
    touch = await tab.page.context.new_cdp_session(tab.page)

    async def send(kind: str, *points: tuple[float, float]) -> None:
        touches = [{"x": x, "y": y} for x, y in points]
        await touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    await send("touchStart", start)
    await tab.page.wait_for_timeout(700)  # the press that tells a move from a scroll
    for step in range(1, 9):
        await send("touchMove", (start[0], start[1] + (end[1] - start[1]) * step / 8))
    await send("touchEnd")
    await expect(tab.toast).to_contain_text("Moved to Thu 16 May, 13:00 – 14:00.")


async def test_reduced_motion_is_respected(tab: Tab) -> None:
    """Nothing moves for longer than a blink."""
    await tab.write("Still")
    longest = await tab.page.evaluate(
        """() => Math.max(0, ...document.getAnimations().map(({ effect }) => effect.getTiming().duration))"""
    )
    assert longest < 50

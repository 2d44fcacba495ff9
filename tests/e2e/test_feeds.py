"""Addresses at which calendar programs subscribe: made, copied once and revoked on the page."""

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import httpx
from playwright.async_api import expect

from tests.clients import HOUR, Person
from tests.e2e.tab import Tab
from tests.e2e.test_access import violations
from tests.service import Server

ADDRESS = re.compile(r"/calendars/[\w-]{43}\.ics$")


def tomorrow() -> datetime:
    """In a feed, whose window is around the real time, not that of the page in these tests."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(days=1)


async def read(running: Server, address: str) -> httpx.Response:
    """What a calendar program gets there. The host of an address is the operator's word, so it is asked here."""
    async with httpx.AsyncClient(base_url=running.url) as client:
        return await client.get(urlsplit(address).path)


async def test_a_feed_is_made_copied_once_and_revoked(tab: Tab, ada: Person, running: Server) -> None:
    """Its address works for a program until it is revoked, is never shown again, and the last use is seen."""
    await ada.create(tomorrow(), HOUR, title="Chess")
    await tab.choose("Account")
    await tab.button("New feed").click()
    await tab.button("Create feed").click()
    await expect(tab.alert).to_have_text("Please say what the feed is for.")
    await tab.field("What the feed is for").fill("Phone")
    assert [] == await violations(tab.page)
    await tab.button("Create feed").click()
    await expect(tab.field("Address")).to_have_value(ADDRESS)
    address = await tab.field("Address").input_value()
    await tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await tab.button("Copy").click()
    await expect(tab.button("Copied")).to_be_visible()
    assert address == await tab.page.evaluate("navigator.clipboard.readText()")
    row = tab.page.get_by_role("listitem").filter(has_text="Phone")
    await expect(row).to_contain_text("everything")
    await expect(row).to_contain_text("never read")
    assert [] == await violations(tab.page)
    answer = await read(running, address)
    assert (200, "text/calendar") == (answer.status_code, answer.headers["content-type"].partition(";")[0])
    assert "SUMMARY:Chess\r\n" in answer.text
    await tab.button("Done").click()
    await expect(tab.field("Address")).to_have_count(0)
    await tab.page.keyboard.press("Escape")
    await tab.choose("Account")
    await expect(row).to_contain_text("last read")
    await expect(tab.field("Address")).to_have_count(0)
    await tab.button("Revoke Phone").click()
    await tab.button("Keep").click()
    assert 200 == (await read(running, address)).status_code
    await tab.button("Revoke Phone").click()
    await tab.button("Revoke now").click()
    await expect(row).to_have_count(0)
    await expect(tab.page.get_by_text("Feed revoked.")).to_be_visible()
    assert 404 == (await read(running, address)).status_code
    assert [] == tab.errors


async def test_a_feed_of_busy_times_is_made_by_keyboard(tab: Tab, ada: Person, running: Server) -> None:
    """Whoever reads it learns when, and nothing else; the list says which of the feeds that is."""
    await ada.create(tomorrow(), HOUR, title="Therapy")
    await tab.choose("Account")
    await tab.button("New feed").press("Enter")
    await tab.field("What the feed is for").fill("Team")
    await tab.field("It shows").select_option(label="Only when you are busy")
    await tab.field("What the feed is for").press("Enter")
    await expect(tab.field("Address")).to_have_value(ADDRESS)
    answer = await read(running, await tab.field("Address").input_value())
    assert 200 == answer.status_code
    assert "SUMMARY:Busy\r\n" in answer.text
    assert "Therapy" not in answer.text
    await expect(tab.page.get_by_role("listitem").filter(has_text="Team")).to_contain_text("only busy times")
    assert [] == tab.errors

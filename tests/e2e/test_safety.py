"""What a page must never do: run what people typed, load from elsewhere, or grow fat."""

import gzip
import re

import pytest
from playwright.async_api import expect

from tests.clients import Person
from tests.e2e.conftest import Opener
from tests.e2e.desk import Desk, at
from tests.service import ROOT

PAYLOAD = '<script>window.pwned=1</script><img src=x onerror="window.pwned=1">'
PAGE = ROOT / "src" / "appointments" / "page"


async def test_markup_in_every_field_stays_text(desk: Desk, ada: Person) -> None:
    """Title, place, notes, attendees and the person's own name, in every view, in the editor and in every message."""
    await desk.button("Account").click()
    await desk.field("Name").fill(PAYLOAD)
    await desk.page.get_by_role("dialog").get_by_role("button", name="Save", exact=True).click()
    await expect(desk.page.get_by_text("Saved.")).to_be_visible()
    await desk.page.keyboard.press("Escape")
    people = [{"email": "x@example.org", "display_name": PAYLOAD}]
    await ada.create(at(15, 11), title=PAYLOAD, location=PAYLOAD, description=PAYLOAD, attendees=people)
    await desk.reload()
    for view in ("Month", "Week", "Day", "Agenda"):
        await desk.show(view)
        await expect(desk.appointment(PAYLOAD)).to_be_visible()
    await desk.show("Week")
    await desk.write(PAYLOAD, "2030-05-15T11:30")
    await desk.button("Save").click()
    await expect(desk.alert).to_contain_text(PAYLOAD)
    await desk.button("Cancel").click()
    await desk.open(PAYLOAD)
    await desk.button("Delete").click()
    await expect(desk.toast).to_contain_text(PAYLOAD)
    await desk.field("Search").fill(PAYLOAD)
    assert None is await desk.page.evaluate("window.pwned ?? null")
    assert 0 == await desk.page.locator("#app script, #app img[src=x]").count()
    assert [] == desk.errors


async def test_nothing_comes_from_elsewhere_and_the_policy_forbids_it(open_desk: Opener, ada: Person) -> None:
    """Every request goes to the page's own origin; no script or style of the page breaks the policy."""
    desk = await open_desk()
    hosts: set[str] = set()
    desk.page.on("request", lambda request: hosts.add("/".join(request.url.split("/")[:3])))
    response = await desk.page.reload()
    assert response is not None
    policy = response.headers["content-security-policy"]
    script = re.search(r"script-src ([^;]*)", policy)
    assert script is not None
    assert "'self'" == script[1].strip()
    await desk.sign_in(ada.email)
    await desk.show("Month")
    await desk.book("Here")
    await desk.button("Account").click()
    await expect(desk.page.get_by_text("This one")).to_be_visible()
    assert {desk.page.url.rstrip("/")} == hosts
    assert [] == desk.errors


@pytest.mark.usefixtures("built")
def test_the_first_load_is_small() -> None:
    """At most 150 KB of compressed script up to the calendar; dialogs come when they are opened."""
    sizes = {path.name: len(gzip.compress(path.read_bytes())) for path in (PAGE / "assets").glob("*.js")}
    first = {name: size for name, size in sizes.items() if name.startswith(("index-", "Desk-"))}
    assert 2 == len(first)
    assert {"Editor", "Account"} == {name.partition("-")[0] for name in sizes.keys() - first.keys()}
    assert sum(first.values()) <= 150 * 1024


@pytest.mark.usefixtures("built")
def test_the_page_has_no_inline_script() -> None:
    """Else the policy would need to allow it."""
    html = (PAGE / "index.html").read_text()
    assert [] == [tag for tag in re.findall(r"<script[^>]*>", html) if "src=" not in tag]

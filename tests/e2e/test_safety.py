"""What a page must never do: run what people typed, load from elsewhere, or grow fat."""

import gzip
import re

import pytest
from playwright.async_api import expect

from tests.clients import Person
from tests.e2e.conftest import Opener
from tests.e2e.tab import Tab, at
from tests.service import ROOT

PAYLOAD = '<script>window.pwned=1</script><img src=x onerror="window.pwned=1">'
# Static imports only: what is in brackets comes later.
IMPORTED = re.compile(r"""(?:from|import)\s*["']\./([\w.-]+\.js)["']""")
PAGE = ROOT / "src" / "appointments" / "page"


async def test_markup_in_every_field_stays_text(tab: Tab, ada: Person) -> None:
    """Title, place, notes, attendees and the person's own name, in every view, in the editor and in every message."""
    await tab.choose("Account")
    await tab.field("Name").fill(PAYLOAD)
    await tab.page.get_by_role("dialog").get_by_role("button", name="Save", exact=True).click()
    await expect(tab.page.get_by_text("Saved.")).to_be_visible()
    await tab.page.keyboard.press("Escape")
    people = [{"email": "x@example.org", "display_name": PAYLOAD}]
    await ada.create(at(15, 11), title=PAYLOAD, location=PAYLOAD, description=PAYLOAD, attendees=people)
    await tab.reload()
    for view in ("Month", "Week", "Day", "Agenda"):
        await tab.show(view)
        await expect(tab.appointment(PAYLOAD)).to_be_visible()
    await tab.show("Week")
    await tab.write(PAYLOAD, "2030-05-15T11:30")
    await tab.button("Save").click()
    await expect(tab.alert).to_contain_text(PAYLOAD)
    await tab.button("Cancel").click()
    await tab.open(PAYLOAD)
    await tab.button("Delete").click()
    await expect(tab.toast).to_contain_text(PAYLOAD)
    await tab.field("Search").fill(PAYLOAD)
    assert None is await tab.page.evaluate("window.pwned ?? null")
    assert 0 == await tab.page.locator("#app script, #app img[src=x]").count()
    assert [] == tab.errors


async def test_nothing_comes_from_elsewhere_and_the_policy_forbids_it(open_tab: Opener, ada: Person) -> None:
    """Every request goes to the page's own origin; no script or style of the page breaks the policy."""
    tab = await open_tab()
    hosts: set[str] = set()
    tab.page.on("request", lambda request: hosts.add("/".join(request.url.split("/")[:3])))
    response = await tab.page.reload()
    assert response is not None
    policy = response.headers["content-security-policy"]
    script = re.search(r"script-src ([^;]*)", policy)
    assert script is not None
    assert "'self'" == script[1].strip()
    await tab.sign_in(ada.email)
    await tab.show("Month")
    await tab.book("Here")
    await tab.choose("Account")
    await expect(tab.page.get_by_text("This session")).to_be_visible()
    assert {tab.page.url.rstrip("/")} == hosts
    assert [] == tab.errors


@pytest.mark.usefixtures("built")
def test_the_first_load_is_small() -> None:
    """At most 150 KB of compressed script up to the calendar; dialogs and the view of rooms come later."""
    scripts = {path.name: path.read_text() for path in (PAGE / "assets").glob("*.js")}
    first = {name for name in scripts if name.startswith(("index-", "CalendarPage-"))}
    assert 2 == len(first)
    while wanted := {name for each in first for name in IMPORTED.findall(scripts[each])} - first:
        first |= wanted
    later = {name.partition("-")[0] for name in scripts.keys() - first}
    assert later >= {"Editor", "Account", "ShortcutsHelp", "ResourceGrid", "Management", "resources.svelte"}
    assert sum(len(gzip.compress(scripts[name].encode())) for name in first) <= 150 * 1024


@pytest.mark.usefixtures("built")
def test_the_page_has_no_inline_script() -> None:
    """Else the policy would need to allow it."""
    html = (PAGE / "index.html").read_text()
    assert [] == [tag for tag in re.findall(r"<script[^>]*>", html) if "src=" not in tag]

"""What is changed elsewhere is seen here as it happens, by one stream for all tabs of a browser."""

import asyncio
import re

from playwright.async_api import Request, expect

from appointments.v1 import appointments_pb2
from tests.clients import Person
from tests.e2e.conftest import Opener
from tests.e2e.tab import Tab, at

# Far less than the minute after which the calendar asks by itself.
SOON = 15_000
CLEAR = "rgba(0, 0, 0, 0)"
# A mark lasts for a few seconds, which a busy machine may miss: the page notes what is marked, and how.
NOTE_MARKS = """() => {
    window.marks = [];
    const note = () => {
        for (const each of document.querySelectorAll(".arrived")) {
            const animation = getComputedStyle(each).animationName;
            each.getAnimations().forEach((one) => one.finish());
            window.marks.push([each.textContent, animation, getComputedStyle(each).outlineColor]);
        }
    };
    new MutationObserver(note).observe(document, { subtree: true, childList: true, attributeFilter: ["class"] });
}"""


async def test_another_devices_changes_are_seen_as_they_happen(tab: Tab, ada: Person) -> None:
    """Created, changed and deleted, without a reload; an open editor is left alone."""
    booked = await ada.create(at(15, 11), title="From afar")
    await expect(tab.appointment("From afar")).to_be_visible(timeout=SOON)
    await tab.open("From afar")
    await tab.field("Location").fill("Typed here")
    changed = appointments_pb2.Appointment(id=booked.id, title="Renamed afar")
    request = appointments_pb2.UpdateAppointmentRequest(appointment=changed)
    await ada.appointments.UpdateAppointment(request, metadata=ada.metadata)
    await expect(tab.appointment("Renamed afar")).to_be_visible(timeout=SOON)
    await expect(tab.field("Title")).to_have_value("From afar")
    await expect(tab.field("Location")).to_have_value("Typed here")
    await tab.button("Cancel").click()
    deletion = appointments_pb2.DeleteAppointmentRequest(id=booked.id)
    await ada.appointments.DeleteAppointment(deletion, metadata=ada.metadata)
    await expect(tab.appointment("Renamed afar")).to_have_count(0, timeout=SOON)
    assert [] == tab.errors


async def marked(tab: Tab, title: str) -> tuple[str, str]:
    """How an appointment was marked, as soon as it has been: its animation, and its outline after that."""
    async with asyncio.timeout(SOON / 1000):
        while True:
            for text, animation, outline in await tab.page.evaluate("marks"):
                if title in text:
                    return animation, outline
            await asyncio.sleep(0.05)


async def test_what_comes_from_elsewhere_is_marked_for_a_moment(tab: Tab, open_tab: Opener, ada: Person) -> None:
    """By a glow that fades, or by a line for those who want no motion; never what is one's own or was there before."""
    moving = await open_tab(email=ada.email, reduced_motion="no-preference")
    await expect(moving.button("New appointment")).to_be_visible()
    await moving.settled()
    for each in (tab, moving):
        await each.page.evaluate(NOTE_MARKS)
    await tab.write("My own", "2030-05-16T18:00", "2030-05-16T19:00")
    await tab.button("Save").click()
    await expect(tab.appointment("My own")).to_be_visible()
    assert ("arrived", CLEAR) == await marked(moving, "My own")
    await ada.create(at(15, 11), title="From afar")
    assert "none" == (still := await marked(tab, "From afar"))[0]
    assert still[1] != CLEAR
    await expect(tab.appointment("From afar")).not_to_have_class(re.compile("arrived"))
    assert not any("My own" in text for text, _, _ in await tab.page.evaluate("marks"))
    await tab.reload()
    await tab.page.evaluate(NOTE_MARKS)
    await ada.create(at(15, 13), title="Later")
    await marked(tab, "Later")
    assert not any("From afar" in text for text, _, _ in await tab.page.evaluate("marks"))


async def test_one_tab_follows_for_all_and_another_takes_over(tab: Tab, open_tab: Opener, ada: Person) -> None:
    """The second tab has no stream of its own until the first is closed."""
    streams: list[Request] = []
    other = await open_tab(beside=tab)
    other.page.on("request", lambda sent: streams.append(sent) if sent.url.endswith("WatchChanges") else None)
    await other.reload()
    await ada.create(at(15, 11), title="Told by the other")
    await expect(other.appointment("Told by the other")).to_be_visible(timeout=SOON)
    assert [] == streams
    async with other.page.expect_request("**/WatchChanges"):
        await tab.page.close()
    await ada.create(at(15, 13), title="Heard itself")
    await expect(other.appointment("Heard itself")).to_be_visible(timeout=SOON)

"""What is changed elsewhere is seen here as it happens, by one stream for all tabs of a browser."""

from playwright.async_api import Request, expect

from appointments.v1 import appointments_pb2
from tests.clients import Person
from tests.e2e.conftest import Opener
from tests.e2e.tab import Tab, at

# Far less than the minute after which the calendar asks by itself.
SOON = 15_000


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

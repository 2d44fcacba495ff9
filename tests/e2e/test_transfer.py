"""Importing a file of another calendar, and downloading one's own."""

from datetime import timedelta
from pathlib import Path

import icalendar
from playwright.async_api import expect

from tests.clients import Person
from tests.e2e.tab import Tab, at
from tests.e2e.test_access import violations

FILE = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//Example//Calendar//EN
BEGIN:VEVENT
UID:free@example.com
DTSTAMP:20300101T000000Z
DTSTART;TZID=Europe/Zurich:20300516T090000
DTEND;TZID=Europe/Zurich:20300516T100000
SUMMARY:Dentist
END:VEVENT
BEGIN:VEVENT
UID:taken@example.com
DTSTAMP:20300101T000000Z
DTSTART;TZID=Europe/Zurich:20300517T143000
DTEND;TZID=Europe/Zurich:20300517T153000
SUMMARY:Piano
END:VEVENT
BEGIN:VEVENT
UID:odd@example.com
DTSTAMP:20300101T000000Z
DTSTART:not a time
SUMMARY:Nonsense
END:VEVENT
END:VCALENDAR
"""
CONTENT = FILE.replace("\n", "\r\n").encode()


async def choose_file(tab: Tab, content: bytes, name: str = "calendar.ics") -> None:
    """Choose a file in the account's dialog."""
    await tab.field("Import an .ics file").set_input_files(
        {"name": name, "mimeType": "text/calendar", "buffer": content}
    )


async def begin(tab: Tab, ada: Person) -> None:
    """What the file collides with; then the file, looked at."""
    await ada.create(at(17, 14), timedelta(hours=1), title="Review")
    await tab.reload()
    await tab.choose("Account")
    await choose_file(tab, CONTENT)
    await expect(tab.page.get_by_text("In this file: 1 new, 1 colliding, 1 not possible to import.")).to_be_visible()


async def test_a_file_is_looked_at_and_what_collides_is_left_out(tab: Tab, ada: Person) -> None:
    """What would happen is said line by line, nothing is booked before Import, and then what was said is there."""
    await begin(tab, ada)
    known = tab.page.get_by_role("list", name="What there is to know")
    await expect(known.get_by_role("listitem").filter(has_text="Piano")).to_contain_text("In its way: “Review” (Fri")
    await expect(known.get_by_role("listitem").filter(has_text="Nonsense")).to_contain_text("Line 21:")
    assert [] == await violations(tab.page)
    assert 0 == await tab.appointment("Dentist").count()
    await tab.page.get_by_role("button", name="Import", exact=True).click()
    said = tab.page.get_by_text("Done: 1 imported, 1 left out where they collide, 1 not possible to import.")
    await expect(said).to_be_focused()
    await expect(known.get_by_role("listitem").filter(has_text="Nonsense")).to_be_visible()
    await tab.page.keyboard.press("Escape")
    await expect(tab.appointment("Dentist")).to_be_visible()
    assert "09:00 – 10:00" == await tab.span_of("Dentist")
    await expect(tab.appointment("Piano")).to_have_count(0)
    await tab.choose("Account")
    await choose_file(tab, CONTENT)
    await expect(tab.page.get_by_text("In this file: 1 here already, 1 colliding")).to_be_visible()
    assert [] == tab.errors


async def test_what_collides_can_come_without_taking_time(tab: Tab, ada: Person) -> None:
    """It stands beside what takes the time, chosen by keyboard."""
    await begin(tab, ada)
    await tab.field("Leave it out").focus()
    await tab.page.keyboard.press("ArrowDown")
    await expect(tab.field("Import it, but let it take no time")).to_be_checked()
    await tab.page.get_by_role("button", name="Import", exact=True).press("Enter")
    await expect(tab.page.get_by_text("Done: 1 imported, 1 imported without taking time")).to_be_visible()
    await tab.page.keyboard.press("Escape")
    for title in ("Dentist", "Piano", "Review"):
        await expect(tab.appointment(title)).to_be_visible()


async def test_a_file_that_was_looked_at_can_be_left_alone(tab: Tab, ada: Person) -> None:
    """After Cancel nothing of it is there, also after a reload."""
    await begin(tab, ada)
    await tab.page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    await expect(tab.field("Import an .ics file")).to_be_focused()
    await expect(tab.page.get_by_text("In this file")).to_have_count(0)
    await tab.reload()
    await expect(tab.appointment("Review")).to_be_visible()
    await expect(tab.appointment("Dentist")).to_have_count(0)


async def test_what_is_no_calendar_is_refused_with_a_reason(tab: Tab) -> None:
    """A picture, a file that is too large, an empty calendar."""
    await tab.choose("Account")
    await choose_file(tab, b"\x89PNG\r\n", "cat.png")
    await expect(tab.alert).to_have_text("This file can’t be imported: line 1: a calendar begins with BEGIN:VCALENDAR.")
    await choose_file(tab, b"x" * (5 * 1024 * 1024 + 1))
    await expect(tab.alert).to_have_text("The file is larger than 5 MB. Export less at a time.")
    await choose_file(tab, b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nEND:VCALENDAR\r\n")
    await expect(tab.page.get_by_text("There is nothing in this file.")).to_be_visible()


async def test_everything_can_be_downloaded(tab: Tab, ada: Person, tmp_path: Path) -> None:
    """The link saves a file in which another calendar finds the appointment."""
    await ada.create(at(16, 9), timedelta(hours=1), title="Ours")
    await tab.choose("Account")
    async with tab.page.expect_download() as downloading:
        await tab.page.get_by_role("link", name="calendar.ics").click()
    path = tmp_path / "calendar.ics"
    await (await downloading.value).save_as(path)
    calendar = icalendar.Calendar.from_ical(path.read_bytes())
    assert ["Ours"] == [str(event["summary"]) for event in calendar.walk("VEVENT")]

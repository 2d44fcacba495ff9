"""Invitations between accounts, on the page: seen beside one's own, answered, and what was answered is seen."""

import psycopg
from playwright.async_api import expect

from appointments.v1 import appointments_pb2 as pb
from tests.clients import HOUR, Person, person
from tests.e2e.conftest import Opener
from tests.e2e.tab import TODAY, Tab, at
from tests.e2e.test_access import violations
from tests.service import Server


def confirm(database: str, guest: Person) -> None:
    """Have somebody's address be confirmed, as if they had followed the link."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE users SET email_verified_at = now() WHERE id = %s", [guest.user_id])


async def invite(host: Person, guest: Person, location: str = "") -> pb.Appointment:
    """An appointment of the host, today at eleven."""
    return await host.create(at(15, 11), title="Chess", location=location, attendees=[pb.Attendee(email=guest.email)])


async def test_an_invitation_is_answered_and_the_answer_is_seen(
    tab: Tab, ada: Person, open_tab: Opener, running: Server, database: str
) -> None:
    """It is dashed until it is accepted; the organizer reads the answer and what was said with it."""
    confirm(database, ada)
    async with person(running.grpc) as grace:
        await invite(grace, ada, location="Park")
        await tab.reload()
        await expect(tab.appointment("Chess")).to_contain_text("not answered")
        await expect(tab.page.locator(".invited:not(.answer-2)")).to_have_css("border-top-style", "dashed")
        await tab.appointment("Chess").click()
        dialog = tab.page.get_by_role("dialog", name="Chess")
        await expect(dialog).to_contain_text("Your answer: not answered")
        await expect(dialog).to_contain_text("Park")
        assert [] == await violations(tab.page)
        await tab.field("Comment").fill("I bring the board.")
        await tab.button("Accept").click()
        await expect(dialog).to_be_hidden()
        await expect(tab.appointment("Chess")).to_contain_text("accepted")
        await expect(tab.appointment("Chess")).to_be_focused()
        await tab.reload()
        await tab.appointment("Chess").click()
        await expect(dialog).to_contain_text("Your answer: accepted")
        await expect(tab.field("Comment")).to_have_value("I bring the board.")
        host = await open_tab(email=grace.email)
        await host.settled()
        await host.open("Chess")
        await expect(host.page.get_by_role("list", name="Answers")).to_contain_text(
            f"{ada.email}: accepted, “I bring the board.”"
        )
    assert [] == tab.errors + host.errors


async def test_what_is_in_the_way_of_accepting_is_named(tab: Tab, ada: Person, running: Server, database: str) -> None:
    """The dialog stays, the answer too; declining and freeing the time are still possible."""
    confirm(database, ada)
    await ada.create(at(15, 11) + HOUR / 2, title="Dentist")
    async with person(running.grpc) as grace:
        await invite(grace, ada)
        await tab.reload()
        await tab.appointment("Chess").click()
        await tab.button("Accept").click()
        await expect(tab.alert).to_contain_text("Dentist")
        await expect(tab.page.get_by_role("dialog")).to_contain_text("Your answer: not answered")
        await tab.button("Decline").click()
        await expect(tab.appointment("Chess")).to_contain_text("declined")


async def test_an_invitation_is_answered_by_keyboard_and_cannot_be_moved(
    tab: Tab, ada: Person, running: Server, database: str
) -> None:
    """A drag leaves it where its organizer has it."""
    confirm(database, ada)
    async with person(running.grpc) as grace:
        await invite(grace, ada)
        await tab.reload()
        await tab.drag(await tab.point(TODAY, 11.25), await tab.point("2030-05-17", 14.25))
        await tab.page.keyboard.press("Escape")
        await expect(tab.page.locator(".ec-draggable", has=tab.page.get_by_text("Chess", exact=True))).to_have_count(0)
        await expect(tab.toast).to_have_count(0)
        assert "11:00 – 12:00" == await tab.span_of("Chess")
        await tab.appointment("Chess").focus()
        await tab.page.keyboard.press("Enter")
        await tab.button("Maybe").focus()
        await tab.page.keyboard.press("Space")
        await expect(tab.appointment("Chess")).to_contain_text("maybe")

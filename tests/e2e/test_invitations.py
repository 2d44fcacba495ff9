"""Invitations between accounts, on the page: seen beside one's own, answered, and what was answered is seen."""

import grpc
import psycopg
from playwright.async_api import expect

from appointments.v1 import appointments_pb2 as pb
from appointments.v1 import series_pb2, series_pb2_grpc
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


async def weekly(running: Server, host: Person, guest: Person, title: str) -> None:
    """Three occurrences, from today at eleven."""
    series = series_pb2.Series(
        title=title, time_zone="Europe/Zurich", recurrence_rule="FREQ=WEEKLY;COUNT=3",
        attendees=[pb.Attendee(email=guest.email)],
    )  # fmt: skip
    series.start_time.FromDatetime(at(15, 11))
    series.end_time.FromDatetime(at(15, 11) + HOUR)
    request = series_pb2.CreateSeriesRequest(series=series)
    async with grpc.aio.insecure_channel(running.grpc) as channel:
        await series_pb2_grpc.SeriesServiceStub(channel).CreateSeries(request, metadata=host.metadata)


async def test_open_invitations_are_listed_and_answered_by_keyboard(
    tab: Tab, ada: Person, running: Server, database: str
) -> None:
    """A series is one line and one answer; what is in the way of it is said; the list says who invites."""
    confirm(database, ada)
    await ada.create(at(22, 11), title="Dentist")
    async with person(running.grpc) as grace:
        confirm(database, grace)
        await weekly(running, grace, ada, "Choir")
        await grace.create(at(16, 14), title="Lunch", attendees=[pb.Attendee(email=ada.email)])
        await tab.reload()
        await expect(tab.button("Invitations 2 not answered")).to_be_visible()
        await tab.appointment("Choir").focus()
        await tab.page.keyboard.press("i")
        dialog = tab.page.get_by_role("dialog", name="Invitations")
        lines = dialog.get_by_role("listitem")
        await expect(lines).to_have_count(2)
        await expect(lines.first).to_contain_text("and 2 more of the series")
        await expect(lines.first).to_contain_text(f"({grace.email})")
        assert [] == await violations(tab.page)
        await tab.button("Accept “Choir”").focus()
        await tab.page.keyboard.press("Enter")
        await expect(dialog.get_by_role("alert")).to_contain_text("One of these times is taken")
        await tab.button("Maybe “Choir”").focus()
        await tab.page.keyboard.press("Enter")
        await expect(lines).to_have_count(1)
        await expect(dialog.get_by_role("status")).to_have_text("Choir: maybe.")
        await tab.button("Accept “Lunch”").focus()
        await tab.page.keyboard.press("Enter")
        await expect(dialog).to_contain_text("There is nothing to answer.")
        await tab.page.keyboard.press("Escape")
        await expect(dialog).to_be_hidden()
        await expect(tab.page.get_by_role("button", name="not answered")).to_have_count(0)
        await expect(tab.appointment("Choir")).to_contain_text("maybe")
        await expect(tab.appointment("Lunch")).to_contain_text("accepted")


async def test_an_occurrence_is_answered_alone_or_with_its_series(
    tab: Tab, ada: Person, running: Server, database: str
) -> None:
    """The dialog asks for which; what was answered for all shows in the weeks to come."""
    confirm(database, ada)
    async with person(running.grpc) as grace:
        await weekly(running, grace, ada, "Choir")
        await tab.reload()
        await tab.appointment("Choir").click()
        dialog = tab.page.get_by_role("dialog", name="Choir")
        await expect(tab.field("The whole series")).to_be_checked()
        assert [] == await violations(tab.page)
        await tab.button("Accept").click()
        await expect(dialog).to_be_hidden()
        await expect(tab.appointment("Choir")).to_contain_text("accepted")
        await tab.appointment("Choir").click()
        await expect(tab.field("Only this one")).to_be_checked()
        await tab.button("Decline").click()
        await expect(dialog).to_be_hidden()
        await expect(tab.appointment("Choir")).to_contain_text("declined")
        await tab.button("Next").click()
        await tab.settled()
        await expect(tab.appointment("Choir")).to_contain_text("accepted")

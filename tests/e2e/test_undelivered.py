"""Mail that did not arrive, on the page."""

import psycopg
from playwright.async_api import expect

from appointments.v1 import appointments_pb2 as pb
from tests.clients import HOUR, Person
from tests.e2e.tab import Tab, at
from tests.e2e.test_access import violations


async def test_who_was_not_reached_is_said_beside_the_attendees(tab: Tab, ada: Person, database: str) -> None:
    """By its address, and of nobody else; it stays so while the appointment is edited otherwise."""
    guests = [pb.Attendee(email="bob@example.net"), pb.Attendee(email="eve@example.org")]
    made = await ada.create(at(15, 11), HOUR, title="Chess", attendees=guests)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            """
            UPDATE appointments SET version = version + 1, attendees = jsonb_set(attendees, '{0,undelivered}', 'true')
            WHERE id = %s
            """,
            [made.id],
        )
    await tab.reload()
    await tab.open("Chess")
    missed = tab.page.get_by_role("list", name="Not reached").get_by_role("listitem")
    await expect(missed).to_have_text(["Mail to bob@example.net did not arrive. Is the address right?"])
    assert [] == await violations(tab.page)
    await tab.field("Title").fill("Checkers")
    await tab.save()
    await tab.open("Checkers")
    await expect(missed).to_have_count(1)
    assert [] == tab.errors

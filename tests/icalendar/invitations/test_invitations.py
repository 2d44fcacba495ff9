"""Invitations by mail: who is told what and when, and what their calendars make of it."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import UUID

import icalendar
import psycopg
import pytest
import vobject

from appointments import jobs
from appointments.auth.mailed_links import VERIFIED_JOB
from appointments.calendar import booking, series_booking, updating
from appointments.calendar.appointment import Appointment, Attendee, Spec, to_values, with_answers
from appointments.calendar.series import SeriesSpec
from appointments.changes.sequencer import Sequencer
from appointments.db import Database
from appointments.icalendar.invitations import Answers, Follower, Letters, Limits, Telling
from appointments.icalendar.invitations.answers import MAX_COMMENT
from appointments.icalendar.invitations.notifying import facts_of
from appointments.mail import Outbox, Sender
from appointments.shared.errors import Invalid, NotFound, TooMany, Unmet
from tests.auth.signing_in import process
from tests.mailroom import PUBLIC_URL, Mailroom, link, text
from tests.people import HOUR, TEN, add_user, spec

BOB, EVE = "bob@example.org", "eve@example.org"
TWO = (Attendee(BOB, "Bob"), Attendee(EVE, "Eve"))


class House:
    """Somebody who invites, and the mail that comes of it."""

    def __init__(self, db: Database, owner: UUID, path: Path) -> None:
        self.db = db
        self.owner = owner
        self.mail = Mailroom(db, path)
        self.auth = process(db, post=self.mail.post)
        self.answers = Answers(db, self.mail.links)
        self.telling = Telling(db, Outbox(), per_day=100)
        self._letters = Letters(self.answers, Sender.of("Calendar <calendar@example.com>", PUBLIC_URL))
        self._follower = Follower(db, gather_seconds=0)
        self._sequencer = Sequencer(db)

    async def told(self) -> dict[str, EmailMessage]:
        """The new messages, by whom they are to."""
        await self._sequencer.settle()
        await self._follower.step()
        found = await self.mail.new(self.auth, *self.telling.kinds(), writers=self._letters.writers())
        messages = {message["To"]: message for message in found}
        assert len(messages) == len(found)
        return messages

    async def invite(self, **decided: Any) -> Appointment:
        """An appointment with two guests, who have not been told yet."""
        return await booking.create(self.db, self.owner, replace(spec(title="Chess"), attendees=TWO, **decided))

    async def change(self, appointment: Appointment, **fields: Any) -> Appointment:
        """As the organizer changes it."""

        def change(current: Spec) -> Spec:
            return with_answers(replace(current, **fields), current)

        return await updating.update(self.db, self.owner, appointment.id, change)


@pytest.fixture
async def house(db: Database, owner: UUID, tmp_path: Path) -> House:
    """Somebody with a name and a confirmed address."""
    async with db.connection() as connection:
        await connection.execute(
            "UPDATE users SET email_verified_at = now(), display_name = 'Ada', email = 'ada@example.com'"
            " WHERE id = %(id)s", {"id": owner},
        )  # fmt: skip
    return House(db, owner, tmp_path)


def event(message: EmailMessage) -> tuple[str, Any]:
    """The method and the event of a message, which two libraries can read and which is the same in both its places."""
    (part,) = [part for part in message.walk() if part.get_content_type() == "text/calendar"]
    (attached,) = [part for part in message.walk() if part.get_content_type() == "application/ics"]
    content = part.get_payload(decode=True)
    assert content == attached.get_payload(decode=True)
    assert isinstance(content, bytes)
    calendar: Any = icalendar.Calendar.from_ical(content)
    assert vobject.readOne(content.decode()).vevent.uid.value
    assert part.get_param("method") == calendar["method"]
    (found,) = calendar.walk("VEVENT")
    assert not found.errors
    return str(calendar["method"]), found


async def test_who_is_invited_is_told(house: House) -> None:
    """By a message that calendars understand, with what people want to know."""
    appointment = await house.invite(location="Café", description="Bring a <board> & pieces")
    messages = await house.told()
    assert {BOB, EVE} == messages.keys()
    message = messages[BOB]
    assert ("Invitation: Chess", "ada@example.com") == (message["Subject"], message["Reply-To"])
    assert "Ada (Appointments) <calendar@example.com>" == str(message["From"]).replace('"', "")
    said = text(message)
    for fact in (
        "What: Chess",
        "When: Wed 1 May 2030, 12:00 – 13:00 (Europe/Zurich)",
        "Where: Café",
        "Ada invites you",
    ):
        assert fact in said
    html = message.get_body(("html",))
    assert html is not None
    assert "Bring a &lt;board&gt; &amp; pieces" in html.get_content()
    method, found = event(message)
    assert ("REQUEST", appointment.id_text, 0, "CONFIRMED") == (
        method, found["uid"], found["sequence"], found["status"],
    )  # fmt: skip
    assert (TEN, TEN + HOUR, "Europe/Zurich") == (
        found["dtstart"].dt, found["dtend"].dt, found["dtstart"].params["TZID"],
    )  # fmt: skip
    assert {"dtstamp", "organizer", "summary", "location", "description"} <= {key.lower() for key in found}
    assert ("mailto:ada@example.com", "Ada") == (found["organizer"], found["organizer"].params["CN"])
    guests = {str(guest): guest.params for guest in found["attendee"]}
    assert {f"mailto:{BOB}", f"mailto:{EVE}"} == guests.keys()
    assert ("NEEDS-ACTION", "TRUE") == tuple(guests[f"mailto:{BOB}"][key] for key in ("PARTSTAT", "RSVP"))
    assert {} == await house.told()


async def test_what_has_changed_is_said_and_several_changes_are_one_message(house: House) -> None:
    """From what to what, once. SEQUENCE grows with the time and the place, not with a title."""
    appointment = await house.invite()
    await house.told()
    await house.change(appointment, title="Draughts")
    message = (await house.told())[BOB]
    assert ("Changed: Draughts", True) == (message["Subject"], "What: Chess → Draughts" in text(message))
    assert 0 == event(message)[1]["sequence"]
    await house.change(appointment, start_at=TEN + HOUR, end_at=TEN + 2 * HOUR)
    await house.change(appointment, location="Park")
    await house.change(appointment, start_at=TEN + 3 * HOUR, end_at=TEN + 4 * HOUR)
    message = (await house.told())[EVE]
    assert "When: Wed 1 May 2030, 12:00 – 13:00 (Europe/Zurich) → Wed 1 May 2030, 15:00 – 16:00" in text(message)
    assert "Where: (nothing) → Park" in text(message)
    assert (1, TEN + 3 * HOUR) == (event(message)[1]["sequence"], event(message)[1]["dtstart"].dt)
    await house.change(appointment, buffer_after=HOUR)
    assert {} == await house.told()


async def test_a_cancelled_appointment_is_cancelled_for_its_guests_and_can_come_back(house: House) -> None:
    """With the same UID and a greater SEQUENCE each time; who was never told of it is told nothing."""
    appointment = await house.invite()
    await house.told()
    await updating.delete(house.db, house.owner, appointment.id)
    method, found = event((await house.told())[BOB])
    assert ("CANCEL", "CANCELLED", 1, appointment.id_text) == (
        method, found["status"], found["sequence"], found["uid"],
    )  # fmt: skip
    assert f"mailto:{BOB}" == found["attendee"]
    await updating.undelete(house.db, house.owner, appointment.id)
    method, found = event((await house.told())[BOB])
    assert ("REQUEST", "CONFIRMED", 2) == (method, found["status"], found["sequence"])
    never = await house.invite(start_at=TEN + 9 * HOUR, end_at=TEN + 10 * HOUR)
    await updating.delete(house.db, house.owner, never.id)
    assert {} == await house.told()


async def test_guests_come_and_go(house: House) -> None:
    """A new one is invited, one who was taken off is told so, and the others hear nothing."""
    appointment = await house.invite()
    await house.told()
    await house.change(appointment, attendees=(TWO[0], Attendee("zoe@example.org")))
    messages = await house.told()
    assert {EVE, "zoe@example.org"} == messages.keys()
    assert ("CANCEL", 1) == (event(messages[EVE])[0], event(messages[EVE])[1]["sequence"])
    assert "taken you off the list" in text(messages[EVE])
    assert ("REQUEST", 0) == (event(messages["zoe@example.org"])[0], event(messages["zoe@example.org"])[1]["sequence"])
    await house.change(appointment, attendees=TWO)
    messages = await house.told()
    assert {EVE, "zoe@example.org"} == messages.keys()
    assert ("REQUEST", 2) == (event(messages[EVE])[0], event(messages[EVE])[1]["sequence"])


async def test_nobody_is_told_what_is_over_or_only_held(house: House, db: Database, dsn: str) -> None:
    """The past, a hold until it is confirmed, and the organizer themselves."""
    await house.invite(start_at=TEN - timedelta(days=9000), end_at=TEN - timedelta(days=9000) + HOUR)
    assert {} == await house.told()
    wanted = replace(spec(), attendees=(*TWO, Attendee("ADA@example.com")))
    hold = await booking.create(db, house.owner, wanted, ttl=timedelta(minutes=10))
    assert {} == await house.told()
    await updating.confirm(db, house.owner, hold.id)
    assert {BOB, EVE} == (await house.told()).keys()


async def test_who_has_not_confirmed_their_address_invites_nobody_until_they_have(house: House, db: Database) -> None:
    """Then everybody is told of what is still to come."""
    async with db.connection() as connection:
        await connection.execute("UPDATE users SET email_verified_at = NULL WHERE id = %(id)s", {"id": house.owner})
    await house.invite()
    assert {} == await house.told()
    await house.auth.mailed_links.request_verification(house.owner)
    (message,) = await house.mail.new(house.auth)
    await house.auth.mailed_links.verify(link(message).rpartition("/")[2])
    assert {BOB, EVE} == (await house.told()).keys()


async def test_readers_with_an_account_see_their_own_clocks(house: House, db: Database) -> None:
    """And others those of the appointment."""
    user_id = await add_user(db)
    async with db.connection() as connection:
        await connection.execute(
            "UPDATE users SET email = %(email)s, time_zone = 'Asia/Tokyo' WHERE id = %(id)s",
            {"email": BOB, "id": user_id},
        )
    await house.invite()
    messages = await house.told()
    assert "When: Wed 1 May 2030, 19:00 – 20:00 (Asia/Tokyo)" in text(messages[BOB])
    assert "(Europe/Zurich)" in text(messages[EVE])


@pytest.mark.parametrize(
    ("zone", "start", "hours"),
    [
        ("America/New_York", "2030-03-10T06:30:00+00:00", 1),  # over the night that summer time begins
        ("America/New_York", "2030-11-03T05:30:00+00:00", 1),  # and the one that it ends, in the hour that comes twice
        ("Europe/Zurich", "2030-10-27T00:30:00+00:00", 1),
        ("Asia/Kathmandu", "2030-05-01T10:00:00+00:00", 9),
        ("Pacific/Apia", "2030-05-01T10:00:00+00:00", 100),
        ("UTC", "2030-05-01T10:00:00+00:00", 1),
    ],
)
async def test_times_are_the_same_instants_in_calendars(house: House, zone: str, start: str, hours: int) -> None:
    """Read by a library that has the zones, and by the VTIMEZONE that comes along."""
    begins = type(TEN).fromisoformat(start)
    await house.invite(time_zone=zone, start_at=begins, end_at=begins + hours * HOUR)
    (message, *_) = (await house.told()).values()
    _, found = event(message)
    assert (begins.timestamp(), (begins + hours * HOUR).timestamp()) == (
        found["dtstart"].dt.timestamp(), found["dtend"].dt.timestamp(),
    )  # fmt: skip
    (part,) = [part for part in message.walk() if part.get_content_type() == "text/calendar"]
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    calendar: Any = icalendar.Calendar.from_ical(content)
    zones = calendar.walk("VTIMEZONE")
    assert [zone] * (zone != "UTC") == [str(each["tzid"]) for each in zones]
    if zones:
        own = zones[0].to_tz(lookup_tzid=False)
        wall = found["dtstart"].dt.replace(tzinfo=None)
        assert found["dtstart"].dt.utcoffset() == wall.replace(tzinfo=own, fold=found["dtstart"].dt.fold).utcoffset()


async def test_whole_days_are_days(house: House) -> None:
    """DATE values in the calendar; days in the text."""
    first = TEN.replace(hour=22, day=1)  # midnight in Zurich, of the 2nd
    await house.invite(all_day=True, start_at=first, end_at=first + timedelta(days=2))
    message = (await house.told())[BOB]
    _, found = event(message)
    assert ("2030-05-02", "2030-05-04") == (found["dtstart"].dt.isoformat(), found["dtend"].dt.isoformat())
    assert "When: Thu 2 May 2030 – Fri 3 May 2030" in text(message)


async def test_the_link_shows_and_answers(house: House) -> None:
    """Looking changes nothing; the last answer counts; the organizer sees it, and a comment."""
    appointment = await house.invite()
    message = (await house.told())[BOB]
    token = link(message).rpartition("/")[2].partition("?")[0]
    for _ in range(3):
        seen = await house.answers.look(token)
        assert ("NEEDS-ACTION", BOB, True) == (seen.attendee and seen.attendee.response, seen.address, seen.is_open)
    await house.answers.respond(token, "TENTATIVE", "")
    await house.answers.respond(token, "ACCEPTED", "With pleasure <3")
    now = await booking.get(house.db, house.owner, appointment.id)
    assert (Attendee(BOB, "Bob", "ACCEPTED", "With pleasure <3"), TWO[1]) == now.attendees
    assert 3 == now.version
    await house.answers.respond(token, "ACCEPTED", "With pleasure <3")
    assert 3 == (await booking.get(house.db, house.owner, appointment.id)).version
    assert {} == await house.told()
    for bad, comment in (("MAYBE", ""), ("ACCEPTED", "x" * (MAX_COMMENT + 1)), ("ACCEPTED", "\x00")):
        with pytest.raises(Invalid):
            await house.answers.respond(token, bad, comment)
    with pytest.raises(NotFound):
        await house.answers.look(token[:-1] + ("A" if token[-1] != "A" else "B"))


async def test_answers_stay_with_a_change_and_go_with_another_time(house: House) -> None:
    """A new title does not ask again, a new time does; the organizer cannot answer for others."""
    appointment = await house.invite()
    token = link((await house.told())[BOB]).rpartition("/")[2].partition("?")[0]
    await house.answers.respond(token, "ACCEPTED", "Yes")
    changed = await house.change(appointment, title="Go", attendees=(Attendee(BOB.upper(), "B."), TWO[1]))
    assert Attendee(BOB.upper(), "B.", "ACCEPTED", "Yes") == changed.attendees[0]
    assert "Changed: Go" == (await house.told())[BOB]["Subject"]
    moved = await house.change(appointment, start_at=TEN + HOUR, end_at=TEN + 2 * HOUR)
    assert {"NEEDS-ACTION"} == {guest.response for guest in moved.attendees}
    assert "NEEDS-ACTION" == event((await house.told())[EVE])[1]["attendee"][0].params["PARTSTAT"]


async def test_a_link_of_what_is_off_or_over_does_not_answer(house: House, dsn: str) -> None:
    """It shows that it is off; thirty days after the end it is dead."""
    appointment = await house.invite()
    messages = await house.told()
    bobs, eves = (link(messages[who]).rpartition("/")[2].partition("?")[0] for who in (BOB, EVE))
    await house.change(appointment, attendees=TWO[:1])
    with pytest.raises(Unmet):
        await house.answers.respond(eves, "ACCEPTED", "")
    await updating.delete(house.db, house.owner, appointment.id)
    assert not (await house.answers.look(bobs)).is_open
    with pytest.raises(Unmet):
        await house.answers.respond(bobs, "ACCEPTED", "")
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "UPDATE appointments SET start_at = now() - interval '31 days', end_at = now() - interval '30 days 1 hour'"
        )
    with pytest.raises(NotFound):
        await house.answers.look(bobs)


async def test_who_unsubscribes_is_not_written_to_any_more_until_they_say_otherwise(house: House) -> None:
    """One POST, for ever, whoever invites; the other guests are told as before."""
    appointment = await house.invite()
    message = (await house.told())[BOB]
    url = message["List-Unsubscribe"].strip("<>")
    token = url.rpartition("/")[2]
    assert (f"{PUBLIC_URL}/unsubscribe/{token}", (BOB, True)) == (url, await house.answers.address_of(token))
    await house.answers.subscribe(token, wanted=False)
    await house.change(appointment, location="Park")
    assert {EVE} == (await house.told()).keys()
    await house.answers.subscribe(token, wanted=True)
    await house.change(appointment, location="Lake")
    assert {BOB, EVE} == (await house.told()).keys()


@pytest.mark.parametrize("name", ["", "Visit https://spam.example now", "www.spam.example", "win@spam.example"])
async def test_a_name_that_advertises_is_not_repeated(house: House, db: Database, name: str) -> None:
    """The address stands in its place."""
    async with db.connection() as connection:
        await connection.execute("UPDATE users SET display_name = %(name)s", {"name": name})
    await house.invite()
    message = (await house.told())[BOB]
    assert "ada@example.com (Appointments)" == message["From"].addresses[0].display_name
    assert not name or name not in text(message)


HOSTILE = 'Chess"\r\nATTENDEE:mailto:x@evil.example\r\n\u2028END:VEVENT\\;,<script>alert(1)</script>'


async def test_what_organizers_write_is_data(house: House, db: Database) -> None:
    """In the calendar part, in the text and in the HTML."""
    async with db.connection() as connection:
        await connection.execute("UPDATE users SET display_name = %(name)s", {"name": HOSTILE[:100]})
    guests = (Attendee(BOB, HOSTILE),)
    await booking.create(
        db, house.owner, replace(spec(title=HOSTILE), attendees=guests, location=HOSTILE, description=HOSTILE)
    )
    message = (await house.told())[BOB]
    _, found = event(message)
    assert f"mailto:{BOB}" == found["attendee"]
    assert "<script>alert(1)</script>" in found["summary"]
    html = message.get_body(("html",))
    assert html is not None
    assert "<script" not in html.get_content()


async def test_how_many_may_be_invited(house: House, db: Database, dsn: str) -> None:
    """Strangers in a day, fewer for a new account, and one of them not too often; refused whole, with what and when."""
    limits = Limits(per_day=5, when_new=3)
    people = [Attendee(f"p{number}@example.org") for number in range(9)]
    await limits.count(db, house.owner, people[:3])
    await limits.count(db, house.owner, people[:3])  # the same again are no more
    with pytest.raises(TooMany) as refused:
        await limits.count(db, house.owner, people[3:4])
    assert ("INVITATION_LIMIT", "3") == (refused.value.reason, refused.value.metadata["limit"])
    assert 86_000 < (refused.value.retry_after or 0) <= 86_400
    assert refused.value.metadata["until"] in refused.value.message
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE users SET created_at = now() - interval '2 days'")
    await limits.count(db, house.owner, people[3:5])
    with pytest.raises(TooMany):
        await limits.count(db, house.owner, people[5:7])
    for _ in range(28):
        await limits.count(db, house.owner, people[:1])
    with pytest.raises(TooMany) as refused:
        await limits.count(db, house.owner, people[:1])
    assert "30" == refused.value.metadata["limit"]
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE invited_addresses SET since_at = since_at - interval '1 day'")
    await limits.count(db, house.owner, people[5:9])


async def test_who_has_an_account_is_no_stranger_and_who_invites_nobody_is_not_counted(
    house: House, db: Database, stranger: UUID
) -> None:
    """Accounts with a confirmed address do not count; without one of one's own nothing does."""
    async with db.connection() as connection:
        await connection.execute("UPDATE users SET email_verified_at = now()")
    limits = Limits(per_day=1, when_new=1)
    await limits.count(db, house.owner, [Attendee(f"{stranger}@example.com"), Attendee(BOB)])
    async with db.connection() as connection:
        await connection.execute("UPDATE users SET email_verified_at = NULL WHERE id = %(id)s", {"id": house.owner})
    await limits.count(db, house.owner, [Attendee(f"x{number}@example.org") for number in range(50)])


async def test_the_pace_holds_where_there_is_no_door(house: House, db: Database) -> None:
    """Whatever path leads to an invitation: over the limit it waits, and is not lost."""
    house.telling = Telling(db, Outbox(), per_day=1)
    await house.invite()
    assert {} == await house.told()
    async with db.connection() as connection:
        cursor = await connection.execute("SELECT error FROM jobs WHERE kind = 'invitations'")
        assert ("the organizer has invited many people today",) == await cursor.fetchone()


async def test_appointments_without_guests_leave_no_trace(house: House, db: Database) -> None:
    """Neither a job nor a row."""
    created = await booking.create(db, house.owner, spec())
    await updating.delete(db, house.owner, created.id)
    assert {} == await house.told()
    async with db.connection() as connection:
        cursor = await connection.execute("SELECT count(*) FROM jobs WHERE kind = 'invitations'")
        assert (0,) == await cursor.fetchone()


async def test_followers_share_the_log(house: House, db: Database) -> None:
    """Two processes read on at once: each appointment has one job, and after a restore nothing hangs."""
    appointment = await house.invite()
    await Sequencer(db).settle()
    await asyncio.gather(*(Follower(db, gather_seconds=0).step() for _ in range(6)))
    async with db.connection() as connection:
        cursor = await connection.execute("SELECT count(*) FROM jobs WHERE kind = 'invitations'")
        assert (1,) == await cursor.fetchone()
        await connection.execute("UPDATE invitation_cursor SET position = 10 ^ 12")
    await house.told()
    moved = await house.change(appointment, location="Park")
    assert ([BOB, EVE], "Park") == (sorted(await house.told()), moved.location)


def test_answers_are_stored_as_before() -> None:
    """Who has said nothing more needs no more room."""
    stored = json.loads(to_values(replace(spec(), attendees=(Attendee(BOB), Attendee(EVE, comment="x"))))["attendees"])
    assert [{"email", "display_name", "response"}, {"email", "display_name", "response", "comment"}] == [
        set(guest) for guest in stored
    ]


async def test_occurrences_of_a_series_are_not_mailed_one_by_one(house: House, db: Database) -> None:
    """Not when they are booked, not when one is changed, and not when the organizer's address is confirmed."""
    wanted = SeriesSpec(replace(spec(title="Chess"), attendees=TWO), "FREQ=DAILY;COUNT=3")
    booked = await series_booking.create(db, house.owner, wanted)
    async with db.connection() as connection:
        cursor = await connection.execute(
            "SELECT id FROM appointments WHERE series_id = %(id)s ORDER BY start_at LIMIT 1", {"id": booked.series.id}
        )
        (first,) = await cursor.fetchone() or (None,)
        await jobs.defer(connection, VERIFIED_JOB, payload={"user_id": str(house.owner)})
    await house.change(await booking.get(db, house.owner, first), location="Park")
    assert {} == await house.told()


async def test_what_was_booked_while_mail_was_off_is_not_mailed_later(house: House, db: Database) -> None:
    """Turning mail on tells of what comes, not of what was."""
    before = await house.invite()
    await Sequencer(db).settle()
    await Follower(db, gather_seconds=0, mail_is_on=False).step()
    assert {} == await house.told()
    await house.change(before, location="Park")
    assert {BOB, EVE} == (await house.told()).keys()


async def test_the_end_of_an_account_is_told_to_those_whom_it_had_invited(house: House, db: Database) -> None:
    """As a cancellation of what they know, once. What is over, or was cancelled before, is not spoken of again."""
    known = await house.invite(location="Café")
    await house.told()
    for hours, fate in ((1, "deleted"), (2, "over")):
        other = await house.invite(start_at=TEN + hours * HOUR, end_at=TEN + (hours + 1) * HOUR, title=fate)
        await house.told()
        if fate == "deleted":
            await updating.delete(db, house.owner, other.id)
            await house.told()
            continue
        async with db.connection() as connection:
            await connection.execute(
                "UPDATE appointments SET start_at = now() - interval '2 hours', end_at = now() - interval '1 hour'"
                " WHERE id = %(id)s", {"id": other.id},
            )  # fmt: skip
    await house.change(known, title="Draughts")
    await house.told()
    await house.auth.directory.delete(house.owner, actor_id=house.owner)
    messages = await house.told()
    assert {BOB, EVE} == messages.keys()
    message = messages[BOB]
    method, found = event(message)
    assert ("CANCEL", known.id_text, 1, "CANCELLED", TEN, "Café") == (
        method, found["uid"], found["sequence"], found["status"], found["dtstart"].dt, found["location"],
    )  # fmt: skip
    assert ("Cancelled: Draughts", "mailto:ada@example.com", f"mailto:{BOB}") == (
        message["Subject"], found["organizer"], found["attendee"],
    )  # fmt: skip
    assert "Ada no longer has an account here" in text(message)
    assert {} == await house.told()


async def test_nothing_is_kept_of_an_account_whose_end_was_told(house: House, db: Database) -> None:
    """The letters hold its name and address until they are sent, and no longer."""
    await house.invite()
    await house.told()
    await house.auth.directory.delete(house.owner, actor_id=house.owner)
    kept = "SELECT count(*) FROM outbox WHERE about::text LIKE '%ada@example.com%'"
    async with db.connection() as connection:
        before = await (await connection.execute(kept)).fetchone()
    await house.told()
    async with db.connection() as connection:
        assert ((2,), (0,)) == (before, await (await connection.execute(kept)).fetchone())


async def test_without_mail_the_end_of_an_account_writes_no_letters(house: House, db: Database) -> None:
    """Nobody would ever take them out."""
    await house.invite()
    await house.told()
    await process(db).directory.delete(house.owner, actor_id=house.owner)
    assert {} == await house.told()


async def test_who_is_being_told_when_an_account_ends_is_told_of_the_end(house: House, db: Database, dsn: str) -> None:
    """The erasure waits for whoever tells them, and then finds that they know."""
    known = await house.invite()
    waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with (
        await psycopg.AsyncConnection.connect(dsn) as teller,
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as watcher,
        asyncio.timeout(10),
    ):
        await teller.execute(
            "INSERT INTO invitations (appointment_id, address, sequence, version, told, is_cancelled, told_at)"
            " VALUES (%s, %s, 0, 1, %s, false, now())", [known.id, BOB, json.dumps(facts_of(known))],
        )  # fmt: skip
        ending = asyncio.create_task(house.auth.directory.delete(house.owner, actor_id=house.owner))
        while not (await watcher.execute(waiting)).rowcount:  # noqa: ASYNC110 - it waits in another process
            await asyncio.sleep(0.01)
        await teller.commit()
        await ending
    assert {BOB} == (await house.told()).keys()

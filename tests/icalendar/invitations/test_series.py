"""Series by mail: one invitation for all of it, one message for one change, and answers to all or to one of them."""

from dataclasses import replace
from datetime import timedelta
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import icalendar
import pytest
import vobject

from appointments.auth import erasure
from appointments.calendar import booking, listing, series_booking, series_updating, updating
from appointments.calendar.appointment import Appointment, Attendee, Spec, with_answers
from appointments.calendar.series import Series, SeriesSpec
from appointments.db import Connection, Database
from appointments.icalendar.feeds import content
from appointments.icalendar.invitations import (
    Ignored,
    Letters,
    Reception,
    SeriesAnswers,
    SeriesLetters,
    SeriesTelling,
    wording,
)
from appointments.mail import Outbox, Sender
from appointments.shared.errors import Conflict, SeriesConflict, Unmet
from tests.audit import audit
from tests.icalendar.invitations.test_invitations import BOB, EVE, TWO, House, house
from tests.mailroom import PUBLIC_URL, link, text
from tests.people import HOUR, TEN, add_user, spec

__all__ = ["house"]

REPLY_TO = "answers@example.com"
WEEK = timedelta(weeks=1)
ZOE = "zoe@example.org"


class Club:
    """Somebody who invites to a series, and the mail that comes of it."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.db = house.db
        self.answers = SeriesAnswers.beside(house.answers)
        self._telling = SeriesTelling(house.db, Outbox(), per_day=100)
        sender = Sender.of("Calendar <calendar@example.com>", PUBLIC_URL)
        self._letters = Letters(house.answers, sender, reply_to=REPLY_TO)
        self._of_series = SeriesLetters(house.answers, sender, reply_to=REPLY_TO)

    async def told(self) -> dict[str, EmailMessage]:
        """The new messages, by whom they are to."""
        await self.house._sequencer.settle()
        await self.house._follower.step()
        kinds = [*self.house.telling.kinds(), *self._telling.kinds()]
        writers = self._letters.writers() | self._of_series.writers()
        found = await self.house.mail.new(self.house.auth, *kinds, writers=writers)
        messages = {message["To"]: message for message in found}
        assert len(messages) == len(found)
        return messages

    async def invite(self, rule: str = "FREQ=WEEKLY;COUNT=6", **decided: Any) -> Series:
        """A series with two guests, who have not been told yet."""
        first = replace(spec(title="Chess"), attendees=TWO, **decided)
        return (await series_booking.create(self.db, self.house.owner, SeriesSpec(first, rule))).series

    async def change(self, series: Series, from_id: UUID | None = None, **fields: Any) -> Series:
        """Change all of it, or from one on."""

        def change(current: SeriesSpec) -> SeriesSpec:
            return replace(current, first=replace(current.first, **fields))

        return (await series_updating.update(self.db, self.house.owner, series.id, change, from_id=from_id)).series

    async def change_one(self, one: Appointment, **fields: Any) -> Appointment:
        """Change one occurrence."""

        def change(current: Spec) -> Spec:
            return with_answers(replace(current, **fields), current)

        return await updating.update(self.db, self.house.owner, one.id, change)

    async def rows(self, series: Series) -> list[Appointment]:
        """Its live occurrences."""
        window = listing.Window(self.house.owner, None, None, False, series.id)
        return (await listing.page(self.db, window, size=1000)).appointments


@pytest.fixture
async def club(house: House) -> Club:
    """Somebody with a name and a confirmed address."""
    return Club(house)


def parsed(message: EmailMessage) -> tuple[str, list[Any]]:
    """The method and the components of a message, which two libraries can read."""
    (part,) = [part for part in message.walk() if part.get_content_type() == "text/calendar"]
    data = part.get_payload(decode=True)
    assert isinstance(data, bytes)
    calendar: Any = icalendar.Calendar.from_ical(data)
    events = calendar.walk("VEVENT")
    assert not [each.errors for each in events if each.errors]
    assert {str(each["uid"]) for each in events} == {
        each.uid.value for each in vobject.readOne(data.decode()).contents["vevent"]
    }
    assert part.get_param("method") == calendar["method"]
    return str(calendar["method"]), events


def token_of(message: EmailMessage) -> str:
    """The token of the link that answers."""
    return link(message).rpartition("/")[2].partition("?")[0]


async def feed(db: Database, owner: UUID) -> list[Any]:
    """The components of its owner's feed."""
    pieces = [piece async for piece in content.feed(db, owner, name="", is_busy_only=False, now=TEN)]
    calendar: Any = icalendar.Calendar.from_ical(b"".join(pieces))
    return list(calendar.walk("VEVENT"))


async def test_a_series_is_one_invitation(club: Club) -> None:
    """One message each, with the rule, in words too; its UID, times and rule are those of the organizer's feed."""
    series = await club.invite()
    messages = await club.told()
    assert {BOB, EVE} == messages.keys()
    message = messages[BOB]
    assert "Invitation: Chess" == message["Subject"]
    assert "Ada invites you to a series" in text(message)
    when = "When: Every week on Wednesday, 12:00 – 13:00 (Europe/Zurich), from Wed 1 May 2030, 6 times"
    assert when in text(message)
    method, (event,) = parsed(message)
    (fed,) = await feed(club.db, club.house.owner)
    assert ("REQUEST", series.id_text, 0) == (method, event["uid"], event["sequence"])
    for name in ("uid", "dtstart", "dtend", "rrule"):
        assert fed[name].to_ical() == event[name].to_ical()
    assert "Europe/Zurich" == event["dtstart"].params["TZID"]
    assert {f"mailto:{BOB}", f"mailto:{EVE}"} == set(map(str, event["attendee"]))
    assert {} == await club.told()


async def test_occurrences_that_become_rows_later_are_no_news(club: Club) -> None:
    """An endless series goes on; nobody is told what the rule has told."""
    series = await club.invite("FREQ=WEEKLY", start_at=TEN, end_at=TEN + HOUR)
    await club.told()
    before = len(await club.rows(series))
    until = TEN + timedelta(days=500)
    wanted = replace(spec(until), title="Something else, far ahead")
    await booking.create(club.db, club.house.owner, wanted)
    assert before < len(await club.rows(series))
    assert {} == await club.told()


async def test_a_change_of_one_is_a_message_about_that_one(club: Club) -> None:
    """By RECURRENCE-ID, as the feed has it; SEQUENCE grows with its time and its cancellation, not with its title."""
    series = await club.invite()
    await club.told()
    rows = await club.rows(series)
    moved = TEN + WEEK + 3 * HOUR
    await club.change_one(rows[1], start_at=moved, end_at=moved + HOUR)
    messages = await club.told()
    method, (event,) = parsed(messages[BOB])
    assert ("REQUEST", series.id_text, 1, moved) == (method, event["uid"], event["sequence"], event["dtstart"].dt)
    assert TEN + WEEK == event["recurrence-id"].dt
    assert "12:00 – 13:00 (Europe/Zurich) → Wed 8 May 2030, 15:00 – 16:00" in text(messages[BOB])
    (_, fed) = await feed(club.db, club.house.owner)
    assert fed["recurrence-id"].to_ical() == event["recurrence-id"].to_ical()
    await club.change_one(rows[3], title="Draughts")
    method, (event,) = parsed((await club.told())[BOB])
    assert ("REQUEST", 1, "Draughts") == (method, event["sequence"], event["summary"])
    await updating.delete(club.db, club.house.owner, rows[2].id)
    method, (event,) = parsed((await club.told())[EVE])
    assert ("CANCEL", 2, "CANCELLED") == (method, event["sequence"], event["status"])
    assert TEN + 2 * WEEK == event["recurrence-id"].dt
    assert f"mailto:{EVE}" == event["attendee"]


async def test_several_changes_are_one_message(club: Club) -> None:
    """About all of it: the rule, what is off as EXDATE, and what differs."""
    series = await club.invite()
    await club.told()
    rows = await club.rows(series)
    await club.change_one(rows[1], location="Park")
    await club.change_one(rows[4], location="Lake")
    await updating.delete(club.db, club.house.owner, rows[2].id)
    messages = await club.told()
    method, (master, *changed) = parsed(messages[BOB])
    assert ("REQUEST", 1, [TEN + 2 * WEEK]) == (
        method, master["sequence"], [each.dt for each in master["exdate"].dts],
    )  # fmt: skip
    assert [(TEN + WEEK, "Park"), (TEN + 4 * WEEK, "Lake")] == [
        (each["recurrence-id"].dt, each["location"]) for each in changed
    ]
    assert "Except: Wed 15 May 2030" in text(messages[BOB])


async def test_a_new_time_asks_again_and_a_new_title_does_not(club: Club) -> None:
    """Of all: one message. The answers stay with a title, and go with another time."""
    series = await club.invite()
    token = token_of((await club.told())[BOB])
    await club.answers.respond(token, "ACCEPTED", "Always")
    assert {} == await club.told()
    await club.change(series, title="Go")
    messages = await club.told()
    _, (event,) = parsed(messages[BOB])
    assert ("What: Chess → Go" in text(messages[BOB]), 0) == (True, event["sequence"])
    assert {"ACCEPTED", "NEEDS-ACTION"} == {each.params["PARTSTAT"] for each in event["attendee"]}
    await club.change(series, start_at=TEN + HOUR, end_at=TEN + 2 * HOUR)
    messages = await club.told()
    _, (event,) = parsed(messages[BOB])
    assert (1, TEN + HOUR) == (event["sequence"], event["dtstart"].dt)
    assert {"NEEDS-ACTION"} == {each.params["PARTSTAT"] for each in event["attendee"]}
    assert {"NEEDS-ACTION"} == {guest.response for row in await club.rows(series) for guest in row.attendees}


async def test_this_and_following_ends_one_series_and_begins_another(club: Club) -> None:
    """Two messages each, because there are two series now: the old one with its new end, and a new one."""
    series = await club.invite("FREQ=WEEKLY;UNTIL=20300701T000000Z")
    await club.told()
    rows = await club.rows(series)
    start = TEN + 3 * WEEK + HOUR
    following = await club.change(series, rows[3].id, start_at=start, end_at=start + HOUR)
    await club.house._sequencer.settle()
    await club.house._follower.step()
    writers = club._letters.writers() | club._of_series.writers()
    found = await club.house.mail.new(club.house.auth, *club._telling.kinds(), writers=writers)
    events = {str(parsed(each)[1][0]["uid"]): parsed(each)[1][0] for each in found if each["To"] == BOB}
    assert {series.id_text: 1, following.id_text: 0} == {uid: each["sequence"] for uid, each in events.items()}
    assert start == events[following.id_text]["dtstart"].dt
    assert events[series.id_text]["rrule"]["UNTIL"][0] < start
    assert 4 == len(found)
    await series_updating.rejoin(club.db, club.house.owner, series.id, following.id, lambda _: series.spec)
    await club.house._sequencer.settle()
    await club.house._follower.step()
    found = await club.house.mail.new(club.house.auth, *club._telling.kinds(), writers=writers)
    methods = {str(parsed(each)[1][0]["uid"]): parsed(each)[0] for each in found if each["To"] == BOB}
    assert {series.id_text: "REQUEST", following.id_text: "CANCEL"} == methods


async def test_a_cancelled_series_is_cancelled_and_comes_back(club: Club) -> None:
    """One CANCEL for all of it, with the UID and a greater SEQUENCE; who comes later is told nothing of before."""
    series = await club.invite()
    await club.told()
    await series_updating.delete(club.db, club.house.owner, series.id)
    method, (event,) = parsed((await club.told())[BOB])
    assert ("CANCEL", series.id_text, 1) == (method, event["uid"], event["sequence"])
    assert "recurrence-id" not in event
    await series_updating.undelete(club.db, club.house.owner, series.id)
    method, (event,) = parsed((await club.told())[BOB])
    assert ("REQUEST", 2) == (method, event["sequence"])


async def test_guests_come_and_go(club: Club) -> None:
    """To all of it, to one of them, and from one of them; the others hear nothing."""
    series = await club.invite()
    await club.told()
    await club.change(series, attendees=(TWO[0], Attendee(ZOE)))
    messages = await club.told()
    assert {EVE: "CANCEL", ZOE: "REQUEST"} == {who: parsed(each)[0] for who, each in messages.items()}
    rows = await club.rows(series)
    await club.change_one(rows[1], attendees=(Attendee(BOB), Attendee(EVE)))
    messages = await club.told()
    assert {ZOE: "CANCEL", EVE: "REQUEST"} == {who: parsed(each)[0] for who, each in messages.items() if who != BOB}
    assert {TEN + WEEK} == {parsed(each)[1][0]["recurrence-id"].dt for each in messages.values()}
    await club.house.answers.respond(token_of(messages[EVE]), "ACCEPTED", "")
    now = await booking.get(club.db, club.house.owner, rows[1].id)
    assert {EVE: "ACCEPTED", BOB: "NEEDS-ACTION"} == {each.email: each.response for each in now.attendees}


async def test_the_link_answers_all_that_is_to_come(club: Club) -> None:
    """The series has the answer, so its later occurrences do; a series that is off takes none."""
    series = await club.invite()
    token = token_of((await club.told())[BOB])
    for _ in range(2):
        assert (await club.answers.look(token)).is_open
    await club.answers.respond(token, "DECLINED", "")
    await club.answers.respond(token, "TENTATIVE", "Perhaps")
    wanted = {(BOB, "TENTATIVE", "Perhaps"), (EVE, "NEEDS-ACTION", "")}
    for row in await club.rows(series):
        assert wanted == {(each.email, each.response, each.comment) for each in row.attendees}
    assert wanted == {
        (each.email, each.response, each.comment)
        for each in (await series_booking.get(club.db, club.house.owner, series.id)).series.attendees
    }
    await series_updating.delete(club.db, club.house.owner, series.id)
    with pytest.raises(Unmet):
        await club.answers.respond(token, "ACCEPTED", "")


def reply(event: Any, partstat: str, **fields: str) -> bytes:
    """What Bob's calendar sends."""
    message = EmailMessage()
    message["From"], message["To"] = BOB, str(event["organizer"]).removeprefix("mailto:")
    message["Subject"] = "Accepted: Chess"
    message.set_content("Bob has answered.")
    told = {"UID": str(event["uid"]), "SEQUENCE": str(event["sequence"])} | fields
    lines = [
        "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//x//EN", "METHOD:REPLY", "BEGIN:VEVENT",
        "DTSTAMP:20300401T000000Z", *(f"{name}:{value}" for name, value in told.items()),
        f"ATTENDEE;PARTSTAT={partstat}:mailto:{BOB}", "END:VEVENT", "END:VCALENDAR", "",
    ]  # fmt: skip
    message.add_alternative("\r\n".join(lines), subtype="calendar", params={"method": "REPLY"})
    return bytes(message)


async def test_the_link_takes_time_of_an_account(club: Club) -> None:
    """Whoever has an account accepts for their calendar; what is in the way of it is not accepted."""
    bob, eve = await add_user(club.db), await add_user(club.db)

    async def work(connection: Connection) -> None:
        for user_id, address in ((bob, BOB), (eve, EVE)):
            await connection.execute(
                "UPDATE users SET email = %s, email_verified_at = now() WHERE id = %s", (address, user_id)
            )

    await club.db.transact(work)
    series = await club.invite()
    told = await club.told()
    rows = await club.rows(series)
    await booking.create(club.db, eve, rows[2].spec)
    await club.answers.respond(token_of(told[BOB]), "ACCEPTED", "")
    with pytest.raises(SeriesConflict):
        await club.answers.respond(token_of(told[EVE]), "ACCEPTED", "")
    with pytest.raises(Conflict):
        await booking.create(club.db, bob, rows[5].spec)
    rows = await club.rows(series)
    assert {("ACCEPTED", "NEEDS-ACTION")} == {tuple(each.response for each in row.attendees) for row in rows}
    assert await audit(club.db) == 0


async def test_answers_by_mail_are_of_all_or_of_one(club: Club) -> None:
    """By RECURRENCE-ID; an answer to what a newer message has replaced is none."""
    series = await club.invite()
    _, (event,) = parsed((await club.told())[BOB])
    reception = Reception(club.db, club.house.answers, REPLY_TO)
    assert f"accepted: series {series.id}" == await reception.take(reply(event, "ACCEPTED"))
    rows = await club.rows(series)
    one = {"RECURRENCE-ID": f"{TEN + WEEK:%Y%m%dT%H%M%SZ}"}
    assert f"declined: appointment {rows[1].id}" == await reception.take(reply(event, "DECLINED", **one))
    answered = [row.attendees[0].response for row in await club.rows(series)]
    assert ["ACCEPTED", "DECLINED", *["ACCEPTED"] * 4] == answered
    moved = TEN + WEEK + 3 * HOUR
    await club.change_one(rows[1], start_at=moved, end_at=moved + HOUR)
    await club.told()
    with pytest.raises(Ignored, match="newer"):
        await reception.take(reply(event, "ACCEPTED", **one))
    await reception.take(reply(event, "ACCEPTED", **one, SEQUENCE="1"))
    await reception.take(reply(event, "TENTATIVE"))
    with pytest.raises(Ignored, match="does not have"):
        await reception.take(reply(event, "ACCEPTED", **{"RECURRENCE-ID": "20300502T100000Z"}))
    with pytest.raises(Ignored, match="another appointment"):
        await reception.take(reply(event, "ACCEPTED", UID=rows[0].id_text))


async def test_who_confirms_their_address_later_tells_once(club: Club) -> None:
    """One message for the series, then."""
    async with club.db.connection() as connection:
        await connection.execute("UPDATE users SET email_verified_at = NULL")
    await club.invite()
    assert {} == await club.told()
    await club.house.auth.mailed_links.request_verification(club.house.owner)
    (message,) = await club.house.mail.new(club.house.auth)
    await club.house.auth.mailed_links.verify(link(message).rpartition("/")[2])
    assert {BOB, EVE} == (await club.told()).keys()


async def test_what_goes_with_an_account_is_cancelled(club: Club) -> None:
    """With the UID and a greater SEQUENCE, though nothing of it can be looked up any more."""
    series = await club.invite()
    await club.told()

    async def erase(connection: Connection) -> None:
        await erasure.lock(connection, club.house.owner)
        await erasure.erase(connection, club.house.owner, actor_id=club.house.owner, mail_is_on=True)

    await club.db.transact(erase)
    messages = await club.told()
    method, (event,) = parsed(messages[BOB])
    assert ("CANCEL", series.id_text, 1, TEN) == (method, event["uid"], event["sequence"], event["dtstart"].dt)
    assert "no longer has an account here, so this series is cancelled" in text(messages[BOB])
    assert {BOB, EVE} == messages.keys()


async def test_whole_days_are_dates(club: Club) -> None:
    """In DTSTART, EXDATE and RECURRENCE-ID."""
    midnight = TEN.replace(hour=22, day=1)  # in Zurich, of the 2nd
    series = await club.invite("FREQ=DAILY;COUNT=5", all_day=True, start_at=midnight, end_at=midnight + timedelta(1))
    messages = await club.told()
    assert "When: Every day, from Thu 2 May 2030, 5 times" in text(messages[BOB])
    rows = await club.rows(series)
    await updating.delete(club.db, club.house.owner, rows[1].id)
    await updating.delete(club.db, club.house.owner, rows[2].id)
    await club.change_one(rows[3], title="Other")
    _, (master, changed) = parsed((await club.told())[BOB])
    assert b"20300502" == master["dtstart"].to_ical()
    assert (b"20300503,20300504", "DATE") == (master["exdate"].to_ical(), master["exdate"].params["VALUE"])
    assert b"20300505" == changed["recurrence-id"].to_ical()


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("FREQ=DAILY", "Every day, "),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE,FR", "Every 2 weeks on Monday, Wednesday and Friday, "),
        ("FREQ=MONTHLY;BYDAY=-1FR", "Every month on the last Friday, "),
        ("FREQ=MONTHLY", "Every month on day 1, "),
        ("FREQ=YEARLY;BYMONTH=5;BYDAY=1WE", "Every year on the first Wednesday in May, "),
        ("FREQ=YEARLY", "Every year on 1 May, "),
        ("FREQ=MONTHLY;BYSETPOS=-1;BYDAY=MO,TU", "Every month, on certain days, "),
    ],
)
def test_rules_in_words(rule: str, words: str) -> None:
    """What a person would say, or that there is more to it."""
    assert wording.when(SeriesSpec(spec(), rule)).startswith(words)

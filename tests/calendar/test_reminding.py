"""Reminders: who is reminded of what, when, and how often."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import pytest

from appointments.calendar import booking, invited, series_booking, series_updating, updating
from appointments.calendar.appointment import Appointment, Attendee, Spec
from appointments.calendar.reminding import DUE, DUE_BY_DEFAULT, GRACE, OVERLAP, Reminding
from appointments.calendar.series import SeriesSpec
from appointments.db import Database
from appointments.jobs import Runner
from appointments.mail import Outbox
from appointments.mail.postman import Postman
from appointments.mail.relay import Relay, Server
from tests.auth.signing_in import Clock
from tests.calendar.test_plans import explained
from tests.mail.writing import SENDER
from tests.mailroom import text
from tests.people import HOUR, TEN, add_user, spec
from tests.postbox import Outcome, Postbox, postbox

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
MIDNIGHT = TEN.replace(hour=0)
ADA, BOB = "ada@example.com", "bob@example.com"


async def unsubscribe_url(_connection: object, address: str) -> str:
    """Where an address asks for no more mail."""
    return f"https://calendar.example.com/unsubscribe/{address}"


@dataclass
class House:
    """Somebody with a calendar, a clock that the test turns, and a mail server that says when it took what."""

    db: Database
    owner: UUID
    box: Postbox
    clock: Clock

    def runner(self) -> Runner:
        """What a process runs."""
        reminding = Reminding(
            self.db,
            Outbox(),
            public_url="https://calendar.example.com",
            unsubscribe_url=unsubscribe_url,
            now=self.clock,
        )
        relay = Relay(Server.of(self.box.url))
        postman = Postman(self.db, relay, SENDER, reminding.writers(), pause=MINUTE)
        return Runner(self.db, [*reminding.kinds(), *postman.kinds()], now=self.clock)

    async def run(self) -> list[str]:
        """Do what is due, and say of what reminders came."""
        before = len(self.box.taken)
        await self.runner().run_due()
        return sorted(self._title(message) for _, message in self.box.taken[before:])

    async def run_until(self, end: datetime, step: timedelta = MINUTE) -> list[tuple[datetime, str]]:
        """Let time pass, and say when which reminders came."""
        found = []
        while self.clock.time < end:
            self.clock.time += step
            found += [(self.clock.time, title) for title in await self.run()]
        return found

    @staticmethod
    def _title(message: EmailMessage) -> str:
        kind, _, title = str(message["Subject"]).partition(": ")
        assert kind == "Reminder"
        return title

    async def book(self, title: str, start: datetime, *reminders: int, **decided: Any) -> Appointment:
        """An appointment of an hour with these reminders."""
        return await booking.create(
            self.db, self.owner, replace(spec(start, title=title), reminders=reminders, **decided)
        )

    async def change(self, appointment: Appointment, **fields: Any) -> Appointment:
        """Change fields of an appointment."""

        def change(current: Spec) -> Spec:
            return replace(current, **fields)

        return await updating.update(self.db, self.owner, appointment.id, change)

    async def move(self, appointment: Appointment, start: datetime) -> Appointment:
        """Give an appointment another time, as the page does."""
        retime = (start, start + HOUR)

        def change(current: Spec) -> Spec:
            return replace(current, start_at=retime[0], end_at=retime[1])

        return await updating.update(self.db, self.owner, appointment.id, change, retime=retime)

    async def remind_by_default(self, *minutes: int, user_id: UUID | None = None) -> None:
        """Have an account remind of whatever says nothing else."""
        await execute(
            self.db,
            "UPDATE users SET default_reminders = %(minutes)s WHERE id = %(id)s",
            minutes=list(minutes) or None,
            id=user_id or self.owner,
        )


async def execute(db: Database, query: str, **values: object) -> None:
    """Run a statement."""
    async with db.connection() as connection:
        await connection.execute(query.encode(), values)


async def confirm(db: Database, user_id: UUID, email: str) -> None:
    """Give somebody an address that is confirmed."""
    await execute(
        db, "UPDATE users SET email = %(email)s, email_verified_at = now() WHERE id = %(id)s", email=email, id=user_id
    )


@pytest.fixture
def box() -> Iterator[Postbox]:
    """A real mail server."""
    with postbox() as box:
        yield box


@pytest.fixture
async def house(db: Database, owner: UUID, box: Postbox) -> House:
    """It is midnight of the first of May 2030."""
    await confirm(db, owner, ADA)
    await execute(db, "UPDATE reminder_scan SET scanned_at = %(at)s", at=MIDNIGHT)
    return House(db, owner, box, Clock(MIDNIGHT))


async def test_forty_eight_hours_of_a_calendar(house: House) -> None:
    """Each appointment is reminded of at its moments: where it is moved, deleted and restored, too; and only once."""
    db, owner = house.db, house.owner
    ten = TEN
    await house.remind_by_default(20)
    await house.book("kept", ten, 120, 10, 0)
    ahead = await house.book("moved ahead of its moment", ten + 2 * HOUR, 30)
    again = await house.book("moved after it", ten + 4 * HOUR, 60)
    deleted = await house.book("deleted", ten + 6 * HOUR, 30)
    restored = await house.book("restored in time", ten + 8 * HOUR, 30)
    late = await house.book("restored too late", ten + 10 * HOUR, 120, 30)
    silent = await house.book("silent", ten + 12 * HOUR)
    changed = await house.book("changed", ten + DAY, 60)
    await booking.create(db, owner, spec(ten + DAY + 2 * HOUR, title="by default"))
    await series_booking.create(
        db, owner, SeriesSpec(replace(spec(MIDNIGHT + 8 * HOUR, title="daily"), reminders=(15,)), "FREQ=DAILY;COUNT=5")
    )
    assert () == silent.spec.reminders

    step = timedelta(minutes=5)
    came = await house.run_until(ten + HOUR, step)
    assert [
        (MIDNIGHT + 8 * HOUR - 15 * MINUTE, "daily"),
        (ten - 2 * HOUR, "kept"),
        (ten - 10 * MINUTE, "kept"),
        (ten, "kept"),
    ] == came

    await house.move(ahead, ten + DAY + 4 * HOUR)
    await updating.delete(db, owner, deleted.id)
    await updating.delete(db, owner, restored.id)
    came = await house.run_until(ten + 3 * HOUR + 30 * MINUTE, step)
    assert [(ten + 3 * HOUR, "moved after it")] == came

    await house.move(again, ten + DAY + 6 * HOUR)
    await updating.undelete(db, owner, restored.id)
    came = await house.run_until(ten + 7 * HOUR + 45 * MINUTE, step)
    assert [(ten + 7 * HOUR + 30 * MINUTE, "restored in time")] == came

    await updating.delete(db, owner, late.id)
    await house.run_until(ten + 9 * HOUR, step)
    await updating.undelete(db, owner, late.id)
    await house.change(changed, reminders=(30,))
    came = await house.run_until(MIDNIGHT + 2 * DAY, step)
    assert [
        (ten + 9 * HOUR + 30 * MINUTE, "restored too late"),
        (MIDNIGHT + DAY + 8 * HOUR - 15 * MINUTE, "daily"),
        (ten + DAY - 30 * MINUTE, "changed"),
        (ten + DAY + 2 * HOUR - 20 * MINUTE, "by default"),
        (ten + DAY + 3 * HOUR + 30 * MINUTE, "moved ahead of its moment"),
        (ten + DAY + 5 * HOUR, "moved after it"),
    ] == came


async def test_what_a_reminder_says(house: House) -> None:
    """What it is, where, and when in the reader's zone. Whatever people typed is text, and programs can unsubscribe."""
    await execute(house.db, "UPDATE users SET time_zone = 'America/New_York' WHERE id = %(id)s", id=house.owner)
    await house.book("Chess", TEN, 90, location="Café", description="Bring a <board>")
    house.clock.time = TEN - 90 * MINUTE
    assert ["Chess"] == await house.run()
    ((recipient, message),) = house.box.taken
    assert (ADA, "Reminder: Chess") == (recipient, message["Subject"])
    said = text(message)
    for fact in (
        "In 1 hour 30 minutes",
        "What: Chess",
        "When: Wed 1 May 2030, 06:00 – 07:00 (America/New_York)",
        "Where: Café",
        "https://calendar.example.com/",
    ):
        assert fact in said
    html = message.get_body(("html",))
    assert "Bring a &lt;board&gt;" in html.get_content()
    assert f"<{await unsubscribe_url(None, ADA)}>" == message["List-Unsubscribe"]
    assert "List-Unsubscribe=One-Click" == message["List-Unsubscribe-Post"]


@pytest.mark.parametrize("offset", [0, 1, 59, 61])
async def test_it_comes_within_its_minute_whatever_the_second(house: House, offset: int) -> None:
    """Appointments need not begin at whole minutes."""
    start = TEN + timedelta(seconds=offset)
    await house.book("odd", start, 10)
    house.clock.time = TEN - 15 * MINUTE
    came = await house.run_until(TEN - 5 * MINUTE, timedelta(seconds=20))
    ((at, title),) = came
    assert "odd" == title
    assert timedelta() <= at - (start - 10 * MINUTE) < timedelta(seconds=20)


async def test_runners_that_look_at_once_remind_once(house: House) -> None:
    """Two processes whose job is due twice, as after a lease that ended too early: the outbox takes one of each."""
    for number in range(20):
        await house.book(f"appointment {number}", TEN + number * HOUR, 10 + 60 * number)
    house.clock.time = TEN - 10 * MINUTE
    looks = [Reminding(house.db, Outbox(), public_url="", now=house.clock).kinds()[0] for _ in range(8)]
    job: Any = None
    await asyncio.gather(*(look.run(job) for look in looks))
    found = await asyncio.gather(*(house.runner().run_due() for _ in range(2)))
    assert sum(found) >= 20
    subjects = [str(message["Subject"]) for _, message in house.box.taken]
    assert sorted(f"Reminder: appointment {number}" for number in range(20)) == sorted(subjects)
    house.clock.turn(seconds=20)
    assert [] == await house.run()


async def test_a_worker_that_dies_before_it_has_noted_the_time_reminds_once(house: House) -> None:
    """What was put into the outbox is found again, and is not put there again."""
    await house.book("once", TEN, 10)
    house.clock.time = TEN - 10 * MINUTE
    assert ["once"] == await house.run()
    await execute(house.db, "UPDATE reminder_scan SET scanned_at = %(at)s", at=MIDNIGHT)
    house.clock.turn(seconds=20)
    assert [] == await house.run()


async def test_somebody_else_looks_while_a_killed_worker_still_has_the_job(house: House) -> None:
    """Its lease lasts for a minute, and nobody's reminder may be that late."""
    await house.book("in time", TEN, 10)
    house.clock.time = TEN - 11 * MINUTE
    assert [] == await house.run()
    await execute(
        house.db,
        "UPDATE jobs SET lease = gen_random_uuid(), due_at = %(at)s WHERE kind = 'reminders'",
        at=house.clock.time + HOUR,
    )
    came = await house.run_until(TEN - 8 * MINUTE, timedelta(seconds=5))
    ((at, title),) = came
    assert "in time" == title
    assert timedelta() <= at - (TEN - 10 * MINUTE) < MINUTE


async def test_a_change_that_commits_late_is_seen(house: House) -> None:
    """Its moment passed before it was there to be seen, in the short time that its transaction took."""
    house.clock.time = TEN - 10 * MINUTE + timedelta(seconds=5)
    assert [] == await house.run()
    appointment = await house.book("late commit", TEN, 10)
    assert appointment.reminders == [10]
    house.clock.turn(seconds=20)
    assert ["late commit"] == await house.run()


async def test_a_moment_that_has_passed_is_not_made_up_for(house: House) -> None:
    """Whoever asks for a reminder too late gets none."""
    appointment = await house.book("in a moment", TEN)
    house.clock.time = TEN - 10 * MINUTE + OVERLAP + timedelta(seconds=1)
    assert [] == await house.run()
    await house.change(appointment, reminders=(10,))
    house.clock.turn(seconds=20)
    assert [] == await house.run()


async def test_nobody_is_reminded_of_what_was_booked_too_late(house: House) -> None:
    """It begins in five minutes: a reminder of ten minutes before would have been due before it was booked."""
    now = datetime.now(UTC)
    house.clock.time = now
    await execute(house.db, "UPDATE reminder_scan SET scanned_at = %(at)s", at=now - HOUR)
    await house.book("soon", now + 5 * MINUTE, 10, 3)
    house.clock.turn(seconds=1)
    assert [] == await house.run()
    house.clock.turn(minutes=2)
    assert ["soon"] == await house.run()


async def test_after_an_outage_people_are_reminded_of_what_has_not_begun(house: House) -> None:
    """Nobody looked for three hours: what lies ahead is late, what has begun is dropped."""
    await house.book("has begun", TEN - HOUR, 30)
    await house.book("begins", TEN, 60, 30)
    await house.book("lies ahead", TEN + HOUR, 90)
    house.clock.time = TEN - 2 * HOUR
    assert [] == await house.run()
    house.clock.time = TEN - 10 * MINUTE
    assert ["begins", "begins", "lies ahead"] == await house.run()


async def test_a_reminder_that_the_relay_takes_too_late_is_dropped(house: House) -> None:
    """A mail server that is away until the appointment has begun."""
    outcome: list[Outcome] = ["4xx at RCPT"]
    house.box.decide = lambda _recipient, _attempt: outcome[0]
    await house.book("refused", TEN, 10)
    house.clock.time = TEN - 10 * MINUTE
    look: Any = Reminding(house.db, Outbox(), public_url="", now=house.clock).kinds()[0]
    await look.run(None)
    # The outbox counts by the database's clock how long it has tried.
    await execute(house.db, "UPDATE jobs SET deferred_at = %(at)s WHERE kind = 'mail'", at=house.clock.time)
    assert [] == await house.run_until(TEN - 5 * MINUTE)
    assert ["queued"] == [state for state, _ in await states(house.db)]
    house.clock.time = TEN + GRACE
    outcome[0] = "take"
    assert [] == await house.run()
    rows = await states(house.db)
    assert [("dropped", "there was nothing to say any more")] == rows


async def states(db: Database) -> list[tuple[str, str]]:
    """How the letters stand."""
    async with db.connection() as connection:
        cursor = await connection.execute("SELECT state, response FROM outbox ORDER BY id")
        return [(str(row[0]), str(row[1])) for row in await cursor.fetchall()]


@pytest.mark.parametrize(
    "spoil", ["deleted", "moved", "silenced", "unsubscribed", "bounces", "unconfirmed", "disabled"]
)
async def test_what_changes_before_the_mail_is_sent_counts(house: House, spoil: str) -> None:
    """Between the outbox and the relay an appointment may be deleted, or its owner may be gone."""
    appointment = await house.book("spoiled", TEN, 10)
    house.clock.time = TEN - 10 * MINUTE
    look: Any = Reminding(house.db, Outbox(), public_url="", now=house.clock).kinds()[0]
    await look.run(None)
    assert 1 == len(await states(house.db))
    if spoil == "deleted":
        await updating.delete(house.db, house.owner, appointment.id)
    elif spoil == "moved":
        await house.move(appointment, TEN + HOUR)
    elif spoil == "silenced":
        await house.change(appointment, reminders=())
    else:
        await execute(
            house.db,
            {
                "unsubscribed": "INSERT INTO mail_addresses (address, unsubscribed_at) VALUES (%(email)s, now())",
                "bounces": "INSERT INTO mail_addresses (address, hard_bounces) VALUES (%(email)s, 3)",
                "unconfirmed": "UPDATE users SET email_verified_at = NULL WHERE email = %(email)s",
                "disabled": "UPDATE users SET disabled_at = now() WHERE email = %(email)s",
            }[spoil],
            email=ADA,
        )
    assert [] == await house.run()
    assert ["dropped"] == [state for state, _ in await states(house.db)]


async def test_somebody_with_a_new_address_is_reminded_there(house: House) -> None:
    """Not at the one that they had when it became due."""
    await house.book("readdressed", TEN, 10)
    house.clock.time = TEN - 10 * MINUTE
    look: Any = Reminding(house.db, Outbox(), public_url="", now=house.clock).kinds()[0]
    await look.run(None)
    await confirm(house.db, house.owner, "new@example.com")
    assert ["readdressed"] == await house.run()
    assert ["new@example.com"] == [recipient for recipient, _ in house.box.taken]


async def test_an_address_that_is_not_confirmed_gets_none(house: House) -> None:
    """Nobody has proved to read it."""
    await execute(house.db, "UPDATE users SET email_verified_at = NULL WHERE id = %(id)s", id=house.owner)
    await house.book("unread", TEN, 10)
    assert [] == await house.run_until(TEN, 5 * MINUTE)
    assert [] == await states(house.db)


async def test_a_hold_is_reminded_of_once_it_is_confirmed(house: House) -> None:
    """Until then it is no appointment."""
    held = await booking.create(house.db, house.owner, replace(spec(TEN), reminders=(60, 10)), ttl=HOUR)
    assert [60, 10] == held.reminders
    house.clock.time = TEN - HOUR
    assert [] == await house.run_until(TEN - HOUR + 2 * OVERLAP)
    await updating.confirm(house.db, house.owner, held.id)
    assert [(TEN - 10 * MINUTE, "Haircut")] == await house.run_until(TEN, 2 * MINUTE)


async def test_guests_are_reminded_as_their_own_account_says(house: House, stranger: UUID) -> None:
    """Of what they have accepted, whatever the organizer's reminders are; and not once they decline."""
    await confirm(house.db, stranger, BOB)
    await house.remind_by_default(30, user_id=stranger)
    guests = {"attendees": (Attendee(BOB),)}
    accepted = await house.book("accepted", TEN, 10, **guests)
    declined = await house.book("declined", TEN + HOUR, 10, **guests)
    await house.book("open", TEN + 2 * HOUR, 10, **guests)
    for appointment, response in ((accepted, "ACCEPTED"), (declined, "ACCEPTED"), (declined, "DECLINED")):
        await invited.respond(house.db, stranger, appointment.id, invited.Answer(response, ""))
    await house.run_until(TEN + 3 * HOUR, 5 * MINUTE)
    assert [(BOB, "Reminder: accepted")] == [
        (recipient, message["Subject"]) for recipient, message in house.box.taken if recipient == BOB
    ]
    assert 3 == len(house.box.to(ADA))
    assert f"Organizer: {ADA}" in text(house.box.to(BOB)[0])
    assert None is (await booking.get(house.db, stranger, accepted.id)).reminders


async def test_a_series_gives_its_reminders_to_its_occurrences(house: House) -> None:
    """A change of the series reaches them, but for those that have reminders of their own."""
    db, owner = house.db, house.owner
    booked = await series_booking.create(db, owner, SeriesSpec(replace(spec(), reminders=(15,)), "FREQ=DAILY;COUNT=3"))
    async with db.connection() as connection:
        cursor = await connection.execute("SELECT id FROM appointments ORDER BY start_at")
        ids = [row[0] for row in await cursor.fetchall()]
    first = await booking.get(db, owner, ids[0])
    assert [15] == first.reminders
    await house.change(first, reminders=(5,))

    def change(current: SeriesSpec) -> SeriesSpec:
        return replace(current, first=replace(current.first, reminders=(45,)))

    changed = await series_updating.update(db, owner, booked.series.id, change, include_past=True)
    assert [45] == changed.series.reminders
    assert [[5], [45], [45]] == [(await booking.get(db, owner, each)).reminders for each in ids]


async def test_an_outbox_without_mail_takes_none(house: House) -> None:
    """Where the service sends no mail."""
    await house.book("unsaid", TEN, 10)
    house.clock.time = TEN - 10 * MINUTE
    look: Any = Reminding(house.db, Outbox(is_on=False), public_url="", now=house.clock).kinds()[0]
    await look.run(None)
    assert [] == await states(house.db)


async def test_many_are_due_at_once(house: House) -> None:
    """More than go into the outbox with one statement."""
    people = [await add_user(house.db) for _ in range(3)]
    await execute(
        house.db,
        """
        INSERT INTO appointments (
            id, owner_id, title, description, location, start_at, end_at, time_zone, attendees, created_at, updated_at,
            version, reminders
        )
        SELECT gen_random_uuid(), users.id, 'One of many', '', '', %(start)s, %(start)s + interval '1 hour', 'UTC',
               '[]', now(), now(), 1, '{10,5,20}'
        FROM users CROSS JOIN generate_series(1, 200) WHERE users.id = ANY (%(people)s)
        """,
        start=TEN,
        people=people,
    )
    for person in people:
        await confirm(house.db, person, f"{person}@example.com")
    house.clock.time = TEN - 5 * MINUTE
    look: Any = Reminding(house.db, Outbox(), public_url="", now=house.clock).kinds()[0]
    await look.run(None)
    assert 1800 == len(await states(house.db))


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_calendars_are_not_looked_through(db: Database, dsn: str, mode: str) -> None:
    """What is due is found by indexes, however many appointments there are; whether planned once or each time."""
    await execute(
        db,
        """
        WITH person AS (
            INSERT INTO subjects (id, kind) SELECT gen_random_uuid(), 'user' FROM generate_series(1, 200) RETURNING id
        )
        INSERT INTO users (
            id, email, display_name, time_zone, password_hash, created_at, updated_at, email_verified_at,
            default_reminders
        )
        SELECT id, id || '@example.com', '', 'UTC', '', now(), now(), now(), '{10,60}' FROM person
        """,
    )
    await execute(
        db,
        """
        INSERT INTO appointments (
            id, owner_id, title, description, location, start_at, end_at, time_zone, attendees, created_at, updated_at,
            version, reminders
        )
        SELECT gen_random_uuid(), users.id, 'Call', '', '', start_at, start_at + interval '10 minutes', 'UTC', '[]',
               now(), now(), 1, CASE WHEN mod(number, 10) = 0 THEN ARRAY[5, 30] END
        FROM users CROSS JOIN generate_series(1, 100) AS number CROSS JOIN LATERAL (
            SELECT %(start)s::timestamptz + number * interval '3 hours' AS start_at
        ) AS starting
        """,
        start=TEN,
    )
    await execute(db, "ANALYZE")
    async with db.connection() as connection:
        cursor = await connection.execute("SELECT id FROM users LIMIT 50")
        people = [row[0] for row in await cursor.fetchall()]
    now = TEN + 5 * DAY
    values = {"since": now - MINUTE, "until": now, "begun": now - GRACE, "minutes": [31_745_400, 31_745_401]}
    for statement, index in ((DUE, "appointments_reminded"), (DUE_BY_DEFAULT, "appointments_by_owner")):
        nodes = list(explained(dsn, statement, values | {"people": people}, mode))
        assert index in {node.get("Index Name") for node in nodes}
        read = {node.get("Relation Name") for node in nodes if node["Node Type"] == "Seq Scan"}
        assert {"users", "invitees"} >= read

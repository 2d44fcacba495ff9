"""What feeds and exports hold, as other people's libraries read it."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import icalendar
import psycopg
import pytest
import vobject

from appointments.calendar import booking, listing, series_booking, series_updating, updating
from appointments.calendar.appointment import Attendee, Spec
from appointments.calendar.materializing import Booked
from appointments.calendar.series import SeriesSpec
from appointments.changes.sequencer import Sequencer
from appointments.db import Database, instant
from appointments.icalendar.feeds import Feeds, content
from appointments.mail import Links
from appointments.shared.errors import Invalid, NotFound, Unmet
from tests.people import HOUR, TEN, spec

NOW = TEN - timedelta(days=10)
HOSTILE = 'Chess;"\\,\r\nATTENDEE:mailto:x@evil.example\nEND:VEVENT\u2028\x01'


async def feed(db: Database, owner: UUID, now: datetime = NOW, **decided: Any) -> bytes:
    """The whole content of a feed."""
    wanted: dict[str, Any] = {"name": "Ada's", "is_busy_only": False} | decided
    return b"".join([piece async for piece in content.feed(db, owner, now=now, **wanted)])


def events(data: bytes) -> list[Any]:
    """Its events, as icalendar reads them; vobject has to read them too, and no line is longer than it may be."""
    assert max(map(len, data.split(b"\r\n"))) <= 75
    calendar: Any = icalendar.Calendar.from_ical(data)
    assert not [error for each in calendar.walk() for error in each.errors]
    found = list(calendar.walk("VEVENT"))
    if found:
        assert len(found) == len(vobject.readOne(data.decode()).vevent_list)
    return found


def many(number: int) -> list[Spec]:
    """Appointments of every kind that one person can have."""
    zones = ("Europe/Zurich", "America/New_York", "Asia/Kathmandu", "UTC", "Pacific/Apia")
    return [
        Spec(
            f"Nr. {each}: {'ü山🎉' * (each % 40)}", TEN + each * HOUR, TEN + (each + 1) * HOUR, zones[each % 5],
            "" if each % 3 else HOSTILE * (each % 7), "" if each % 2 else "Café; 1st, floor",
            () if each % 4 else (Attendee("bob@example.org", 'Bob "B." <x>;,'), Attendee("eve@example.org")),
        )
        for each in range(number)
    ]  # fmt: skip


async def test_everything_comes_back_as_it_is(db: Database, owner: UUID) -> None:
    """Titles of all scripts, zones, guests; times are the same instants."""
    wanted = many(60)
    made = [await booking.create(db, owner, each) for each in wanted]
    found = events(await feed(db, owner))
    assert [each.id_text for each in made] == [str(each["uid"]) for each in found]
    for asked, got in zip(wanted, found, strict=True):
        assert (asked.start_at, asked.end_at) == (
            got["dtstart"].dt.astimezone(UTC), got["dtend"].dt.astimezone(UTC),
        )  # fmt: skip
        assert asked.title == got["summary"]
        assert asked.location == got.get("location", "")
        assert _said(asked.description) == got.get("description", "")
        guests = got.get("attendee", [])
        assert [f"mailto:{each.email}" for each in asked.attendees] == [str(each) for each in guests]
        assert {"dtstamp", "sequence", "created", "last-modified"} <= {key.lower() for key in got}
        assert ("CONFIRMED", "OPAQUE") == (got["status"], got["transp"])


def _said(description: str) -> str:
    return description.replace("\r\n", "\n").replace("\u2028", " ").replace("\x01", " ")


async def test_the_calendar_says_who_it_is_and_how_often_to_ask(db: Database, owner: UUID) -> None:
    """An empty one too; and the zones that its times need, with their transitions."""
    calendar: Any = icalendar.Calendar.from_ical(await feed(db, owner))
    assert ("Ada's", "PT15M", "2.0") == (calendar["x-wr-calname"], calendar["x-published-ttl"], calendar["version"])
    assert timedelta(minutes=15) == calendar["refresh-interval"].dt
    await booking.create(db, owner, spec())
    calendar = icalendar.Calendar.from_ical(await feed(db, owner))
    (zone,) = calendar.walk("VTIMEZONE")
    own = zone.to_tz(lookup_tzid=False)
    assert timedelta(hours=2) == TEN.replace(tzinfo=None).replace(tzinfo=own).utcoffset()


async def test_whole_days_transparent_time_and_the_second_hour(db: Database, owner: UUID) -> None:
    """Dates, TRANSP, and UTC where local time could mean two instants."""
    midnight = TEN.replace(hour=22)
    await booking.create(db, owner, replace(spec(midnight, timedelta(days=1)), all_day=True))
    await booking.create(db, owner, replace(spec(), transparent=True))
    twice = datetime(2030, 10, 27, 1, 30, tzinfo=UTC)  # 02:30 in Zurich, for the second time
    await booking.create(db, owner, spec(twice))
    found = {each["uid"]: each for each in events(await feed(db, owner))}
    days = [each for each in found.values() if not isinstance(each["dtstart"].dt, datetime)]
    assert ["2030-05-02"] == [each["dtstart"].dt.isoformat() for each in days]
    assert 1 == sum(each["transp"] == "TRANSPARENT" for each in found.values())
    (second,) = [each for each in found.values() if each["dtstart"].dt == twice]
    assert second["dtstart"].to_ical().endswith(b"Z")


async def test_what_was_deleted_stays_as_cancelled_for_thirty_days(db: Database, owner: UUID, dsn: str) -> None:
    """So that programs take it away; what is outside of the window or held and expired is not there."""
    created = await booking.create(db, owner, spec())
    await updating.delete(db, owner, created.id)
    today = datetime.now(UTC)
    found = events(await feed(db, owner, NOW)) and events(await feed(db, owner, today))
    assert not found  # not within two years of today
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE appointments SET start_at = now() + '1 day', end_at = now() + '2 days'")
    (cancelled,) = events(await feed(db, owner, today))
    assert ("CANCELLED", 1) == (cancelled["status"], cancelled["sequence"])
    assert [] == events(await feed(db, owner, today + timedelta(days=31)))
    assert [] == (await content.everything(db, owner)).singles


async def test_busy_only_shows_when_and_nothing_else(db: Database, owner: UUID) -> None:
    """Neither what nor with whom; time that is not taken is not there at all."""
    for each in many(8):
        await booking.create(db, owner, each)
    await booking.create(db, owner, replace(spec(), transparent=True))
    data = await feed(db, owner, is_busy_only=True, name="Busy")
    found = events(data)
    assert ([("Busy", None, None, None)] * 8) == [
        (each["summary"], each.get("description"), each.get("location"), each.get("attendee")) for each in found
    ]
    assert b"Nr." not in data


async def a_weekly_series(db: Database, owner: UUID) -> tuple[Booked, datetime]:
    """An endless one from tomorrow on in Zurich, of which one is off by the rule, one deleted and one moved."""
    start = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0) + timedelta(days=1)
    wanted = SeriesSpec(spec(start, title="Yoga"), "FREQ=WEEKLY", (), (start + timedelta(weeks=1),))
    booked = await series_booking.create(db, owner, wanted)
    window = listing.Window(owner, None, None, False, booked.series.id)
    occurrences = (await listing.page(db, window, size=5)).appointments
    await updating.delete(db, owner, occurrences[1].id)
    moved = instant(occurrences[2].start_at) + 2 * HOUR
    await updating.update(db, owner, occurrences[2].id, lambda one: replace(one, start_at=moved, end_at=moved + HOUR))
    return booked, start


async def test_a_series_is_a_rule_with_what_differs(db: Database, owner: UUID) -> None:
    """One event with RRULE and EXDATE, one with a RECURRENCE-ID; not an event for each occurrence."""
    booked, start = await a_weekly_series(db, owner)
    master, moved = events(await feed(db, owner, datetime.now(UTC)))
    assert (booked.series.id_text, ["WEEKLY"]) == (str(master["uid"]), master["rrule"]["FREQ"])
    assert "Europe/Zurich" == master["dtstart"].params["TZID"]
    clock = ZoneInfo("Europe/Zurich")
    walls = [(start.astimezone(clock) + timedelta(weeks=week)).replace(tzinfo=None) for week in (1, 2, 3)]
    off = [each.dt.replace(tzinfo=None) for each in master["exdate"].dts]
    assert walls == [*off, moved["recurrence-id"].dt.replace(tzinfo=None)]
    assert (booked.series.id_text, "Europe/Zurich") == (str(moved["uid"]), moved["recurrence-id"].params["TZID"])
    assert timedelta(hours=2) == moved["dtstart"].dt.replace(tzinfo=None) - walls[2]


async def test_a_deleted_series_stays_as_cancelled_for_thirty_days(db: Database, owner: UUID) -> None:
    """So that programs take all of it away; whoever sees only when time is taken learns nothing more of it."""
    booked, _ = await a_weekly_series(db, owner)
    now = datetime.now(UTC)
    busy = events(await feed(db, owner, now, is_busy_only=True))
    assert ["Busy", "Busy"] == [str(each["summary"]) for each in busy]
    await series_updating.delete(db, owner, booked.series.id)
    (cancelled,) = events(await feed(db, owner, now + HOUR))
    assert (booked.series.id_text, "CANCELLED") == (str(cancelled["uid"]), str(cancelled["status"]))
    assert [] == events(await feed(db, owner, now + timedelta(days=31)))


async def test_ten_thousand_events_come_quickly(db: Database, owner: UUID, dsn: str) -> None:
    """And no piece holds up others for long. The bound is loose, for busy machines; the issue's is 300 ms."""
    with psycopg.connect(dsn) as connection:
        connection.execute(
            """
            INSERT INTO appointments (
                id, owner_id, title, description, location, start_at, end_at, time_zone, attendees,
                created_at, updated_at, version
            )
            SELECT gen_random_uuid(), %s, 'Meeting ' || n, 'What there is to say', 'Room 5',
                now() + n * interval '1 hour', now() + (n + 1) * interval '1 hour', 'Europe/Zurich', '[]',
                now(), now(), 1
            FROM generate_series(1, 10000) AS n
            """,
            [owner],
        )
    started, longest, size, count = time.perf_counter(), 0.0, 0, 0
    last = started
    async for piece in content.feed(db, owner, name="x", is_busy_only=False, now=datetime.now(UTC)):
        size += len(piece)
        count += piece.count(b"BEGIN:VEVENT")
        longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
    took = time.perf_counter() - started
    print(f"10,000 events, {size:,} bytes: {took * 1000:.0f} ms")  # noqa: T201 - for a report
    assert 10_000 == count
    assert took < 3


async def test_an_export_has_everything(db: Database, owner: UUID, stranger: UUID) -> None:
    """Page by page, whatever shares a start; and nobody else's."""
    for number in range(30):
        await booking.create(db, owner, replace(spec(TEN + number // 3 * HOUR), transparent=True))
    await booking.create(db, stranger, spec())
    assert 30 == len((await content.everything(db, owner)).singles)


class TestFeeds:
    """The feeds themselves."""

    async def test_a_feed_is_found_by_its_secret_alone(self, db: Database, owner: UUID, stranger: UUID) -> None:
        """Which is nowhere in the database; its end is the end."""
        feeds = Feeds(db, Links("s" * 32, public_url="https://calendar.example.com"))
        made, url = await feeds.create(owner, "Phone", is_busy_only=True)
        secret = url.rpartition("/")[2].removesuffix(".ics")
        assert url == f"https://calendar.example.com/calendars/{secret}.ics"
        opened = await feeds.open(secret)
        assert (made.id, owner, "Phone", True) == (
            opened.id, opened.user_id, opened.display_name, opened.is_busy_only,
        )  # fmt: skip
        (listed,) = await feeds.list(owner)
        assert (made.id, True) == (listed.id, listed.last_used_at is not None)
        assert [] == await feeds.list(stranger)
        with pytest.raises(NotFound):
            await feeds.delete(stranger, made.id)
        await feeds.delete(owner, made.id)
        for wrong in (secret, "", "x" * 10_000, "\ud800"):
            with pytest.raises(NotFound):
                await feeds.open(wrong)

    async def test_the_tag_changes_with_what_the_feed_shows(self, db: Database, owner: UUID, stranger: UUID) -> None:
        """With every change of the calendar, and not with somebody else's."""
        feeds = Feeds(db, Links("s" * 32))
        secret = (await feeds.create(owner, "Phone", is_busy_only=False))[1].rpartition("/")[2].removesuffix(".ics")
        tags = [(await feeds.open(secret)).tag]

        async def look() -> None:
            await Sequencer(db).settle()
            tags.append((await feeds.open(secret)).tag)

        created = await booking.create(db, owner, spec())
        await look()
        await booking.create(db, stranger, spec())
        await look()
        await updating.delete(db, owner, created.id)
        await look()
        assert tags[1] == tags[2]
        assert 3 == len(set(tags))

    async def test_there_is_an_end_to_feeds_and_names(self, db: Database, owner: UUID) -> None:
        """Twenty, each with a name."""
        feeds = Feeds(db, Links("s" * 32))
        for bad in ("", "x" * 201, "\x00"):
            with pytest.raises(Invalid):
                await feeds.create(owner, bad, is_busy_only=False)
        for number in range(20):
            await feeds.create(owner, f"Nr. {number}", is_busy_only=False)
        with pytest.raises(Unmet) as refused:
            await feeds.create(owner, "one more", is_busy_only=False)
        assert "TOO_MANY_FEEDS" == refused.value.reason

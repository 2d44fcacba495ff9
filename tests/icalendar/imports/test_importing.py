"""Files that come from elsewhere, on a real calendar."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import icalendar
import psycopg
import pytest
import vobject

from appointments.calendar import booking, invited, listing, resources, series_booking, series_updating, updating
from appointments.calendar.appointment import Appointment, Attendee, Spec
from appointments.calendar.bookable.rules import BookingRules
from appointments.calendar.log import BY_OWNER
from appointments.calendar.series import SeriesSpec
from appointments.db import Database, instant
from appointments.icalendar import imports
from appointments.icalendar.feeds import content
from appointments.icalendar.imports import Item, OnConflict, State
from appointments.shared.errors import Conflict, Invalid
from tests.audit import audit
from tests.people import HOUR, TEN, add_room, add_user, shared, spec


def ics(*events: str, head: str = "") -> bytes:
    """A file with these components; each is the lines of a VEVENT, or a whole component."""
    whole = (each if each.startswith("BEGIN:") else f"BEGIN:VEVENT\n{each.strip()}\nEND:VEVENT" for each in events)
    lines = "\n".join(["BEGIN:VCALENDAR", "VERSION:2.0", *filter(None, [head]), *whole, "END:VCALENDAR", ""])
    return lines.replace("\n", "\r\n").encode()


def event(uid: str, start: str, end: str, *more: str) -> str:
    """The lines of a VEVENT; times go on behind the property's name."""
    return "\n".join([f"UID:{uid}", f"SUMMARY:{uid}", f"DTSTART{start}", f"DTEND{end}", *more])


async def load(
    db: Database, owner: UUID, content: bytes, on_conflict: OnConflict = OnConflict.FAIL, *, validate_only: bool = False
) -> list[Item]:
    """Import it."""
    report = await imports.run(db, owner, content, on_conflict=on_conflict, validate_only=validate_only, cause=BY_OWNER)
    return report.items


async def everything(db: Database, owner: UUID, *, deleted: bool = False) -> list[Appointment]:
    """All that somebody has."""
    return list((await listing.page(db, listing.Window(owner, None, None, deleted), size=1000)).appointments)


def states(items: list[Item]) -> list[str]:
    """The states, in order."""
    return [item.state.name for item in items]


def wall(at: datetime) -> str:
    """As iCalendar writes UTC."""
    return f":{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


ZURICH = ";TZID=Europe/Zurich"
SKIP = OnConflict.SKIP


async def test_a_file_becomes_appointments(db: Database, owner: UUID) -> None:
    """Times in a zone, in UTC, whole days, durations, transparency and texts are as the file has them."""
    items = await load(
        db,
        owner,
        ics(
            event("a", f"{ZURICH}:20270301T090000", f"{ZURICH}:20270301T100000", "DESCRIPTION:one\\, two\\nthree"),
            event("b", ":20270302T090000Z", ":20270302T100000Z", "LOCATION:Room", "TRANSP:TRANSPARENT"),
            event("c", ";VALUE=DATE:20270303", ";VALUE=DATE:20270305"),
            "UID:d\nSUMMARY:d\nDTSTART;TZID=Europe/Zurich:20270327T120000\nDURATION:P1DT1H",
        ),
    )
    assert states(items) == ["NEW"] * 4
    found = {each.title: each.spec for each in await everything(db, owner)}
    assert found == {
        "a": Spec(
            "a", datetime(2027, 3, 1, 8, tzinfo=UTC), datetime(2027, 3, 1, 9, tzinfo=UTC), "Europe/Zurich",
            "one, two\nthree",
        ),
        "b": Spec(
            "b", datetime(2027, 3, 2, 9, tzinfo=UTC), datetime(2027, 3, 2, 10, tzinfo=UTC), "UTC", "", "Room",
            transparent=True,
        ),
        "c": Spec(
            "c", datetime(2027, 3, 3, tzinfo=UTC), datetime(2027, 3, 5, tzinfo=UTC), "UTC", all_day=True
        ),
        # A day over the night in which summer time begins has 23 hours.
        "d": Spec("d", datetime(2027, 3, 27, 11, tzinfo=UTC), datetime(2027, 3, 28, 11, tzinfo=UTC), "Europe/Zurich"),
    }  # fmt: skip
    assert [item.entry.line for item in items] == [3, 10, 18, 24]


async def test_a_file_can_be_imported_again(db: Database, owner: UUID) -> None:
    """What is as it was stays untouched; what the file changes is changed; what it cancels goes; ids stay."""
    one = event("a", f"{ZURICH}:20270301T090000", f"{ZURICH}:20270301T100000")
    other = event("b", ":20270302T090000Z", ":20270302T100000Z")
    first = await load(db, owner, ics(one, other))
    assert states(await load(db, owner, ics(one, other))) == ["UNCHANGED", "UNCHANGED"]
    before = await everything(db, owner)
    moved = event("a", f"{ZURICH}:20270301T093000", f"{ZURICH}:20270301T103000")
    again = await load(db, owner, ics(moved, other + "\nSTATUS:CANCELLED"))
    assert states(again) == ["CHANGED", "CHANGED"]
    after = await everything(db, owner)
    assert [each.id for each in after] == [first[0].appointment_id] == [before[0].id]
    assert instant(after[0].start_at) == datetime(2027, 3, 1, 8, 30, tzinfo=UTC)
    assert states(await load(db, owner, ics(other))) == ["NEW"]


FREE = event("free", wall(TEN - 3 * HOUR), wall(TEN - 2 * HOUR))
TAKEN = event("taken", wall(TEN), wall(TEN + HOUR))


async def test_of_what_collides_nothing_is_imported(db: Database, owner: UUID) -> None:
    """With FAIL the calendar stays as it was, and what is in the way is named."""
    there = await booking.create(db, owner, spec())
    content = ics(
        event("free", wall(TEN - 3 * HOUR), wall(TEN - 2 * HOUR)), event("taken", wall(TEN), wall(TEN + HOUR))
    )
    with pytest.raises(Conflict) as refusal:
        await load(db, owner, content)
    assert [each.id for each in refusal.value.collisions] == [there.id]
    assert [each.id for each in await everything(db, owner)] == [there.id]
    looked = await load(db, owner, content, validate_only=True)
    assert states(looked) == ["NEW", "COLLIDING"]
    assert [each.id for each in looked[1].collisions] == [there.id]
    assert [each.id for each in await everything(db, owner)] == [there.id]


async def test_what_collides_is_left_out_or_takes_no_time(db: Database, owner: UUID) -> None:
    """SKIP imports the rest; TRANSPARENT imports all, and again changes nothing."""
    await booking.create(db, owner, spec())
    content = ics(
        event("free", wall(TEN - 3 * HOUR), wall(TEN - 2 * HOUR)), event("taken", wall(TEN), wall(TEN + HOUR))
    )
    assert states(await load(db, owner, content, OnConflict.SKIP)) == ["NEW", "COLLIDING"]
    assert [each.title for each in await everything(db, owner)] == ["free", spec().title]
    assert states(await load(db, owner, content, OnConflict.TRANSPARENT)) == ["UNCHANGED", "COLLIDING"]
    found = {each.title: bool(each.transparent) for each in await everything(db, owner)}
    assert found == {"free": False, "taken": True, spec().title: False}
    assert states(await load(db, owner, content, OnConflict.TRANSPARENT)) == ["UNCHANGED", "UNCHANGED"]


async def test_two_of_one_file_may_collide(db: Database, owner: UUID) -> None:
    """Whoever comes first has the time; what is not there afterwards has no id."""
    content = ics(event("a", wall(TEN), wall(TEN + HOUR)), event("b", wall(TEN), wall(TEN + 2 * HOUR)))
    items = await load(db, owner, content, OnConflict.SKIP)
    assert states(items) == ["NEW", "COLLIDING"]
    assert [each.id for each in items[1].collisions] == [items[0].appointment_id]
    assert items[1].appointment_id is None


RULED = event(
    "s", f"{ZURICH}:20270301T090000", f"{ZURICH}:20270301T100000", "RRULE:FREQ=WEEKLY;COUNT=6",
    "EXDATE;TZID=Europe/Zurich:20270308T090000", "RDATE;TZID=Europe/Zurich:20270302T090000",
)  # fmt: skip
MOVED = event(
    "s", f"{ZURICH}:20270316T140000", f"{ZURICH}:20270316T150000", "RECURRENCE-ID;TZID=Europe/Zurich:20270315T090000"
)
OFF = event(
    "s", f"{ZURICH}:20270322T090000", f"{ZURICH}:20270322T100000",
    "RECURRENCE-ID;TZID=Europe/Zurich:20270322T090000", "STATUS:CANCELLED",
)  # fmt: skip


async def test_what_recurs_becomes_a_series(db: Database, owner: UUID) -> None:
    """Rule, dates, an occurrence that was moved and one that was cancelled; the wall time holds in summer."""
    items = await load(db, owner, ics(RULED, MOVED, OFF))
    assert states(items) == ["NEW"]
    found = await everything(db, owner)
    assert [f"{instant(each.start_at):%d.%m. %H:%M}" for each in found] == [
        "01.03. 08:00", "02.03. 08:00", "16.03. 13:00", "29.03. 07:00", "05.04. 07:00",
    ]  # fmt: skip
    assert {each.series_text for each in found} == {str(items[0].series_id)}
    assert states(await load(db, owner, ics(RULED, MOVED, OFF))) == ["UNCHANGED"]


async def test_a_changed_series_takes_the_place_of_what_it_was(db: Database, owner: UUID) -> None:
    """An occurrence more, another title of one: the new file counts, and its own old times are in nobody's way."""
    await load(db, owner, ics(RULED, MOVED, OFF))
    changed = RULED.replace("COUNT=6", "COUNT=7")
    items = await load(db, owner, ics(changed, MOVED.replace("SUMMARY:s", "SUMMARY:moved"), OFF))
    assert states(items) == ["CHANGED"]
    found = await everything(db, owner)
    assert [each.title for each in found] == ["s", "s", "moved", "s", "s", "s"]
    assert states(await load(db, owner, ics("UID:s\nDTSTART:20270301T080000Z\nSTATUS:CANCELLED"))) == ["CHANGED"]
    assert await everything(db, owner) == []


async def test_a_series_that_collides(db: Database, owner: UUID) -> None:
    """FAIL names the first in its way; SKIP leaves an occurrence out; TRANSPARENT has all, none of which takes time."""
    there = await booking.create(db, owner, spec(datetime(2027, 3, 29, 7, tzinfo=UTC)))
    with pytest.raises(Conflict) as refusal:
        await load(db, owner, ics(RULED))
    assert [each.id for each in refusal.value.collisions] == [there.id]
    assert states(await load(db, owner, ics(RULED), OnConflict.SKIP)) == ["COLLIDING"]
    assert len(await everything(db, owner)) == 1 + 5
    assert states(await load(db, owner, ics(RULED), OnConflict.SKIP)) == ["UNCHANGED"]
    assert states(await load(db, owner, ics(RULED.replace("6", "6;WKST=SU")), OnConflict.TRANSPARENT)) == ["COLLIDING"]
    assert sum(bool(each.transparent) for each in await everything(db, owner)) == 6


@pytest.mark.parametrize("rule", ["FREQ=WEEKLY;COUNT=3", "FREQ=WEEKLY"])
async def test_a_series_that_finds_no_place_at_all_is_left_out(db: Database, owner: UUID, rule: str) -> None:
    """With SKIP: the report has no id, nothing is there, and what is free comes as before. Later it may come."""
    (busy,) = await load(db, owner, ics(event("busy", wall(TEN), wall(TEN + HOUR), f"RRULE:{rule}")))
    before = [each.id for each in await everything(db, owner, deleted=True)]
    content = ics(
        event("s", wall(TEN), wall(TEN + 2 * HOUR), f"RRULE:{rule}"),
        event("free", wall(TEN + 3 * HOUR), wall(TEN + 4 * HOUR)),
    )
    for validate_only in (True, False, False):
        items = await load(db, owner, content, SKIP, validate_only=validate_only)
        assert (State.COLLIDING, None, None, False) == (
            items[0].state, items[0].series_id, items[0].appointment_id, items[0].is_there,
        )  # fmt: skip
        assert items[0].collisions[0].id in before
        assert ["occurrences find no place."] == [note.text.split(maxsplit=1)[1] for note in items[0].notes]
    after = await everything(db, owner, deleted=True)
    assert [(items[1].appointment_id, "free")] == [(each.id, each.title) for each in after if each.id not in before]
    assert len(before) + 1 == len(after)
    assert await audit(db) == 0
    await series_updating.delete(db, owner, busy.series_id or owner)
    items = await load(db, owner, content, SKIP)
    assert ["NEW", "UNCHANGED"] == states(items)
    assert states(await load(db, owner, content, SKIP)) == ["UNCHANGED", "UNCHANGED"]
    assert await audit(db) == 0


async def test_a_series_that_finds_one_place_comes_with_what_it_has(db: Database, owner: UUID) -> None:
    """Be it far ahead, or an occurrence that the file moves; what was skipped is restored once its time is free."""
    (busy,) = await load(db, owner, ics(event("busy", wall(TEN), wall(TEN + HOUR), "RRULE:FREQ=WEEKLY;COUNT=3")))
    weekly = event("s", wall(TEN), wall(TEN + HOUR), "RRULE:FREQ=WEEKLY;COUNT=3")
    week = timedelta(weeks=1)
    moved = event(
        "s", wall(TEN + week + HOUR), wall(TEN + week + 2 * HOUR), f"RECURRENCE-ID{wall(TEN + week)}", "SEQUENCE:1"
    )
    (item,) = await load(db, owner, ics(weekly, moved), SKIP)
    assert (State.COLLIDING, ["2 occurrences find no place."]) == (item.state, [note.text for note in item.notes])
    of_series = [each for each in await everything(db, owner) if each.series_text == str(item.series_id)]
    assert [TEN + week + HOUR] == [instant(each.start_at) for each in of_series]
    endless = event("e", wall(TEN), wall(TEN + HOUR), "RRULE:FREQ=WEEKLY")
    (later,) = await load(db, owner, ics(endless), SKIP)
    assert (State.COLLIDING, True) == (later.state, later.is_there)
    found = [each for each in await everything(db, owner) if each.series_text == str(later.series_id)]
    assert TEN + 3 * week == instant(found[0].start_at)
    await series_updating.delete(db, owner, busy.series_id or owner)
    skipped = [
        each
        for each in await everything(db, owner, deleted=True)
        if each.series_text == str(item.series_id) and each.deleted_at
    ]
    await updating.undelete(db, owner, skipped[-1].id)
    assert await audit(db) == 0


async def test_a_series_stays_as_it_was_where_its_new_times_find_no_place(db: Database, owner: UUID) -> None:
    """Nothing is lost to a file of which nothing could come: not with SKIP, and not a single appointment either."""
    weekly = event("s", wall(TEN), wall(TEN + HOUR), "RRULE:FREQ=WEEKLY;COUNT=3")
    single = event("one", wall(TEN + 6 * HOUR), wall(TEN + 7 * HOUR))
    first, one = await load(db, owner, ics(weekly, single))
    at = TEN + 3 * HOUR
    await load(db, owner, ics(event("busy", wall(at), wall(at + HOUR), "RRULE:FREQ=WEEKLY;COUNT=3")))
    before = await everything(db, owner, deleted=True)
    moved = event("s", wall(at), wall(at + HOUR), "RRULE:FREQ=WEEKLY;COUNT=3")
    repeated = event("one", wall(at), wall(at + HOUR), "RRULE:FREQ=WEEKLY;COUNT=2")
    items = await load(db, owner, ics(moved, repeated), SKIP)
    assert ["COLLIDING", "COLLIDING"] == states(items)
    assert [(first.series_id, None), (None, one.appointment_id)] == [
        (each.series_id, each.appointment_id) for each in items
    ]
    assert before == await everything(db, owner, deleted=True)
    assert await audit(db) == 0


async def test_an_endless_series_with_a_far_change(db: Database, owner: UUID) -> None:
    """What was changed of an occurrence a year ahead is there, though rows go less far by themselves."""
    start = datetime.now(UTC).replace(hour=8, minute=0, second=0, microsecond=0) + timedelta(days=1)
    far = start + timedelta(weeks=40)
    series = event("e", wall(start), wall(start + HOUR), "RRULE:FREQ=WEEKLY")
    moved = event("e", wall(far + HOUR), wall(far + 2 * HOUR), f"RECURRENCE-ID{wall(far)}")
    assert states(await load(db, owner, ics(series, moved))) == ["NEW"]
    starts = [instant(each.start_at) for each in await everything(db, owner)]
    assert far + HOUR in starts
    assert far not in starts
    assert states(await load(db, owner, ics(series, moved))) == ["UNCHANGED"]


async def test_an_occurrence_without_its_series_is_an_appointment(db: Database, owner: UUID) -> None:
    """Who was invited to one occurrence alone has only that in the file; it is known by its RECURRENCE-ID."""
    items = await load(db, owner, ics(MOVED))
    assert (states(items), items[0].entry.recurrence_id) == (["NEW"], "20270315T090000 Europe/Zurich")
    assert states(await load(db, owner, ics(MOVED))) == ["UNCHANGED"]


BERLIN_RULES = """BEGIN:VTIMEZONE
TZID:{}
BEGIN:STANDARD
DTSTART:16010101T030000
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:16010101T020000
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3
END:DAYLIGHT
END:VTIMEZONE"""
ODD = """BEGIN:VTIMEZONE
TZID:Ship
BEGIN:STANDARD
DTSTART:20200101T000000
TZOFFSETFROM:+0717
TZOFFSETTO:+0717
END:STANDARD
END:VTIMEZONE"""


@pytest.mark.parametrize(
    ("tzid", "definition", "zone", "hour"),
    [
        ("W. Europe Standard Time", "", "Europe/Berlin", 8),
        ("/freeassociation.sourceforge.net/Europe/Zurich", "", "Europe/Zurich", 8),
        ("europe/zurich", "", "Europe/Zurich", 8),
        ("Customized Time Zone", BERLIN_RULES.format("Customized Time Zone"), "Europe/Berlin", 8),
        ("Ship", ODD, "UTC", 1),
    ],
)
async def test_zones_of_all_kinds(db: Database, owner: UUID, tzid: str, definition: str, zone: str, hour: int) -> None:
    """Names of Windows, prefixes, and zones that only the file knows: the instant is right, and the guess is told."""
    appointment = event("z", f";TZID={tzid}:20270301T090000", f";TZID={tzid}:20270301T100000")
    items = await load(db, owner, ics(*filter(None, [definition]), appointment))
    found = (await everything(db, owner))[0]
    at = datetime(2027, 3, 1, hour, 43 if zone == "UTC" else 0, tzinfo=UTC)
    assert (instant(found.start_at), bool(items[0].notes)) == (at, bool(definition))
    if not definition:
        assert found.time_zone == zone
    recurring_there = await load(
        db, owner, ics(*filter(None, [definition]), appointment + "\nRRULE:FREQ=DAILY;COUNT=2")
    )
    assert states(recurring_there) == (["UNSUPPORTED"] if tzid == "Ship" else ["CHANGED"])


async def test_what_cannot_be_imported_is_told_with_its_line(db: Database, owner: UUID) -> None:
    """One bad component does not keep the others out; each note names a line."""
    items = await load(
        db,
        owner,
        ics(
            event("good", ":20270301T090000Z", ":20270301T100000Z"),
            event("zone", ";TZID=Mars/Olympus:20270301T090000", ";TZID=Mars/Olympus:20270301T100000"),
            event("rule", ":20270302T090000Z", ":20270302T100000Z", "RRULE:FREQ=HOURLY"),
            event("order", ":20270303T090000Z", ":20270303T080000Z"),
            event("broken", ":20270304T090000Z", ":20270304T100000Z", "this is no property"),
            event("time", ":2027-03-05", ":20270305T100000Z"),
            "BEGIN:VTODO\nUID:todo\nSUMMARY:Do it\nEND:VTODO",
            "SUMMARY:nameless\nDTSTART:20270306T090000Z",
            event("guests", ":20270307T090000Z", ":20270307T100000Z", "ATTENDEE:mailto:bob@example.org"),
        ),
    )
    assert states(items) == ["NEW", *["UNSUPPORTED"] * 7, "NEW"]
    told = [(item.notes[0].line, item.notes[0].text) for item in items[1:]]
    assert told == [
        (12, "TZID 'Mars/Olympus' is no known time zone, and the file does not define it"),
        (20, "RRULE: FREQ=HOURLY is not supported: DAILY, WEEKLY, MONTHLY and YEARLY are"),
        (26, "DTEND must be after start_time"),
        (33, "this line is no property"),
        (38, "DTSTART: '2027-03-05' is neither a DATE nor a DATE-TIME"),
        (41, "VTODO is not supported, only VEVENT is"),
        (45, "UID is missing, so it could not be found again"),
        (54, "1 attendee is left out: an import invites nobody"),
    ]
    assert (await everything(db, owner))[1].attendees == ()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is required"),
        (b"hello", "line 1: a calendar begins with BEGIN:VCALENDAR"),
        (b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nEND:VCALENDAR\r\n", "line 3: END:VEVENT was expected"),
        (b"BEGIN:VCALENDAR\r\n", "ends before END:VCALENDAR, which began on line 1"),
        (b"BEGIN:VCALENDAR\n" + b"x" * (5 * 1024 * 1024), "must have at most 5,242,880 bytes, has 5,242,896"),
        (ics(*["UID:x"] * 5001), "must have at most 5,000 components, has more"),
        (b"BEGIN:VCALENDAR\n" + b"BEGIN:X\n" * 9, "line 9: components are nested too deeply"),
    ],
)
async def test_what_is_no_calendar_is_refused(db: Database, owner: UUID, content: bytes, problem: str) -> None:
    """The refusal names the field, and the line where there is one."""
    with pytest.raises(Invalid) as refusal:
        await load(db, owner, content)
    assert [(each.field, each.description) for each in refusal.value.violations] == [("ics", problem)]


async def test_five_thousand_components(db: Database, owner: UUID, dsn: str) -> None:
    """The largest file that is allowed is imported whole, and is unchanged the second time."""
    events = [
        event(f"n{number}", wall(TEN + number * HOUR), wall(TEN + (number + 1) * HOUR)) for number in range(5_000)
    ]
    assert states(await load(db, owner, ics(*events))) == ["NEW"] * 5_000
    assert states(await load(db, owner, ics(*events))) == ["UNCHANGED"] * 5_000
    with psycopg.connect(dsn) as connection:
        counts = connection.execute(
            "SELECT (SELECT count(*) FROM appointments), (SELECT count(*) FROM bookings),"
            " (SELECT count(*) FROM imported_items)"
        ).fetchone()
    assert counts == (5_000, 5_000, 5_000)


async def test_somebody_elses_uid_is_not_known(db: Database, owner: UUID, stranger: UUID) -> None:
    """A UID that is the id of another account's appointment means nothing."""
    theirs = await booking.create(db, stranger, spec())
    assert states(await load(db, owner, ics(event(theirs.id_text, wall(TEN), wall(TEN + HOUR))))) == ["NEW"]
    assert (await booking.get(db, stranger, theirs.id)).version == 1


async def test_what_was_deleted_comes_back_anew(db: Database, owner: UUID) -> None:
    """Who deletes what was imported and imports it again means to have it."""
    content = ics(event("a", wall(TEN), wall(TEN + HOUR)))
    first = (await load(db, owner, content))[0].appointment_id
    assert first
    await updating.delete(db, owner, first)
    again = await load(db, owner, content)
    assert states(again) == ["NEW"]
    assert again[0].appointment_id not in (None, first)


async def test_what_the_file_cannot_say_stays(db: Database, owner: UUID) -> None:
    """Buffers and the like of what is here already survive a change by a file."""
    own = await booking.create(db, owner, replace(spec(), buffer_before=timedelta(minutes=15)))
    moved = event(own.id_text, wall(TEN + HOUR), wall(TEN + 2 * HOUR))
    items = await load(db, owner, ics(moved))
    assert (items[0].state, items[0].appointment_id) == (State.CHANGED, own.id)
    found = await booking.get(db, owner, own.id)
    assert (instant(found.start_at), found.buffer_before) == (TEN + HOUR, 900)


async def test_own_series_are_known_by_their_ids(db: Database, owner: UUID) -> None:
    """A file with the UID of a series of one's own changes that one."""
    booked = await series_booking.create(db, owner, SeriesSpec(spec(), "FREQ=WEEKLY;COUNT=4"))
    text = event(booked.series.id_text, wall(TEN), wall(TEN + HOUR), "RRULE:FREQ=WEEKLY;COUNT=3")
    assert states(await load(db, owner, ics(text))) == ["CHANGED"]
    assert len(await everything(db, owner)) == 3


async def test_a_file_breaks_no_rule_of_booking(db: Database, owner: UUID, stranger: UUID) -> None:
    """What may not be given up any more is neither cancelled nor moved nor made a series, and it is said why."""
    room = await add_room(db, stranger, time_zone="UTC")
    tomorrow = TEN.replace(minute=0) + (datetime.now(UTC).date() + timedelta(days=1) - TEN.date())
    own = await booking.create(db, owner, shared(room, start=tomorrow))
    await resources.update(
        db, stranger, room, lambda old: replace(old, booking_rules=BookingRules(change_notice=timedelta(days=3)))
    )
    later = tomorrow + timedelta(days=9)
    for text in (
        event(own.id_text, wall(tomorrow), wall(tomorrow + HOUR), "STATUS:CANCELLED"),
        event(own.id_text, wall(later), wall(later + HOUR)),
        event(own.id_text, wall(tomorrow), wall(tomorrow + HOUR), "RRULE:FREQ=DAILY;COUNT=2"),
    ):
        for on_conflict in OnConflict:
            (item,) = await load(db, owner, ics(text), on_conflict)
            assert (item.state, item.appointment_id, item.series_id) == (State.UNSUPPORTED, own.id, None)
            assert "it begins too soon to be changed" in item.notes[-1].text
    assert await booking.get(db, owner, own.id) == own
    assert await audit(db) == 0


async def test_a_series_that_became_a_single_event_stays_where_that_finds_no_place(db: Database, owner: UUID) -> None:
    """SKIP leaves it out, and with it the loss of what was there; where there is place, one replaces the other."""
    weekly = event("s", wall(TEN), wall(TEN + HOUR), "RRULE:FREQ=WEEKLY;COUNT=3")
    (first,) = await load(db, owner, ics(weekly))
    busy = await booking.create(db, owner, spec(TEN + 3 * HOUR))
    (item,) = await load(db, owner, ics(event("s", wall(TEN + 3 * HOUR), wall(TEN + 4 * HOUR))), SKIP)
    assert (item.state, item.series_id, item.appointment_id) == (State.COLLIDING, first.series_id, None)
    assert [each.id for each in item.collisions] == [busy.id]
    assert len(await everything(db, owner)) == 4
    (item,) = await load(db, owner, ics(event("s", wall(TEN), wall(TEN + HOUR))), SKIP)
    assert (item.state, item.series_id) == (State.CHANGED, None)
    assert {each.id for each in await everything(db, owner)} == {busy.id, item.appointment_id}
    assert states(await load(db, owner, ics(event("s", wall(TEN), wall(TEN + HOUR))))) == ["UNCHANGED"]
    assert await audit(db) == 0


async def test_what_guests_have_accepted_is_given_back_by_a_file_too(db: Database, owner: UUID) -> None:
    """Moved by a file they are asked anew, and cancelled by one their time is free."""
    guest = await add_user(db)
    async with db.connection() as connection:
        await connection.execute("UPDATE users SET email_verified_at = now() WHERE id = %s", (guest,))
    met = await booking.create(db, owner, replace(spec(), attendees=(Attendee(f"{guest}@example.com"),)))
    await invited.respond(db, guest, met.id, invited.Answer("ACCEPTED"))
    moved = event(met.id_text, wall(TEN + HOUR), wall(TEN + 2 * HOUR))
    assert states(await load(db, owner, ics(moved))) == ["CHANGED"]
    assert ["NEEDS-ACTION"] == [each.response for each in (await booking.get(db, owner, met.id)).attendees]
    await booking.create(db, guest, spec())
    await invited.respond(db, guest, met.id, invited.Answer("ACCEPTED"))
    assert states(await load(db, owner, ics(moved + "\nSTATUS:CANCELLED"))) == ["CHANGED"]
    await booking.create(db, guest, spec(TEN + HOUR))
    assert await audit(db) == 0


async def exported(db: Database, owner: UUID) -> bytes:
    """Everything, as it can be downloaded."""
    found = await content.everything(db, owner)
    pieces = content.calendar(found, name="All", now=datetime.now(UTC), with_reminders=True)
    return b"".join([piece async for piece in pieces])


def check(data: bytes) -> None:
    """See that other people's libraries read a file, and that no line is longer than it may be."""
    assert max(map(len, data.split(b"\r\n"))) <= 75
    calendar: Any = icalendar.Calendar.from_ical(data)
    assert [error for each in calendar.walk() for error in each.errors] == []
    assert len(calendar.walk("VEVENT")) == len(vobject.readOne(data.decode()).vevent_list)


def told(found: list[Appointment]) -> list[object]:
    """What is the same in two calendars; ids are not."""
    return [(each.spec, each.original_start_at, bool(each.series_text)) for each in found]


async def test_reminders_are_read_and_alarms_are_not(db: Database, owner: UUID) -> None:
    """What this service wrote comes back; what is no reminder is noted; alarms of other programs are no mail."""
    alarm = ("BEGIN:VALARM", "ACTION:DISPLAY", "TRIGGER:-PT10M", "END:VALARM")
    times = [(wall(TEN + number * HOUR), wall(TEN + (number + 1) * HOUR)) for number in range(4)]
    file = ics(
        event("a", *times[0], "X-APPOINTMENTS-REMINDERS:30,0"),
        event("b", *times[1], "X-APPOINTMENTS-REMINDERS:NONE"),
        event("c", *times[2], "X-APPOINTMENTS-REMINDERS:5,1e3,99999999999999999999"),
        event("d", *times[3], *alarm),
    )
    items = await load(db, owner, file)
    assert [[30, 0], [], None, None] == [each.reminders for each in await everything(db, owner)]
    said = "X-APPOINTMENTS-REMINDERS: '5,1e3,99999999999999999999' are no reminders; they are left out"
    assert [[], [], [said], []] == [[note.text for note in item.notes] for item in items]
    assert states(await load(db, owner, file)) == ["UNCHANGED"] * 4


async def test_only_exports_have_reminders(db: Database, owner: UUID) -> None:
    """Whoever else reads a feed is not to be alarmed."""
    await booking.create(db, owner, replace(spec(TEN), reminders=(90,)))
    data = await exported(db, owner)
    check(data)
    calendar: Any = icalendar.Calendar.from_ical(data)
    (alarm,) = calendar.walk("VALARM")
    assert ("DISPLAY", timedelta(minutes=-90)) == (alarm["ACTION"], alarm["TRIGGER"].dt)
    found = await content.everything(db, owner)
    feed = b"".join([piece async for piece in content.calendar(found, name="All", now=datetime.now(UTC))])
    assert b"REMINDERS" not in feed
    assert b"VALARM" not in feed


async def test_an_export_imported_into_an_empty_account_is_the_same_calendar(
    db: Database, owner: UUID, stranger: UUID
) -> None:
    """Single ones of every kind, series of every kind and what was changed of them; and again in one's own."""
    zone = "America/New_York"
    midnight = datetime(2030, 6, 3, 4, tzinfo=UTC)
    text = 'Tea; "two", \\n Größe 山\nEND:VEVENT'
    for each in (
        replace(spec(TEN - 50 * HOUR), description=text, location="Room, 5", buffer_before=timedelta(minutes=10)),
        replace(spec(midnight, timedelta(days=2)), time_zone=zone, all_day=True, reminders=()),
        replace(spec(TEN), transparent=True, reminders=(1440, 10)),
        spec(datetime(2030, 10, 27, 1, 30, tzinfo=UTC)),  # 02:30 for the second time
    ):
        await booking.create(db, owner, each)
    start = datetime.now(UTC).replace(hour=15, minute=0, second=0, microsecond=0) + timedelta(days=1)
    weekly = SeriesSpec(
        replace(spec(start), time_zone=zone, buffer_after=timedelta(minutes=5), reminders=(15,)), "FREQ=WEEKLY",
        (start + timedelta(hours=5),), (start + timedelta(weeks=1),),
    )  # fmt: skip
    booked = await series_booking.create(db, owner, weekly)
    days = replace(
        spec(midnight + timedelta(days=100), timedelta(days=1)), time_zone=zone, all_day=True, transparent=True
    )
    await series_booking.create(db, owner, SeriesSpec(days, "FREQ=YEARLY;UNTIL=20360101"))
    night = datetime(2031, 3, 29, 1, 30, tzinfo=UTC)  # 02:30, which the next day does not have
    await series_booking.create(db, owner, SeriesSpec(spec(night, HOUR / 2), "FREQ=DAILY;UNTIL=20310403"))
    window = listing.Window(owner, None, None, False, booked.series.id)
    occurrences = (await listing.page(db, window, size=10)).appointments
    await updating.delete(db, owner, occurrences[3].id)
    await updating.update(db, owner, occurrences[4].id, lambda one: replace(one, title="Another title"))
    later = instant(occurrences[5].start_at) + 2 * HOUR
    await updating.update(db, owner, occurrences[5].id, lambda one: replace(one, start_at=later, end_at=later + HOUR))
    # What is where an occurrence was before it was moved.
    await booking.create(db, owner, spec(later - 2 * HOUR, HOUR / 2))
    file = await exported(db, owner)
    check(file)
    assert set(states(await load(db, stranger, file))) == {"NEW"}
    assert told(await everything(db, stranger)) == told(await everything(db, owner))
    for account in (stranger, owner):
        assert set(states(await load(db, account, file))) == {"UNCHANGED"}


async def test_torn_files_never_fail_otherwise(db: Database, owner: UUID) -> None:
    """A good file with some bytes changed or lost, two hundred times: imported, reported, or refused by name."""
    whole = ics(RULED, MOVED, OFF, event("z", ";TZID=Own:20270401T090000", ";TZID=Own:20270401T100000"), FREE)
    chance = random.Random(16)
    for _ in range(200):
        torn = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(torn))
            torn[at : at + chance.randint(0, 9)] = chance.randbytes(chance.randint(0, 3)) or b"\x00"
        try:
            items = await load(db, owner, bytes(torn), OnConflict.SKIP)
        except Invalid as refusal:
            found = [each.field for each in refusal.violations]
            assert found == ["ics"]
        else:
            assert all(item.is_there or item.notes or item.entry.is_cancelled for item in items)

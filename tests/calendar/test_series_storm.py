"""A storm of series: people, rooms and a clock that runs, and afterwards everything is as rules and exceptions say.

``SERIES_STORM_SECONDS`` makes it longer, ``SERIES_STORM_SEED`` another one.
"""

import asyncio
import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from dateutil.rrule import rruleset, rrulestr

from appointments.calendar import amending, booking, frontiers, listing, recurring, reshaping
from appointments.calendar.appointment import Spec
from appointments.calendar.series import COLUMNS, Series, SeriesSpec, from_row, shifted
from appointments.calendar.settling import Terms
from appointments.db import Database, Statement, instant
from appointments.shared.errors import Fault, Unavailable
from tests.audit import audit
from tests.people import add_room, add_user

SECONDS = float(os.environ.get("SERIES_STORM_SECONDS", "6"))
SEED = int(os.environ.get("SERIES_STORM_SEED", "13"))
ZONES = ("Europe/Zurich", "America/New_York", "Australia/Lord_Howe", "UTC")
RULES = (
    "FREQ=DAILY;INTERVAL={n}", "FREQ=WEEKLY;INTERVAL={n}", "FREQ=WEEKLY;BYDAY=MO,WE,FR", "FREQ=MONTHLY",
    "FREQ=MONTHLY;BYDAY=-1FR", "FREQ=DAILY;INTERVAL={n};COUNT=12", "FREQ=WEEKLY;COUNT=9",
    "FREQ=MONTHLY;BYMONTHDAY=1,15",
    "FREQ=WEEKLY;UNTIL={until}", "FREQ=YEARLY",
)  # fmt: skip
HORIZON = timedelta(days=40)
ALL = Statement(f"SELECT {COLUMNS} FROM series WHERE deleted_at IS NULL")


@dataclass
class Storm:
    """Who and what takes part, and what time it is for them."""

    db: Database
    people: list[UUID]
    rooms: list[UUID]
    chance: random.Random
    now: datetime
    series: list[tuple[UUID, UUID]] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)

    def moment(self, days: int = 200) -> datetime:
        """A quarter of an hour of some day ahead."""
        ahead = timedelta(days=self.chance.randrange(days), minutes=15 * self.chance.randrange(96))
        return self.now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1) + ahead

    def some_rooms(self) -> tuple[str, ...]:
        """None, one or two."""
        return tuple(map(str, self.chance.sample(self.rooms, self.chance.choice((0, 0, 1, 1, 2)))))

    def terms(self) -> Terms:
        """Skipping or not, as of now."""
        return Terms(skip=self.chance.random() < 0.6, horizon=HORIZON, now=self.now)


async def create(storm: Storm) -> None:
    """A series of somebody's."""
    chance, owner = storm.chance, storm.chance.choice(storm.people)
    until = (storm.now + timedelta(days=90)).strftime("%Y%m%dT%H%M%SZ")
    rule = chance.choice(RULES).format(n=chance.randint(1, 3), until=until)
    start = storm.moment(30)
    first = Spec(
        "Storm", start, start + timedelta(minutes=15 * chance.randint(1, 4)), chance.choice(ZONES),
        resource_ids=storm.some_rooms(), buffer_before=timedelta(minutes=chance.choice((0, 0, 5))),
    )  # fmt: skip
    booked = await recurring.create(storm.db, owner, SeriesSpec(first, rule), storm.terms())
    storm.series.append((owner, booked.series.id))


async def single(storm: Storm) -> None:
    """An appointment, sometimes far beyond every frontier."""
    start = storm.moment(storm.chance.choice((60, 200, 1_500)))
    spec = Spec("Alone", start, start + timedelta(minutes=30), "UTC", resource_ids=storm.some_rooms())
    await booking.create(storm.db, storm.chance.choice(storm.people), spec)


async def occurrence(storm: Storm) -> None:
    """Move, rename, delete or restore one."""
    owner, series_id = storm.chance.choice(storm.series)
    window = listing.Window(owner, storm.now, show_deleted=storm.chance.random() < 0.3, series_id=series_id)
    rows = (await listing.page(storm.db.reads(owner, ""), window, size=200)).appointments
    if not rows:
        return
    one = storm.chance.choice(rows)
    if one.deleted_at is not None:
        await amending.undelete(storm.db, owner, one.id)
    elif storm.chance.random() < 0.3:
        await amending.delete(storm.db, owner, one.id)
    elif storm.chance.random() < 0.5:
        start = storm.moment(100)
        await amending.update(
            storm.db,
            owner,
            one.id,
            lambda old: replace(old, start_at=start, end_at=start + (old.end_at - old.start_at)),
        )
    else:
        await amending.update(storm.db, owner, one.id, lambda old: replace(old, title="Alone"))


async def edit(storm: Storm) -> None:
    """All of a series, or one and all that follow: its times, its rooms, its rule or its title."""
    owner, series_id = storm.chance.choice(storm.series)
    from_id = None
    if storm.chance.random() < 0.5:
        window = listing.Window(owner, storm.now, series_id=series_id)
        rows = (await listing.page(storm.db.reads(owner, ""), window, size=100)).appointments
        from_id = storm.chance.choice(rows).id if rows else None
    what, by, rooms = storm.chance.random(), timedelta(minutes=15 * storm.chance.randint(-8, 8)), storm.some_rooms()
    n = storm.chance.randint(1, 3)

    def change(old: SeriesSpec) -> SeriesSpec:
        if what < 0.5:
            first = replace(old.first, start_at=old.first.start_at + by, end_at=old.first.end_at + by)
            return shifted(replace(old, first=first), old, set())
        if what < 0.65:
            return replace(old, first=replace(old.first, resource_ids=rooms))
        if what < 0.8:
            return replace(old, rule=f"FREQ=WEEKLY;INTERVAL={n}")
        return replace(old, first=replace(old.first, title="Storm again"))

    booked = await reshaping.update(storm.db, owner, series_id, change, storm.terms(), from_id=from_id)
    if booked.series.id != series_id:
        storm.series.append((owner, booked.series.id))


async def delete(storm: Storm) -> None:
    """A series, and sometimes it comes back."""
    owner, series_id = storm.chance.choice(storm.series)
    await reshaping.delete(storm.db, owner, series_id, terms=storm.terms())
    if storm.chance.random() < 0.6:
        await reshaping.undelete(storm.db, owner, series_id, replace(storm.terms(), skip=True))


async def extend(storm: Storm) -> None:
    """What the task does."""
    await frontiers.extend_due(storm.db, HORIZON, storm.now)


DOING = [*[create] * 4, *[single] * 5, *[occurrence] * 6, *[edit] * 5, delete, extend]


async def rage(storm: Storm, until: float) -> None:
    """One of many who do things at random; the clock runs."""
    while time.monotonic() < until:
        storm.now += timedelta(minutes=storm.chance.randrange(90))
        do = storm.chance.choice(DOING if storm.series else [create])
        try:
            await do(storm)
        except Unavailable:
            storm.done["unavailable"] += 1
        except Fault as fault:
            storm.done[f"{do.__name__}: {fault.reason}"] += 1
        else:
            storm.done[do.__name__] += 1


async def test_after_a_storm_everything_is_as_it_was_said(db: Database) -> None:
    """No overlap, no booking too many or too few, and every occurrence to come is a row or lies in the tails."""
    chance = random.Random(SEED)
    people = [await add_user(db) for _ in range(5)]
    rooms = [await add_room(db, people[0]), await add_room(db, people[0], units=2)]
    storm = Storm(db, people, rooms, chance, datetime.now(UTC))
    until = time.monotonic() + SECONDS
    await asyncio.gather(*(rage(storm, until) for _ in range(6)))
    assert 0 == await audit(db), storm.done
    for row in await db.fetch(ALL, {}):
        await check(storm, from_row(row))
    assert storm.done["create"], storm.done
    print(sum(storm.done.values()), dict(storm.done.most_common()))  # noqa: T201 - what a long run is for


async def check(storm: Storm, series: Series) -> None:
    """Hold a live series against what another engine says of its rule."""
    window = listing.Window(series.owner_id, show_deleted=True, series_id=series.id)
    rows = (await listing.page(storm.db.reads(series.owner_id, ""), window, size=1000)).appointments
    known = {each.original_start_at: each for each in rows}
    async with storm.db.connection() as connection:
        at = await frontiers.places(connection, series.id)
        edges = await frontiers.tails(connection, [place.subject_id for place in at])
    farthest = max(edges.values(), default=None) if series.endless else None
    zone = ZoneInfo(series.time_zone)
    expected = rruleset()
    rule = series.rule.replace("Z;", ";").removesuffix("Z") if "UNTIL" in series.rule else series.rule
    expected.rrule(rrulestr(rule, dtstart=series.start_wall))  # type: ignore[arg-type]
    expected.rdate(series.start_wall)
    for wall in expected.between(storm.now.replace(tzinfo=None), storm.now.replace(tzinfo=None) + timedelta(days=800)):
        start = wall.replace(tzinfo=zone).astimezone(UTC)
        if "UNTIL" in series.rule or "COUNT" in series.rule or start < storm.now + timedelta(days=1):
            continue
        micros = (start - instant(0)) // timedelta(microseconds=1)
        if farthest and start >= farthest:
            # A tail of each subject has to stand for it.
            assert all(edges[place.subject_id] <= start for place in at), (series, start)
            break
        assert micros in known, (series, wall, edges)
    for each in rows:
        if each.deleted_at is None and "start_at" not in await overrides(storm, each.id) and each.start_at > 0:
            assert each.original_start_at == each.start_at, each


async def overrides(storm: Storm, appointment_id: UUID) -> list[str]:
    """What was changed of an occurrence by itself."""
    async with storm.db.connection() as connection:
        cursor = await connection.execute("SELECT overrides FROM appointments WHERE id = %s", [appointment_id])
        row = await cursor.fetchone()
    return list(row[0]) if row else []

"""A storm of series: people who do things at random, and what has to be true of every series afterwards.

As a program (``python -m tests.calendar.storming DSN SEED SECONDS``) it storms in a database that is there, with a
connection pool of its own, so that it can be killed in the middle of anything.
"""

import asyncio
import random
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
from dateutil.rrule import rruleset, rrulestr

from appointments.auth import erasure
from appointments.calendar import (
    booking,
    frontiers,
    invited,
    listing,
    series_booking,
    series_guests,
    series_updating,
    updating,
)
from appointments.calendar.appointment import Attendee, Spec, with_answers
from appointments.calendar.invited import RESPONSES, Answer
from appointments.calendar.materializing import Terms
from appointments.calendar.series import COLUMNS, Series, SeriesSpec, from_row, shifted
from appointments.db import Connection, Database, Statement, instant
from appointments.jobs import Runner
from appointments.shared.errors import Fault, Unavailable
from tests.people import add_user

ZONES = ("Europe/Zurich", "America/New_York", "Australia/Lord_Howe", "UTC")
RULES = (
    "FREQ=DAILY;INTERVAL={n}", "FREQ=WEEKLY;INTERVAL={n}", "FREQ=WEEKLY;BYDAY=MO,WE,FR", "FREQ=MONTHLY",
    "FREQ=MONTHLY;BYDAY=-1FR", "FREQ=DAILY;INTERVAL={n};COUNT=12", "FREQ=WEEKLY;COUNT=9",
    "FREQ=MONTHLY;BYMONTHDAY=1,15",
    "FREQ=WEEKLY;UNTIL={until}", "FREQ=YEARLY",
)  # fmt: skip
HORIZON = timedelta(days=40)
ALL = Statement(f"SELECT {COLUMNS} FROM series WHERE deleted_at IS NULL")
WHO = Statement("SELECT id FROM users ORDER BY created_at, id")
WHERE = Statement("SELECT id FROM resources ORDER BY id")
INVITED = Statement(
    """
    SELECT id FROM invitees JOIN appointments ON id = appointment_id
    WHERE user_id = %(user_id)s::uuid AND deleted_at IS NULL AND start_at > %(now)s::timestamptz
    ORDER BY random() LIMIT 1
    """
)
WHICH = Statement("SELECT owner_id, id FROM series ORDER BY id")
ROWS = Statement(
    """
    SELECT occurs_wall, original_start_at, start_at, deleted_at IS NULL, overrides FROM appointments
    WHERE series_id = %(series_id)s::uuid ORDER BY occurs_wall
    """
)
SPEED = 7_200
"""How much faster than others' the clock of a program runs: two hours a second."""


@dataclass
class Storm:
    """Who and what takes part, and what time it is for them."""

    db: Database
    people: list[UUID]
    rooms: list[UUID]
    chance: random.Random
    now: datetime
    began: float | None = None
    """Since when the clock runs faster, by the clock of the machine; None: it runs with what is done."""
    series: list[tuple[UUID, UUID]] = field(default_factory=list)
    splits: list[tuple[UUID, UUID, UUID, SeriesSpec]] = field(default_factory=list)
    """Whose series was split, which, off into which, and what it was before."""
    done: Counter[str] = field(default_factory=Counter)

    def moment(self, days: int = 200) -> datetime:
        """A quarter of an hour of some day ahead."""
        ahead = timedelta(days=self.chance.randrange(days), minutes=15 * self.chance.randrange(96))
        return self.now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1) + ahead

    def some_rooms(self) -> tuple[str, ...]:
        """None, one or two."""
        return tuple(map(str, self.chance.sample(self.rooms, self.chance.choice((0, 0, 1, 1, 2)))))

    def some_guests(self) -> tuple[Attendee, ...]:
        """Nobody, one or two who have accounts."""
        guests = self.chance.sample(self.people, self.chance.choice((0, 0, 1, 2)))
        return tuple(Attendee(f"{guest}@example.com") for guest in guests)

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
        attendees=storm.some_guests(),
    )  # fmt: skip
    booked = await series_booking.create(storm.db, owner, SeriesSpec(first, rule), storm.terms())
    storm.series.append((owner, booked.series.id))


async def single(storm: Storm) -> None:
    """An appointment, sometimes far beyond every frontier."""
    start = storm.moment(storm.chance.choice((60, 200, 1_500)))
    spec = Spec(
        "Alone",
        start,
        start + timedelta(minutes=30),
        "UTC",
        resource_ids=storm.some_rooms(),
        attendees=storm.some_guests(),
    )
    await booking.create(storm.db, storm.chance.choice(storm.people), spec)


async def occurrence(storm: Storm) -> None:
    """Move, rename, delete or restore one, or invite others to it."""
    owner, series_id = storm.chance.choice(storm.series)
    window = listing.Window(owner, storm.now, show_deleted=storm.chance.random() < 0.3, series_id=series_id)
    rows = (await listing.page(storm.db.reads(owner, ""), window, size=200)).appointments
    if not rows:
        return
    one = storm.chance.choice(rows)
    if one.deleted_at is not None:
        await updating.undelete(storm.db, owner, one.id)
    elif storm.chance.random() < 0.3:
        await updating.delete(storm.db, owner, one.id)
    elif storm.chance.random() < 0.5:
        start = storm.moment(100)
        await updating.update(
            storm.db,
            owner,
            one.id,
            lambda old: with_answers(replace(old, start_at=start, end_at=start + (old.end_at - old.start_at)), old),
        )
    elif storm.chance.random() < 0.5:
        guests = storm.some_guests()
        await updating.update(storm.db, owner, one.id, lambda old: with_answers(replace(old, attendees=guests), old))
    else:
        await updating.update(storm.db, owner, one.id, lambda old: replace(old, title="Alone"))


async def respond(storm: Storm) -> None:
    """A guest answers for one appointment, or for all of a series; who accepts is booked."""
    guest = storm.chance.choice(storm.people)
    rows = await storm.db.fetch(INVITED, {"user_id": guest, "now": storm.now})
    if not rows:
        return
    by = storm.chance.choice((invited.respond, series_guests.respond))
    answer = Answer(storm.chance.choice(("ACCEPTED", *RESPONSES)), follows=storm.chance.random() < 0.5)
    await by(storm.db, guest, rows[0][0], answer)


async def edit(storm: Storm) -> None:
    """All of a series, or one and all that follow: its times, its rooms, its guests, its rule or its title."""
    owner, series_id = storm.chance.choice(storm.series)
    from_id = None
    if storm.chance.random() < 0.5:
        window = listing.Window(owner, storm.now, series_id=series_id)
        rows = (await listing.page(storm.db.reads(owner, ""), window, size=100)).appointments
        from_id = storm.chance.choice(rows).id if rows else None
    what, by, rooms = storm.chance.random(), timedelta(minutes=15 * storm.chance.randint(-8, 8)), storm.some_rooms()
    n, guests = storm.chance.randint(1, 3), storm.some_guests()
    before = (await series_booking.get(storm.db, owner, series_id)).series.spec

    def change(old: SeriesSpec) -> SeriesSpec:
        if what < 0.5:
            first = replace(old.first, start_at=old.first.start_at + by, end_at=old.first.end_at + by)
            return shifted(replace(old, first=first), old, set())
        if what < 0.65:
            return replace(old, first=replace(old.first, resource_ids=rooms))
        if what < 0.75:
            return replace(old, first=replace(old.first, attendees=guests))
        if what < 0.85:
            return replace(old, rule=f"FREQ=WEEKLY;INTERVAL={n}")
        return replace(old, first=replace(old.first, title="Storm again"))

    booked = await series_updating.update(storm.db, owner, series_id, change, storm.terms(), from_id=from_id)
    if booked.series.id != series_id:
        storm.series.append((owner, booked.series.id))
        storm.splits.append((owner, series_id, booked.series.id, before))


async def rejoin(storm: Storm) -> None:
    """Take back what was split off, sometimes after a while."""
    if not storm.splits:
        return
    owner, series_id, other_id, before = storm.splits.pop(storm.chance.randrange(len(storm.splits)))
    again = partial(replace, rule=before.rule, added=before.added, excluded=before.excluded)
    await series_updating.rejoin(storm.db, owner, series_id, other_id, again, terms=storm.terms())


async def delete(storm: Storm) -> None:
    """A series, and sometimes it comes back."""
    owner, series_id = storm.chance.choice(storm.series)
    await series_updating.delete(storm.db, owner, series_id, terms=storm.terms())
    if storm.chance.random() < 0.6:
        await series_updating.undelete(storm.db, owner, series_id, replace(storm.terms(), skip=True))


async def extend(storm: Storm) -> None:
    """What the task does."""
    await frontiers.extend_due(storm.db, HORIZON, storm.now)


async def look(storm: Storm) -> None:
    """Somebody looks at a far month."""
    person, since = storm.chance.choice(storm.people), storm.moment(1_500)
    await listing.page_ahead(storm.db, storm.db, listing.Window(person, since, since + timedelta(days=30)))


async def leave(storm: Storm) -> None:
    """An account is deleted with all that it has, and somebody else comes. The first person has the rooms."""
    gone = storm.chance.choice(storm.people[1:])

    async def work(connection: Connection) -> None:
        await erasure.lock(connection, gone)
        await erasure.erase(connection, gone, actor_id=gone)

    await storm.db.transact(work)
    storm.people = [*(person for person in storm.people if person != gone), await add_guest(storm.db)]
    storm.series = [(owner, series_id) for owner, series_id in storm.series if owner != gone]


async def add_guest(db: Database) -> UUID:
    """Somebody whose address is confirmed, so that invitations to it are theirs."""
    user_id = await add_user(db)
    async with db.connection() as connection:
        await connection.execute("UPDATE users SET email_verified_at = now() WHERE id = %(id)s", {"id": user_id})
    return user_id


DOING = [
    *[create] * 8, *[single] * 10, *[occurrence] * 12, *[respond] * 12, *[edit] * 10, *[rejoin] * 2, *[delete] * 2,
    *[extend] * 2, look, leave,
]  # fmt: skip


async def rage(storm: Storm, until: float) -> None:
    """One of many who do things at random; the clock runs."""
    while time.monotonic() < until:
        if storm.began:
            storm.now = datetime.now(UTC) + (time.time() - storm.began) * timedelta(seconds=SPEED)
        else:
            storm.now += timedelta(minutes=storm.chance.randrange(90))
        do = storm.chance.choice(DOING if storm.series else [create])
        try:
            await do(storm)
        except (Unavailable, psycopg.OperationalError):
            storm.done["unavailable"] += 1
            await asyncio.sleep(0.05)
        except Fault as fault:
            storm.done[f"{do.__name__}: {fault.reason}"] += 1
        else:
            storm.done[do.__name__] += 1


async def check(storm: Storm, series: Series) -> None:
    """Hold a live series against what another engine says of its rule.

    What is to come is a row, or the tail of each subject stands for it; and of each live row the rule says so.
    """
    rows = await storm.db.fetch(ROWS, {"series_id": series.id})
    async with storm.db.connection() as connection:
        at = await frontiers.places(connection, series.id)
        edges = await frontiers.tails(connection, [place.subject_id for place in at])
    farthest = max(edges.values(), default=None) if series.endless else None
    zone, soon = ZoneInfo(series.time_zone), storm.now + timedelta(days=1)
    last = max([row[0] for row in rows], default=series.start_wall)
    walls = expected(series, storm.now.replace(tzinfo=None), max(last, storm.now.replace(tzinfo=None) + YEARS))
    known = {row[0] for row in rows}
    for wall in walls:
        start = wall.replace(tzinfo=zone).astimezone(UTC)
        if start < soon:
            continue
        if farthest and start >= farthest:
            # A tail of each subject has to stand for it.
            assert all(edges[place.subject_id] <= start for place in at), (series, start)
            break
        assert wall in known, (series, wall, edges)
    for wall, original, start, live, overrides in rows:
        if live and instant(original) >= soon:
            assert wall in walls, (series, wall, overrides)
            assert instant(original) == wall.replace(tzinfo=zone).astimezone(UTC), (series, wall)
            assert start == original or {"start_at", "end_at"} & set(overrides), (series, wall)


YEARS = timedelta(days=800)


def expected(series: Series, since: datetime, until: datetime) -> set[datetime]:
    """The wall times of a series between two, as python-dateutil has them."""
    found = rruleset()
    if series.rule:
        parts = dict(part.split("=") for part in series.rule.split(";"))
        if "UNTIL" in parts:
            end = datetime.strptime(parts["UNTIL"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            parts["UNTIL"] = f"{end.astimezone(ZoneInfo(series.time_zone)):%Y%m%dT%H%M%S}"
        rule = ";".join(f"{name}={value}" for name, value in parts.items())
        found.rrule(rrulestr(rule, dtstart=series.start_wall))  # type: ignore[arg-type]
    found.rdate(series.start_wall)
    return set(found.between(since, until, inc=True))


async def settle(storm: Storm) -> None:
    """Run the jobs that were deferred: what became rows of series that guests had accepted takes their time.

    And open the rooms whose tails stand for series of accounts that were deleted, as whoever wants them would.
    """
    await Runner(storm.db, series_guests.kinds(storm.db)).run_due()
    async with storm.db.connection() as connection:
        cursor = await connection.execute("SELECT subject_id FROM resource_units")
        units = [row[0] for row in await cursor.fetchall()]
    await storm.db.transact(partial(frontiers.drop_idle, subject_ids=units))


async def judge(storm: Storm) -> int:
    """Hold every live series against its rule; return how many there are."""
    found = [from_row(row) for row in await storm.db.fetch(ALL, {})]
    for series in found:
        await check(storm, series)
    return len(found)


async def meet(db: Database, chance: random.Random, began: float | None = None) -> Storm:
    """Find who and what is there."""
    people = [row[0] for row in await db.fetch(WHO, {})]
    rooms = [row[0] for row in await db.fetch(WHERE, {})]
    series = [(row[0], row[1]) for row in await db.fetch(WHICH, {})]
    return Storm(db, people, rooms, chance, datetime.now(UTC), began, series)


async def main(dsn: str, seed: int, seconds: float, began: float) -> None:
    """Storm for so long, and say what was done."""
    async with Database(dsn, size=6) as db:
        storm = None
        while storm is None:
            with suppress(Unavailable):  # it may have been started while the database was down
                storm = await meet(db, random.Random(seed), began)
        until = time.monotonic() + seconds
        await asyncio.gather(*(rage(storm, until) for _ in range(4)))
        print(dict(storm.done.most_common()))  # noqa: T201 - for whoever looks on


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))

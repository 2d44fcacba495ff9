"""Random worlds: what a search offers can be booked, and what it does not is refused, for the reason that it gives.

A world is a person and a room in one of ten zones, around a night in which a clock is changed: hours and dates with
others, buffers, rules of booking, and what is searched for. What is booked then is a calendar, which several worlds
share, because it costs most: units, appointments and holds, some of which have expired; in two of five also a series,
with an end or without, with exceptions, and often with its frontier still before that night. Few by default;
``WORLDS=100000`` is the long run, ``WORLDS_SEED`` begins elsewhere.
"""

import asyncio
import contextlib
import json
import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from appointments.calendar import availability, booking, frontiers, listing, series_booking, updating
from appointments.calendar.appointment import Spec
from appointments.calendar.availability import Asker, Search, Wanted
from appointments.calendar.bookable.hours import ALWAYS, DAY, MINUTE, DayHours, Hours, SpecialDay, clock, opened
from appointments.calendar.bookable.rules import NO_RULES, BookingRules, violations
from appointments.calendar.bookable.slots import Requirement, Subject, grid
from appointments.calendar.bookable.spans import Span
from appointments.calendar.bookable.terms import HOURS, NOTICE, Terms
from appointments.calendar.materializing import Terms as Booking
from appointments.calendar.series import SeriesSpec
from appointments.db import Database, Micros, Statement, instant, micros
from appointments.shared.errors import Conflict, Unmet
from tests.people import add_user

WORLDS = int(os.environ.get("WORLDS", "200"))
SEED = os.environ.get("WORLDS_SEED", "1")
AT_ONCE = 4
TOGETHER = 5
"""How many worlds share a calendar."""
ZONES = [
    "Europe/Zurich", "America/New_York", "America/Havana", "Australia/Lord_Howe", "Africa/Casablanca",
    "America/Santiago", "Asia/Beirut", "Antarctica/Troll", "Pacific/Auckland", "Asia/Kathmandu",
]  # fmt: skip
NOW = micros(datetime.now(UTC).replace(second=0, microsecond=0))
QUARTER = 15 * MINUTE


def nights(zone: str) -> list[Micros]:
    """When its clock is changed within ten months of now; some day, if it never is."""
    pieces = clock(zone, NOW - 300 * DAY, NOW + 300 * DAY)
    return [first for first, _, _ in pieces[1:]] or [NOW + 40 * DAY]


def delta(value: Micros) -> timedelta:
    """Microseconds as a timedelta."""
    return timedelta(microseconds=value)


@dataclass(frozen=True)
class Recurring:
    """A series, whose it is, and what is done to its occurrences near the night."""

    spec: SeriesSpec
    of_owner: bool
    horizon: timedelta
    exceptions: int


@dataclass
class Calendar:
    """A person, a room, and what is booked around the night."""

    dice: random.Random
    owner: UUID = field(default_factory=uuid4)
    room: UUID = field(default_factory=uuid4)

    def __post_init__(self) -> None:
        dice = self.dice
        self.zone = dice.choice(ZONES)
        night = dice.choice(nights(self.zone)) // MINUTE * MINUTE
        self.first = night - dice.randrange(96) * QUARTER
        self.units = dice.choice([1, 1, 1, 2, 3])
        self.series = self._series() if dice.random() < 0.4 else None
        # What is booked holds a frontier beyond itself, so without it more series are met by their tails.
        alone = self.series is not None and dice.random() < 0.7
        # Who is taken when, and until when it is a hold: None for an appointment.
        self.taken = [] if alone else [(0, span, hold) for span, hold in self._taken()]
        for unit in range(1, self.units + 1) if not alone else ():
            self.taken += [(unit, span, hold) for span, hold in self._taken()]

    def _series(self) -> Recurring:
        dice = self.dice
        # A series is rows for a month from its start at least, so it is met by its tail where it has begun before that.
        earlier = dice.randrange(8) if self.first < NOW - 20 * DAY else dice.choice([0, 3, 40, 70, 70])
        start = instant(self.first + dice.randrange(-40, 160) * QUARTER - earlier * DAY)
        of_owner = dice.random() < 0.6
        first = Spec(
            "Again",
            start,
            start + delta(dice.choice([1, 2, 5, 12]) * QUARTER),
            self.zone,
            resource_ids=() if of_owner and dice.random() < 0.5 else (str(self.room),),
            buffer_before=delta(dice.choice([0, 0, 15]) * MINUTE),
            buffer_after=delta(dice.choice([0, 0, 5]) * MINUTE),
        )
        rule = dice.choice(["FREQ=DAILY", "FREQ=DAILY;INTERVAL=2", "FREQ=WEEKLY;BYDAY=MO,TU,TH,SA,SU"])
        # Without an end it would have as many rows as days have passed.
        if self.first < NOW - 20 * DAY or dice.random() < 0.3:
            rule += f";COUNT={earlier + dice.randrange(2, 15)}"
        return Recurring(SeriesSpec(first, rule), of_owner, timedelta(days=dice.choice([1, 1, 40])), dice.randrange(3))

    def _taken(self) -> list[tuple[Span, datetime | None]]:
        dice = self.dice
        count = dice.choice([0, 2, 6])
        edges = sorted(dice.sample(range(-20, 620), 2 * count))
        spans = [
            (self.first + one * 5 * MINUTE, self.first + another * 5 * MINUTE)
            for one, another in zip(edges[::2], edges[1::2], strict=True)
        ]
        now = datetime.now(UTC)
        holds = [None, None, None, now + timedelta(hours=1), now - timedelta(hours=1)]
        return [(span, dice.choice(holds)) for span in spans]


@dataclass
class World:
    """A calendar, the terms on which its room can be booked, and what is searched for."""

    dice: random.Random
    calendar: Calendar

    def __post_init__(self) -> None:
        dice, calendar = self.dice, self.calendar
        self.owner, self.room, self.zone = calendar.owner, calendar.room, calendar.zone
        self.first = calendar.first + dice.randrange(-32, 33) * QUARTER
        self.end = self.first + 2 * DAY
        self.buffers = dice.choice([0, 10, 45]), dice.choice([0, 5, 30])
        self.hours = self._hours() if dice.random() < 0.6 else ALWAYS
        self.owner_hours = self._hours() if dice.random() < 0.1 else ALWAYS
        self.rules = self._rules() if dice.random() < 0.7 else NO_RULES
        assert [] == violations(self.rules, "rules")
        self.search = Search(
            (Wanted((str(self.owner),)), Wanted((str(self.room),))),
            delta(dice.choice([1, 2, 3, 4, 8]) * QUARTER),
            instant(self.first),
            instant(self.end),
            delta(dice.choice([1, 2, 3]) * QUARTER),
            delta(dice.choice([0, 10, 40]) * MINUTE),
            delta(dice.choice([0, 20]) * MINUTE),
        )
        self._open = opened(self.hours, self.zone, self.first, self.end)

    def _hours(self) -> Hours:
        return Hours(
            tuple(DayHours(day, *edges) for day in range(1, 8) for edges in self._day()),
            tuple(
                SpecialDay(
                    str(instant(self.first + day * DAY).date()), tuple(DayHours(0, *span) for span in self._day())
                )
                for day in range(3)
                if self.dice.random() < 0.1
            ),
        )

    def _day(self) -> list[tuple[int, int]]:
        edges = sorted(self.dice.sample(range(0, 1441, 15), 2 * self.dice.choice([0, 1, 1, 1, 2])))
        return list(zip(edges[::2], edges[1::2], strict=True))

    def _rules(self) -> BookingRules:
        dice = self.dice
        # Half a minute off any start, so that no clock ticks across it between a search and a booking.
        ahead = delta(max(0, self.first + dice.randrange(192) * QUARTER + MINUTE // 2 - NOW))
        past = self.first < NOW
        kind = dice.randrange(4)
        return BookingRules(
            min_notice=ahead if kind == 0 and not past else timedelta(),
            horizon=ahead if kind == 1 and not past else timedelta(),
            min_duration=delta(dice.choice([0, 0, 2]) * QUARTER),
            max_duration=delta(dice.choice([0, 0, 4]) * QUARTER),
            step=delta(dice.choice([0, 0, 30, 45]) * MINUTE),
            daily_limit=dice.choice([0, 0, 2, 4]),
            within_hours=dice.random() < 0.8,
            past_changes=dice.random() < 0.5,
        )

    def candidates(self) -> list[Micros]:
        """Every start that the search looks at."""
        subjects = [
            Subject(Terms("UTC", self.owner_hours, NO_RULES), ([],)),
            Subject(Terms(self.zone, self.hours, self.rules), ([],)),
        ]
        requirements = [Requirement((0,), 1), Requirement((1,), 1)]
        assert self.search.step
        step, length = (each // timedelta(microseconds=1) for each in (self.search.step, self.search.length))
        return grid(subjects, requirements, step, self.first, self.end - length + 1)

    def spec(self, start: Micros) -> Spec:
        """What would be booked."""
        return Spec(
            "Something",
            instant(start),
            instant(start) + self.search.length,
            "UTC",
            resource_ids=(str(self.room),),
            buffer_before=self.search.before,
            buffer_after=self.search.after,
        )

    def is_open(self, start: Micros) -> bool:
        """Whether the room is, all the time."""
        end = micros(instant(start) + self.search.length)
        return any(opens <= start and end <= closes for opens, closes in self._open)


async def make(db: Database, calendar: Calendar, filler: UUID) -> None:
    """Put a calendar into the database. Whose the other appointments are does not matter: they are somebody's."""
    units = [uuid4() for _ in range(calendar.units)]
    taken = [(uuid4(), *each) for each in calendar.taken]
    values: dict[str, Any] = {
        "owner": calendar.owner,
        "room": calendar.room,
        "units": units,
        "zone": calendar.zone,
        "filler": filler,
        "ids": [each for each, _, _, _ in taken],
        "subjects": [units[unit - 1] if unit else calendar.owner for _, unit, _, _ in taken],
        "starts": [instant(span[0]) for _, _, span, _ in taken],
        "ends": [instant(span[1]) for _, _, span, _ in taken],
        "holds": [hold for _, _, _, hold in taken],
    }
    async with db.connection() as connection:
        await connection.execute(CALENDAR, values)
    if calendar.series:
        await repeat(db, calendar, calendar.series)


async def begin(db: Database, world: World) -> None:
    """Give a calendar the hours, buffers and rules of a world."""
    hours, owner_hours, rules = world.hours.to_json(), world.owner_hours.to_json(), world.rules.dumps()
    values = {
        "owner": world.owner,
        "room": world.room,
        "hours": hours and json.dumps(hours).encode(),
        "owner_hours": owner_hours and json.dumps(owner_hours).encode(),
        "rules": rules and rules.encode(),
        "before": world.buffers[0] * 60,
        "after": world.buffers[1] * 60,
    }
    await db.fetch(TERMS, values)


TERMS = Statement(
    """
    WITH person AS (
        UPDATE users SET hours = %(owner_hours)s::jsonb WHERE id = %(owner)s::uuid
    )
    UPDATE resources
    SET hours = %(hours)s::jsonb, booking_rules = %(rules)s::jsonb,
        buffer_before = %(before)s::integer, buffer_after = %(after)s::integer
    WHERE id = %(room)s::uuid
    RETURNING id
    """
)


async def repeat(db: Database, calendar: Calendar, wanted: Recurring) -> None:
    """Book the series of a calendar around what is there, and change some of its occurrences by themselves."""
    booker = calendar.owner if wanted.of_owner else await add_user(db)
    booked = await series_booking.create(db, booker, wanted.spec, Booking(skip=True, horizon=wanted.horizon))
    if not wanted.exceptions:
        return
    first, end = instant(calendar.first), instant(calendar.first + 2 * DAY)
    window = listing.Window(booker, series_id=booked.series.id, since=first, until=end)
    rows = (await listing.page(db.reads(booker, ""), window, size=1000)).appointments
    for number, row in enumerate(rows[: wanted.exceptions]):
        if number % 2:
            await updating.delete(db, booker, row.id)
            continue
        with contextlib.suppress(Conflict):
            await updating.update(db, booker, row.id, later(delta(calendar.dice.choice([-90, 30, 75]) * MINUTE)))


def later(by: timedelta) -> Callable[[Spec], Spec]:
    """A change that moves an appointment."""
    return lambda old: replace(old, start_at=old.start_at + by, end_at=old.end_at + by)


async def beyond(db: Database, world: World) -> bool:
    """Whether the search reaches beyond a frontier."""
    values = {"person_ids": [world.owner], "resource_ids": [world.room], "until": instant(world.end)}
    return bool(await db.fetch(frontiers.SHORT, values))


CALENDAR = """
    WITH new_subjects AS (
        INSERT INTO subjects (id, kind)
        SELECT %(owner)s, 'user' UNION ALL SELECT unnest(%(units)s::uuid[]), 'resource'
    ), new_user AS (
        INSERT INTO users (id, email, display_name, time_zone, password_hash, created_at, updated_at)
        VALUES (%(owner)s, %(owner)s || '@example.com', '', 'UTC', '', now(), now())
    ), new_room AS (
        INSERT INTO resources (
            id, kind, display_name, description, location, time_zone, seats, units, buffer_before, buffer_after,
            default_role, created_at, updated_at, version
        )
        VALUES (%(room)s, 'room', 'Room', '', '', %(zone)s, 0, cardinality(%(units)s::uuid[]), 0, 0, 2, now(), now(), 1)
    ), new_units AS (
        INSERT INTO resource_units (subject_id, resource_id, unit)
        SELECT id, %(room)s, unit FROM unnest(%(units)s::uuid[]) WITH ORDINALITY AS numbered (id, unit)
    ), taken AS (
        SELECT id, subject_id, start_at, end_at, hold
        FROM unnest(
            %(ids)s::uuid[], %(subjects)s::uuid[], %(starts)s::timestamptz[], %(ends)s::timestamptz[],
            %(holds)s::timestamptz[]
        ) AS taken (id, subject_id, start_at, end_at, hold)
    ), new_appointments AS (
        INSERT INTO appointments (
            id, owner_id, title, description, location, start_at, end_at, time_zone, attendees, created_at, updated_at,
            version, expires_at
        )
        SELECT id, CASE WHEN subject_id = %(owner)s THEN subject_id ELSE %(filler)s END, 'Other', '', '', start_at,
               end_at, 'UTC', '[]', now(), now(), 1, hold
        FROM taken
    )
    INSERT INTO bookings (appointment_id, subject_id, during, resource_id, start_at, expires_at)
    SELECT id, subject_id, tstzrange(start_at, end_at),
           CASE WHEN subject_id <> %(owner)s THEN %(room)s::uuid END,
           CASE WHEN subject_id <> %(owner)s THEN start_at END, hold
    FROM taken
"""


async def outcome(db: Database, world: World, start: Micros) -> str:
    """What comes of booking a start: "booked" (and taken back), "taken", or the rule that is broken."""
    try:
        created = await booking.create(db, world.owner, world.spec(start))
    except Conflict:
        return "taken"
    except Unmet as refused:
        return refused.metadata["rule"]
    await db.fetch(TAKE_BACK, {"id": created.id})
    return "booked"


TAKE_BACK = Statement("DELETE FROM appointments WHERE id = %(id)s::uuid RETURNING id")


async def probe(db: Database, world: World, start: Micros) -> str:
    """See that a start which was not offered is refused, for the reason that a search for it alone gives."""
    alone = await availability.search(
        db,
        Asker(world.owner),
        Search(
            world.search.wanted,
            world.search.length,
            instant(start),
            instant(start) + world.search.length,
            world.search.step,
            world.search.before,
            world.search.after,
        ),
    )
    assert [] == alone.offers
    assert alone.why
    assert (1, 1) == (alone.why.looked_at, sum(alone.why[1:]))
    reason = next(name for name, count in alone.why._asdict().items() if name != "looked_at" and count)
    came_of_it = await outcome(db, world, start)
    if reason == "hours":
        # One's own hours bind nobody, and those of the room only where its rules say so.
        if world.rules.within_hours and not world.is_open(start):
            assert {came_of_it} <= HOURS
    elif reason == "notice":
        assert {came_of_it} <= NOTICE
    elif reason == "rules":
        assert {came_of_it} <= {"min_duration", "max_duration", "step", "daily_limit"}
    else:
        assert "taken" == came_of_it
    return reason


async def live(db: Database, world: World, seen: Counter[str]) -> None:
    """Search a world, and try what was found and what was not."""
    await begin(db, world)
    seen["worlds"] += 1
    seen["series"] += world.calendar.series is not None
    seen["beyond"] += await beyond(db, world)
    page = await availability.search(db, Asker(world.owner), world.search, size=1000)
    offered = {each.start for each in page.offers}
    candidates = world.candidates()
    assert offered <= set(candidates)
    assert ("", bool(offered)) == (page.next_token, page.why is None)
    for start in world.dice.sample(sorted(offered), min(2, len(offered))):
        assert "booked" == await outcome(db, world, start), instant(start)
        seen["booked"] += 1
    others = [each for each in candidates if each not in offered]
    when_open = [each for each in others if world.is_open(each)] or others
    for start in [world.dice.choice(each) for each in (others, when_open) if each]:
        seen[await probe(db, world, start)] += 1


async def run(db: Database, numbers: range, filler: UUID, seen: Counter[str]) -> None:
    """Make a calendar, and live the worlds with these numbers in it, one after the other."""
    calendar, world = Calendar(random.Random(f"{SEED} calendar {numbers[0]}")), None
    try:
        await make(db, calendar, filler)
        for number in numbers:
            world = World(random.Random(f"{SEED} {number}"), calendar)
            await live(db, world, seen)
    except Exception as error:
        error.add_note(f"in the worlds {numbers} of WORLDS_SEED={SEED}: {calendar} {world}")
        raise


@pytest.mark.timeout(60 + WORLDS)
async def test_what_is_offered_books_and_what_is_not_is_refused_as_told(db: Database) -> None:
    """World by world, and every reason comes up."""
    filler, seen = await add_user(db), Counter[str]()
    everything = range(WORLDS)
    parts = iter([everything[first : first + TOGETHER] for first in everything[::TOGETHER]])

    async def walk() -> None:
        for part in parts:
            await run(db, part, filler, seen)
            if seen["worlds"] % 1000 < TOGETHER:
                print(dict(seen), flush=True)  # noqa: T201 - for the long run

    await asyncio.gather(*(walk() for _ in range(AT_ONCE)))
    print(dict(seen))  # noqa: T201
    rare = {"buffers", "beyond"} if WORLDS < 1000 else set()
    assert {"booked", "hours", "notice", "rules", "busy", "buffers", "series", "beyond"} - rare <= set(+seen)

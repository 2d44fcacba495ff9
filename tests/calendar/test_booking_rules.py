"""Rules of booking, on every path: what breaks one is refused and told which, and a manager may override it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from appointments.calendar import availability, booking, listing, resources, series_booking, series_updating, updating
from appointments.calendar.appointment import Appointment
from appointments.calendar.availability import Asker, Search, Wanted
from appointments.calendar.bookable.hours import DayHours, Hours
from appointments.calendar.bookable.rules import BookingRules
from appointments.calendar.log import Cause
from appointments.calendar.materializing import Terms
from appointments.calendar.series import SeriesSpec, shifted
from appointments.db import Database, instant
from appointments.shared.errors import Conflict, Denied, Unmet
from tests.audit import audit
from tests.people import HOUR, TEN, add_room, add_user, shared, spec

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
TOMORROW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + DAY
YESTERDAY = TOMORROW - 2 * DAY
MORNING = Hours(tuple(DayHours(day, 480, 720) for day in range(1, 8)))


async def ruled_room(db: Database, manager: UUID, hours: Hours | None = None, **rules: Any) -> UUID:
    """A room with rules, in UTC."""
    room = await add_room(db, manager, time_zone="UTC", **({"hours": hours} if hours else {}))
    await change_rules(db, manager, room, **rules)
    return room


async def change_rules(db: Database, manager: UUID, room: UUID, **rules: Any) -> None:
    """Give a room other rules."""
    await resources.update(db, manager, room, lambda old: replace(old, booking_rules=BookingRules(**rules)))


async def rule_person(db: Database, user_id: UUID, **rules: Any) -> None:
    """Give a person rules."""
    async with db.connection() as connection:
        await connection.execute(
            "UPDATE users SET booking_rules = %(rules)s::jsonb WHERE id = %(id)s",
            {"id": user_id, "rules": BookingRules(**rules).dumps()},
        )


async def broken(attempt: Awaitable[Any]) -> str:
    """The rule that an attempt breaks."""
    with pytest.raises(Unmet) as refused:
        await attempt
    assert "BOOKING_RULE" == refused.value.reason
    return refused.value.metadata["rule"]


def at(start: datetime, length: timedelta = HOUR) -> dict[str, Any]:
    """A span."""
    return {"start_at": start, "end_at": start + length}


@pytest.mark.parametrize(
    ("rules", "fits", "breaks"),
    [
        ({"min_notice": timedelta(hours=20)}, at(TOMORROW), at(TOMORROW - 6 * HOUR)),
        ({"horizon": timedelta(days=3)}, at(TOMORROW), at(TOMORROW + 3 * DAY)),
        ({"min_duration": HOUR}, at(TOMORROW + DAY), at(TOMORROW, HOUR - MINUTE)),
        ({"max_duration": HOUR}, at(TOMORROW + DAY), at(TOMORROW, HOUR + MINUTE)),
        ({"step": 20 * MINUTE}, at(TOMORROW + DAY + 40 * MINUTE), at(TOMORROW + 30 * MINUTE)),
        ({"within_hours": True}, at(TEN), at(TEN + 1.5 * HOUR)),
        ({"past_changes": False}, at(TOMORROW), at(YESTERDAY)),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
async def test_a_broken_rule_is_named(
    db: Database, owner: UUID, stranger: UUID, rules: dict[str, Any], fits: dict[str, Any], breaks: dict[str, Any]
) -> None:
    """By a create, a hold, a move, a restore, and where the room is only added; its manager is bound too."""
    room = await ruled_room(db, stranger, MORNING, **rules)
    name = next(iter(rules))
    with pytest.raises(Unmet) as refused:
        await booking.create(db, owner, shared(room, **breaks))
    expected = {"rule": name, "subject_id": str(room), "start_time": f"{breaks['start_at']:%Y-%m-%dT%H:%M:%SZ}"}
    assert ("BOOKING_RULE", expected) == (refused.value.reason, refused.value.metadata)
    assert name == await broken(booking.create(db, stranger, shared(room, **breaks)))
    assert name == await broken(booking.create(db, owner, shared(room, **breaks), ttl=HOUR))
    created = await booking.create(db, owner, shared(room, **fits))
    alone = await booking.create(db, owner, replace(spec(), **breaks))
    assert name == await broken(
        updating.update(db, owner, alone.id, lambda old: replace(old, resource_ids=(str(room),)))
    )
    await updating.delete(db, owner, alone.id)
    assert name == await broken(updating.update(db, owner, created.id, lambda old: replace(old, **breaks)))
    await updating.update(db, owner, created.id, lambda old: replace(old, title="Another"))
    await change_rules(db, stranger, room)
    standing = await booking.create(db, owner, shared(room, **breaks))
    await change_rules(db, stranger, room, **rules)
    if name != "past_changes":
        await updating.delete(db, owner, standing.id)
        assert name == await broken(updating.undelete(db, owner, standing.id))
    else:
        assert name == await broken(updating.delete(db, owner, standing.id))
    assert 0 == await audit(db)


async def test_what_is_near_or_past_is_not_given_up(db: Database, owner: UUID, stranger: UUID) -> None:
    """It is not moved, not taken off the room and not deleted; but edited. A hold may always go."""
    room = await ruled_room(db, stranger, change_notice=2 * DAY)
    created = await booking.create(db, owner, shared(room, start=TOMORROW))
    for attempt in (
        updating.delete(db, owner, created.id),
        updating.update(db, owner, created.id, lambda old: replace(old, resource_ids=())),
        updating.update(db, owner, created.id, lambda old: replace(old, **at(TOMORROW + 9 * DAY))),
    ):
        assert "change_notice" == await broken(attempt)
    await updating.update(db, owner, created.id, lambda old: replace(old, title="Another"))
    far = await booking.create(db, owner, shared(room, start=TOMORROW + 5 * DAY))
    await updating.update(db, owner, far.id, lambda old: replace(old, **at(TOMORROW + 6 * DAY)))
    await updating.delete(db, owner, far.id)
    held = await booking.create(db, owner, shared(room, start=TOMORROW + 2 * HOUR), ttl=HOUR)
    await updating.update(db, owner, held.id, lambda old: replace(old, **at(TOMORROW + 3 * HOUR)))
    await updating.delete(db, owner, held.id)


async def test_without_rules_the_past_may_be_edited(db: Database, owner: UUID, stranger: UUID) -> None:
    """One's own, and a room's whose managers ask for nothing."""
    for wanted in (spec(YESTERDAY), shared(await add_room(db, stranger), start=YESTERDAY + 2 * HOUR)):
        created = await booking.create(db, owner, wanted)
        await updating.update(
            db, owner, created.id, lambda old: replace(old, start_at=old.start_at - HOUR / 2, end_at=old.end_at - HOUR)
        )
        await updating.delete(db, owner, created.id)
        await updating.undelete(db, owner, created.id)


async def test_a_manager_overrides_and_it_is_recorded(db: Database, owner: UUID, stranger: UUID) -> None:
    """On every path, in the answer and for good; nobody else does."""
    room = await ruled_room(db, stranger, max_duration=HOUR, step=HOUR, change_notice=2 * DAY)
    wanted = shared(room, **at(TOMORROW + 30 * MINUTE, 2 * HOUR))
    with pytest.raises(Denied) as refused:
        await booking.create(db, owner, wanted, override=True)
    assert "NOT_A_MANAGER" == refused.value.reason
    created = await booking.create(db, stranger, wanted, override=True)
    assert (["max_duration", "step"], created) == (
        created.overridden_rules,
        await booking.get(db, stranger, created.id),
    )
    assert "change_notice" == await broken(updating.delete(db, stranger, created.id))
    moved = await updating.update(
        db, stranger, created.id, lambda old: replace(old, **at(TOMORROW + HOUR)), override=True
    )
    assert ["change_notice", "max_duration", "step"] == moved.overridden_rules
    await updating.delete(db, stranger, created.id, override=True)
    await change_rules(db, stranger, room, min_notice=2 * DAY)
    restored = await updating.undelete(db, stranger, created.id, override=True)
    assert ["change_notice", "max_duration", "min_notice", "step"] == restored.overridden_rules
    fine = await booking.create(db, stranger, shared(room, start=TOMORROW + 5 * DAY), override=True)
    assert (None, 0) == (fine.overridden_rules, await audit(db))


async def test_a_day_holds_so_many(db: Database, owner: UUID, stranger: UUID) -> None:
    """Of all units together; the appointment itself is not counted when it moves within its day; holds are."""
    room = await ruled_room(db, stranger, daily_limit=2)
    await resources.update(db, stranger, room, lambda old: replace(old, units=3))
    first = await booking.create(db, owner, shared(room, start=TEN))
    held = await booking.create(db, stranger, shared(room, start=TEN), ttl=HOUR)
    third = await add_user(db)
    assert "daily_limit" == await broken(booking.create(db, third, shared(room, start=TEN + 13 * HOUR)))
    await booking.create(db, third, shared(room, start=TEN + 14 * HOUR))
    await updating.update(db, owner, first.id, lambda old: replace(old, **at(TEN + 5 * HOUR)))
    await updating.delete(db, stranger, held.id)
    await booking.create(db, third, shared(room, start=TEN + 13 * HOUR, end_at=TEN + 13.5 * HOUR))


async def test_racing_bookings_stay_below_a_daily_limit(db: Database, stranger: UUID) -> None:
    """Thirty people, a room of thirty units, three of them a day."""
    room = await ruled_room(db, stranger, daily_limit=3)
    await resources.update(db, stranger, room, lambda old: replace(old, units=30))
    people = [await add_user(db) for _ in range(30)]

    async def book(person: UUID) -> bool:
        try:
            await booking.create(db, person, shared(room))
        except Unmet:
            return False
        return True

    assert 3 == sum(await asyncio.gather(*map(book, people)))
    assert 0 == await audit(db)


async def test_a_persons_rules_bind_those_who_act_for_them(db: Database, owner: UUID, stranger: UUID) -> None:
    """A create, a move, a deletion and a restore; not the person, and nothing that takes no time."""
    await rule_person(db, owner, max_duration=HOUR, change_notice=9 * DAY, daily_limit=2)
    acting = Cause(stranger)
    long = replace(spec(TOMORROW), **at(TOMORROW, 2 * HOUR))
    assert "max_duration" == await broken(booking.create(db, owner, long, cause=acting))
    with pytest.raises(Denied):
        await booking.create(db, owner, long, cause=acting, override=True)
    await booking.create(db, owner, replace(long, transparent=True), cause=acting)
    own = await booking.create(db, owner, long)
    for attempt in (
        updating.delete(db, owner, own.id, cause=acting),
        updating.update(db, owner, own.id, lambda old: replace(old, **at(TOMORROW + DAY)), cause=acting),
    ):
        assert "change_notice" == await broken(attempt)
    await updating.update(db, owner, own.id, lambda old: replace(old, title="Another"), cause=acting)
    await updating.delete(db, owner, own.id)
    assert "max_duration" == await broken(updating.undelete(db, owner, own.id, cause=acting))
    await updating.undelete(db, owner, own.id)
    for day in (20, 21):
        created = await booking.create(db, owner, spec(TOMORROW + day * DAY), cause=acting)
        await updating.update(
            db, owner, created.id, lambda old: replace(old, **at(old.start_at + 2 * HOUR)), cause=acting
        )
        await updating.delete(db, owner, created.id, cause=acting)
        await updating.undelete(db, owner, created.id, cause=acting)
    midnight = TEN.replace(hour=0)
    for hour in (1, 3):
        await booking.create(db, owner, spec(midnight + hour * HOUR), cause=acting)
    assert "daily_limit" == await broken(booking.create(db, owner, spec(midnight + 5 * HOUR), cause=acting))
    await booking.create(db, owner, spec(midnight + 5 * HOUR))
    assert 0 == await audit(db)


async def test_rules_come_before_conflicts_and_after_a_retry(db: Database, owner: UUID, stranger: UUID) -> None:
    """A time that is taken and against the rules is against the rules; a retried create has its first answer."""
    room = await ruled_room(db, stranger, max_duration=HOUR)
    request_id = uuid4()
    created = await booking.create(db, owner, shared(room), request_id=request_id)
    assert "max_duration" == await broken(booking.create(db, stranger, shared(room, **at(TEN, 2 * HOUR))))
    with pytest.raises(Conflict):
        await booking.create(db, stranger, shared(room))
    await change_rules(db, stranger, room, max_duration=MINUTE)
    assert created == await booking.create(db, owner, shared(room), request_id=request_id)


async def test_a_search_knows_the_rules(db: Database, owner: UUID, stranger: UUID) -> None:
    """Those of a room, and those of another person; one's own bind who acts. Its step is the rules'."""
    midnight = TOMORROW.replace(hour=0) + DAY
    room = await ruled_room(db, stranger, step=2 * HOUR, daily_limit=1, min_notice=DAY)
    await booking.create(db, stranger, shared(room, start=midnight + DAY))

    async def find(asker: Asker, subject: UUID, **more: Any) -> availability.Page:
        search = Search((Wanted((str(subject),)),), HOUR, midnight, midnight + 2 * DAY)
        return await availability.search(db, asker, replace(search, **more), size=1000)

    found = (await find(Asker(owner), room)).offers
    assert [midnight + hour * HOUR for hour in range(0, 24, 2)] == [instant(each.start) for each in found]
    assert 4 == len((await find(Asker(owner), room, step=3 * HOUR)).offers)
    nothing = await find(Asker(owner), room, since=midnight + DAY)
    assert (12, 0, 0, 12, 0, 0) == nothing.why
    soon = await find(Asker(owner), room, since=TOMORROW - DAY, until=TOMORROW - HOUR)
    assert soon.why
    assert soon.why.looked_at == soon.why.notice > 0
    await rule_person(db, owner, max_duration=30 * MINUTE)
    assert 48 == len((await find(Asker(owner), owner)).offers)
    for asker in (Asker(stranger), Asker(owner, acts=True)):
        assert (48, 0, 0, 48, 0, 0) == (await find(asker, owner)).why


@pytest.fixture
async def weekly(db: Database, owner: UUID, stranger: UUID) -> tuple[UUID, UUID]:
    """A room without rules yet, and a series of somebody in it: tomorrow and the five weeks after."""
    room = await ruled_room(db, stranger)
    booked = await series_booking.create(db, owner, SeriesSpec(shared(room, start=TOMORROW), "FREQ=WEEKLY;COUNT=6"))
    return room, booked.series.id


async def occurrences(db: Database, owner: UUID, series_id: UUID) -> list[Appointment]:
    """The live ones of a series, in order."""
    window = listing.Window(owner, series_id=series_id)
    return (await listing.page(db.reads(owner, ""), window, size=100)).appointments


def later(by: timedelta) -> Callable[[SeriesSpec], SeriesSpec]:
    """A change that moves everything."""

    def change(old: SeriesSpec) -> SeriesSpec:
        first = replace(old.first, start_at=old.first.start_at + by, end_at=old.first.end_at + by)
        return shifted(replace(old, first=first), old, set())

    return change


def without_room(old: SeriesSpec) -> SeriesSpec:
    """A change that gives the room back."""
    return replace(old, first=replace(old.first, resource_ids=()))


async def test_a_series_gives_up_nothing_that_is_near(
    db: Database, owner: UUID, stranger: UUID, weekly: tuple[UUID, UUID]
) -> None:
    """It is not deleted, moved, ended earlier or taken off the room, whoever asks; from a later one on it is."""
    room, series_id = weekly
    await change_rules(db, stranger, room, change_notice=10 * DAY)
    standing = await occurrences(db, owner, series_id)
    for attempt in (
        series_updating.delete(db, owner, series_id),
        series_updating.delete(db, owner, series_id, from_id=standing[1].id),
        series_updating.update(db, owner, series_id, later(HOUR)),
        series_updating.update(db, owner, series_id, later(HOUR), from_id=standing[1].id),
        series_updating.update(db, owner, series_id, lambda old: replace(old, rule="FREQ=WEEKLY;COUNT=1")),
        series_updating.update(db, owner, series_id, without_room),
        series_updating.update(
            db, owner, series_id, lambda old: replace(old, first=replace(old.first, buffer_after=HOUR))
        ),
    ):
        assert "change_notice" == await broken(attempt)
    assert standing == await occurrences(db, owner, series_id)
    own = await series_booking.create(
        db, stranger, SeriesSpec(shared(room, start=TOMORROW + 3 * HOUR), "FREQ=WEEKLY;COUNT=3")
    )
    assert "change_notice" == await broken(series_updating.delete(db, stranger, own.series.id))
    moved = await series_updating.update(db, owner, series_id, later(HOUR), from_id=standing[2].id)
    assert 4 == len(await occurrences(db, owner, moved.series.id))
    await series_updating.delete(db, owner, moved.series.id)
    assert [(each.id, each.spec) for each in standing[:2]] == [
        (each.id, each.spec) for each in await occurrences(db, owner, series_id)
    ]
    assert 0 == await audit(db)


async def test_the_first_occurrence_in_the_way_of_a_change_is_told(
    db: Database, owner: UUID, stranger: UUID, weekly: tuple[UUID, UUID]
) -> None:
    """And whose rule it is."""
    room, series_id = weekly
    await change_rules(db, stranger, room, change_notice=30 * DAY)
    second = (await occurrences(db, owner, series_id))[1]
    with pytest.raises(Unmet) as refused:
        await series_updating.delete(db, owner, series_id, from_id=second.id)
    assert (str(room), instant(second.start_at).isoformat().replace("+00:00", "Z")) == (
        refused.value.metadata["subject_id"],
        refused.value.metadata["start_time"],
    )


async def test_what_keeps_its_time_in_a_series_is_asked_nothing(
    db: Database, owner: UUID, stranger: UUID, weekly: tuple[UUID, UUID]
) -> None:
    """Neither a new title nor more occurrences are a change of what is near; what is new is held against the rules."""
    room, series_id = weekly
    await change_rules(db, stranger, room, change_notice=10 * DAY, min_notice=10 * DAY, horizon=60 * DAY)
    await series_updating.update(
        db, owner, series_id, lambda old: replace(old, first=replace(old.first, title="Another"))
    )
    await series_updating.update(db, owner, series_id, lambda old: replace(old, rule="FREQ=WEEKLY;COUNT=7"))
    assert 7 == len(await occurrences(db, owner, series_id))
    beyond = series_updating.update(db, owner, series_id, lambda old: replace(old, rule="FREQ=WEEKLY;COUNT=20"))
    assert "horizon" == await broken(beyond)
    another = await ruled_room(db, stranger, min_notice=10 * DAY)

    def also_there(old: SeriesSpec) -> SeriesSpec:
        return replace(old, first=replace(old.first, resource_ids=(*old.first.resource_ids, str(another))))

    assert "min_notice" == await broken(series_updating.update(db, owner, series_id, also_there))
    third = (await occurrences(db, owner, series_id))[2]
    await series_updating.update(db, owner, series_id, also_there, from_id=third.id)
    assert 0 == await audit(db)


async def test_the_past_of_a_series_is_not_given_up_where_rules_say_so(
    db: Database, owner: UUID, stranger: UUID
) -> None:
    """Not with the whole series and not by a change of the past; what is to come is moved, and deleted from one on."""
    room = await ruled_room(db, stranger)
    booked = await series_booking.create(db, owner, SeriesSpec(shared(room, start=YESTERDAY), "FREQ=DAILY;COUNT=9"))
    series_id = booked.series.id
    await change_rules(db, stranger, room, past_changes=False)
    for attempt in (
        series_updating.delete(db, owner, series_id),
        series_updating.update(db, owner, series_id, later(MINUTE), include_past=True),
    ):
        assert "past_changes" == await broken(attempt)
    await series_updating.update(db, owner, series_id, later(HOUR))
    coming = [each for each in await occurrences(db, owner, series_id) if instant(each.start_at) > TOMORROW]
    await series_updating.delete(db, owner, series_id, from_id=coming[0].id)
    assert 0 == await audit(db)


async def test_an_occurrence_that_was_changed_by_itself_is_judged_as_it_is(
    db: Database, owner: UUID, stranger: UUID, weekly: tuple[UUID, UUID]
) -> None:
    """By its own time and its own rooms: without the room nothing of it is near; elsewhere that room's rules count."""
    room, series_id = weekly
    first = (await occurrences(db, owner, series_id))[0]
    await updating.update(db, owner, first.id, lambda old: replace(old, resource_ids=()))
    await change_rules(db, stranger, room, change_notice=5 * DAY)
    await series_updating.update(db, owner, series_id, later(HOUR))
    another = await ruled_room(db, stranger, change_notice=5 * DAY)
    await change_rules(db, stranger, room)
    await updating.update(db, owner, first.id, lambda old: replace(old, resource_ids=(str(another),)))
    assert "change_notice" == await broken(series_updating.delete(db, owner, series_id))
    assert 0 == await audit(db)


async def test_a_persons_rules_bind_who_changes_their_series_for_them(
    db: Database, owner: UUID, stranger: UUID
) -> None:
    """A deletion and a move; not the person, and nothing that takes no time."""
    series = (await series_booking.create(db, owner, SeriesSpec(spec(TOMORROW), "FREQ=WEEKLY;COUNT=4"))).series
    unbooked = SeriesSpec(replace(spec(TOMORROW), transparent=True), "FREQ=WEEKLY;COUNT=4")
    free = (await series_booking.create(db, owner, unbooked)).series
    await rule_person(db, owner, change_notice=3 * DAY)
    acting = Cause(stranger)
    for attempt in (
        series_updating.delete(db, owner, series.id, cause=acting),
        series_updating.update(db, owner, series.id, later(HOUR), cause=acting),
    ):
        assert "change_notice" == await broken(attempt)
    await series_updating.delete(db, owner, free.id, cause=acting)
    await series_updating.update(db, owner, series.id, later(HOUR))
    await series_updating.delete(db, owner, series.id)
    assert 0 == await audit(db)


async def test_a_deleted_series_does_not_come_back_into_a_past_that_is_closed(
    db: Database, owner: UUID, stranger: UUID
) -> None:
    """Its occurrences have begun meanwhile, or one was moved there by itself. What is to come alone is restored."""
    room = await ruled_room(db, stranger)
    past = await series_booking.create(db, owner, SeriesSpec(shared(room, start=YESTERDAY), "FREQ=WEEKLY;COUNT=3"))
    to_come = await series_booking.create(
        db, owner, SeriesSpec(shared(room, start=TOMORROW + 2 * HOUR), "FREQ=WEEKLY;COUNT=2")
    )
    last = (await occurrences(db, owner, to_come.series.id))[1]
    for booked in (past, to_come):
        await series_updating.delete(db, owner, booked.series.id)
    await change_rules(db, stranger, room, past_changes=False)
    assert "past_changes" == await broken(series_updating.undelete(db, owner, past.series.id))
    assert "past_changes" == await broken(series_updating.undelete(db, owner, past.series.id, Terms(skip=True)))
    assert [] == await occurrences(db, owner, past.series.id)
    await series_updating.undelete(db, owner, to_come.series.id)
    await change_rules(db, stranger, room)
    await updating.update(db, owner, last.id, lambda old: replace(old, **at(YESTERDAY + 3 * HOUR)))
    await series_updating.delete(db, owner, to_come.series.id)
    await change_rules(db, stranger, room, past_changes=False)
    assert "past_changes" == await broken(series_updating.undelete(db, owner, to_come.series.id))
    await change_rules(db, stranger, room)
    await series_updating.undelete(db, owner, to_come.series.id)
    assert 2 == len(await occurrences(db, owner, to_come.series.id))
    assert 0 == await audit(db)


async def test_a_series_fills_a_day_up_to_its_limit_and_no_more(db: Database, owner: UUID, stranger: UUID) -> None:
    """Its own occurrences count against each other, and what keeps its time counts when others are added."""
    room = await ruled_room(db, stranger, daily_limit=2)
    morning = TOMORROW.replace(hour=6) + DAY
    hours = "FREQ=DAILY;COUNT={};BYHOUR={}"
    three = SeriesSpec(replace(shared(room, start=morning), time_zone="UTC"), hours.format(9, "6,8,10"))
    with pytest.raises(Unmet) as refused:
        await series_booking.create(db, owner, three)
    third = (morning + 4 * HOUR).isoformat().replace("+00:00", "Z")
    assert ("daily_limit", third) == (refused.value.metadata["rule"], refused.value.metadata["start_time"])
    endless = replace(three, rule="FREQ=DAILY;BYHOUR=6,8,10")
    assert "daily_limit" == await broken(series_booking.create(db, owner, endless))
    two = (await series_booking.create(db, owner, replace(three, rule=hours.format(6, "6,8")))).series
    assert "daily_limit" == await broken(
        series_updating.update(db, owner, two.id, lambda old: replace(old, rule=hours.format(9, "6,8,10")))
    )
    assert 6 == len(await occurrences(db, owner, two.id))
    moved = await series_updating.update(db, owner, two.id, later(HOUR))
    assert 6 == len(await occurrences(db, owner, moved.series.id))
    await series_updating.delete(db, owner, two.id)
    other = await booking.create(db, stranger, shared(room, start=morning + DAY + 10 * HOUR))
    assert "daily_limit" == await broken(series_updating.undelete(db, owner, two.id))
    await updating.delete(db, stranger, other.id)
    await series_updating.undelete(db, owner, two.id)
    assert 0 == await audit(db)


async def test_what_is_skipped_or_deleted_does_not_count_towards_a_limit(
    db: Database, owner: UUID, stranger: UUID
) -> None:
    """A day has room for what is really booked on it."""
    room = await ruled_room(db, stranger, daily_limit=2)
    morning = TOMORROW.replace(hour=6) + DAY
    await booking.create(db, owner, spec(morning + 2 * HOUR))
    wanted = SeriesSpec(replace(shared(room, start=morning), time_zone="UTC"), "FREQ=DAILY;COUNT=3;BYHOUR=6,8,10")
    booked = await series_booking.create(db, owner, wanted, Terms(skip=True))
    assert 1 == booked.misses.total
    first, _ = await occurrences(db, owner, booked.series.id)
    await updating.delete(db, owner, first.id)
    notice = timedelta(seconds=int((morning + HOUR - datetime.now(UTC)).total_seconds()))
    await change_rules(db, stranger, room, daily_limit=2, min_notice=notice)
    longer = await series_updating.update(
        db, owner, booked.series.id, lambda old: replace(old, rule="FREQ=DAILY;COUNT=4;BYHOUR=6,8,10"), Terms(skip=True)
    )
    assert 2 == len(await occurrences(db, owner, longer.series.id))


async def test_a_persons_limit_does_not_count_what_is_moved_twice(db: Database, owner: UUID, stranger: UUID) -> None:
    """Each occurrence is the only one of its day, before and after somebody moves all of them for the person."""
    await rule_person(db, owner, daily_limit=1)
    acting = Cause(stranger)
    series = (await series_booking.create(db, owner, SeriesSpec(spec(TEN), "FREQ=DAILY;COUNT=4"), cause=acting)).series
    await series_updating.update(db, owner, series.id, later(HOUR), cause=acting)
    twice = SeriesSpec(spec(TEN + 3 * HOUR), "FREQ=DAILY;COUNT=4")
    assert "daily_limit" == await broken(series_booking.create(db, owner, twice, cause=acting))

"""Series: booked whole or not at all, beyond every horizon; changed, deleted and restored in parts and whole."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest

from appointments.calendar import (
    availability,
    booking,
    frontiers,
    listing,
    occupancy,
    resources,
    series_booking,
    series_updating,
    tzdata,
    updating,
)
from appointments.calendar.appointment import Appointment, Spec
from appointments.calendar.materializing import Booked, Terms
from appointments.calendar.series import SeriesSpec, shifted
from appointments.db import Database, instant, micros
from appointments.shared.errors import (
    Conflict,
    Denied,
    Invalid,
    NotFound,
    SeriesConflict,
    Stale,
    Taken,
    Unavailable,
    Unmet,
)
from tests.audit import audit
from tests.people import HOUR, add_room, add_user

ZURICH = ZoneInfo("Europe/Zurich")
DAY, WEEK = timedelta(days=1), timedelta(weeks=1)
NOW = datetime.now(UTC).replace(hour=6, minute=0, second=0, microsecond=0)
MONDAY = (NOW + timedelta(days=7 - NOW.weekday())).astimezone(ZURICH).replace(hour=9, tzinfo=ZURICH).astimezone(UTC)
SKIP, LOOK = Terms(skip=True), Terms(validate_only=True)


def recurs(rule: str = "FREQ=WEEKLY", start: datetime = MONDAY, *room: UUID, **decided: Any) -> SeriesSpec:
    """A series of hours that breaks no rule."""
    dates = {name: decided.pop(name) for name in ("added", "excluded") if name in decided}
    first = Spec("Stand-up", start, start + HOUR, "Europe/Zurich", resource_ids=tuple(map(str, room)))
    return SeriesSpec(replace(first, **decided), rule, **dates)


def at(start: datetime, *room: UUID, length: timedelta = HOUR) -> Spec:
    """A single appointment."""
    return Spec("Dentist", start, start + length, "Europe/Zurich", resource_ids=tuple(map(str, room)))


def retimed(by: timedelta) -> Callable[[SeriesSpec], SeriesSpec]:
    """A change that moves all times."""

    def change(old: SeriesSpec) -> SeriesSpec:
        first = replace(old.first, start_at=old.first.start_at + by, end_at=old.first.end_at + by)
        return shifted(replace(old, first=first), old, set())

    return change


def titled(title: str) -> Callable[[SeriesSpec], SeriesSpec]:
    """A change that moves nothing."""
    return lambda old: replace(old, first=replace(old.first, title=title))


async def occurrences(db: Database, owner_id: UUID, series_id: UUID, *, deleted: bool = False) -> list[Appointment]:
    """The rows of a series."""
    window = listing.Window(owner_id, show_deleted=deleted, series_id=series_id)
    return (await listing.page(db.reads(owner_id, ""), window, size=1000)).appointments


async def starts(db: Database, owner_id: UUID, series_id: UUID) -> list[datetime]:
    """When the live ones are."""
    return [instant(each.start_at) for each in await occurrences(db, owner_id, series_id)]


async def tails(db: Database) -> int:
    """How many subjects are closed."""
    async with db.connection() as connection:
        row = await (await connection.execute("SELECT count(*) FROM bookings WHERE appointment_id IS NULL")).fetchone()
    return int(row[0]) if row else 0


@pytest.fixture
async def room(db: Database, stranger: UUID) -> UUID:
    """A room of somebody else's that everybody may book."""
    return await add_room(db, stranger)


async def test_a_series_that_ends_is_rows_at_once(db: Database, owner: UUID, room: UUID) -> None:
    """Each occurrence is an appointment, of its owner and the room, at nine whatever the clocks do."""
    booked = await series_booking.create(db, owner, recurs("FREQ=WEEKLY;COUNT=60", MONDAY, room))
    found = await occurrences(db, owner, booked.series.id)
    assert (60, None, 0) == (len(found), booked.expanded_until, await tails(db))
    assert {"09:00"} == {f"{instant(each.start_at).astimezone(ZURICH):%H:%M}" for each in found}
    assert {booked.series.id_text} == {each.series_text for each in found}
    assert [each.start_at for each in found] == [each.original_start_at for each in found]
    with pytest.raises(Conflict) as refused:
        await booking.create(db, owner, at(MONDAY + 3 * WEEK))
    assert [found[3].id] == [each.id for each in refused.value.collisions]
    with pytest.raises(Conflict):
        await booking.create(db, await add_user(db), at(MONDAY + 3 * WEEK, room))
    assert 0 == await audit(db)


async def test_beyond_the_horizon_the_time_is_taken_too(db: Database, owner: UUID, room: UUID) -> None:
    """The frontier moves when somebody wants time there: what is free is booked, what is not is refused."""
    booked = await series_booking.create(db, owner, recurs("FREQ=WEEKLY", MONDAY, room))
    assert booked.expanded_until
    assert (2, True) == (await tails(db), booked.expanded_until < MONDAY + 200 * DAY)
    other = await add_user(db)
    for weeks in (40, 100, 260):
        nine = (MONDAY + weeks * WEEK).astimezone(ZURICH).replace(hour=9)
        with pytest.raises(Conflict):
            await booking.create(db, owner, at(nine))
        with pytest.raises(Conflict) as refused:
            await booking.create(db, other, at(nine, room))
        assert (room,) == refused.value.resource_ids
        await booking.create(db, owner, at(nine + 2 * HOUR))
        await booking.create(db, other, at(nine + 2 * HOUR, room))
    with pytest.raises(Conflict, match="ten years"):
        await booking.create(db, owner, at(NOW + timedelta(days=4_000)))
    assert 0 == await audit(db)
    read = await series_booking.get(db, owner, booked.series.id)
    assert read.expanded_until
    assert read.expanded_until > MONDAY + 260 * WEEK


async def test_all_or_nothing(db: Database, owner: UUID, room: UUID) -> None:
    """What is in the way is named, occurrence by occurrence, and nothing of the series is left."""
    mine = await booking.create(db, owner, at(MONDAY + WEEK))
    await booking.create(db, await add_user(db), at(MONDAY + 2 * WEEK, room))
    with pytest.raises(SeriesConflict) as refused:
        await series_booking.create(db, owner, recurs("FREQ=WEEKLY", MONDAY, room))
    misses = refused.value.misses
    assert (2, [MONDAY + WEEK, MONDAY + 2 * WEEK]) == (misses.total, [each.original_start_at for each in misses.named])
    assert ((mine.id,), ()) == (tuple(each.id for each in misses.named[0].collisions), misses.named[0].resource_ids)
    assert ((), (room,)) == (misses.named[1].collisions, misses.named[1].resource_ids)
    assert ([], 0) == ((await series_booking.page(db, owner)).series, await tails(db))
    looked = await series_booking.create(
        db, owner, recurs("FREQ=WEEKLY", MONDAY, room), replace(SKIP, validate_only=True)
    )
    assert (misses, 0) == (looked.misses, await tails(db))


async def test_what_collides_can_be_skipped_and_had_later(db: Database, owner: UUID) -> None:
    """A skipped occurrence is a deleted appointment, which is restored once its time is free."""
    mine = await booking.create(db, owner, at(MONDAY + WEEK))
    booked = await series_booking.create(db, owner, recurs("FREQ=WEEKLY;COUNT=4"), SKIP)
    assert ([MONDAY + WEEK], 1) == ([each.original_start_at for each in booked.misses.named], booked.misses.total)
    rows = await occurrences(db, owner, booked.series.id, deleted=True)
    skipped = [each for each in rows if each.deleted_at is not None]
    assert [MONDAY + WEEK] == [instant(each.start_at) for each in skipped]
    with pytest.raises(Conflict):
        await updating.undelete(db, owner, skipped[0].id)
    await updating.delete(db, owner, mine.id)
    await updating.undelete(db, owner, skipped[0].id)
    assert (4, 0) == (len(await occurrences(db, owner, booked.series.id)), await audit(db))


async def test_a_retry_books_nothing_twice(db: Database, owner: UUID) -> None:
    """The same request id and body give the same series; another body is refused."""
    request_id = uuid4()
    first = await series_booking.create(db, owner, recurs("FREQ=DAILY;COUNT=3"), request_id=request_id)
    again = await series_booking.create(db, owner, recurs("FREQ=DAILY;COUNT=3"), request_id=request_id)
    assert first.series == again.series
    with pytest.raises(Invalid) as refused:
        await series_booking.create(db, owner, recurs("FREQ=DAILY;COUNT=4"), request_id=request_id)
    assert "REQUEST_ID_REUSED" == refused.value.reason


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (recurs(""), "series.recurrence_rule"),
        (recurs("FREQ=HOURLY"), "series.recurrence_rule"),
        (recurs("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"), "series.recurrence_rule"),
        (recurs("FREQ=DAILY;UNTIL=20200101T000000Z"), "series.recurrence_rule"),
        (recurs("FREQ=DAILY;UNTIL=20300101T000000"), "series.recurrence_rule"),
        (recurs("FREQ=DAILY;COUNT=1001"), "series.recurrence_rule"),
        (recurs("FREQ=DAILY;BYHOUR=9,10;BYMINUTE=0,30;COUNT=9"), "series.end_time"),
        (recurs("FREQ=DAILY", buffer_before=23 * HOUR, buffer_after=HOUR), "series.end_time"),
        (recurs("FREQ=DAILY", end_at=MONDAY + 25 * HOUR), "series.end_time"),
        (recurs("FREQ=DAILY", MONDAY + 4_000 * DAY), "series.start_time"),
        (recurs("FREQ=DAILY", MONDAY - 2_000 * DAY), "series.start_time"),
        (recurs("FREQ=DAILY", title=""), "series.title"),
        (recurs("FREQ=DAILY", time_zone="Mars"), "series.time_zone"),
        (recurs("FREQ=DAILY", all_day=True), "series.start_time"),
        (recurs("FREQ=DAILY;COUNT=1", excluded=(MONDAY,)), "series.excluded_times"),
        (recurs("FREQ=DAILY;COUNT=2", added=(MONDAY + timedelta(minutes=30),)), "series.end_time"),
        (recurs("FREQ=DAILY", added=(datetime(1950, 1, 1, tzinfo=UTC),)), "series.added_times[0]"),
    ],
)
async def test_what_is_no_series_is_refused_by_field(db: Database, owner: UUID, spec: SeriesSpec, field: str) -> None:
    """And nothing is booked."""
    with pytest.raises(Invalid) as refused:
        await series_booking.create(db, owner, spec)
    assert field in {each.field for each in refused.value.violations}


async def test_the_buffers_of_a_resource_count_between_occurrences(db: Database, owner: UUID, stranger: UUID) -> None:
    """They are the room's, so only booking knows."""
    room = await add_room(db, stranger, buffer_after=24 * HOUR)
    with pytest.raises(Invalid) as refused:
        await series_booking.create(db, owner, recurs("FREQ=DAILY", MONDAY, room))
    assert "series.end_time" == refused.value.violations[0].field


async def test_resources_are_asked_for_as_in_appointments(db: Database, owner: UUID, stranger: UUID) -> None:
    """One that is not seen is not found; one that is not the caller's to book is denied."""
    hidden, shown = await add_room(db, stranger, default_role=0), await add_room(db, stranger, default_role=1)
    with pytest.raises(NotFound):
        await series_booking.create(db, owner, recurs("FREQ=DAILY", MONDAY, hidden))
    with pytest.raises(Denied):
        await series_booking.create(db, owner, recurs("FREQ=DAILY", MONDAY, shown))
    with pytest.raises(NotFound):
        await series_booking.get(db, owner, uuid4())


async def test_dates_are_added_and_left_out(db: Database, owner: UUID) -> None:
    """In order; the start is an occurrence though the rule does not meet it, and counts."""
    spec = recurs("FREQ=WEEKLY;BYDAY=TU;COUNT=4", added=(MONDAY + 3 * DAY,), excluded=(MONDAY + 8 * DAY,))
    booked = await series_booking.create(db, owner, spec)
    expected = [MONDAY, MONDAY + DAY, MONDAY + 3 * DAY, MONDAY + 15 * DAY]
    assert expected == await starts(db, owner, booked.series.id)
    assert spec == booked.series.spec


async def test_whole_days_recur_by_date(db: Database, owner: UUID) -> None:
    """Midnight to midnight of the zone, also on the days that have 23 or 25 hours."""
    start = datetime(2027, 3, 26, tzinfo=ZURICH)
    spec = recurs("FREQ=DAILY;UNTIL=20270330", start, all_day=True, end_at=datetime(2027, 3, 27, tzinfo=ZURICH))
    booked = await series_booking.create(db, owner, spec)
    found = await occurrences(db, owner, booked.series.id)
    assert [24, 24, 23, 24, 24] == [(each.end_at - each.start_at) // 3_600_000_000 for each in found]
    assert {"00:00"} == {f"{instant(each.start_at).astimezone(ZURICH):%H:%M}" for each in found}


async def test_transparent_series_take_no_time(db: Database, owner: UUID) -> None:
    """They overlap anything, have no tail, and their rows are made up to the horizon."""
    await booking.create(db, owner, at(MONDAY))
    booked = await series_booking.create(db, owner, recurs("FREQ=DAILY", transparent=True, end_at=MONDAY + 30 * HOUR))
    assert (0, 0) == (booked.misses.total, await tails(db))
    before = len(await occurrences(db, owner, booked.series.id))
    assert 1 == await frontiers.extend_unbooked(db, timedelta(days=300))
    assert before + 150 < len(await occurrences(db, owner, booked.series.id))
    assert (0, 0) == (await frontiers.extend_unbooked(db, timedelta(days=300)), await audit(db))


async def test_one_occurrence_is_changed_by_itself(db: Database, owner: UUID, room: UUID) -> None:
    """What was changed of it stays through changes of the series, field by field; the rest follows."""
    booked = await series_booking.create(db, owner, recurs("FREQ=WEEKLY;COUNT=5", MONDAY, room))
    rows = await occurrences(db, owner, booked.series.id)
    noon = MONDAY + WEEK + 3 * HOUR
    await updating.update(db, owner, rows[1].id, lambda old: replace(old, start_at=noon, end_at=noon + HOUR))
    await updating.update(db, owner, rows[2].id, lambda old: replace(old, title="Special"))
    await updating.delete(db, owner, rows[3].id)
    await series_updating.update(db, owner, booked.series.id, titled("Renamed"))
    await series_updating.update(db, owner, booked.series.id, retimed(HOUR))
    after = await occurrences(db, owner, booked.series.id)
    assert [rows[index].id for index in (0, 1, 2, 4)] == [each.id for each in after]
    assert [MONDAY + HOUR, noon, MONDAY + 2 * WEEK + HOUR, MONDAY + 4 * WEEK + HOUR] == [
        instant(each.start_at) for each in after
    ]
    assert ["Renamed", "Renamed", "Special", "Renamed"] == [each.title for each in after]
    assert micros(MONDAY + WEEK + HOUR) == after[1].original_start_at
    assert 0 == await audit(db)


@pytest.mark.parametrize("rule", ["", "FREQ=WEEKLY;COUNT=2"])
@pytest.mark.parametrize("change", [titled("Last"), retimed(HOUR)], ids=["renamed", "moved"])
async def test_a_single_occurrence_is_split_off(
    db: Database, owner: UUID, rule: str, change: Callable[[SeriesSpec], SeriesSpec]
) -> None:
    """The last one is an added date. What follows has no rule, and perhaps what comes before has none either."""
    extra = MONDAY + 5 * DAY if not rule else MONDAY + 5 * WEEK
    wanted = replace(recurs(rule, MONDAY), added=(extra,))
    booked = await series_booking.create(db, owner, wanted)
    rows = await occurrences(db, owner, booked.series.id)
    split = (await series_updating.update(db, owner, booked.series.id, change, from_id=rows[-1].id)).series
    first = (await series_booking.get(db, owner, booked.series.id)).series
    assert [each.id for each in rows[:-1]] == [each.id for each in await occurrences(db, owner, first.id)]
    assert [rows[-1].id] == [each.id for each in await occurrences(db, owner, split.id)]
    assert (first.rule, "") == (rule, split.rule)
    again = await series_updating.update(db, owner, split.id, retimed(HOUR))
    assert [split.spec.first.start_at + HOUR] == await starts(db, owner, again.series.id)
    assert 0 == await audit(db)


async def test_this_and_following_become_a_series_of_their_own(db: Database, owner: UUID, room: UUID) -> None:
    """With the ids that they have; the one before ends, the rest of COUNT goes along."""
    booked = await series_booking.create(db, owner, recurs("FREQ=WEEKLY;COUNT=6", MONDAY, room))
    rows = await occurrences(db, owner, booked.series.id)
    split = await series_updating.update(db, owner, booked.series.id, retimed(2 * HOUR), from_id=rows[2].id)
    assert (booked.series.id_text, "FREQ=WEEKLY;COUNT=4") == (split.series.previous_text, split.series.rule)
    first = (await series_booking.get(db, owner, booked.series.id)).series
    assert "FREQ=WEEKLY;COUNT=2" == first.rule
    assert [each.id for each in rows[:2]] == [each.id for each in await occurrences(db, owner, first.id)]
    assert [each.id for each in rows[2:]] == [each.id for each in await occurrences(db, owner, split.series.id)]
    assert MONDAY + 2 * WEEK + 2 * HOUR == (await starts(db, owner, split.series.id))[0]
    again = await series_updating.update(db, owner, first.id, titled("All"), from_id=rows[0].id)
    assert (first.id, 0) == (again.series.id, await audit(db))
    with pytest.raises(Invalid) as refused:
        await series_updating.update(db, owner, first.id, titled("None"), from_id=rows[3].id)
    assert "from_appointment_id" == refused.value.violations[0].field


def also(old: SeriesSpec) -> SeriesSpec:
    """Another rule, another title, and later."""
    return retimed(2 * HOUR)(titled("Other")(replace(old, rule="FREQ=WEEKLY;BYDAY=MO,WE")))


@pytest.mark.parametrize("rule", ["FREQ=WEEKLY", "FREQ=WEEKLY;COUNT=9", "FREQ=WEEKLY;UNTIL="])
@pytest.mark.parametrize("change", [retimed(2 * HOUR), retimed(-DAY), titled("Other"), also])
async def test_what_was_split_is_one_series_again(
    db: Database, owner: UUID, stranger: UUID, rule: str, change: Callable[[SeriesSpec], SeriesSpec]
) -> None:
    """As if it never was split: ids, the rule, what was left out, and what was changed or deleted by itself."""
    if "UNTIL" in rule:
        rule += f"{MONDAY + 9 * WEEK:%Y%m%dT%H%M%SZ}"
    room = await add_room(db, stranger, units=2)
    await booking.create(db, stranger, at(MONDAY, room))
    spec = recurs(rule, MONDAY, room, excluded=(MONDAY + 5 * WEEK,))
    booked = await series_booking.create(db, owner, spec)
    rows = await occurrences(db, owner, booked.series.id)
    await updating.update(db, owner, rows[4].id, lambda old: replace(old, title="By itself"))
    await updating.update(db, owner, rows[6].id, lambda old: replace(old, start_at=old.start_at - HOUR))
    await updating.delete(db, owner, rows[3].id)
    before = [(each.id, each.spec) for each in await occurrences(db, owner, booked.series.id)]
    whole = (await series_booking.get(db, owner, booked.series.id)).series
    split = await series_updating.update(db, owner, whole.id, change, from_id=rows[2].id)
    assert split.series.id != whole.id
    first = (await series_booking.get(db, owner, whole.id)).series

    def back(old: SeriesSpec) -> SeriesSpec:
        return replace(old, rule=rule, added=(), excluded=whole.spec.excluded)

    kept = change is not also  # another rule has let go of what was changed by itself, and that is not known any more
    for etag, other_etag in (('"99"', ""), ("", '"99"')):
        with pytest.raises(Stale):
            await series_updating.rejoin(db, owner, whole.id, split.series.id, back, etag=etag, other_etag=other_etag)
    joined = await series_updating.rejoin(
        db, owner, whole.id, split.series.id, back, etag=first.etag, other_etag=split.series.etag
    )
    assert (whole.id, whole.spec) == (joined.series.id, joined.series.spec)
    after = [(each.id, each.spec) for each in await occurrences(db, owner, whole.id)]
    if kept:
        assert before == after[: len(before)]
    assert [] == await occurrences(db, owner, split.series.id)
    assert (await series_booking.get(db, owner, split.series.id)).series.deleted_at is not None
    assert 0 == await audit(db)
    if joined.series.endless:
        with pytest.raises(Conflict):
            await booking.create(db, owner, at(MONDAY + 100 * WEEK))
    with pytest.raises(NotFound):
        await series_updating.rejoin(db, owner, whole.id, split.series.id, back)


async def test_only_what_was_split_off_is_taken_back(db: Database, owner: UUID, stranger: UUID) -> None:
    """Not any other series, not somebody else's, and not to another rule than there was."""
    one = (await series_booking.create(db, owner, recurs("FREQ=WEEKLY;COUNT=4"))).series
    other = (await series_booking.create(db, owner, recurs("FREQ=WEEKLY;COUNT=4", MONDAY + 2 * HOUR))).series
    rows = await occurrences(db, owner, one.id)
    split = (await series_updating.update(db, owner, one.id, titled("Other"), from_id=rows[2].id)).series

    def back(rule: str) -> Callable[[SeriesSpec], SeriesSpec]:
        return lambda old: replace(old, rule=rule)

    attempts = [
        (other.id, back("FREQ=WEEKLY;COUNT=4"), "rejoin_series_id"),
        (split.id, titled("Mine"), "update_mask"),
        (split.id, back("FREQ=WEEKLY;COUNT=2"), "series.recurrence_rule"),
        (split.id, back("FREQ=NEVER"), "series.recurrence_rule"),
    ]
    for other_id, change, field in attempts:
        with pytest.raises(Invalid) as refused:
            await series_updating.rejoin(db, owner, one.id, other_id, change)
        assert field == refused.value.violations[0].field
    with pytest.raises(NotFound):
        await series_updating.rejoin(db, stranger, one.id, split.id, back("FREQ=WEEKLY;COUNT=4"))
    seen = await series_updating.rejoin(db, owner, one.id, split.id, back("FREQ=WEEKLY;COUNT=4"), terms=LOOK)
    assert (one.id, 2, 2) == (
        seen.series.id,
        len(await occurrences(db, owner, one.id)),
        len(await occurrences(db, owner, split.id)),
    )


async def test_an_endless_series_is_split_at_its_frontier_too(db: Database, owner: UUID, room: UUID) -> None:
    """Its first half ends; tails stand for the second half alone, and nothing is bookable that it needs."""
    booked = await series_booking.create(db, owner, recurs("FREQ=WEEKLY", MONDAY, room))
    rows = await occurrences(db, owner, booked.series.id)
    split = await series_updating.update(db, owner, booked.series.id, retimed(DAY), from_id=rows[-1].id)
    assert (True, 2) == (split.series.endless, await tails(db))
    assert not (await series_booking.get(db, owner, booked.series.id)).series.endless
    far = (MONDAY + 100 * WEEK).astimezone(ZURICH).replace(hour=9)
    await booking.create(db, owner, at(far))
    with pytest.raises(Conflict):
        await booking.create(db, await add_user(db), at(far + DAY, room))
    assert 0 == await audit(db)


async def test_the_past_moves_only_when_asked_to(db: Database, owner: UUID) -> None:
    """What has begun stays where it was."""
    past = MONDAY - 4 * WEEK
    booked = await series_booking.create(db, owner, recurs("FREQ=WEEKLY;COUNT=8", past))
    before = await starts(db, owner, booked.series.id)
    await series_updating.update(db, owner, booked.series.id, retimed(timedelta(minutes=30)))
    now = datetime.now(UTC)
    expected = [each if each < now else each + timedelta(minutes=30) for each in before]
    assert expected == await starts(db, owner, booked.series.id)
    await series_updating.update(db, owner, booked.series.id, retimed(timedelta(minutes=30)), include_past=True)
    found = await starts(db, owner, booked.series.id)
    assert (8, True, 0) == (
        len(found),
        all(f"{each.astimezone(ZURICH):%H:%M}" == "10:00" for each in found),
        await audit(db),
    )


async def test_the_past_keeps_what_it_took_when_it_is_renamed(db: Database, owner: UUID, room: UUID) -> None:
    """Rooms and buffers were changed for what is to come. A new title, for the past too, books nothing anew."""
    booked = await series_booking.create(db, owner, recurs("FREQ=WEEKLY;COUNT=8", MONDAY - 4 * WEEK, room))
    before = await occurrences(db, owner, booked.series.id)

    def roomless(old: SeriesSpec) -> SeriesSpec:
        return replace(old, first=replace(old.first, resource_ids=(), buffer_before=timedelta(minutes=10)))

    await series_updating.update(db, owner, booked.series.id, roomless)
    await series_updating.update(db, owner, booked.series.id, titled("Retro"), include_past=True)
    after = await occurrences(db, owner, booked.series.id)
    now = micros(datetime.now(UTC))
    expected = [(each.resource_ids, None) if each.start_at < now else (None, 600) for each in before]
    assert expected == [(each.resource_ids, each.buffer_before) for each in after]
    assert ({"Retro"}, {None, 600}, 0) == (
        {each.title for each in after},
        {each.buffer_before for each in after},
        await audit(db),
    )


@pytest.mark.parametrize("decided", [{"resource_ids": ()}, {"rooms": 1}, {"transparent": True}], ids=str)
async def test_what_is_restored_takes_what_it_took(
    db: Database, owner: UUID, room: UUID, decided: dict[str, Any]
) -> None:
    """A series took another room, or none, from some time on. What was before is restored with its own."""
    booked = await series_booking.create(db, owner, recurs("FREQ=WEEKLY;COUNT=8", MONDAY - 4 * WEEK, room))
    if decided.pop("rooms", 0):
        decided = {"resource_ids": (str(await add_room(db, owner)),)}
    elif decided.get("transparent"):
        decided = {"resource_ids": (), "transparent": True}

    def change(old: SeriesSpec) -> SeriesSpec:
        return replace(old, first=replace(old.first, **decided))

    await series_updating.update(db, owner, booked.series.id, change)
    before = await occurrences(db, owner, booked.series.id)
    assert 2 == len({(tuple(each.resource_ids or ()), each.transparent) for each in before})
    assert 0 == await audit(db)
    await series_updating.delete(db, owner, booked.series.id)
    back = await series_updating.undelete(db, owner, booked.series.id)
    after = await occurrences(db, owner, booked.series.id)
    assert [(each.id, each.resource_ids, each.transparent) for each in before] == [
        (each.id, each.resource_ids, each.transparent) for each in after
    ]
    assert (0, 0) == (back.misses.total, await audit(db))


async def test_what_has_just_begun_keeps_its_room_when_the_rest_moves(db: Database, owner: UUID, room: UUID) -> None:
    """Another room, and then an hour earlier, while one is under way: it is booked in the room that it says."""
    booked = await series_booking.create(db, owner, recurs("FREQ=WEEKLY;COUNT=8", MONDAY, room))
    begun = Terms(now=MONDAY + 3 * WEEK + HOUR / 2)
    other = await add_room(db, owner)

    def moved_out(old: SeriesSpec) -> SeriesSpec:
        return replace(old, first=replace(old.first, resource_ids=(str(other),)))

    await series_updating.update(db, owner, booked.series.id, moved_out, begun)
    assert 0 == await audit(db)
    await series_updating.update(db, owner, booked.series.id, retimed(-HOUR), begun)
    after = await occurrences(db, owner, booked.series.id)
    assert [[str(room)]] * 4 + [[str(other)]] * 4 == [each.resource_ids for each in after]
    assert 0 == await audit(db)


async def test_what_finds_no_place_behind_the_frontier_can_be_moved_away(
    db: Database, owner: UUID, stranger: UUID, room: UUID
) -> None:
    """A year ahead two endless series meet in a room. One that is not booked there yet goes to an hour that is free."""
    await series_booking.create(db, owner, recurs("FREQ=WEEKLY", MONDAY, room))
    sunday = MONDAY - DAY
    yearly = (await series_booking.create(db, stranger, recurs("FREQ=YEARLY", sunday, room), SKIP)).series
    window = listing.Window(stranger, MONDAY + 10 * WEEK, MONDAY + 600 * DAY)
    found = (await listing.page_ahead(db, db, window)).appointments
    meeting = next(each for each in found if 0 == (instant(each.start_at) - MONDAY).days % 7)
    assert yearly.id_text == meeting.series_text
    later = instant(meeting.start_at) + HOUR
    moved = await updating.update(
        db, stranger, meeting.id, lambda spec: replace(spec, start_at=later, end_at=later + HOUR)
    )
    assert (micros(later), 0) == (moved.start_at, await audit(db))


async def test_what_only_gets_another_series_is_changed_too(db: Database, owner: UUID) -> None:
    """A split in the past leaves its times, but whoever follows changes has to learn whose occurrences they are."""
    booked = await series_booking.create(db, owner, recurs("FREQ=WEEKLY;COUNT=8", MONDAY - 4 * WEEK))
    before = await occurrences(db, owner, booked.series.id)
    split = await series_updating.update(db, owner, booked.series.id, titled("Retro"), from_id=before[1].id)
    after = await occurrences(db, owner, split.series.id)
    assert [each.id for each in before[1:]] == [each.id for each in after]
    assert all(old.etag != new.etag for old, new in zip(before[1:], after, strict=True))
    assert {"Stand-up": 3, "Retro": 4} == Counter(each.title for each in after)
    assert (before[0], 0) == ((await occurrences(db, owner, booked.series.id))[0], await audit(db))


async def test_a_change_of_the_rule_makes_and_drops_occurrences(db: Database, owner: UUID) -> None:
    """Those that are in both keep their ids."""
    booked = await series_booking.create(db, owner, recurs("FREQ=DAILY;COUNT=6"))
    rows = await occurrences(db, owner, booked.series.id)
    await series_updating.update(
        db, owner, booked.series.id, lambda old: replace(old, rule="FREQ=DAILY;INTERVAL=2;COUNT=3")
    )
    after = await occurrences(db, owner, booked.series.id)
    assert [rows[0].id, rows[2].id, rows[4].id] == [each.id for each in after]
    await booking.create(db, owner, at(MONDAY + DAY))
    await series_updating.update(db, owner, booked.series.id, lambda old: replace(old, rule="FREQ=WEEKLY"))
    assert (1, MONDAY + WEEK) == (await tails(db), (await starts(db, owner, booked.series.id))[1])
    await series_updating.update(db, owner, booked.series.id, lambda old: replace(old, rule="FREQ=WEEKLY;COUNT=2"))
    assert (0, 2, 0) == (await tails(db), len(await occurrences(db, owner, booked.series.id)), await audit(db))


async def test_a_change_that_collides_changes_nothing(db: Database, owner: UUID, room: UUID) -> None:
    """Or skips what collides, if told to; looking changes nothing either."""
    booked = await series_booking.create(db, owner, recurs("FREQ=WEEKLY", MONDAY, room))
    before = await occurrences(db, owner, booked.series.id)
    await booking.create(db, await add_user(db), at(MONDAY + 3 * WEEK + 2 * HOUR, room))
    with pytest.raises(SeriesConflict) as refused:
        await series_updating.update(db, owner, booked.series.id, retimed(2 * HOUR))
    assert ([MONDAY + 3 * WEEK + 2 * HOUR], (room,)) == (
        [each.original_start_at for each in refused.value.misses.named],
        refused.value.misses.named[0].resource_ids,
    )
    await series_updating.update(db, owner, booked.series.id, retimed(3 * HOUR), LOOK)
    assert before == await occurrences(db, owner, booked.series.id)
    await series_updating.update(db, owner, booked.series.id, retimed(2 * HOUR), SKIP)
    assert MONDAY + 3 * WEEK + 2 * HOUR not in await starts(db, owner, booked.series.id)
    assert 0 == await audit(db)


async def test_rooms_of_a_series_can_be_exchanged(db: Database, owner: UUID, stranger: UUID, room: UUID) -> None:
    """The old one is open again to the end of time, the new one closed."""
    other = await add_room(db, stranger)
    booked = await series_booking.create(db, owner, recurs("FREQ=WEEKLY", MONDAY, room))
    await series_updating.update(
        db, owner, booked.series.id, lambda old: replace(old, first=replace(old.first, resource_ids=(str(other),)))
    )
    far = (MONDAY + 300 * WEEK).astimezone(ZURICH).replace(hour=9)
    visitor = await add_user(db)
    await booking.create(db, visitor, at(far, room))
    with pytest.raises(Conflict):
        await booking.create(db, await add_user(db), at(far, other))
    assert (2, 0) == (await tails(db), await audit(db))


async def test_a_series_is_deleted_and_restored(db: Database, owner: UUID, room: UUID) -> None:
    """Whole: its time is free, and taken again with what was deleted with it."""
    booked = await series_booking.create(db, owner, recurs("FREQ=WEEKLY", MONDAY, room))
    rows = await occurrences(db, owner, booked.series.id)
    await updating.delete(db, owner, rows[2].id)
    noon = MONDAY + WEEK + 3 * HOUR
    await updating.update(db, owner, rows[1].id, lambda old: replace(old, start_at=noon, end_at=noon + HOUR))
    deleted = await series_updating.delete(db, owner, booked.series.id)
    assert (True, 0) == (deleted.series.deleted_at is not None, await tails(db))
    assert [] == await occurrences(db, owner, booked.series.id)
    with pytest.raises(NotFound):
        await series_updating.update(db, owner, booked.series.id, titled("Gone"))
    in_the_way = await booking.create(db, owner, at(MONDAY))
    with pytest.raises(SeriesConflict):
        await series_updating.undelete(db, owner, booked.series.id)
    await updating.delete(db, owner, in_the_way.id)
    restored = await series_updating.undelete(db, owner, booked.series.id)
    assert (None, True, 2) == (restored.series.deleted_at, restored.series.endless, await tails(db))
    after = await occurrences(db, owner, booked.series.id)
    assert {each.id for each in rows} - {rows[2].id} == {each.id for each in after}
    assert noon in await starts(db, owner, booked.series.id)
    assert 0 == await audit(db)
    with pytest.raises(Taken) as refused:
        await series_updating.undelete(db, owner, booked.series.id)
    assert "SERIES_NOT_DELETED" == refused.value.reason


async def test_what_follows_can_be_deleted(db: Database, owner: UUID) -> None:
    """The series ends before it, and its time is free for ever."""
    booked = await series_booking.create(db, owner, recurs("FREQ=WEEKLY"))
    rows = await occurrences(db, owner, booked.series.id)
    ended = await series_updating.delete(db, owner, booked.series.id, from_id=rows[3].id)
    assert (None, False, 0) == (ended.series.deleted_at, ended.series.endless, await tails(db))
    assert [each.id for each in rows[:3]] == [each.id for each in await occurrences(db, owner, booked.series.id)]
    await booking.create(db, owner, at(MONDAY + 300 * WEEK))


async def test_a_stale_etag_is_refused(db: Database, owner: UUID) -> None:
    """Of updates and deletes."""
    booked = await series_booking.create(db, owner, recurs("FREQ=DAILY;COUNT=2"))
    changed = await series_updating.update(db, owner, booked.series.id, titled("New"), etag=booked.series.etag)
    with pytest.raises(Stale):
        await series_updating.update(db, owner, booked.series.id, titled("Newer"), etag=booked.series.etag)
    with pytest.raises(Stale):
        await series_updating.delete(db, owner, booked.series.id, etag=booked.series.etag)
    await series_updating.delete(db, owner, booked.series.id, etag=changed.series.etag)


async def test_frontiers_are_per_subject(db: Database, owner: UUID, room: UUID) -> None:
    """A booking of the room far ahead makes rows, while the owner's tail still stands for its part of them."""
    booked = await series_booking.create(db, owner, recurs("FREQ=WEEKLY", MONDAY, room))
    far = (MONDAY + 60 * WEEK).astimezone(ZURICH).replace(hour=9)
    await booking.create(db, await add_user(db), at(far + 5 * HOUR, room))
    rows = await occurrences(db, owner, booked.series.id)
    late = next(each for each in rows if instant(each.start_at) == far)
    async with db.connection() as connection:
        edges = await frontiers.tails(connection, [owner])
    assert edges[owner] < far
    moved = far + 2 * DAY
    await updating.update(db, owner, late.id, lambda old: replace(old, start_at=moved, end_at=moved + HOUR))
    with pytest.raises(Conflict):
        await booking.create(db, owner, at(moved))
    await booking.create(db, owner, at(far))
    await updating.delete(db, owner, late.id)
    await updating.undelete(db, owner, late.id)
    assert 0 == await audit(db)


async def test_two_endless_series_that_meet_beyond_are_found_ahead(db: Database, owner: UUID, room: UUID) -> None:
    """In the next ten years; what is skipped is so when its row is made."""
    await series_booking.create(db, owner, recurs("FREQ=MONTHLY;BYMONTHDAY=1", MONDAY, room))
    monthly = recurs("FREQ=YEARLY;BYMONTH=1,2,3;BYMONTHDAY=1", MONDAY + timedelta(minutes=30), room)
    other = await add_user(db)
    terms = Terms(horizon=timedelta(days=1))
    with pytest.raises(SeriesConflict) as refused:
        await series_booking.create(db, other, monthly, terms)
    assert 25 < refused.value.misses.total < 35
    booked = await series_booking.create(db, other, monthly, replace(terms, skip=True))
    assert booked.misses.total == refused.value.misses.total
    await booking.create(db, other, at(NOW + timedelta(days=1_500)))
    await booking.create(db, await add_user(db), at(NOW + timedelta(days=1_500), room))
    rows = await occurrences(db, other, booked.series.id, deleted=True)
    assert len([each for each in rows if each.deleted_at is not None]) >= 9
    assert 0 == await audit(db)


async def test_a_series_takes_one_unit_of_each_resource(db: Database, owner: UUID, stranger: UUID) -> None:
    """The one that is free for all of it; the other stays open, and a tail keeps its unit."""
    desks = await add_room(db, stranger, units=2)
    await booking.create(db, stranger, at(MONDAY, desks))
    booked = await series_booking.create(db, owner, recurs("FREQ=WEEKLY", MONDAY, desks))
    assert (0, 2) == (booked.misses.total, await tails(db))
    far = (MONDAY + 100 * WEEK).astimezone(ZURICH).replace(hour=9)
    await booking.create(db, await add_user(db), at(far, desks))
    with pytest.raises(Conflict):
        await booking.create(db, await add_user(db), at(far, desks))
    with pytest.raises(Unmet):
        await resources.update(db, stranger, desks, lambda old: replace(old, units=1))
    assert 0 == await audit(db)


async def test_a_resource_with_an_endless_series_is_in_use(
    db: Database, owner: UUID, stranger: UUID, room: UUID
) -> None:
    """By force it is taken from the series, which goes on without it."""
    booked = await series_booking.create(db, owner, recurs("FREQ=WEEKLY", MONDAY, room))
    with pytest.raises(Unmet):
        await resources.delete(db, stranger, room)
    await resources.delete(db, stranger, room, force=True)
    assert None is (await series_booking.get(db, owner, booked.series.id)).series.resource_ids
    assert (1, 0) == (await tails(db), await audit(db))
    with pytest.raises(Conflict):
        await booking.create(db, owner, at((MONDAY + 100 * WEEK).astimezone(ZURICH).replace(hour=9)))


async def test_frontiers_are_moved_as_time_goes_by(db: Database, owner: UUID, room: UUID) -> None:
    """By any number of processes at once, and a second run finds nothing to do."""
    booked = await series_booking.create(db, owner, recurs("FREQ=DAILY", MONDAY, room))
    before = len(await occurrences(db, owner, booked.series.id))
    later = NOW + timedelta(days=100)
    await asyncio.gather(*(frontiers.extend_due(db, timedelta(days=120), later) for _ in range(4)))
    await frontiers.extend_due(db, timedelta(days=120), later)
    assert before + 90 <= len(await occurrences(db, owner, booked.series.id))
    assert (0, 0) == (await frontiers.extend_due(db, timedelta(days=120), later), await audit(db))


async def test_a_split_keeps_what_one_subject_has_no_rows_of_yet(db: Database, owner: UUID, room: UUID) -> None:
    """The half that ends is booked for all of its subjects, though the owner's tail stood for some of it."""
    booked = await series_booking.create(db, owner, recurs("FREQ=WEEKLY", MONDAY, room))
    far = (MONDAY + 60 * WEEK).astimezone(ZURICH).replace(hour=14)
    await booking.create(db, await add_user(db), at(far, room))
    late = (await occurrences(db, owner, booked.series.id))[55]
    await series_updating.update(db, owner, booked.series.id, titled("Later"), from_id=late.id)
    assert 0 == await audit(db)
    other = (await occurrences(db, owner, booked.series.id))[50]
    await series_updating.delete(db, owner, booked.series.id, from_id=other.id)
    await frontiers.extend_due(db, timedelta(days=700))
    assert 0 == await audit(db)
    with pytest.raises(Conflict):
        await booking.create(db, owner, at((MONDAY + 45 * WEEK).astimezone(ZURICH).replace(hour=9)))


async def test_a_room_opens_when_the_account_of_its_series_is_gone(db: Database, owner: UUID, room: UUID) -> None:
    """Whoever runs into the tail finds that it stands for nothing; so does the task."""
    await series_booking.create(db, owner, recurs("FREQ=DAILY", MONDAY, room))
    async with db.connection() as connection:
        await connection.execute("DELETE FROM subjects WHERE id = %s", [owner])
    assert 1 == await tails(db)
    await booking.create(db, await add_user(db), at((MONDAY + 300 * DAY).astimezone(ZURICH).replace(hour=9), room))
    assert (0, 0) == (await tails(db), await audit(db))


async def test_when_clocks_change_series_keep_their_wall_time(db: Database, owner: UUID, room: UUID) -> None:
    """What new rules of a zone would move is told, and moved; what finds no place there is skipped."""
    booked = await series_booking.create(db, owner, recurs("FREQ=WEEKLY", MONDAY, room))
    assert [] == await tzdata.drifts(db)
    async with db.connection() as connection:  # as if the rows were made by rules that have summer time all year
        for change in (
            "DELETE FROM bookings WHERE appointment_id IS NOT NULL",
            "UPDATE appointments SET start_at = start_at - interval '1 hour', end_at = end_at - interval '1 hour',"
            " original_start_at = original_start_at - interval '1 hour'",
            "INSERT INTO bookings (appointment_id, subject_id, during, resource_id, start_at)"
            " SELECT appointments.id, subject_id, tstzrange(start_at, end_at), resource_id,"
            " CASE WHEN resource_id IS NOT NULL THEN start_at END"
            " FROM appointments JOIN series_subjects USING (series_id)",
        ):
            await connection.execute(change)
    in_the_way = await booking.create(
        db, owner, at(MONDAY + WEEK + timedelta(minutes=30), length=timedelta(minutes=15))
    )
    found = await tzdata.drifts(db)
    assert (MONDAY - HOUR, MONDAY) == (found[0].stands_at, found[0].belongs_at)
    (moved,) = await tzdata.move(db, found, Terms())
    assert [in_the_way.id] == [each.id for miss in moved.misses.named for each in miss.collisions]
    assert [MONDAY, MONDAY + 2 * WEEK] == (await starts(db, owner, booked.series.id))[:2]
    assert ([], 0) == (await tzdata.drifts(db), await audit(db))


async def test_free_time_is_found_beyond_a_frontier(db: Database, owner: UUID) -> None:
    """Looking moves it, as booking would: a tail does not hide what is free."""
    await series_booking.create(db, owner, recurs("FREQ=WEEKLY"))
    since = (MONDAY + 52 * WEEK).astimezone(ZURICH).replace(hour=0).astimezone(UTC)
    asker = availability.Asker(owner)
    (found,) = await availability.free_busy(db, asker, [str(owner)], since, since + DAY)
    assert [(since + 9 * HOUR, since + 10 * HOUR)] == [(instant(begin), instant(end)) for begin, end in found.busy]


async def test_a_list_shows_what_is_beyond_a_frontier(db: Database, owner: UUID, stranger: UUID, room: UUID) -> None:
    """The owner's, and that of the room, in a far week: what is there is what the rule says."""
    created = await series_booking.create(db, owner, recurs("FREQ=WEEKLY", MONDAY, room))
    unbooked = await series_booking.create(db, owner, recurs("FREQ=WEEKLY", MONDAY + DAY, transparent=True))
    since = MONDAY + 80 * WEEK
    window = listing.Window(owner, since, since + 2 * WEEK)
    assert [] == (await listing.page(db, window)).appointments
    # Of each the first after the frontiers were moved, and of the second list again.
    for _ in range(2):
        found = (await listing.page_ahead(db, db.reads(owner, ""), window)).appointments
        spec, other = created.series.spec, unbooked.series.spec
        expected = sorted(
            slot.start_at for each in (spec, other) for slot in each.slots(since=since, until=since + 2 * WEEK)
        )
        assert expected == [instant(each.start_at) for each in found]
    later = since + 52 * WEEK
    seen = await occupancy.page(db, occupancy.Window(stranger, room, later, later + WEEK))
    assert [slot.start_at for slot in spec.slots(since=later, until=later + WEEK)] == [
        instant(each.start_at) for each in seen.entries
    ]
    assert 0 == await audit(db)


async def test_a_list_makes_no_more_rows_than_it_shows(db: Database, owner: UUID) -> None:
    """A window to the end of time is read page by page, nearly ten years ahead, each occurrence once and in order."""
    created = await series_booking.create(db, owner, recurs("FREQ=WEEKLY"))
    window = listing.Window(owner, NOW, datetime(9999, 1, 1, tzinfo=UTC))
    first = await listing.page_ahead(db, db, window, size=20)
    assert 20 == len(first.appointments)
    assert len(await occurrences(db, owner, created.series.id)) < 40
    found, token = first.appointments, first.next_token
    while token:
        page = await listing.page_ahead(db, db, window, size=60, token=token)
        found, token = [*found, *page.appointments], page.next_token
    expected = [slot.start_at for slot in created.series.spec.slots(until=NOW + timedelta(days=3_560))]
    assert expected == [instant(each.start_at) for each in found][: len(expected)]
    # Without an end the window is looked at for one step from its start.
    beyond = listing.Window(owner, NOW + timedelta(days=3_500))
    assert len((await listing.page_ahead(db, db, beyond)).appointments) >= 8


@pytest.mark.parametrize(
    ("since", "until", "last", "days"),
    [
        (0, 31, None, None),  # what is near costs nothing
        (0, None, None, None),
        (59, None, 80, None),
        (0, 300, 20, None),  # a full page that ends near
        (0, 300, 80, 80),
        (400, None, None, 490),
        (0, 9_000, None, 3_562),
    ],
)
def test_how_far_a_list_looks(since: int, until: int | None, last: int | None, days: int | None) -> None:
    """In days from now: only where frontiers may be short of what a page shows."""
    now = datetime.now(UTC)
    found = listing.reach(
        now + since * DAY,
        now + until * DAY if until else None,
        micros(now + last * DAY) if last else None,
        frontiers.HORIZON,
    )
    assert days == (round((found.until - now) / DAY) if found else None)


async def test_one_of_many_wins_each_slot(db: Database, dsn: str, room: UUID) -> None:
    """A hundred series that collide, endless and not: one is there, whole, and nothing of the others."""
    people = [await add_user(db) for _ in range(100)]
    specs = [
        recurs("FREQ=DAILY" if index % 2 else "FREQ=WEEKLY;BYDAY=MO,TH;COUNT=20", MONDAY, room) for index in range(100)
    ]
    async with Database(dsn, size=100) as many:

        async def create(person: UUID, spec: SeriesSpec) -> Booked:
            while True:
                try:
                    return await series_booking.create(many, person, spec)
                except Unavailable:  # a busy machine opens a hundred connections slowly; clients come again, too
                    await asyncio.sleep(0.25)

        done = await asyncio.gather(
            *(create(person, spec) for person, spec in zip(people, specs, strict=True)), return_exceptions=True
        )
    won = [each for each in done if isinstance(each, Booked)]
    assert (1, 99) == (len(won), sum(isinstance(each, SeriesConflict) for each in done)), done
    rows = await occurrences(db, won[0].series.owner_id, won[0].series.id)
    spec = won[0].series.spec
    assert [slot.start_at for slot in islice(spec.slots(), len(rows))] == [instant(each.start_at) for each in rows]
    async with db.connection() as connection:
        counted = await (await connection.execute("SELECT count(*) FROM appointments")).fetchone()
    assert (len(rows), 0) == (counted[0] if counted else 0, await audit(db))

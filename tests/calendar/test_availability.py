"""Free and busy, and slots, on a database: what is asked for, of whom, and that what is offered can be booked."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from appointments.calendar import availability, booking, resources, series_booking, updating
from appointments.calendar.appointment import Spec
from appointments.calendar.availability import Asker, Offer, Search, Wanted
from appointments.calendar.bookable.hours import ALWAYS, DayHours, Hours, SpecialDay
from appointments.calendar.resource import Role
from appointments.calendar.series import SeriesSpec
from appointments.db import Database, instant, micros
from appointments.shared.errors import Conflict, Invalid, NotFound
from tests.audit import audit
from tests.people import HOUR, TEN, add_room, add_user, shared, spec

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
MIDNIGHT = TEN - 10 * HOUR  # of a Wednesday, at which it is two o'clock in Zurich


async def set_hours(db: Database, user_id: UUID, hours: Hours, zone: str = "UTC") -> None:
    """Give somebody hours."""
    async with db.connection() as connection:
        await connection.execute(
            "UPDATE users SET hours = %(hours)s::jsonb, time_zone = %(zone)s WHERE id = %(id)s",
            {"id": user_id, "hours": hours.dumps(), "zone": zone},
        )


def office(first: int = 9, end: int = 17) -> Hours:
    """From Monday to Friday."""
    return Hours(tuple(DayHours(day, first * 60, end * 60) for day in range(1, 6)))


async def busy(db: Database, asker: Asker | UUID, *ids: UUID, **more: Any) -> list[list[tuple[Any, ...]]]:
    """When these are taken, in hours since midnight."""
    asker = Asker(asker) if isinstance(asker, UUID) else asker
    found = await availability.free_busy(db, asker, list(map(str, ids)), MIDNIGHT, MIDNIGHT + DAY, **more)
    return [[tuple((instant(at) - MIDNIGHT) / HOUR for at in span) for span in each.busy] for each in found]


def any_of(*ids: UUID, count: int = 1) -> Wanted:
    """So many of these."""
    return Wanted(tuple(map(str, ids)), count)


async def find(db: Database, asker: UUID, *wanted: Wanted, **more: Any) -> list[Offer]:
    """Every slot of an hour of that day."""
    search = replace(Search(wanted, HOUR, MIDNIGHT, MIDNIGHT + DAY), **more)
    return (await availability.search(db, Asker(asker), search, size=1000)).offers


def hours_of(offers: list[Offer]) -> list[float]:
    """When they begin, in hours since midnight."""
    return [(instant(each.start) - MIDNIGHT) / HOUR for each in offers]


async def test_free_and_busy_are_merged_spans(db: Database, owner: UUID, stranger: UUID) -> None:
    """Neighbours are one, buffers are in it, the window cuts; what is transparent, deleted or expired is free."""
    await booking.create(db, stranger, spec(TEN))
    await booking.create(db, stranger, replace(spec(TEN + HOUR), buffer_after=HOUR))
    await booking.create(db, stranger, spec(MIDNIGHT - HOUR, 2 * HOUR))
    await booking.create(db, stranger, replace(spec(TEN), transparent=True))
    gone = await booking.create(db, stranger, spec(TEN + 5 * HOUR))
    await updating.delete(db, stranger, gone.id)
    held = await booking.create(db, stranger, spec(TEN + 6 * HOUR), ttl=HOUR)
    assert [[(0, 1), (10, 13), (16, 17)], []] == await busy(db, owner, stranger, owner)
    async with db.connection() as connection:
        await connection.execute("UPDATE bookings SET expires_at = now() WHERE appointment_id = %s", (held.id,))
    assert [[(0, 1), (10, 13)]] == await busy(db, owner, stranger)


async def test_a_resource_is_busy_when_all_of_its_units_are(db: Database, owner: UUID, stranger: UUID) -> None:
    """And its buffers are."""
    room = await add_room(db, stranger, units=2, buffer_before=HOUR)
    await booking.create(db, owner, shared(room))
    assert [[]] == await busy(db, owner, room)
    await booking.create(db, stranger, shared(room, start=TEN + HOUR / 2, end_at=TEN + HOUR * 3 / 2))
    assert [[(9.5, 11)]] == await busy(db, owner, room)
    await resources.update(db, stranger, room, lambda old: replace(old, units=3))
    assert [[]] == await busy(db, owner, room)


async def test_closed_hours_are_told_on_request(db: Database, owner: UUID, stranger: UUID) -> None:
    """In the subject's zone; a person by address."""
    await set_hours(db, stranger, office(), "Europe/Zurich")
    found = await availability.free_busy(
        db, Asker(owner), [], MIDNIGHT, MIDNIGHT + DAY, emails=[f"{stranger}@EXAMPLE.com"], with_closed=True
    )
    expected = [tuple(micros(MIDNIGHT + at * HOUR) for at in span) for span in ((0, 7), (15, 24))]
    assert (stranger, expected, []) == (found[0].subject_id, found[0].closed, found[0].busy)


async def test_whose_time_may_not_be_seen_is_not_found(db: Database, owner: UUID, stranger: UUID) -> None:
    """Others, where the deployment says so; a room without a role; what is deleted; and what never was."""
    room = await add_room(db, stranger, default_role=Role.NONE)
    closed = await add_room(db, stranger)
    await resources.delete(db, stranger, closed)
    private = Asker(owner, sees_people=False)
    for asker, subject in ((private, stranger), (private, room), (Asker(owner), closed), (Asker(owner), uuid4())):
        with pytest.raises(NotFound):
            await busy(db, asker, subject)
        with pytest.raises(NotFound):
            await availability.search(db, asker, Search((any_of(subject),), HOUR, MIDNIGHT, MIDNIGHT + DAY))
    for email in (f"{stranger}@example.com", "nobody@example.com"):
        with pytest.raises(NotFound) as refused:
            await busy(db, private, emails=[email])
        assert f"Nobody whose time you may see has the address {email}." == refused.value.message
    assert [[]] == await busy(db, private, owner)
    assert [[]] == await busy(db, private, emails=[f"{owner}@example.com"])
    assert [[]] == await busy(db, Asker(owner, is_admin=True), room)


async def test_a_stranger_learns_spans_and_nothing_else(db: Database, owner: UUID, stranger: UUID) -> None:
    """Whatever changes about an appointment but its time, the answer is the same."""
    room = await add_room(db, stranger)
    created = await booking.create(db, stranger, shared(room))
    asked = [str(stranger), str(room)]
    seen = await availability.free_busy(db, Asker(owner), asked, MIDNIGHT, MIDNIGHT + DAY)

    def private(old: Spec) -> Spec:
        return replace(old, title="Surgery", description="Of the heart", location="Clinic", time_zone="UTC")

    await updating.update(db, stranger, created.id, private)
    await booking.create(db, stranger, replace(spec(TEN), transparent=True, title="Birthday"))
    again = await booking.create(db, stranger, spec(TEN + 5 * HOUR))
    await updating.delete(db, stranger, again.id)
    assert seen == await availability.free_busy(db, Asker(owner), asked, MIDNIGHT, MIDNIGHT + DAY)


async def test_slots_are_within_hours_and_free(db: Database, owner: UUID, stranger: UUID) -> None:
    """Of a person and a room: those of both."""
    await set_hours(db, owner, office(8, 12))
    room = await add_room(db, stranger, hours=office(11, 20))  # on the clock of Zurich: from 9 to 18
    await booking.create(db, stranger, shared(room, start=TEN - HOUR))
    offers = await find(db, owner, any_of(owner), any_of(room))
    assert [10, 11] == hours_of(offers)
    assert [[owner, room]] * 2 == [each.subject_ids for each in offers]
    offers = await find(db, owner, any_of(owner, room), step=HOUR / 2)
    assert [8, 8.5, 9, 9.5, 10, 10.5, 11, 11.5] == hours_of(offers)[:8]
    await set_hours(db, owner, replace(office(8, 12), special_days=(SpecialDay("2030-05-01"),)))
    assert [] == await find(db, owner, any_of(owner))


async def test_what_is_offered_can_be_booked_and_what_is_not_is_refused(
    db: Database, owner: UUID, stranger: UUID
) -> None:
    """Every quarter of an hour of a day, of a room with buffers and units."""
    room = await add_room(db, stranger, units=2, buffer_before=20 * MINUTE, buffer_after=10 * MINUTE)
    for person, hour in ((stranger, 3.0), (await add_user(db), 3.5), (stranger, 9), (owner, 10)):
        await booking.create(db, person, shared(room, start=MIDNIGHT + hour * HOUR))
    around = {"before": 5 * MINUTE, "after": 5 * MINUTE}
    offered = hours_of(await find(db, owner, any_of(owner), any_of(room), step=15 * MINUTE, **around))
    assert 0 < len(offered) < 93
    for quarter in range(93):
        start = MIDNIGHT + quarter * 15 * MINUTE
        wanted = shared(room, start=start, end_at=start + HOUR, buffer_before=5 * MINUTE, buffer_after=5 * MINUTE)
        try:
            created = await booking.create(db, owner, wanted)
        except Conflict:
            assert quarter / 4 not in offered
        else:
            assert quarter / 4 in offered
            await updating.delete(db, owner, created.id)


async def test_the_least_booked_is_proposed(db: Database, owner: UUID) -> None:
    """Each in turn, if each takes what is proposed."""
    hosts = [await add_user(db) for _ in range(3)]
    taken = []
    for number in range(6):
        at = MIDNIGHT + number * DAY
        offers = await find(db, owner, any_of(*hosts), since=at, until=at + HOUR)
        taken.append(offers[0].subject_ids[0])
        await booking.create(db, taken[-1], spec(at))
    assert hosts * 2 == taken


async def test_pages_go_on_after_the_last_slot(db: Database, owner: UUID) -> None:
    """Over several chunks of the window, none twice and none left out; a token belongs to its search."""
    await set_hours(db, owner, office(), "Europe/Zurich")
    search = Search((any_of(owner),), HOUR, MIDNIGHT, MIDNIGHT + 40 * DAY)
    whole = (await availability.search(db, Asker(owner), search, size=1000)).offers
    token = ""
    found: list[Offer] = []
    while not found or token:
        page = await availability.search(db, Asker(owner), search, size=50, token=token)
        found += page.offers
        token = page.next_token
    assert (whole, 28 * 8) == (found, len(whole))
    page = await availability.search(db, Asker(owner), search, size=224)
    assert "" == page.next_token
    token = (await availability.search(db, Asker(owner), search, size=1)).next_token
    for other, wrong in ((replace(search, length=HOUR / 2), token), (search, token + "AAAA"), (search, "x")):
        with pytest.raises(Invalid) as refused:
            await availability.search(db, Asker(owner), other, token=wrong)
        assert ["page_token"] == [each.field for each in refused.value.violations]


async def test_an_empty_answer_says_why(db: Database, owner: UUID, stranger: UUID) -> None:
    """How many starts each obstacle took away."""
    await set_hours(db, owner, office(9, 12))
    room = await add_room(db, stranger, buffer_before=10 * MINUTE)
    await booking.create(db, stranger, shared(room, start=MIDNIGHT + 9.5 * HOUR, end_at=MIDNIGHT + 10.5 * HOUR))
    wanted = any_of(owner), any_of(room)
    search = Search(wanted, HOUR, MIDNIGHT + 9 * HOUR, MIDNIGHT + 15 * HOUR, HOUR)
    assert [11] == hours_of(await find(db, owner, *wanted, since=search.since, until=search.until))
    page = await availability.search(db, Asker(owner), replace(search, before=30 * MINUTE))
    assert ([], (6, 3, 0, 0, 2, 1)) == (page.offers, page.why)
    await set_hours(db, owner, ALWAYS)
    assert (await availability.search(db, Asker(owner), search)).why is None


async def test_a_search_out_of_bounds_is_refused_field_by_field(db: Database, owner: UUID) -> None:
    """Everything at once."""
    good = Search((any_of(owner),), HOUR, MIDNIGHT, MIDNIGHT + DAY)
    for change, fields in (
        ({"wanted": ()}, ["requirements"]),
        ({"wanted": (Wanted(("x",)), Wanted(()))},
         ["requirements[0].any_of_subject_ids[0]", "requirements[1].any_of_subject_ids"]),
        ({"wanted": (Wanted((str(owner),), 2, ("x",)),)}, ["requirements[0].any_of_emails[0]"]),
        ({"wanted": (Wanted((str(owner),), 2),)}, ["requirements[0].count"]),
        ({"wanted": (Wanted((str(owner),) * 51),)}, ["requirements"]),
        ({"wanted": (any_of(owner), any_of(owner))}, ["requirements[1]"]),
        ({"length": timedelta(), "step": timedelta()}, ["duration", "step"]),
        ({"length": 32 * DAY, "step": 2 * DAY}, ["duration", "step"]),
        ({"length": HOUR / 7, "before": -HOUR, "after": 25 * HOUR}, ["duration", "buffer_before", "buffer_after"]),
        ({"until": MIDNIGHT}, ["end_time"]),
        ({"until": MIDNIGHT + 92 * DAY + MINUTE}, ["end_time"]),
        ({"since": MIDNIGHT - 40000 * DAY}, ["start_time"]),
    ):  # fmt: skip
        with pytest.raises(Invalid) as refused:
            await availability.search(db, Asker(owner), replace(good, **change))
        assert fields == [each.field for each in refused.value.violations]
    with pytest.raises(Invalid):
        await availability.search(db, Asker(owner), good, size=-1)
    with pytest.raises(Invalid) as refused:
        await availability.free_busy(db, Asker(owner), [], MIDNIGHT, MIDNIGHT)
    assert ["end_time", "subject_ids"] == [each.field for each in refused.value.violations]


async def test_a_window_that_is_too_short_has_no_slots(db: Database, owner: UUID) -> None:
    """Not even one start was looked at."""
    page = await availability.search(db, Asker(owner), Search((any_of(owner),), HOUR, TEN, TEN + HOUR / 2))
    assert ([], (0,) * 6) == (page.offers, page.why)


async def test_the_night_in_which_the_clock_is_changed(db: Database, owner: UUID) -> None:
    """Hours on the wall: the same count of slots, an hour earlier by the sun; and a night shift loses an hour."""
    spring = MIDNIGHT.replace(month=3, day=30)  # summer time begins on the 31st
    await set_hours(db, owner, Hours(tuple(DayHours(day, 540, 1020) for day in range(1, 8))), "Europe/Zurich")
    offers = await find(db, owner, any_of(owner), since=spring, until=spring + 2 * DAY)
    assert [8, 7] == [instant(offers[at].start).hour for at in (0, 8)]
    assert 16 == len(offers)
    await set_hours(db, owner, Hours((DayHours(7, 0, 300),)), "Europe/Zurich")
    assert 4 == len(await find(db, owner, any_of(owner), since=spring, until=spring + 2 * DAY))
    await set_hours(db, owner, ALWAYS, "Europe/Zurich")
    assert 48 == len(await find(db, owner, any_of(owner), since=spring, until=spring + 2 * DAY))


async def test_series_without_an_end_take_what_they_take_and_no_more(db: Database, owner: UUID, stranger: UUID) -> None:
    """Also in a window that none of their rows reaches; beyond ten years everything stays taken, as a booking finds."""
    room = await add_room(db, stranger, units=2)
    start = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0) + DAY
    for person in (owner, stranger):  # each has a unit
        first = shared(room, start=start, end_at=start + HOUR, time_zone="UTC")
        await series_booking.create(db, person, SeriesSpec(first, "FREQ=DAILY"))
    until = (start + 5 * 365 * DAY).replace(hour=0)
    for subject, since in ((owner, until - DAY), (room, until - DAY), (owner, until), (room, until + 40 * DAY)):
        offers = await find(db, owner, any_of(subject), since=since, until=since + DAY)
        assert [at for at in range(24) if at != 9] == [instant(each.start).hour for each in offers]
        found = await availability.free_busy(db, Asker(owner), [str(subject)], since, since + DAY)
        assert [[(micros(since + 9 * HOUR), micros(since + 10 * HOUR))]] == [each.busy for each in found]
    await booking.create(db, owner, shared(room, start=until + 8 * HOUR, end_at=until + 9 * HOUR))
    late = until + 6 * 365 * DAY
    page = await availability.search(db, Asker(owner), Search((any_of(owner),), HOUR, late, late + DAY))
    assert ([], (24, 0, 0, 0, 24, 0)) == (page.offers, page.why)
    with pytest.raises(Conflict):
        await booking.create(db, owner, spec(late))
    assert 0 == await audit(db)

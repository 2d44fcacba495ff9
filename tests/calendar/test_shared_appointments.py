"""Appointments of several subjects: all or nothing on every path; buffers, whole days, and transparent time."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import psycopg
import pytest

from appointments.calendar import access, booking, listing, occupancy, resources, updating
from appointments.calendar.appointment import Appointment, Spec
from appointments.calendar.log import Cause
from appointments.calendar.occupancy import Taken as TakenTime
from appointments.calendar.resource import Role
from appointments.calendar.validation import begins_day, violations
from appointments.db import Database, micros
from appointments.shared.errors import Conflict, Denied, Invalid, NotFound
from tests.audit import audit
from tests.people import HOUR, TEN, add_room, shared, spec

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def room(db: Database, stranger: UUID) -> UUID:
    """A room of somebody else's that everybody may book."""
    return await add_room(db, stranger)


async def bookings(db: Database) -> int:
    """How many subjects are taken."""
    async with db.connection() as connection:
        row = await (await connection.execute("SELECT count(*) FROM bookings")).fetchone()
    return int(row[0]) if row else 0


async def test_an_appointment_takes_its_owner_and_every_resource(db: Database, owner: UUID, stranger: UUID) -> None:
    """Three bookings, and the rooms are taken for everybody else."""
    rooms = [await add_room(db, stranger), await add_room(db, stranger)]
    created = await booking.create(db, owner, shared(*rooms))
    assert (list(map(str, rooms)), 3) == (created.resource_ids, await bookings(db))
    assert created == await booking.get(db, owner, created.id)
    with pytest.raises(Conflict) as refused:
        await booking.create(db, stranger, shared(rooms[1]))
    assert ((), (rooms[1],)) == (refused.value.collisions, refused.value.resource_ids)
    assert (3, 0) == (await bookings(db), await audit(db))


async def test_a_conflict_of_the_owner_frees_the_room(db: Database, owner: UUID, stranger: UUID, room: UUID) -> None:
    """Nothing is left of what could be had."""
    mine = await booking.create(db, owner, spec())
    with pytest.raises(Conflict) as refused:
        await booking.create(db, owner, shared(room))
    assert ([mine.id], ()) == ([each.id for each in refused.value.collisions], refused.value.resource_ids)
    await booking.create(db, stranger, shared(room))


async def test_a_move_takes_the_rooms_along(db: Database, owner: UUID, stranger: UUID, room: UUID) -> None:
    """The old time is free, the new one taken; onto a taken one it stays where it was."""
    created = await booking.create(db, owner, shared(room))
    moved = await updating.update(db, owner, created.id, lambda old: replace(old, **_at(TEN + 5 * HOUR)))
    assert (2, str(room)) == (moved.version, (moved.resource_ids or [""])[0])
    await booking.create(db, stranger, shared(room))
    with pytest.raises(Conflict) as refused:
        await updating.update(db, owner, created.id, lambda old: replace(old, **_at(TEN)))
    assert (room,) == refused.value.resource_ids
    assert moved == await booking.get(db, owner, created.id)
    assert 0 == await audit(db)


def _at(start: datetime) -> dict[str, Any]:
    return {"start_at": start, "end_at": start + HOUR}


async def test_resources_can_be_exchanged(db: Database, owner: UUID, stranger: UUID, room: UUID) -> None:
    """One is given back, another taken; the owner's time stays."""
    other = await add_room(db, stranger)
    created = await booking.create(db, owner, shared(room))
    changed = await updating.update(db, owner, created.id, lambda old: replace(old, resource_ids=(str(other),)))
    assert [str(other)] == changed.resource_ids
    await booking.create(db, stranger, shared(room))
    alone = await updating.update(db, owner, created.id, lambda old: replace(old, resource_ids=()))
    assert (None, 0) == (alone.resource_ids, await audit(db))


async def test_delete_frees_all_and_undelete_remembers_the_rooms(
    db: Database, owner: UUID, stranger: UUID, room: UUID
) -> None:
    """While the room is taken by somebody else it cannot come back; then it does, with its room."""
    created = await booking.create(db, owner, shared(room))
    await updating.delete(db, owner, created.id)
    assert 0 == await bookings(db)
    other = await booking.create(db, stranger, shared(room))
    with pytest.raises(Conflict) as refused:
        await updating.undelete(db, owner, created.id)
    assert (room,) == refused.value.resource_ids
    assert (await booking.get(db, owner, created.id)).deleted_at is not None
    await updating.delete(db, stranger, other.id)
    restored = await updating.undelete(db, owner, created.id)
    assert ([str(room)], 2, 0) == (restored.resource_ids, await bookings(db), await audit(db))


async def test_buffers_add_up_and_are_taken(db: Database, owner: UUID, stranger: UUID) -> None:
    """The appointment's own and the room's: both neighbours keep their distance."""
    room = await add_room(db, stranger, buffer_before=10 * MINUTE, buffer_after=5 * MINUTE)
    created = await booking.create(db, owner, shared(room, buffer_before=20 * MINUTE, buffer_after=10 * MINUTE))
    assert (1200, 600, micros(TEN)) == (created.buffer_before, created.buffer_after, created.start_at)
    for start in (TEN + HOUR + 24 * MINUTE, TEN - HOUR - 34 * MINUTE):
        with pytest.raises(Conflict):
            await booking.create(db, stranger, shared(room, start=start))
    await booking.create(db, stranger, shared(room, start=TEN + HOUR + 25 * MINUTE))
    await booking.create(db, stranger, shared(room, start=TEN - HOUR - 35 * MINUTE))
    with pytest.raises(Conflict):
        await booking.create(db, owner, spec(TEN + HOUR + 9 * MINUTE))
    await booking.create(db, owner, spec(TEN + HOUR + 10 * MINUTE))
    assert 0 == await audit(db)


async def test_buffers_of_a_person_alone_move_along(db: Database, owner: UUID) -> None:
    """By the one statement that moves, and by the one that restores."""
    created = await booking.create(db, owner, replace(spec(), buffer_before=HOUR))
    with pytest.raises(Conflict):
        await booking.create(db, owner, spec(TEN - HOUR))
    await updating.update(db, owner, created.id, lambda old: replace(old, **_at(TEN + 5 * HOUR)))
    await booking.create(db, owner, spec(TEN - HOUR))
    await updating.delete(db, owner, created.id)
    await updating.undelete(db, owner, created.id)
    with pytest.raises(Conflict):
        await booking.create(db, owner, spec(TEN + 4 * HOUR))
    assert 0 == await audit(db)


async def test_a_change_of_a_rooms_buffers_is_for_future_bookings(db: Database, owner: UUID, stranger: UUID) -> None:
    """What is booked keeps the buffers that it was given, whatever else is changed about it."""
    room, other = await add_room(db, stranger), await add_room(db, stranger)
    created = await booking.create(db, owner, shared(room))
    neighbour = await booking.create(db, stranger, shared(room, start=TEN + HOUR))
    await resources.update(db, stranger, room, lambda old: replace(old, buffer_after=HOUR))
    await updating.update(
        db, owner, created.id, lambda old: replace(old, title="Long", resource_ids=(str(room), str(other)))
    )
    with pytest.raises(Conflict):
        await booking.create(db, owner, shared(room, start=TEN - HOUR))
    assert neighbour == await booking.get(db, stranger, neighbour.id)
    assert 0 == await audit(db)


async def test_a_transparent_appointment_takes_no_time(db: Database, owner: UUID) -> None:
    """It overlaps anything, and becomes a booking like any other once it is opaque."""
    await booking.create(db, owner, spec())
    free = await booking.create(db, owner, replace(spec(), transparent=True))
    assert (True, 1, 0) == (free.transparent, await bookings(db), await audit(db))
    with pytest.raises(Conflict):
        await updating.update(db, owner, free.id, lambda old: replace(old, transparent=False))
    await updating.delete(db, owner, free.id)
    assert (await updating.undelete(db, owner, free.id)).deleted_at is None
    opaque = await updating.update(
        db, owner, free.id, lambda old: replace(old, transparent=False, **_at(TEN + 3 * HOUR))
    )
    assert (None, 2) == (opaque.transparent, await bookings(db))
    gone = await updating.update(db, owner, free.id, lambda old: replace(old, transparent=True))
    assert (True, 1, 0) == (gone.transparent, await bookings(db), await audit(db))


async def test_a_list_has_transparent_ones_in_their_order(db: Database, owner: UUID) -> None:
    """However many reach into the window, before and after the one that takes time; page by page too."""
    wanted = [
        await booking.create(db, owner, replace(spec(TEN + offset * HOUR, length * HOUR), transparent=transparent))
        for offset, length, transparent in (
            (-30, 40, True), (-9, 12, True), (-3, 4, False), (-2, 5, True), (-1, 3, True), (1, 1, False), (1, 2, True),
        )
    ]  # fmt: skip
    await booking.create(db, owner, replace(spec(TEN - 20 * HOUR, HOUR), transparent=True))
    window = listing.Window(owner, since=TEN, until=TEN + 9 * HOUR)
    assert wanted == (await listing.page(db, window)).appointments
    seen: list[Appointment] = []
    token = ""
    while True:
        page = await listing.page(db, window, size=2, token=token)
        seen += page.appointments
        if not (token := page.next_token):
            break
    assert wanted == seen


async def test_a_tail_that_stands_for_nothing_opens(db: Database, dsn: str, owner: UUID) -> None:
    """A booking without an appointment whose series are gone keeps nobody waiting, on any path."""
    moving = await booking.create(db, owner, spec())
    deleted = await booking.create(db, owner, spec(TEN + 50 * HOUR))
    await updating.delete(db, owner, deleted.id)
    attempts: tuple[Callable[[], Awaitable[Appointment]], ...] = (
        lambda: booking.create(db, owner, spec(TEN + 99 * HOUR)),
        lambda: updating.update(db, owner, moving.id, lambda old: replace(old, **_at(TEN + 97 * HOUR))),
        lambda: updating.undelete(db, owner, deleted.id),
    )
    for attempt in attempts:
        with psycopg.connect(dsn) as connection:
            connection.execute("DELETE FROM bookings WHERE appointment_id IS NULL")
            connection.execute(
                """
                INSERT INTO bookings (subject_id, during) VALUES (%s, tstzrange(%s, '2102-01-01 00:00:00+00'))
                ON CONFLICT DO NOTHING
                """,
                [owner, TEN + 48 * HOUR],
            )
        await attempt()
    assert 0 == await audit(db)


async def test_resources_that_may_not_be_booked(db: Database, owner: UUID, stranger: UUID) -> None:
    """Unknown, hidden and deleted ones read the same; one that is only seen is denied; nothing is booked."""
    hidden = await add_room(db, stranger, default_role=Role.NONE)
    seen = await add_room(db, stranger, default_role=Role.VIEWER)
    deleted = await add_room(db, stranger)
    await resources.delete(db, stranger, deleted)
    for resource_id in (uuid4(), hidden, deleted):
        with pytest.raises(NotFound) as refused:
            await booking.create(db, owner, shared(seen, resource_id))
        assert "RESOURCE_NOT_FOUND" == refused.value.reason
    with pytest.raises(Denied) as denied:
        await booking.create(db, owner, shared(seen))
    mine = await booking.create(db, owner, spec(TEN + 2 * HOUR))
    with pytest.raises(Denied):
        await updating.update(db, owner, mine.id, lambda old: replace(old, resource_ids=(str(seen),)))
    assert ("RESOURCE_NOT_BOOKABLE", 1) == (denied.value.reason, await bookings(db))


async def test_who_lost_the_right_to_a_room_keeps_what_is_booked(
    db: Database, owner: UUID, stranger: UUID, room: UUID
) -> None:
    """The title may change and the room be given back, but it cannot be moved or restored."""
    created = await booking.create(db, owner, shared(room))
    await resources.update(db, stranger, room, lambda old: replace(old, default_role=Role.VIEWER))
    assert "New" == (await updating.update(db, owner, created.id, lambda old: replace(old, title="New"))).title
    with pytest.raises(Denied):
        await updating.update(db, owner, created.id, lambda old: replace(old, **_at(TEN + HOUR)))
    await updating.delete(db, owner, created.id)
    with pytest.raises(Denied):
        await updating.undelete(db, owner, created.id)
    assert 0 == await audit(db)


async def test_managers_see_what_takes_their_room_and_others_only_when(
    db: Database, owner: UUID, stranger: UUID, room: UUID
) -> None:
    """A booker's own are whole, others' have no id, owner or title. A manager reads them, and cannot change them."""
    mine = await booking.create(db, owner, shared(room))
    theirs = await booking.create(db, stranger, shared(room, start=TEN + 2 * HOUR, title="Secret"))
    page = await occupancy.page(db, occupancy.Window(owner, room))
    taken = TakenTime(str(room), theirs.start_at, theirs.end_at)
    assert [mine, taken] == page.entries
    assert [mine, theirs] == (await occupancy.page(db, occupancy.Window(stranger, room))).entries
    assert mine == await booking.get(db, stranger, mine.id)
    with pytest.raises(NotFound):
        await booking.get(db, owner, theirs.id)
    for attempt in (
        updating.update(db, stranger, mine.id, lambda old: replace(old, title="Mine")),
        updating.delete(db, stranger, mine.id),
        updating.undelete(db, stranger, mine.id),
    ):
        with pytest.raises(Denied) as denied:
            await attempt
        assert "NOT_THE_OWNER" == denied.value.reason
    await updating.delete(db, owner, mine.id)
    with pytest.raises(NotFound):
        await booking.get(db, stranger, mine.id)


async def test_the_pages_of_a_rooms_list_neither_skip_nor_repeat(db: Database, owner: UUID, stranger: UUID) -> None:
    """Several at a time, on its units."""
    room = await add_room(db, stranger, units=3)
    people = [owner, stranger]
    made = [
        await booking.create(db, people[index % 2], shared(room, start=TEN + index // 2 * HOUR)) for index in range(10)
    ]
    window = occupancy.Window(stranger, room, TEN, TEN + 4 * HOUR)
    seen: list[object] = []
    token = ""
    while True:
        page = await occupancy.page(db, window, size=3, token=token)
        seen += page.entries
        if not (token := page.next_token):
            break
    assert sorted(each.id for each in made[:8]) == sorted(each.id for each in seen if isinstance(each, Appointment))
    with pytest.raises(Invalid):
        await occupancy.page(db, replace(window, until=None), token="x")
    with pytest.raises(NotFound):
        await occupancy.page(db, occupancy.Window(owner, uuid4()))


async def test_who_acts_is_recorded(db: Database, owner: UUID) -> None:
    """Beside the owner, with each write."""
    actor = uuid4()
    created = await booking.create(db, owner, spec(), cause=Cause(actor))
    assert (str(actor), str(owner)) == (created.actor_text, created.owner_text)
    assert created == await booking.get(db, owner, created.id)
    moved = await updating.update(db, owner, created.id, lambda old: replace(old, **_at(TEN + HOUR)))
    deleted = await updating.delete(db, owner, created.id, cause=Cause(actor))
    restored = await updating.undelete(db, owner, created.id)
    assert [None, str(actor), None] == [each.actor_text for each in (moved, deleted, restored)]


@pytest.mark.parametrize(
    ("changed", "fields"),
    [
        ({"resource_ids": tuple(str(uuid4()) for _ in range(21))}, ["resource_ids"]),
        ({"resource_ids": (str(UUID(int=7)), "x", str(UUID(int=7)))}, ["resource_ids[1]", "resource_ids[2]"]),
        ({"buffer_before": timedelta(hours=25), "buffer_after": -MINUTE}, ["buffer_before", "buffer_after"]),
        ({"buffer_after": timedelta(milliseconds=1)}, ["buffer_after"]),
        ({"transparent": True, "buffer_after": MINUTE, "resource_ids": (str(UUID(int=7)),)},
         ["resource_ids", "buffer_after"]),
        ({"all_day": True}, ["start_time", "end_time"]),
    ],
)  # fmt: skip
def test_what_cannot_be_booked_is_named(changed: dict[str, object], fields: list[str]) -> None:
    """Each bad field, at once."""
    broken = replace(spec(), **changed)  # type: ignore[arg-type]
    assert [f"appointment.{field}" for field in fields] == [each.field for each in violations(broken)]


def whole(zone: str, first: tuple[int, int, int], after: tuple[int, int, int]) -> Spec:
    """Whole days of a zone, from the first instant of one to the first of another."""
    start, end = (_begin(ZoneInfo(zone), *day) for day in (first, after))
    return Spec("Holiday", start, end, zone, all_day=True)


def _begin(zone: ZoneInfo, year: int, month: int, day: int) -> datetime:
    # By looking at every quarter of an hour of three days: slow, and sure.
    hours = (datetime(year, month, day, tzinfo=UTC) + quarter * 15 * MINUTE for quarter in range(-96, 192))
    return next(hour for hour in hours if (hour.astimezone(zone).date().day == day))


@pytest.mark.parametrize(
    ("zone", "first", "after"),
    [
        ("Europe/Zurich", (2030, 10, 1), (2030, 11, 1)),  # 31 days and an hour
        ("America/Sao_Paulo", (2018, 11, 4), (2018, 11, 5)),  # begins at 01:00
        ("Asia/Beirut", (2030, 3, 31), (2030, 4, 1)),  # begins at 01:00
        ("America/Havana", (2030, 11, 3), (2030, 11, 4)),  # midnight comes twice
        ("Pacific/Kiritimati", (2030, 1, 1), (2030, 1, 2)),
    ],
)
def test_whole_days_begin_when_they_begin(zone: str, first: tuple[int, int, int], after: tuple[int, int, int]) -> None:
    """Whatever the clocks do at midnight; a quarter of an hour later is no beginning."""
    day = whole(zone, first, after)
    assert [] == violations(day)
    assert ["appointment.start_time"] == [
        each.field for each in violations(replace(day, start_at=day.start_at + 15 * MINUTE))
    ]


def test_a_day_that_begins_twice_begins_the_first_time() -> None:
    """In St. John's the clocks went back at one minute past midnight."""
    zone = ZoneInfo("America/St_Johns")
    first = datetime(2006, 10, 29, 2, 30, tzinfo=UTC)
    second = first + HOUR
    assert ("00:00", "00:00") == tuple(f"{each.astimezone(zone):%H:%M}" for each in (first, second))
    assert (True, False) == (begins_day(first, zone), begins_day(second, zone))


async def test_access_is_given_and_taken_by_address(db: Database, owner: UUID, stranger: UUID) -> None:
    """What a grant allows ends with it."""
    room = await add_room(db, stranger, default_role=Role.NONE)
    address = f"{owner}@example.com"
    for role, outcome in ((Role.VIEWER, Denied), (Role.NONE, NotFound)):
        await access.grant(db, stranger, room, address, role)
        with pytest.raises(outcome):
            await booking.create(db, owner, shared(room))
    await access.grant(db, stranger, room, address.upper(), Role.BOOKER)
    await booking.create(db, owner, shared(room))
    assert [(owner, Role.BOOKER), (stranger, Role.MANAGER)] == sorted(
        ((each.user_id, each.role) for each in (await access.page(db, stranger, room)).access), key=lambda each: each[1]
    )


async def test_an_admin_books_what_an_admin_sees(db: Database, owner: UUID, stranger: UUID) -> None:
    """Every room is theirs to manage, so also to book and to read; as long as they are an admin."""
    room = await add_room(db, stranger, default_role=Role.NONE)
    others = await booking.create(db, stranger, shared(room))
    async with db.connection() as connection:
        await connection.execute("UPDATE users SET role = 'admin' WHERE id = %(id)s", {"id": owner})
    mine = await booking.create(db, owner, shared(room, start=TEN + HOUR))
    assert [str(room)] == mine.resource_ids
    assert others.id == (await booking.get(db, owner, others.id)).id
    with pytest.raises(Denied):
        await updating.delete(db, owner, others.id)
    async with db.connection() as connection:
        await connection.execute("UPDATE users SET role = 'user' WHERE id = %(id)s", {"id": owner})
    with pytest.raises(NotFound):
        await booking.create(db, owner, shared(room, start=TEN + 2 * HOUR))
    with pytest.raises(NotFound):
        await booking.get(db, owner, others.id)

"""Moves in one statement: the same outcome as the long way has, whatever is in the way."""

import asyncio
import random
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from operator import attrgetter
from uuid import UUID, uuid4

import pytest

from appointments.calendar import booking, moving, updating
from appointments.calendar.appointment import Appointment, Attendee, Spec
from appointments.db import Database, Row, Statement, Values
from appointments.shared.errors import Conflict, Invalid, NotFound, Stale, Taken
from tests.audit import audit, deadlocks
from tests.people import HOUR, TEN, add_user, spec

DAY = timedelta(days=1)
LATER = TEN + 5 * HOUR


async def move(
    db: Database,
    owner: UUID,
    appointment_id: UUID,
    start: datetime = LATER,
    end: datetime | None = None,
    etag: str = "",
) -> Appointment:
    """As the servicer calls it."""
    times = start, end or start + HOUR

    def change(current: Spec) -> Spec:
        return replace(current, start_at=times[0], end_at=times[1])

    return await updating.update(db, owner, appointment_id, change, etag=etag, retime=times)


async def changes(db: Database, appointment_id: UUID) -> list[tuple[str, int, list[str] | None]]:
    """What the log has of it."""
    async with db.connection() as connection:
        cursor = await connection.execute(
            "SELECT kind, version, fields FROM new_changes WHERE item_id = %s ORDER BY version", (appointment_id,)
        )
        return await cursor.fetchall()


async def test_a_move_changes_the_times_and_nothing_else(db: Database, owner: UUID) -> None:
    """Its old time is free at once, its new one is taken, and the log says which fields have changed."""
    asked = replace(spec(), title="Cut", buffer_before=timedelta(minutes=10), buffer_after=timedelta(minutes=20))
    booked = await booking.create(db, owner, asked)
    moved = await move(db, owner, booked.id)
    assert moved.spec == replace(asked, start_at=LATER, end_at=LATER + HOUR)
    assert moved.version == 2
    assert moved == await booking.get(db, owner, booked.id)
    await booking.create(db, owner, spec())
    for start in (LATER - timedelta(minutes=65), LATER + timedelta(minutes=75)):  # the buffers have moved along
        with pytest.raises(Conflict):
            await booking.create(db, owner, spec(start))
    await move(db, owner, booked.id, LATER, LATER + 2 * HOUR)
    kinds = [("appointment.created", 1, None), ("appointment.updated", 2, ["start_at", "end_at"])]
    assert [*kinds, ("appointment.updated", 3, ["end_at"])] == await changes(db, booked.id)


async def test_its_own_old_time_is_not_in_the_way(db: Database, owner: UUID) -> None:
    """A move by half an hour overlaps nothing but itself; one to where it is changes nothing."""
    booked = await booking.create(db, owner, spec())
    moved = await move(db, owner, booked.id, TEN + HOUR / 2)
    assert moved == await move(db, owner, booked.id, TEN + HOUR / 2)


async def test_what_cannot_be_moved_says_why(db: Database, owner: UUID, stranger: UUID) -> None:
    """Taken, stale, wrong, deleted, somebody else's, nobody's."""
    booked, other = await booking.create(db, owner, spec()), await booking.create(db, owner, spec(LATER))
    with pytest.raises(Conflict) as taken:
        await move(db, owner, booked.id)
    assert [other.id] == [each.id for each in taken.value.collisions]
    for etag in ('"7"', "nonsense", '"' + "9" * 30 + '"'):
        with pytest.raises(Stale):
            await move(db, owner, booked.id, TEN + HOUR, etag=etag)
    with pytest.raises(Invalid):
        await move(db, owner, booked.id, LATER, LATER)
    with pytest.raises(NotFound):
        await move(db, stranger, booked.id, TEN + HOUR)
    with pytest.raises(NotFound):
        await move(db, owner, uuid4(), TEN + HOUR)
    assert (await move(db, owner, booked.id, TEN + HOUR, etag=booked.etag)).version == 2
    await updating.delete(db, owner, booked.id)
    with pytest.raises(NotFound):
        await move(db, owner, booked.id, TEN + 2 * HOUR)


async def test_what_needs_more_than_a_statement_gets_it(db: Database, owner: UUID) -> None:
    """Answers of attendees are asked for anew; whole days stay whole; what takes no time takes none."""
    invited = await booking.create(db, owner, replace(spec(), attendees=(Attendee("bob@example.com"),)))
    assert (await move(db, owner, invited.id)).attendees == (Attendee("bob@example.com"),)
    free = await booking.create(db, owner, replace(spec(), transparent=True))
    assert (await move(db, owner, free.id)).transparent
    day = datetime.fromisoformat("2030-06-03T00:00+02:00")
    whole = replace(spec(day, timedelta(days=1)), time_zone="Europe/Zurich", all_day=True)
    booked = await booking.create(db, owner, whole)
    with pytest.raises(Invalid):
        await move(db, owner, booked.id, day + HOUR, day + timedelta(days=1))


async def test_moves_deletes_and_undeletes_at_once_leave_it_whole(db: Database, owner: UUID) -> None:
    """Its booking is where it says that it is, or nowhere if it is deleted."""
    booked = await booking.create(db, owner, spec())

    async def attempt(work: Awaitable[object]) -> None:
        with suppress(NotFound, Conflict, Stale, Taken):
            await work

    for number in range(20):
        await asyncio.gather(
            *(attempt(move(db, owner, booked.id, TEN + (number * 3 + index) * HOUR)) for index in range(3)),
            attempt(updating.delete(db, owner, booked.id)),
            attempt(updating.undelete(db, owner, booked.id)),
        )
        now = await booking.get(db, owner, booked.id)
        async with db.connection() as connection:
            cursor = await connection.execute(
                "SELECT lower(during), upper(during) FROM bookings WHERE appointment_id = %s", (booked.id,)
            )
            found = await cursor.fetchall()
        assert found == ([] if now.deleted_at else [(now.spec.start_at, now.spec.end_at)])


async def test_of_moves_of_one_appointment_at_once_each_is_told_its_own(db: Database, owner: UUID) -> None:
    """They come while a statement is under way: each is a version, and is told what became of it."""
    first, booked = [await booking.create(db, owner, spec(TEN + index * HOUR)) for index in range(2)]
    starts = [LATER + index * HOUR for index in range(1, 13)]
    _, *moved = await asyncio.gather(
        move(db, owner, first.id, LATER - HOUR), *(move(db, owner, booked.id, start) for start in starts)
    )
    assert starts == [each.spec.start_at for each in moved]
    assert set(range(2, 14)) == {each.version for each in moved}
    assert max(moved, key=attrgetter("version")) == await booking.get(db, owner, booked.id)
    assert set(range(1, 14)) == {version for _, version, _ in await changes(db, booked.id)}


async def test_moves_of_many_at_once_are_one_statement(
    db: Database, owner: UUID, stranger: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each gets its own, with its buffers, request and fields; one that is in the way of another says so."""
    together = 0

    async def fetch(statement: Statement, values: Values) -> list[Row]:
        nonlocal together
        together += statement is moving.MOVE_MANY
        return await plainly(statement, values)

    plainly = db.fetch
    monkeypatch.setattr(db, "fetch", fetch)
    buffered = replace(spec(), buffer_after=timedelta(minutes=30))
    mine = [
        await booking.create(db, owner, replace(buffered, start_at=TEN - k * DAY, end_at=TEN - k * DAY + HOUR))
        for k in range(4)
    ]
    theirs = [await booking.create(db, stranger, spec(TEN - k * DAY)) for k in range(4)]
    deleted = await booking.create(db, stranger, spec(TEN - 9 * DAY))
    await updating.delete(db, stranger, deleted.id)
    answers = await asyncio.gather(
        move(db, stranger, theirs[0].id, TEN + 9 * HOUR),  # has the first turn, so that the others gather
        *(move(db, owner, each.id, LATER + k * 2 * HOUR) for k, each in enumerate(mine)),
        move(db, stranger, theirs[1].id, LATER + HOUR),
        move(db, stranger, theirs[2].id, LATER + 3 * HOUR / 2),  # in the way of the one before
        move(db, stranger, theirs[3].id, LATER, LATER + HOUR, etag='"7"'),
        move(db, stranger, deleted.id, LATER + 30 * HOUR),
        return_exceptions=True,
    )
    assert [Appointment] * 6 + [Conflict, Stale, NotFound] == [type(answer) for answer in answers]
    assert [LATER + k * 2 * HOUR for k in range(4)] == [
        a.spec.start_at for a in answers[1:5] if isinstance(a, Appointment)
    ]
    assert together == 1
    for each in (*mine, theirs[1]):
        assert ("appointment.updated", 2, ["start_at", "end_at"]) in await changes(db, each.id)
    async with db.connection() as connection:
        cursor = await connection.execute(
            "SELECT upper(during) - lower(during) FROM bookings WHERE subject_id = %s", (owner,)
        )
        assert [(timedelta(minutes=90),)] * 4 == await cursor.fetchall()


async def test_moves_that_change_places_all_day_long_leave_no_overlap(dsn: str) -> None:
    """Two processes move a few people's appointments onto each other, and book meanwhile: no deadlock."""
    async with Database(dsn) as one, Database(dsn) as other:
        people = [await add_user(one) for _ in range(3)]
        held = [(who, await booking.create(one, who, spec(TEN + k * HOUR))) for who in people for k in range(6)]
        for round_ in range(30):
            shuffled = random.Random(round_).sample(range(9), 6) * 3
            answers = await asyncio.gather(
                *(
                    move(db, who, each.id, TEN + place * HOUR)
                    for (who, each), place in zip(held, shuffled, strict=True)
                    for db in (one, other)
                ),
                *(booking.create(db, who, spec(TEN + 8 * HOUR)) for who in people for db in (one, other)),
                return_exceptions=True,
            )
            assert {Appointment, Conflict} >= {type(answer) for answer in answers}, answers
        assert await audit(one) == 0
    assert await deadlocks(dsn) == 0

"""Holds: they take their time, are confirmed, or go; and once they have expired they are in nobody's way."""

import asyncio
import math
import os
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from time import monotonic
from uuid import UUID, uuid4

import pytest

from appointments.calendar import booking, holds, listing, occupancy, resources, updating
from appointments.calendar.appointment import Appointment, Spec
from appointments.db import Database, micros
from appointments.shared.errors import Conflict, Denied, Invalid, NotFound, Stale, Unmet
from tests.audit import audit
from tests.people import HOUR, TEN, add_room, add_user, shared, spec

TTL = timedelta(minutes=10)
DAY = timedelta(days=1)


async def expire(db: Database, *held: Appointment) -> None:
    """Let the time of these holds be over."""
    then = datetime.now(UTC) - timedelta(minutes=1)
    async with db.connection() as connection:
        for table, column in (("appointments", "id"), ("bookings", "appointment_id")):
            await connection.execute(
                f"UPDATE {table} SET expires_at = %(then)s WHERE {column} = ANY (%(ids)s)",
                {"ids": [each.id for each in held], "then": then},
            )


async def bookings(db: Database) -> int:
    """How many subjects are taken, also by what has expired."""
    async with db.connection() as connection:
        row = await (await connection.execute("SELECT count(*) FROM bookings")).fetchone()
    return int(row[0]) if row else 0


async def test_a_hold_takes_its_time(db: Database, owner: UUID, stranger: UUID) -> None:
    """Of its owner and of a room, like any appointment, and says until when."""
    room = await add_room(db, stranger)
    held = await booking.create(db, owner, shared(room), ttl=TTL)
    assert held.created_at + 600_000_000 == held.expires_at
    assert held == await booking.get(db, owner, held.id)
    assert [held] == (await listing.page(db, listing.Window(owner))).appointments
    for person, wanted in ((owner, spec()), (stranger, shared(room))):
        with pytest.raises(Conflict):
            await booking.create(db, person, wanted)
    assert 0 == await audit(db)


async def test_a_confirmed_hold_is_an_appointment(db: Database, owner: UUID, stranger: UUID) -> None:
    """Its bookings stay where they are; a second confirmation finds it done."""
    room = await add_room(db, stranger)
    held = await booking.create(db, owner, shared(room), ttl=TTL)
    with pytest.raises(Stale):
        await updating.confirm(db, owner, held.id, etag='"7"')
    confirmed = await updating.confirm(db, owner, held.id, etag=held.etag)
    assert (None, 2, held.spec) == (confirmed.expires_at, confirmed.version, confirmed.spec)
    assert confirmed == await updating.confirm(db, owner, held.id)
    assert (2, 0) == (await bookings(db), await audit(db))


async def test_only_its_owner_confirms_a_hold(db: Database, owner: UUID, stranger: UUID) -> None:
    """For others it is not there; for the manager of its room it is somebody else's."""
    room = await add_room(db, stranger)
    held = await booking.create(db, owner, shared(room), ttl=TTL)
    with pytest.raises(Denied):
        await updating.confirm(db, stranger, held.id)
    with pytest.raises(NotFound):
        await updating.confirm(db, await add_user(db), held.id)


async def test_an_expired_hold_is_as_if_deleted(db: Database, owner: UUID) -> None:
    """At the moment of its end, and the sweep changes nothing that can be seen."""
    held = await booking.create(db, owner, spec(), ttl=TTL)
    await expire(db, held)
    seen = await booking.get(db, owner, held.id)
    assert (seen.expires_at, seen.expires_at, 2) == (seen.deleted_at, seen.updated_at, seen.version)
    for attempt in (
        updating.confirm(db, owner, held.id),
        updating.delete(db, owner, held.id),
        updating.update(db, owner, held.id, lambda old: replace(old, title="Other")),
    ):
        with pytest.raises(NotFound):
            await attempt
    window = listing.Window(owner)
    assert [] == (await listing.page(db, window)).appointments
    assert [seen] == (await listing.page(db, replace(window, show_deleted=True))).appointments
    assert (1, 1) == (await bookings(db), await holds.sweep(db))
    assert (0, 0) == (await bookings(db), await holds.sweep(db))
    assert seen == await booking.get(db, owner, held.id)


async def test_an_expired_hold_hides_nothing_from_a_list(db: Database, owner: UUID) -> None:
    """What began before the window is looked for past it."""
    long = await booking.create(db, owner, spec(TEN - DAY, 2 * DAY))
    await updating.delete(db, owner, long.id)
    held = await booking.create(db, owner, spec(TEN - HOUR), ttl=TTL)
    await expire(db, held)
    await updating.undelete(db, owner, long.id)
    found = (await listing.page(db, listing.Window(owner, since=TEN))).appointments
    assert [long.id] == [each.id for each in found]


async def test_whoever_collides_goes_past_an_expired_hold(db: Database, owner: UUID, stranger: UUID) -> None:
    """A create, alone or with a room, a move and a restore; each on a day of its own."""
    room = await add_room(db, stranger)
    gone = await booking.create(db, owner, spec(TEN + 3 * DAY))
    gone_too = await booking.create(db, owner, shared(room, start=TEN + 4 * DAY))
    for each in (gone, gone_too):
        await updating.delete(db, owner, each.id)
    moving = await booking.create(db, owner, spec(TEN - DAY))
    moving_too = await booking.create(db, owner, shared(room, start=TEN - 2 * DAY))
    for day in range(7):
        wanted = spec(TEN + day * DAY) if day in {0, 3, 5} else shared(room, start=TEN + day * DAY)
        held = await booking.create(db, owner if day in {0, 3, 5} else stranger, wanted, ttl=TTL)
        await expire(db, held)
    await booking.create(db, owner, spec(TEN))
    await booking.create(db, owner, shared(room, start=TEN + DAY))
    await booking.create(db, owner, shared(room, start=TEN + 2 * DAY), ttl=TTL)
    await updating.undelete(db, owner, gone.id)
    await updating.undelete(db, owner, gone_too.id)
    await updating.update(db, owner, moving.id, lambda old: _at(old, 5))
    await updating.update(db, owner, moving_too.id, lambda old: _at(old, 6))
    assert 0 == await audit(db)
    await holds.sweep(db)
    assert (11, 0) == (await bookings(db), await audit(db))


def _at(old: Spec, day: int) -> Spec:
    return replace(old, start_at=TEN + day * DAY, end_at=TEN + day * DAY + HOUR)


async def test_units_look_past_expired_holds(db: Database, owner: UUID, stranger: UUID) -> None:
    """A unit that only they have is free, and can be taken away; a hold that moves to another unit stays a hold."""
    room = await add_room(db, stranger, units=2)
    expired = await booking.create(db, owner, shared(room), ttl=TTL)
    held = await booking.create(db, stranger, shared(room), ttl=TTL)
    await expire(db, expired)
    await resources.update(db, stranger, room, lambda old: replace(old, units=1))
    with pytest.raises(Conflict):
        await booking.create(db, owner, shared(room))
    assert (held, 0) == (await booking.get(db, stranger, held.id), await audit(db))
    await expire(db, held)
    await booking.create(db, owner, shared(room))
    assert 0 == await audit(db)


async def test_occupancy_looks_past_expired_holds(db: Database, owner: UUID, stranger: UUID) -> None:
    """Nobody takes the room any more."""
    room = await add_room(db, stranger)
    held = await booking.create(db, owner, shared(room), ttl=TTL)
    window = occupancy.Window(stranger, room)
    assert 1 == len((await occupancy.page(db, window)).entries)
    await expire(db, held)
    assert [] == (await occupancy.page(db, window)).entries
    with pytest.raises(NotFound):
        await booking.get(db, stranger, held.id)


async def test_a_hold_moves_and_stays_a_hold(db: Database, owner: UUID, stranger: UUID) -> None:
    """Alone and with a room; its end stays too."""
    room = await add_room(db, stranger)
    for wanted in (spec(), shared(room, start=TEN + DAY)):
        held = await booking.create(db, owner, wanted, ttl=TTL)
        moved = await updating.update(db, owner, held.id, lambda old: _at(old, 9))
        assert held.expires_at == moved.expires_at
        await updating.confirm(db, owner, held.id)
        await updating.delete(db, owner, held.id)
    assert 0 == await audit(db)


async def expiries(db: Database, held: Appointment) -> set[int | None]:
    """When the bookings of a hold end."""
    async with db.connection() as connection:
        values = {"id": held.id}
        rows = await connection.execute("SELECT expires_at FROM bookings WHERE appointment_id = %(id)s", values)
        return {micros(row[0]) if row[0] else None for row in await rows.fetchall()}


async def test_a_hold_is_prolonged_without_a_gap(db: Database, owner: UUID, stranger: UUID) -> None:
    """Its bookings stay where they are and end with it; its version tells that it has changed."""
    room = await add_room(db, stranger)
    held = await booking.create(db, owner, shared(room), ttl=TTL)
    before = clock()
    prolonged = await updating.update(db, owner, held.id, lambda old: old, ttl=HOUR, etag=held.etag)
    assert prolonged == await booking.get(db, owner, held.id)
    assert before + 3_600_000_000 <= (prolonged.expires_at or 0) <= clock() + 3_600_000_000
    assert ({prolonged.expires_at}, 2, held.spec) == (await expiries(db, held), prolonged.version, prolonged.spec)
    with pytest.raises(Stale):
        await updating.update(db, owner, held.id, lambda old: old, ttl=TTL, etag=held.etag)
    with pytest.raises(Conflict):
        await booking.create(db, stranger, shared(room))
    confirmed = await updating.confirm(db, owner, held.id, etag=prolonged.etag)
    assert (None, 0) == (confirmed.expires_at, await audit(db))


async def test_a_hold_that_is_shortened_ends_sooner(db: Database, owner: UUID, stranger: UUID) -> None:
    """Whatever its end was, the new one counts, and then it is in nobody's way."""
    room = await add_room(db, stranger)
    held = await booking.create(db, owner, shared(room), ttl=HOUR)
    await updating.update(db, owner, held.id, lambda old: old, ttl=timedelta(microseconds=1))
    await booking.create(db, stranger, shared(room))
    with pytest.raises(NotFound):
        await updating.update(db, owner, held.id, lambda old: old, ttl=TTL)
    assert 0 == await audit(db)


async def test_a_hold_is_moved_and_prolonged_at_once(db: Database, owner: UUID, stranger: UUID) -> None:
    """To another time and another room, all of it until the new end; where these are taken it stays as it was."""
    room, other = await add_room(db, stranger), await add_room(db, stranger)
    held = await booking.create(db, owner, shared(room), ttl=TTL)

    def elsewhere(old: Spec) -> Spec:
        return replace(_at(old, 2), resource_ids=(str(other),))

    taken = await booking.create(db, stranger, shared(other, start=TEN + 2 * DAY))
    with pytest.raises(Conflict):
        await updating.update(db, owner, held.id, elsewhere, ttl=HOUR)
    assert (held, {held.expires_at}) == (await booking.get(db, owner, held.id), await expiries(db, held))
    await updating.delete(db, stranger, taken.id)
    moved = await updating.update(db, owner, held.id, elsewhere, ttl=HOUR)
    assert (moved.expires_at or 0) > (held.expires_at or 0)
    assert ({moved.expires_at}, 2, 0) == (await expiries(db, held), moved.version, await audit(db))


@pytest.mark.parametrize("ttl", [timedelta(), -TTL, HOUR + timedelta(microseconds=1)])
async def test_a_new_length_that_is_none_is_named(db: Database, owner: UUID, ttl: timedelta) -> None:
    """Beside the other bad fields, and nothing changes."""
    held = await booking.create(db, owner, spec(), ttl=TTL)
    with pytest.raises(Invalid) as refused:
        await updating.update(db, owner, held.id, lambda old: replace(old, title=""), ttl=ttl)
    assert ["appointment.title", "appointment.ttl"] == [each.field for each in refused.value.violations]
    assert held == await booking.get(db, owner, held.id)


async def test_only_a_hold_is_prolonged(db: Database, owner: UUID, stranger: UUID) -> None:
    """An appointment does not become one, what is confirmed is none any more, and somebody else's is not there."""
    mine = await booking.create(db, owner, spec())
    held = await booking.create(db, owner, spec(TEN + DAY), ttl=TTL)
    with pytest.raises(NotFound):
        await updating.update(db, stranger, held.id, lambda old: old, ttl=TTL)
    await updating.confirm(db, owner, held.id)
    for each in (mine, held):
        with pytest.raises(Invalid) as refused:
            await updating.update(db, owner, each.id, lambda old: old, ttl=TTL)
        assert ["appointment.ttl"] == [bad.field for bad in refused.value.violations]


async def test_an_expired_hold_is_not_prolonged(db: Database, owner: UUID) -> None:
    """It has gone, swept or not."""
    held = await booking.create(db, owner, spec(), ttl=TTL)
    await expire(db, held)
    for _ in range(2):
        with pytest.raises(NotFound):
            await updating.update(db, owner, held.id, lambda old: old, ttl=TTL)
        await holds.sweep(db)


async def test_a_deleted_hold_frees_its_time_for_good(db: Database, owner: UUID) -> None:
    """It cannot come back as an appointment that nobody has confirmed."""
    held = await booking.create(db, owner, spec(), ttl=TTL)
    await updating.delete(db, owner, held.id)
    with pytest.raises(Unmet) as refused:
        await updating.undelete(db, owner, held.id)
    assert "HOLD_ENDED" == refused.value.reason
    await booking.create(db, owner, spec())


async def test_open_holds_are_limited(db: Database, owner: UUID, stranger: UUID) -> None:
    """Three of a resource, ten in all; those that have ended, and what is confirmed, do not count."""
    room, other = await add_room(db, stranger), await add_room(db, stranger)
    held = [await booking.create(db, owner, shared(room, start=TEN + day * DAY), ttl=TTL) for day in range(3)]
    with pytest.raises(Unmet) as refused:
        await booking.create(db, owner, shared(room, other, start=TEN + 3 * DAY), ttl=TTL)
    assert ("TOO_MANY_HOLDS", {"limit": "3", "resource_id": str(room)}) == (
        refused.value.reason,
        refused.value.metadata,
    )
    await booking.create(db, stranger, shared(room, start=TEN + 3 * DAY), ttl=TTL)
    held += [await booking.create(db, owner, spec(TEN + day * DAY), ttl=TTL) for day in range(3, 10)]
    with pytest.raises(Unmet) as refused:
        await booking.create(db, owner, spec(TEN + 10 * DAY), ttl=TTL)
    assert {"limit": "10"} == refused.value.metadata
    await updating.delete(db, owner, held[9].id)
    await booking.create(db, owner, spec(TEN + 10 * DAY), ttl=TTL)
    await expire(db, held[8])
    await booking.create(db, owner, spec(TEN + 11 * DAY), ttl=TTL)
    await updating.confirm(db, owner, held[0].id)
    await booking.create(db, owner, shared(room, start=TEN + 12 * DAY), ttl=TTL)
    assert 0 == await audit(db)


async def test_limits_hold_against_racing_holds(db: Database, owner: UUID) -> None:
    """Of thirty at once ten are open."""

    async def hold(day: int) -> bool:
        try:
            await booking.create(db, owner, spec(TEN + day * DAY), ttl=TTL)
        except Unmet:
            return False
        return True

    assert 10 == sum(await asyncio.gather(*map(hold, range(30))))


async def test_a_retried_hold_is_the_first(db: Database, owner: UUID) -> None:
    """Also when all holds are used up, and when it has expired; another length is another body."""
    request_id = uuid4()
    first = await booking.create(db, owner, spec(), request_id=request_id, ttl=TTL)
    for day in range(1, 10):
        await booking.create(db, owner, spec(TEN + day * DAY), ttl=TTL)
    assert first == await booking.create(db, owner, spec(), request_id=request_id, ttl=TTL)
    for other in (None, 2 * TTL):
        with pytest.raises(Invalid) as refused:
            await booking.create(db, owner, spec(), request_id=request_id, ttl=other)
        assert "REQUEST_ID_REUSED" == refused.value.reason
    await expire(db, first)
    await holds.sweep(db)
    assert first == await booking.create(db, owner, spec(), request_id=request_id, ttl=TTL)


@pytest.mark.parametrize("ttl", [timedelta(), -TTL, HOUR + timedelta(microseconds=1)])
async def test_a_length_that_is_none_is_named(db: Database, owner: UUID, ttl: timedelta) -> None:
    """Beside the other bad fields."""
    with pytest.raises(Invalid) as refused:
        await booking.create(db, owner, replace(spec(), title=""), ttl=ttl)
    assert ["appointment.title", "appointment.ttl"] == [each.field for each in refused.value.violations]
    with pytest.raises(Invalid):
        await booking.create(db, owner, replace(spec(), transparent=True), ttl=TTL)


async def test_one_of_many_gets_a_hold(db: Database, stranger: UUID) -> None:
    """Thirty people hold one room at once, over a hold that has expired: one wins, and its unit is taken once."""
    room = await add_room(db, stranger)
    people = [await add_user(db) for _ in range(30)]
    await expire(db, await booking.create(db, stranger, shared(room), ttl=TTL))

    async def hold(person: UUID) -> bool:
        try:
            await booking.create(db, person, shared(room), ttl=TTL)
        except Conflict:
            return False
        return True

    assert 1 == sum(await asyncio.gather(*map(hold, people)))
    assert 0 == await audit(db)


async def prolong(db: Database, owner: UUID, held: UUID) -> Appointment:
    """Let a hold live on for longer than a test takes."""
    return await updating.update(db, owner, held, lambda old: old, ttl=TTL)


@pytest.mark.parametrize("keep", [updating.confirm, prolong])
async def test_who_keeps_a_hold_and_a_collider_never_both_win(
    db: Database, owner: UUID, stranger: UUID, keep: Callable[[Database, UUID, UUID], Awaitable[Appointment]]
) -> None:
    """Around the very end of a hold: either the owner has confirmed or prolonged it, or somebody else has the room."""
    room = await add_room(db, stranger)
    outcomes = set()
    for day in range(40):
        wanted = shared(room, start=TEN + day * DAY)
        held = await booking.create(db, owner, wanted, ttl=timedelta(milliseconds=10 + day % 8))

        async def collide(day: int = day) -> bool:
            for _ in range(50):
                try:
                    await booking.create(db, stranger, shared(room, start=TEN + day * DAY))
                except Conflict:
                    await asyncio.sleep(0.0005)
                else:
                    return True
            return False

        async def late(held: Appointment = held, after: float = (day % 10) * 0.002) -> bool:
            await asyncio.sleep(after)
            try:
                kept = await keep(db, owner, held.id)
            except NotFound:
                return False
            if kept.expires_at is not None:
                await updating.confirm(db, owner, held.id)
            return True

        outcomes.add(tuple(await asyncio.gather(late(), collide())))
        assert (True, True) not in outcomes
    assert 0 == await audit(db)


async def test_five_hundred_hold_one_slot_and_one_has_it(db: Database, stranger: UUID) -> None:
    """The others are told that the room is taken, and nothing else."""
    room = await add_room(db, stranger)
    people = await asyncio.gather(*(add_user(db) for _ in range(500)))

    async def hold(person: UUID) -> str:
        try:
            await booking.create(db, person, shared(room), ttl=TTL)
        except Conflict as refused:
            return str(refused.resource_ids == (room,))
        return "held"

    assert Counter({"held": 1, "True": 499}) == Counter(await asyncio.gather(*map(hold, people)))
    assert (2, 0) == (await bookings(db), await audit(db))


def clock() -> int:
    """What time it is, as the database counts it: it is on this machine."""
    return micros(datetime.now(UTC))


async def test_holds_that_expire_under_load_never_let_two_in(db: Database, stranger: UUID) -> None:
    """People hold, prolong, confirm and delete for moments, while it is swept: while one surely holds no other does.

    ``HOLDS`` is how many attempts there are. A hold is surely there from its answer on, until it expires, or until its
    deletion is asked for; for good once it is confirmed. How long a moment is depends on how fast the machine is just
    now: a part of what a hold takes, as much, or some times as much.
    """
    attempts = int(os.environ.get("HOLDS", "500"))
    room = await add_room(db, stranger)
    people = [await add_user(db) for _ in range(12)]
    surely: defaultdict[int, list[tuple[int, float]]] = defaultdict(list)  # of each slot: from, until
    done: Counter[str] = Counter()
    numbers = iter(range(attempts))

    async def act(person: UUID, dice: random.Random) -> None:
        pace = 0.005
        for number in numbers:
            # What is confirmed is taken for good, so there are new slots from time to time.
            slot = 8 * (number // 200) + dice.randrange(8)
            moment = max(0.001, pace * dice.choice([0.1, 1, 4]))
            asked = monotonic()
            try:
                mine = await booking.create(
                    db, person, shared(room, start=TEN + slot * HOUR), ttl=timedelta(seconds=moment)
                )
            except (Conflict, Unmet):
                continue
            finally:
                pace = monotonic() - asked
            begin, end = clock(), float(mine.expires_at or 0)
            await asyncio.sleep(moment * dice.choice([0, 0.4, 1]))
            what = dice.choices(["confirm", "prolong", "delete", "nothing"], [2, 30, 15, 53])[0]
            with suppress(NotFound):
                if what == "confirm":
                    await updating.confirm(db, person, mine.id)
                    end = math.inf
                elif what == "prolong":
                    longer = await updating.update(
                        db, person, mine.id, lambda old: old, ttl=timedelta(seconds=max(0.001, 2 * pace))
                    )
                    end = float(longer.expires_at or 0)
                elif what == "delete":
                    before = clock()
                    await updating.delete(db, person, mine.id)
                    end = min(end, before)
                done[what] += 1
            if begin < end:
                surely[slot].append((begin, end))

    async def keep_sweeping() -> None:
        while True:
            await holds.sweep(db)
            await asyncio.sleep(0.01)

    sweeping = asyncio.create_task(keep_sweeping())
    await asyncio.gather(*(act(person, random.Random(number)) for number, person in enumerate(people)))
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)
    for spans in surely.values():
        assert [] == [pair for pair in pairwise(sorted(spans)) if pair[1][0] < pair[0][1]]
    print(attempts, "attempts,", sum(map(len, surely.values())), "surely held,", dict(done))  # noqa: T201
    assert sum(map(len, surely.values())) > attempts / 100
    assert {"prolong", "delete", "nothing"} <= set(done)
    assert 0 == await audit(db)

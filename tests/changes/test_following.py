"""Following a calendar: from a cursor on, without a hole, and never more than one may see."""

import asyncio
import random
from contextlib import aclosing
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from appointments.auth import accounts
from appointments.calendar import access, booking, resources, updating
from appointments.calendar.resource import Role
from appointments.changes import cursor as cursors
from appointments.changes import following, reading, sequencer
from appointments.changes.cursor import Cursor, Follower
from appointments.changes.hub import MISSED_PAGE, MOST_WAITING, Hub, News, Subscription
from appointments.changes.reading import Batch
from appointments.changes.sequencer import Sequencer
from appointments.db import Database
from appointments.shared.errors import Expired, NotFound, Unavailable
from tests.changes.following import Mirror, follow, next_changes, one, running
from tests.people import HOUR, TEN, add_room, add_user, shared, spec


async def pages(db: Database, hub: Hub, follower: Follower, cursor: Cursor, size: int = 100) -> list[Batch]:
    """Everything after a cursor, page by page."""
    await hub.sequencer.settle()
    found = [await reading.page(db, follower, cursor, size=size)]
    while found[-1].more:
        found.append(await reading.page(db, follower, found[-1].cursor, size=size))
    return found


async def now(db: Database) -> Cursor:
    """The cursor of now, everything before it settled."""
    await Sequencer(db).settle()
    return (await reading.head(db)).end


async def test_each_change_carries_what_is_so_now(db: Database, owner: UUID) -> None:
    """The first versions come with the state that they led to, the last one with its own."""
    async with running(db) as hub:
        start = await now(db)
        created = await booking.create(db, owner, spec())
        deleted = await updating.delete(db, owner, created.id)
        (page,) = await pages(db, hub, Follower(owner), start)
    assert [("appointment.created", 1), ("appointment.deleted", 2)] == [
        (each.kind, each.version) for each in page.changes
    ]
    assert [deleted, deleted] == [each.appointment for each in page.changes]


async def test_pages_go_on_where_the_last_one_ended(db: Database, owner: UUID, stranger: UUID) -> None:
    """Nothing twice, nothing of anybody else's; the last page's cursor is that of now."""
    async with running(db) as hub:
        start = await now(db)
        for hours in range(7):
            await booking.create(db, owner, spec(TEN + hours * HOUR))
            await booking.create(db, stranger, spec(TEN + hours * HOUR))
        found = await pages(db, hub, Follower(owner), start, size=3)
        assert [3, 3, 1] == [len(page.changes) for page in found]
        assert 7 == len({change.item_id for page in found for change in page.changes})
        assert await now(db) == found[-1].cursor


async def test_a_stream_goes_over_from_what_was_to_what_happens(db: Database, owner: UUID) -> None:
    """Changes before it opened, while it catches up and after: each once, in order."""
    async with running(db) as hub:
        start = await now(db)
        mirror, wanted = Mirror(), MISSED_PAGE + 50

        async def write() -> None:
            for hours in range(wanted):
                await booking.create(db, owner, spec(TEN + hours * HOUR))

        writing = asyncio.create_task(write())
        await asyncio.sleep(0.2)
        async with aclosing(follow(db, hub, Follower(owner), start)) as batches, asyncio.timeout(60):
            seen = 0
            async for batch in batches:
                assert len(batch.changes) <= following.MOST
                seen += len(batch.changes)
                mirror.take(batch)
                if seen == wanted:
                    break
        await writing
    assert wanted == len(mirror.appointments)
    assert await now(db) == mirror.cursor


async def test_list_and_follow_have_no_hole(db: Database, owner: UUID) -> None:
    """A cursor, then a list, while somebody writes: with what came after the cursor the list becomes the table."""
    async with running(db) as hub:
        stop = asyncio.Event()

        async def write() -> None:
            hours = 0
            while not stop.is_set():
                created = await booking.create(db, owner, spec(TEN + (hours := hours + 1) * HOUR))
                if hours % 3 == 0:
                    await updating.delete(db, owner, created.id)

        writing = asyncio.create_task(write())
        copies = []
        for _ in range(20):
            cursor = (await reading.page(db, Follower(owner), None, size=1)).cursor
            copies.append((cursor, set(await one(db, LIVE))))
        stop.set()
        await writing
        live = set(await one(db, LIVE))
        for cursor, listed in copies:
            for page in await pages(db, hub, Follower(owner), cursor):
                for change in page.changes:
                    assert change.item_id
                    assert change.appointment
                    (listed.discard if change.appointment.deleted_at else listed.add)(change.item_id)
            assert live == listed


LIVE = "SELECT coalesce(array_agg(id), '{}') FROM appointments WHERE deleted_at IS NULL"


async def test_a_manager_sees_what_takes_the_resource_and_what_does_not_any_more(db: Database, owner: UUID) -> None:
    """Taken, taken off, deleted, and by an account that is no more."""
    manager = await add_user(db)
    room = await add_room(db, manager)
    follower = Follower(manager, room)
    async with running(db) as hub:
        start = await now(db)
        created = await booking.create(db, owner, shared(room))
        (page,) = await pages(db, hub, follower, start)
        assert [created] == [each.appointment for each in page.changes]
        await updating.update(db, owner, created.id, lambda _: spec())
        (page,) = await pages(db, hub, follower, page.cursor)
        assert [("appointment.removed", created.id, True)] == [
            (each.kind, each.item_id, each.gone) for each in page.changes
        ]
        await updating.update(db, owner, created.id, lambda _: shared(room))
        await db.transact(lambda connection: accounts._erase(connection, owner, ""))
        (page,) = await pages(db, hub, follower, page.cursor)
        assert [(created.id, True)] * 2 == [(each.item_id, each.gone) for each in page.changes]


async def test_who_does_not_manage_a_resource_learns_only_that_it_changed(db: Database, owner: UUID) -> None:
    """Of others' appointments: neither id, nor who, nor what. Of their own all of it."""
    viewer = await add_user(db)
    room = await add_room(db, await add_user(db))
    async with running(db) as hub:
        start = await now(db)
        await booking.create(db, owner, shared(room))
        mine = await booking.create(db, viewer, shared(room, start=TEN + HOUR))
        (page,) = await pages(db, hub, Follower(viewer, room), start)
    theirs, own = page.changes
    assert (None, None, None, 0, False) == (
        theirs.item_id,
        theirs.appointment,
        theirs.actor_id,
        theirs.version,
        theirs.gone,
    )
    assert mine == own.appointment


async def test_a_role_that_is_taken_away_ends_the_stream(db: Database) -> None:
    """And the person's own calendar tells them what they lost sight of."""
    manager, somebody = await add_user(db), await add_user(db)
    room = await add_room(db, manager, default_role=Role.NONE)
    await access.grant(db, manager, room, f"{somebody}@example.com", Role.VIEWER)
    async with running(db) as hub:
        start = await now(db)
        batches = follow(db, hub, Follower(somebody, room), None)
        await anext(batches)
        await access.grant(db, manager, room, f"{somebody}@example.com", Role.NONE)
        with pytest.raises(NotFound):
            async with asyncio.timeout(10):
                await anext(batches)
        with pytest.raises(NotFound):
            await anext(follow(db, hub, Follower(somebody, room), start))
        (page,) = await pages(db, hub, Follower(somebody), start)
    assert [("resource.access", room, True)] == [(each.kind, each.item_id, each.gone) for each in page.changes]


async def test_a_manager_who_becomes_a_viewer_sees_less_from_then_on(db: Database, owner: UUID) -> None:
    """In the same stream."""
    manager, somebody = await add_user(db), await add_user(db)
    room = await add_room(db, manager)
    await access.grant(db, manager, room, f"{somebody}@example.com", Role.MANAGER)
    async with running(db) as hub:
        await hub.sequencer.settle()
        batches = follow(db, hub, Follower(somebody, room), None)
        await anext(batches)
        await booking.create(db, owner, shared(room))
        assert (await next_changes(batches)).changes[0].appointment
        await access.grant(db, manager, room, f"{somebody}@example.com", Role.NONE)
        (lowered,) = (await next_changes(batches)).changes
        assert lowered.resource
        assert Role.BOOKER == lowered.resource.role
        await booking.create(db, owner, shared(room, start=TEN + HOUR))
        (hidden,) = (await next_changes(batches)).changes
        assert (None, None) == (hidden.item_id, hidden.appointment)


async def test_a_resource_tells_its_followers_about_itself(db: Database) -> None:
    """As each of them sees it."""
    manager, somebody = await add_user(db), await add_user(db)
    room = await add_room(db, manager)
    async with running(db) as hub:
        start = await now(db)
        await resources.update(db, manager, room, lambda old: replace(old, display_name="Hall"))
        for person, role in ((manager, Role.MANAGER), (somebody, Role.BOOKER)):
            (page,) = await pages(db, hub, Follower(person, room), start)
            (change,) = page.changes
            assert change.resource
            assert ("Hall", role) == (change.resource.display_name, change.resource.role)


def test_a_cursor_is_its_followers_alone() -> None:
    """Not another person's, not for another calendar, and nothing that somebody has made up."""
    follower, cursor = Follower(uuid4(), uuid4()), Cursor(uuid4(), 2**40)
    text = cursors.encode(cursor, follower)
    assert cursor == cursors.decode(text, follower)
    for other in (
        Follower(uuid4(), follower.resource_id),
        Follower(follower.user_id),
        Follower(follower.user_id, uuid4()),
    ):
        assert cursors.decode(text, other) is None
    for wrong in (text[:-1], text[1:], text + "A", "", "AAAA", "é", "🙂" * 40):
        assert cursors.decode(wrong, follower) is None


async def test_a_cursor_that_cannot_be_gone_on_from_has_expired(db: Database, owner: UUID) -> None:
    """Forgotten, of another epoch, or of a future that a restore has undone; for pages and for streams."""
    async with running(db) as hub:
        for hours in range(3):
            await booking.create(db, owner, spec(TEN + hours * HOUR))
        await hub.sequencer.settle()
        end = await now(db)
        async with db.connection() as connection:
            await connection.execute("UPDATE changes SET changed_at = now() - interval '31 days' WHERE position <= 2")
        assert 2 == await sequencer.prune(db, 30)
        assert 1 == len((await reading.page(db, Follower(owner), replace(end, position=2), size=9)).changes)
        for cursor in (replace(end, position=1), replace(end, position=4), replace(end, epoch=uuid4())):
            with pytest.raises(Expired):
                await reading.page(db, Follower(owner), cursor, size=9)
            with pytest.raises(Expired):
                await anext(follow(db, hub, Follower(owner), cursor))


async def test_a_new_epoch_ends_the_streams_that_are_open(db: Database, owner: UUID) -> None:
    """They come back with their cursor, and learn that it has expired."""
    async with running(db) as hub:
        batches = follow(db, hub, Follower(owner), None)
        cursor = (await anext(batches)).cursor
        await sequencer.epoch_anew(db)
        with pytest.raises(Unavailable):
            async with asyncio.timeout(10):
                await anext(batches)
        with pytest.raises(Expired):
            await anext(follow(db, hub, Follower(owner), cursor))
        batches = follow(db, hub, Follower(owner), None)
        await anext(batches)
        await booking.create(db, owner, spec())
        assert 1 == len((await next_changes(batches)).changes)


async def test_silence_is_answered_too(db: Database, owner: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without changes of one's own there is still an answer, whose cursor has moved on."""
    monkeypatch.setattr(following, "SILENCE_SECONDS", (0.2, 0.2))
    stranger = await add_user(db)
    async with running(db) as hub:
        batches = follow(db, hub, Follower(owner), None)
        first = await anext(batches)
        await booking.create(db, stranger, spec())
        await hub.sequencer.settle()
        async with asyncio.timeout(10):
            while (silent := await anext(batches)).cursor == first.cursor:
                assert [] == silent.changes
        assert await now(db) == silent.cursor


async def test_who_takes_nothing_is_given_up(db: Database, owner: UUID) -> None:
    """The queue has an end, and then there is nothing left in it."""
    entry = reading.Entry(1, owner, "appointment.created", uuid4(), 1, None, None, None, 0)
    async with running(db) as hub:
        await hub.start()
        with hub.subscribed(owner) as subscription:
            for _ in range(MOST_WAITING + 1):
                subscription.put(News([entry], {}))
            with pytest.raises(Unavailable) as refused:
                subscription.take()
            assert "SLOW_READER" == refused.value.reason
            assert subscription._queue is None


async def test_followers_come_and_go_and_nobody_misses_anything(db: Database, owner: UUID) -> None:
    """A hundred streams of a few people that end at random and go on from their cursors: all equal in the end."""
    people = [await add_user(db) for _ in range(4)]
    stop = asyncio.Event()
    async with running(db) as hub:

        async def write(person: UUID) -> None:
            hours = 0
            while not stop.is_set():
                created = await booking.create(db, person, spec(TEN + (hours := hours + 1) * HOUR))
                await updating.update(db, person, created.id, lambda old: replace(old, title="Changed"))
                await asyncio.sleep(0)

        async def mirror(person: UUID) -> Mirror:
            copy, chance = Mirror(), random.Random()
            copy.cursor = start
            while not stop.is_set() or copy.cursor != end:
                async with aclosing(follow(db, hub, Follower(person), copy.cursor)) as batches:
                    left = chance.randrange(1, 10)
                    async for batch in batches:
                        copy.take(batch)
                        left -= 1
                        if not left or (stop.is_set() and copy.cursor == end):
                            break
            return copy

        start = end = await now(db)
        writing = [asyncio.create_task(write(person)) for person in people]
        mirrors = [asyncio.create_task(mirror(person)) for person in people for _ in range(25)]
        await asyncio.sleep(3)
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)
        await hub.sequencer.settle()
        end = await now(db)
        stop.set()
        async with asyncio.timeout(60):
            copies = await asyncio.gather(*mirrors)
    for person, copy in zip((each for each in people for _ in range(25)), copies, strict=True):
        async with db.connection() as connection:
            cursor = await connection.execute("SELECT id, version FROM appointments WHERE owner_id = %s", [person])
            assert dict(await cursor.fetchall()) == {key: each.version for key, each in copy.appointments.items()}
    assert not hub._followers


def test_a_subscription_is_small(db: Database) -> None:
    """Ten thousand of them are nothing to speak of."""
    assert "__dict__" not in dir(Subscription(Hub(db, Sequencer(db)), uuid4(), Cursor(uuid4(), 0)))

"""Following one's own calendar and those of resources at once: in one order, from one cursor, each by its own role."""

import asyncio
from contextlib import aclosing
from typing import Any
from uuid import UUID, uuid4

import pytest

from appointments.calendar import access, booking, resources, updating
from appointments.calendar.resource import Role
from appointments.changes import cursor as cursors
from appointments.changes import following, reading
from appointments.changes.cursor import MOST_RESOURCES, Cursor, Follower
from appointments.changes.hub import MISSED_PAGE, MOST_WAITING, News
from appointments.changes.reading import Batch, Change, Entry
from appointments.changes.sequencer import Sequencer
from appointments.db import Connection, Database, Row, Statement, Values
from appointments.shared.errors import NotFound, Unavailable
from tests.changes.following import follow, next_changes, running
from tests.people import HOUR, TEN, add_room, add_user, shared, spec


async def now(db: Database) -> Cursor:
    """The cursor of now, everything before it settled."""
    await Sequencer(db).settle()
    return (await reading.head(db)).end


async def listed(db: Database, follower: Follower, cursor: Cursor, size: int = 1000) -> list[Change]:
    """Everything after a cursor, page by page."""
    await Sequencer(db).settle()
    page = await reading.page(db, follower, cursor, size=size)
    found = list(page.changes)
    while page.more:
        page = await reading.page(db, follower, page.cursor, size=size)
        assert len(page.changes) <= size
        found += page.changes
    return found


def told(changes: list[Change]) -> list[tuple[UUID | None, UUID | None, int]]:
    """In whose calendar, of what, since which version."""
    return [(each.resource_id, each.item_id, each.version) for each in changes]


async def taken(batches: Any, count: int) -> list[Batch]:
    """Batches with so many changes in all."""
    found: list[Batch] = []
    async with asyncio.timeout(30):
        while sum(len(each.changes) for each in found) < count:
            found.append(await anext(batches))
    return found


async def test_an_appointment_is_told_of_in_each_calendar_that_shows_it(db: Database, owner: UUID) -> None:
    """Taken by two rooms it comes three times; taken off one of them it is gone there, and there alone."""
    rooms = [await add_room(db, owner) for _ in range(2)]
    follower = Follower(owner, resource_ids=tuple(rooms))
    async with running(db) as hub:
        start = await now(db)
        async with aclosing(follow(db, hub, follower, start)) as batches:
            await anext(batches)
            created = await booking.create(db, owner, shared(*rooms))
            (first,) = await taken(batches, 3)
            assert {(None, created.id, 1), *((room, created.id, 1) for room in rooms)} == set(told(first.changes))
            assert [created] * 3 == [each.appointment for each in first.changes]
            assert [None, None] == [each.request_id for each in first.changes if each.resource_id]
            await updating.update(db, owner, created.id, lambda _: shared(rooms[0]))
            (second,) = await taken(batches, 3)
            gone = {each.resource_id: each.gone for each in second.changes}
            assert {None: False, rooms[0]: False, rooms[1]: True} == gone
        changes = await listed(db, follower, start)
    assert told([*first.changes, *second.changes]) == told(changes)


async def test_what_was_missed_is_in_one_order_over_all_calendars(
    db: Database, owner: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than a full page of one, some of others: page by page and by stream, each once, by position."""
    monkeypatch.setattr("appointments.changes.hub.MISSED_PAGE", 10)
    monkeypatch.setattr(following, "MISSED_PAGE", 10)
    rooms = [await add_room(db, owner, default_role=Role.BOOKER) for _ in range(3)]
    stranger = await add_user(db)
    start = await now(db)
    wanted = []
    for hours in range(40):
        at = TEN + hours * HOUR
        # The first room is taken all the time, the last one only at the end, and some of it is nobody's affair here.
        await booking.create(db, stranger, spec(at + 1000 * HOUR))
        made = await booking.create(db, stranger, shared(rooms[0] if hours < 35 else rooms[2], start=at))
        wanted.append((made.resource_ids or [""])[0])
        if hours % 7 == 0:
            await booking.create(db, owner, spec(at))
            wanted.append("")
    follower = Follower(owner, resource_ids=tuple(rooms))
    async with running(db) as hub:
        for size in (1, 7, 1000):
            assert wanted == [str(each.resource_id or "") for each in await listed(db, follower, start, size)]
        async with aclosing(follow(db, hub, follower, start)) as batches:
            found = await taken(batches, len(wanted))
            assert wanted == [str(each.resource_id or "") for batch in found for each in batch.changes]
            positions = [batch.cursor.position for batch in found]
            assert sorted(positions) == positions
            assert len(found) >= len(wanted) // 10
            # From the middle on, too: the cursor of each batch goes on after it.
            middle = found[len(found) // 2]
            before = sum(len(each.changes) for each in found[: len(found) // 2 + 1])
            assert wanted[before:] == [
                str(each.resource_id or "") for each in await listed(db, follower, middle.cursor)
            ]


async def test_a_full_page_of_each_calendar_leaves_no_hole(db: Database, owner: UUID) -> None:
    """As many entries as really fit, in own and foreign calendars by turns."""
    room, other = await add_room(db, owner), await add_user(db)
    start = await now(db)
    every = MISSED_PAGE + 30
    for hours in range(every):
        who = owner if hours % 2 else other
        await booking.create(db, who, shared(room, start=TEN + hours * HOUR))
    follower = Follower(owner, resource_ids=(room,))
    async with running(db) as hub, aclosing(follow(db, hub, follower, start)) as batches:
        changes = [each for batch in await taken(batches, every + every // 2) for each in batch.changes]
    assert every == len({each.item_id for each in changes if each.resource_id == room})
    assert every // 2 == len({each.item_id for each in changes if each.resource_id is None})
    assert len(changes) == len(set(told(changes)))


async def test_a_cursor_goes_on_with_other_resources(db: Database, owner: UUID) -> None:
    """One that is added has what came after the cursor; of one that is left out nothing comes."""
    rooms = [await add_room(db, owner) for _ in range(2)]
    start = await now(db)
    of_each = [(await booking.create(db, owner, shared(room, start=TEN + n * HOUR))).id for n, room in enumerate(rooms)]
    for ids in ((), (rooms[0],), (rooms[1],), (rooms[1], rooms[0])):
        follower = Follower(owner, resource_ids=tuple(ids))
        text = cursors.encode(start, Follower(owner, resource_ids=(rooms[0],)))
        assert start == cursors.decode(text, follower)
        changes = await listed(db, follower, start)
        expected = {(None, id_) for id_ in of_each} | {(room, of_each[rooms.index(room)]) for room in ids}
        assert expected == {(each.resource_id, each.item_id) for each in changes}
    assert cursors.decode(cursors.encode(start, Follower(owner)), Follower(owner, rooms[0])) is None
    assert cursors.decode(cursors.encode(start, Follower(owner)), Follower(uuid4(), resource_ids=(rooms[0],))) is None


async def test_each_resource_is_seen_by_ones_role_there(db: Database, owner: UUID) -> None:
    """The manager of one room is a viewer of the other: what somebody books there is only known to be something."""
    somebody = await add_user(db)
    managed = await add_room(db, somebody)
    viewed = await add_room(db, await add_user(db), default_role=Role.VIEWER)
    await access.grant(db, await _manager_of(db, viewed), viewed, f"{owner}@example.com", Role.BOOKER)
    follower = Follower(somebody, resource_ids=(managed, viewed))
    start = await now(db)
    async with running(db) as hub, aclosing(follow(db, hub, follower, start)) as batches:
        await anext(batches)
        created = await booking.create(db, owner, shared(managed, viewed))
        changes = [each for batch in await taken(batches, 2) for each in batch.changes]
    seen, hidden = sorted(changes, key=lambda each: each.resource_id != managed)
    assert (managed, created) == (seen.resource_id, seen.appointment)
    assert Change("appointment.changed", hidden.changed_at, resource_id=viewed) == hidden
    assert told(changes) == told(await listed(db, follower, start))


async def _manager_of(db: Database, room: UUID) -> UUID:
    async with db.connection() as connection:
        found = await connection.execute(
            "SELECT user_id FROM resource_grants WHERE resource_id = %s AND role = 3", [room]
        )
        row = await found.fetchone()
    assert row
    manager: UUID = row[0]
    return manager


async def test_who_loses_sight_of_one_resource_keeps_the_others(
    db: Database, owner: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are told that it is gone, once, get nothing more of it, and are still told that nothing happens."""
    monkeypatch.setattr(following, "SILENCE_SECONDS", (0.2, 0.2))
    somebody = await add_user(db)
    lost, kept = [await add_room(db, owner, default_role=Role.NONE) for _ in range(2)]
    for room in (lost, kept):
        await access.grant(db, owner, room, f"{somebody}@example.com", Role.MANAGER)
    follower = Follower(somebody, resource_ids=(lost, kept))
    start = await now(db)
    async with running(db) as hub, aclosing(follow(db, hub, follower, start)) as batches:
        await anext(batches)
        await booking.create(db, owner, shared(lost))
        assert [lost] == [each.resource_id for each in (await next_changes(batches)).changes]
        await access.grant(db, owner, lost, f"{somebody}@example.com", Role.NONE)
        changes = [each for batch in await taken(batches, 2) for each in batch.changes]
        assert {(lost, lost, True), (None, lost, True)} == {
            (each.resource_id, each.item_id, each.gone) for each in changes
        }
        assert lost not in hub._merging
        await booking.create(db, owner, shared(lost, start=TEN + HOUR))
        made = await booking.create(db, owner, shared(kept, start=TEN + 2 * HOUR))
        (change,) = (await next_changes(batches)).changes
        assert (kept, made) == (change.resource_id, change.appointment)
        await booking.create(db, owner, shared(lost, start=TEN + 3 * HOUR))
        async with asyncio.timeout(5):
            assert [] == (await anext(batches)).changes
        with pytest.raises(NotFound) as refused:
            await anext(follow(db, hub, follower, start))
        assert (str(lost), "RESOURCE_NOT_FOUND") == (refused.value.metadata["resource_id"], refused.value.reason)
        with pytest.raises(NotFound):
            await reading.page(db, follower, start, size=9)
    assert not hub._merging
    assert not hub._of_several


async def test_what_is_lost_is_gone_in_what_was_missed_too(db: Database, owner: UUID) -> None:
    """The role was lost after the stream had looked at it and before it had read what it missed."""
    somebody = await add_user(db)
    lost = await add_room(db, owner, default_role=Role.NONE)
    await access.grant(db, owner, lost, f"{somebody}@example.com", Role.MANAGER)
    follower = Follower(somebody, resource_ids=(lost,))
    start = await now(db)
    roles = await reading.roles_of(db, follower)
    await booking.create(db, owner, shared(lost))
    await access.grant(db, owner, lost, f"{somebody}@example.com", Role.NONE)
    await Sequencer(db).settle()
    ((_, entries),) = await reading.of_calendars(db, [(follower.calendar_ids, start.position)], 100)
    seen = await reading.seen(db, follower, roles, entries, await reading.items(db, entries))
    assert {} == seen.roles
    assert [(lost, True)] == [(each.item_id, each.gone) for each in seen.changes if each.resource_id]


async def test_a_resource_that_is_deleted_is_gone_for_who_does_not_manage_it(db: Database, owner: UUID) -> None:
    """The manager keeps it, as it is now, and hears of its return."""
    somebody = await add_user(db)
    room = await add_room(db, owner)
    streams = {}
    async with running(db) as hub:
        for who in (owner, somebody):
            streams[who] = follow(db, hub, Follower(who, resource_ids=(room,)), None)
            await anext(streams[who])
        await resources.delete(db, owner, room)
        (seen,), (gone,) = [(await next_changes(streams[who])).changes for who in (owner, somebody)]
        assert seen.resource
        assert seen.resource.deleted_at
        assert (room, True, "resource.deleted") == (gone.resource_id, gone.gone, gone.kind)
        await resources.undelete(db, owner, room)
        (again,) = (await next_changes(streams[owner])).changes
        assert again.resource
        assert again.resource.deleted_at is None
        for each in streams.values():
            await each.aclose()


async def test_fifty_resources_are_no_more_statements_than_one(
    db: Database, owner: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To begin, to read what was missed, and to look at roles when several have changed."""
    rooms = [await add_room(db, owner) for _ in range(MOST_RESOURCES)]
    start = await now(db)
    for room in rooms:
        await access.grant(db, owner, room, f"{owner}@example.com", Role.MANAGER)
    count = 0
    fetch = Connection.fetch

    async def counted(self: Connection, *arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        return await fetch(self, *arguments, **options)

    await Sequencer(db).settle()
    monkeypatch.setattr(Connection, "fetch", counted)
    counts = []
    for ids in (rooms[:1], rooms):
        before = count
        page = await reading.page(db, Follower(owner, resource_ids=tuple(ids)), start, size=1000)
        counts.append(count - before)
        assert len(page.changes) >= len(ids)
    assert counts[0] == counts[1]


async def test_who_takes_nothing_is_given_up_however_many_calendars(db: Database, owner: UUID) -> None:
    """The queue is one for all of them, with one end."""
    rooms = [uuid4() for _ in range(3)]
    async with running(db) as hub:
        await hub.start()
        with hub.subscribed(owner, rooms) as subscription:
            for number in range(MOST_WAITING + 1):
                entry = Entry(number, rooms[number % 3], "appointment.created", uuid4(), 1, None, None, None, 0)
                subscription.put(News([entry], {}))
            with pytest.raises(Unavailable) as refused:
                subscription.take()
            assert "SLOW_READER" == refused.value.reason
        assert not hub._merging


async def test_thousands_of_calendars_are_not_read_by_one_statement(
    db: Database, owner: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Followers who come back together are answered in turns, and each has their own."""
    rooms = [await add_room(db, owner) for _ in range(4)]
    start = await now(db)
    booked = [await booking.create(db, owner, shared(room, start=TEN + k * HOUR)) for k, room in enumerate(rooms)]
    await Sequencer(db).settle()
    questions = [([owner], start.position), (rooms[:3], start.position), ([], start.position), (rooms[2:], 10**9)]
    together = await reading.of_calendars(db, questions, 10)
    statements = 0
    plainly = db.fetch

    async def fetch(statement: Statement, values: Values) -> list[Row]:
        nonlocal statements
        statements += 1
        return await plainly(statement, values)

    monkeypatch.setattr(db, "fetch", fetch)
    monkeypatch.setattr(reading, "CALENDARS_AT_ONCE", 3)
    assert together == await reading.of_calendars(db, questions, 10)
    assert 2 == statements
    ids = [each.id for each in booked]
    assert [ids, ids[:3], [], []] == [[entry.item_id for entry in entries] for _, entries in together]

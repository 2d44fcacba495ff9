"""Every change leaves its rows in the log, for everybody who sees it, and nothing else does."""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from appointments.auth import accounts
from appointments.calendar import access, booking, resources, updating
from appointments.calendar.log import Cause
from appointments.calendar.resource import Role
from appointments.db import Database
from appointments.shared.errors import Conflict
from tests.people import HOUR, TEN, add_room, add_user, shared, spec

CAUSE = Cause(UUID(int=7), "a-request")


async def logged(db: Database, calendar_id: UUID) -> list[tuple[Any, ...]]:
    """What the log has for a calendar: kind, version and the fields that changed, in order."""
    async with db.connection() as connection:
        cursor = await connection.execute(
            "SELECT kind, version, fields FROM new_changes WHERE calendar_id = %(id)s ORDER BY id", {"id": calendar_id}
        )
        return await cursor.fetchall()


async def test_an_appointment_tells_its_owner_of_its_whole_life(db: Database, owner: UUID) -> None:
    """Created, changed with and without its time, deleted, restored: a row each, with what has changed."""
    created = await booking.create(db, owner, spec())
    await updating.update(db, owner, created.id, lambda old: replace(old, title="Shave"))
    await updating.update(db, owner, created.id, lambda old: replace(old, start_at=TEN - HOUR, location="Here"))
    await updating.update(db, owner, created.id, lambda old: old)
    await updating.delete(db, owner, created.id)
    await updating.undelete(db, owner, created.id)
    assert [
        ("appointment.created", 1, None),
        ("appointment.updated", 2, ["title"]),
        ("appointment.updated", 3, ["start_at", "location"]),
        ("appointment.deleted", 4, None),
        ("appointment.undeleted", 5, None),
    ] == await logged(db, owner)


async def test_what_is_refused_leaves_no_row(db: Database, owner: UUID) -> None:
    """A conflict, on each way to book and to move: the log tells of what is so."""
    room = await add_room(db, owner)
    first = await booking.create(db, owner, shared(room))
    second = await booking.create(db, owner, spec(TEN + HOUR))
    before = await logged(db, owner), await logged(db, room)
    for wanted in (spec(), shared(room)):
        with pytest.raises(Conflict):
            await booking.create(db, owner, wanted)
    with pytest.raises(Conflict):
        await updating.update(db, owner, second.id, lambda old: replace(old, start_at=first.spec.start_at))
    assert before == (await logged(db, owner), await logged(db, room))


async def test_a_room_that_is_taken_off_learns_that_it_is_free(db: Database, owner: UUID) -> None:
    """Followers of the room that goes and of the room that comes each get their row."""
    manager = await add_user(db)
    old, new = await add_room(db, manager), await add_room(db, manager)
    created = await booking.create(db, owner, shared(old))
    await updating.update(db, owner, created.id, lambda _: shared(new))
    assert ("appointment.removed", 2, ["resource_ids"]) == (await logged(db, old))[-1]
    assert ("appointment.updated", 2, ["resource_ids"]) == (await logged(db, new))[-1]
    assert 2 == len(await logged(db, owner))


async def test_a_room_that_closes_tells_everybody(db: Database, owner: UUID) -> None:
    """Its followers, and the owners of the appointments that lose it."""
    manager = await add_user(db)
    room, other = await add_room(db, manager), await add_room(db, manager)
    await booking.create(db, owner, shared(room, other))
    await resources.delete(db, manager, room, force=True)
    await resources.undelete(db, manager, room)
    assert [
        ("resource.created", 1, None),
        ("appointment.created", 1, None),
        ("appointment.removed", 2, ["resource_ids"]),
        ("resource.deleted", 2, None),
        ("resource.undeleted", 3, None),
    ] == await logged(db, room)
    assert ("appointment.updated", 2, ["resource_ids"]) == (await logged(db, owner))[-1]
    assert ("appointment.updated", 2, ["resource_ids"]) == (await logged(db, other))[-1]


async def test_a_role_that_changes_tells_its_person_and_the_followers(db: Database, owner: UUID) -> None:
    """Granted and revoked; a change of the resource itself is for its followers alone."""
    manager = await add_user(db)
    room = await add_room(db, manager)
    for role in (Role.MANAGER, Role.NONE):
        await access.grant(db, manager, room, f"{owner}@example.com", role)
    await resources.update(db, manager, room, lambda old: replace(old, display_name="Hall"))
    assert [("resource.access", 1, None)] * 2 == await logged(db, owner)
    kinds = ["resource.created", "resource.access", "resource.access", "resource.updated"]
    assert kinds == [row[0] for row in await logged(db, room)]


async def test_a_deleted_account_leaves_what_followers_of_rooms_need(db: Database, owner: UUID) -> None:
    """The room is free again, and its followers are told; nothing tells the account that is gone."""
    room = await add_room(db, await add_user(db))
    await booking.create(db, owner, shared(room))
    await db.transact(lambda connection: accounts._erase(connection, owner, ""))
    assert ("appointment.deleted", 2, None) == (await logged(db, room))[-1]


@pytest.mark.parametrize("with_room", [False, True])
async def test_the_log_names_who_did_it_and_by_which_request(db: Database, owner: UUID, with_room: bool) -> None:
    """On every way: whoever acts for the owner, else the owner."""
    room = await add_room(db, owner)
    wanted = shared(room) if with_room else spec()
    created = await booking.create(db, owner, wanted, cause=CAUSE)
    await updating.update(db, owner, created.id, lambda old: replace(old, title="Shave"), cause=CAUSE)
    await updating.update(db, owner, created.id, lambda old: replace(old, end_at=TEN + 2 * HOUR), cause=CAUSE)
    await updating.delete(db, owner, created.id, cause=CAUSE)
    await updating.undelete(db, owner, created.id)
    async with db.connection() as connection:
        cursor = await connection.execute(
            "SELECT calendar_id, actor_id, request_id FROM new_changes WHERE item_id = %(id)s ORDER BY id",
            {"id": created.id},
        )
        rows = await cursor.fetchall()
    calendars = [owner, room] if with_room else [owner]
    acted: list[tuple[object, ...]] = [(each, CAUSE.actor_id, CAUSE.request_id) for _ in range(4) for each in calendars]
    assert acted + [(each, owner, None) for each in calendars] == rows


async def test_creates_that_share_a_statement_keep_their_requests_apart(db: Database) -> None:
    """Each row has the request id of its own call."""
    people = [await add_user(db) for _ in range(8)]

    async def create(person: UUID) -> tuple[UUID, str]:
        cause = Cause(None, str(uuid4()))
        created = await booking.create(db, person, spec(), cause=cause)
        return created.id, str(cause.request_id)

    wanted = dict(await asyncio.gather(*map(create, people)))
    async with db.connection() as connection:
        cursor = await connection.execute("SELECT item_id, request_id FROM new_changes")
        assert wanted == dict(await cursor.fetchall())

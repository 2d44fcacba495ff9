"""Who may do what with a resource, listed a page at a time."""

from uuid import UUID, uuid4

import pytest

from appointments.calendar import access
from appointments.calendar.access import Access
from appointments.calendar.resource import Role
from appointments.db import Database, paging
from appointments.shared.errors import Invalid
from tests.people import add_room, add_user


async def add_managed_user(db: Database) -> UUID:
    """Somebody without an address, whom a backend has added."""
    user_id = await add_user(db)
    async with db.connection() as connection:
        await connection.execute(
            "UPDATE users SET email = NULL, password_hash = NULL WHERE id = %(id)s", {"id": user_id}
        )
    return user_id


async def walk(db: Database, manager: UUID, room: UUID, size: int) -> list[Access]:
    """All pages, one after the other."""
    found: list[Access] = []
    token = ""
    while True:
        page = await access.page(db, manager, room, size=size, token=token)
        assert len(page.access) <= size
        found += page.access
        if not (token := page.next_token):
            return found


@pytest.mark.parametrize("size", [1, 3, 7, 8])
async def test_pages_neither_skip_nor_repeat(db: Database, size: int) -> None:
    """In the order of the whole list: by address, and whoever has none comes last."""
    manager = await add_user(db)
    room = await add_room(db, manager)
    others = [await add_user(db) for _ in range(4)] + [await add_managed_user(db) for _ in range(3)]
    async with db.connection() as connection:
        for each in others:
            await connection.execute(
                "INSERT INTO resource_grants (resource_id, user_id, role) VALUES (%(room)s::uuid, %(who)s::uuid, 1)",
                {"room": room, "who": each},
            )
    whole = await access.page(db, manager, room)
    assert {manager, *others} == {each.user_id for each in whole.access}
    assert [(not each.email, each.email, each.user_id) for each in whole.access] == sorted(
        (not each.email, each.email, each.user_id) for each in whole.access
    )
    assert "" == whole.next_token
    assert whole.access == await walk(db, manager, room, size)
    assert Role.MANAGER in {each.role for each in whole.access}


@pytest.mark.parametrize("name", [b"\xff", b"\0", b""])
async def test_a_forged_token_is_refused(db: Database, name: bytes) -> None:
    """Also one with the right fingerprint: what no address can hold never reaches the database."""
    manager = await add_user(db)
    room = await add_room(db, manager)
    token = paging.seal(uuid4().bytes[: 16 if name else 3] + name, ("access", room))
    with pytest.raises(Invalid) as refused:
        await access.page(db, manager, room, token=token)
    assert ["page_token"] == [each.field for each in refused.value.violations]

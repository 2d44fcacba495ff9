"""The audit log: what is recorded, that nothing can be changed, and what stays of somebody who has left."""

from typing import Any, LiteralString
from uuid import UUID

import psycopg
import pytest

from appointments.auth import audit
from appointments.auth.audit import Filter, Origin
from appointments.auth.directory import grant_admin
from appointments.auth.keys import KeySpec
from appointments.db import Database
from appointments.shared.errors import Unauthenticated
from tests.auth.signing_in import EMAIL, PASSWORD, PHONE, Clock, login, process, register, session_of

HERE = Origin("http", "request-1", "192.0.2.7", "Laptop")


async def events(db: Database, user_id: UUID | None = None) -> list[str]:
    """What is recorded, the earliest first."""
    return [each.event for each in reversed(await audit.entries(db, Filter(user_id=user_id), limit=1000))]


async def last(db: Database) -> audit.Entry:
    """What was recorded last."""
    (entry,) = await audit.entries(db, Filter(), limit=1)
    return entry


async def execute(db: Database, query: LiteralString, **values: Any) -> None:
    """Run a statement."""
    async with db.connection() as connection:
        await connection.execute(query, values)


async def test_an_account_from_its_first_day_to_its_last(db: Database) -> None:
    """Each event, once, in order."""
    house = process(db)
    ada = await register(house)
    await grant_admin(db, EMAIL)
    phone = await login(house)
    await house.sessions.log_out(phone.tokens.refresh_token)
    await house.sessions.revoke(ada.user.id, await session_of(house, await login(house)))
    made = await house.keys.create(ada.user.id, KeySpec("Script", ["appointments.read"]))
    await house.keys.revoke(ada.user.id, made.key.id)
    with pytest.raises(Unauthenticated):
        await house.accounts.login(EMAIL, "wrong horse", PHONE)
    await login(house)
    await house.accounts.change_password(ada.user.id, await session_of(house, ada), PASSWORD, "another horse")
    await house.accounts.delete(ada.user.id, "another horse")
    assert await events(db, ada.user.id) == [
        "account.created",
        "sign_in",
        "role.changed",
        "sign_in",
        "session.ended",
        "sign_in",
        "session.ended",
        "key.created",
        "key.revoked",
        "sign_in.failed",
        "sign_in",
        "password.changed",
        "session.ended",
        "account.deleted",
    ]


async def test_who_when_and_from_where(db: Database) -> None:
    """And with which request id."""
    house = process(db)
    with audit.origin(HERE):
        ada = await register(house)
    entry = await last(db)
    assert (ada.user.id, ada.user.id) == (entry.user_id, entry.actor_id)
    assert ("http", "request-1", "192.0.2.7", "Laptop") == (
        entry.source,
        entry.request_id,
        entry.address,
        entry.user_agent,
    )
    assert {"session": str(await session_of(house, ada))} == entry.detail


async def test_a_sign_in_with_an_unknown_address_keeps_nothing_of_what_was_typed(db: Database) -> None:
    """It may be a password in the wrong field."""
    house = process(db)
    with audit.origin(HERE), pytest.raises(Unauthenticated):
        await login(house, "nobody@example.com")
    entry = await last(db)
    assert ("sign_in.failed", None, {"reason": "wrong_credentials"}) == (entry.event, entry.user_id, entry.detail)
    assert "nobody" not in str(entry)


async def test_why_a_stolen_session_ended(db: Database) -> None:
    """The thief's request is recorded with the reason, and with nobody as who did it."""
    clock = Clock()
    house = process(db, clock)
    ada = await register(house)
    await house.rotation.exchange(ada.tokens.refresh_token)
    clock.turn(minutes=2)
    with audit.origin(HERE), pytest.raises(Unauthenticated):
        await house.rotation.exchange(ada.tokens.refresh_token)
    entry = await last(db)
    assert ("session.ended", "token_reused", None) == (entry.event, entry.detail["reason"], entry.actor_id)
    assert "192.0.2.7" == entry.address


async def test_what_is_not_done_is_not_recorded(db: Database) -> None:
    """The record is in the transaction of what it tells of."""
    house = process(db)
    ada = await register(house)
    before = await events(db)

    async def work(connection: Any) -> None:
        await audit.record(connection, "role.changed", ada.user.id, role="admin")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await db.transact(work)
    assert before == await events(db)


@pytest.mark.parametrize(
    "query",
    [
        "UPDATE audit SET event = 'sign_in'",
        "UPDATE audit SET recorded_at = recorded_at - interval '60 days'",
        "UPDATE audit SET user_id = NULL, address = NULL, user_agent = NULL, email = NULL",
        "UPDATE audit SET address = '192.0.2.8', user_agent = NULL",
        "DELETE FROM audit",
        "TRUNCATE audit",
    ],
)
async def test_nothing_can_be_changed(db: Database, query: LiteralString) -> None:
    """Not even by the service's own SQL."""
    with audit.origin(HERE):
        await register(process(db))
    with pytest.raises(psycopg.errors.RestrictViolation):
        await execute(db, query)


async def test_who_leaves_takes_along_what_makes_them_known(db: Database) -> None:
    """Addresses and devices go; that something happened, and when, stays. Others' rows are as they were."""
    house = process(db)
    with audit.origin(HERE):
        ada = await register(house)
        grace = await register(house, "grace@example.com")
        await house.accounts.delete(ada.user.id, PASSWORD)
    *others, deletion = reversed(await audit.entries(db, Filter(user_id=ada.user.id), limit=100))
    assert ["account.created", "sign_in"] == [each.event for each in others]
    assert {(None, None)} == {(each.address, each.user_agent) for each in others}
    assert ("account.deleted", "192.0.2.7") == (deletion.event, deletion.address)
    found = await audit.entries(db, Filter(user_id=grace.user.id), limit=100)
    assert {("192.0.2.7", "Laptop")} == {(each.address, each.user_agent) for each in found}


async def test_old_events_are_pruned_and_old_deletions_forget_where_they_came_from(db: Database) -> None:
    """Never what is younger than 30 days, whatever is asked for."""
    for days in (1, 29, 40, 400):
        await execute(
            db,
            "INSERT INTO audit (recorded_at, event, source, address, detail)"
            " VALUES (now() - %(days)s * interval '1 day', 'account.deleted', 'http', '192.0.2.7',"
            " jsonb_build_object('days', %(days)s::integer))",
            days=days,
        )
    assert 1 == await audit.prune(db, 365)
    found = await audit.entries(db, Filter(), limit=100)
    assert [(40, None), (29, "192.0.2.7"), (1, "192.0.2.7")] == [(each.detail["days"], each.address) for each in found]
    assert 1 == await audit.prune(db, 1)
    assert 2 == len(await audit.entries(db, Filter(), limit=100))


async def test_events_are_found_by_what_is_known_of_them(db: Database) -> None:
    """Kind, request, address, time; and page by page."""
    house = process(db)
    with audit.origin(HERE):
        ada = await register(house)
    with audit.origin(Origin("rpc", "request-2", "192.0.2.9", "")):
        await login(house)
    first, second, third = reversed(await audit.entries(db, Filter(), limit=10))
    assert [third] == await audit.entries(db, Filter(request_id="request-2"), limit=10)
    assert [third] == await audit.entries(db, Filter(address="192.0.2.9", event="sign_in"), limit=10)
    assert [second, first] == await audit.entries(db, Filter(user_id=ada.user.id), limit=10, before=third.id)
    assert [third] == await audit.entries(db, Filter(since=third.at), limit=10)
    assert [second, first] == await audit.entries(db, Filter(until=third.at), limit=10)

"""Keys: what they are made of, how long they work, and who may have which."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from appointments.auth import Auth, secret
from appointments.auth.keys import MAX_LIVE, READ, SCOPES, WRITE, KeySpec, NewKey
from appointments.db import Database
from appointments.shared.errors import Denied, Fault, Invalid, NotFound, Unauthenticated, Unmet
from tests.auth.signing_in import Clock, process, register

SPEC = KeySpec("Backend", [WRITE])


async def execute(db: Database, sql: str, **values: Any) -> list[Any]:
    """Run SQL of the test's own."""
    async with db.connection() as connection:
        cursor = await connection.execute(sql, values)
        return await cursor.fetchall() if cursor.description else []


async def program(db: Database) -> UUID:
    """A service account."""
    account = uuid4()
    await execute(
        db,
        """
        WITH subject AS (INSERT INTO subjects (id, kind) VALUES (%(id)s, 'user'))
        INSERT INTO users (id, kind, display_name, time_zone, created_at, updated_at)
        VALUES (%(id)s, 'service_account', 'Backend', 'UTC', now(), now())
        """,
        id=account,
    )
    return account


async def refusal(identify: Awaitable[Any]) -> str:
    """The reason for which a credential does not work; "" if it does."""
    try:
        await identify
    except Fault as fault:
        return fault.reason
    return ""


async def within_five_seconds(check: Callable[[], Awaitable[Any]], expected: Any) -> None:
    """Return when a check gives what is expected; fail if that takes too long."""
    async with asyncio.timeout(5):
        while await check() != expected:  # noqa: ASYNC110 - another process cannot tell us
            await asyncio.sleep(0.05)


async def test_a_key_is_its_users(db: Database, owner: UUID) -> None:
    """It says who calls and what it may do; the database knows its digest alone."""
    house = process(db)
    made = await house.keys.create(owner, SPEC)
    identity = await house.authenticator.identify(made.secret)
    assert (owner, owner, made.key.id, None) == (
        identity.user_id,
        identity.actor_id,
        identity.key_id,
        identity.session_id,
    )
    assert frozenset([WRITE]) == identity.scopes
    assert not identity.is_admin
    assert not identity.may_act
    rows = await execute(db, "SELECT digest, keys::text FROM keys")
    assert [secret.digest(made.secret)] == [row[0] for row in rows]
    assert made.secret not in rows[0][1]


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        (KeySpec("", []), ["key.display_name", "key.scopes"]),
        (KeySpec(" ", [READ]), ["key.display_name"]),
        (KeySpec("n" * 201, [READ, READ]), ["key.display_name", "key.scopes[1]"]),
        (KeySpec("n", ["root", READ, ""]), ["key.scopes[0]", "key.scopes[2]"]),
        (KeySpec("n", [READ], datetime(2020, 1, 1, tzinfo=UTC)), ["key.expire_time"]),
        (KeySpec("n", [READ], datetime.min.replace(tzinfo=UTC)), ["key.expire_time"]),
        (KeySpec("n", [*SCOPES, *["x"] * 1000]), ["key.scopes[4]"]),
    ],
)
async def test_a_bad_key_is_named(db: Database, owner: UUID, spec: KeySpec, fields: list[str]) -> None:
    """Every field, and nothing is made."""
    with pytest.raises(Invalid) as caught:
        await process(db).keys.create(owner, spec, is_admin=True)
    assert fields == [violation.field for violation in caught.value.violations]
    assert [] == await execute(db, "SELECT FROM keys")


async def test_a_key_expires(db: Database, owner: UUID) -> None:
    """At that instant, although it was looked up a moment ago."""
    clock = Clock()
    house = process(db, clock)
    made = await house.keys.create(owner, KeySpec("Backend", [READ], clock() + timedelta(seconds=3)))
    assert "" == await refusal(house.authenticator.identify(made.secret))
    clock.turn(seconds=2.9)
    assert "" == await refusal(house.authenticator.identify(made.secret))
    clock.turn(seconds=0.1)
    assert "KEY_EXPIRED" == await refusal(house.authenticator.identify(made.secret))
    assert "KEY_EXPIRED" == await refusal(process(db, clock).authenticator.identify(made.secret))
    assert [made.key.id] == [key.id for key in await house.keys.list(owner)]


async def test_a_revoked_key_stops_everywhere(db: Database, owner: UUID) -> None:
    """At once where it was revoked, and within five seconds in the other processes."""
    here, there = process(db), process(db)
    made, kept = await here.keys.create(owner, SPEC), await here.keys.create(owner, SPEC)
    for house in (here, there):
        assert "" == await refusal(house.authenticator.identify(made.secret))
    await here.keys.revoke(owner, made.key.id)
    assert "UNKNOWN_KEY" == await refusal(here.authenticator.identify(made.secret))
    await within_five_seconds(lambda: refusal(there.authenticator.identify(made.secret)), "UNKNOWN_KEY")
    assert "" == await refusal(there.authenticator.identify(kept.secret))
    assert [kept.key.id] == [key.id for key in await here.keys.list(owner)]
    with pytest.raises(NotFound):
        await here.keys.revoke(owner, made.key.id)


async def test_a_disabled_users_key_stops_everywhere(db: Database, owner: UUID) -> None:
    """And works again when the user does."""
    house = process(db)
    made = await house.keys.create(owner, SPEC)
    await house.authenticator.identify(made.secret)
    await execute(db, "UPDATE users SET disabled_at = now() WHERE id = %(id)s", id=owner)
    await within_five_seconds(lambda: refusal(house.authenticator.identify(made.secret)), "USER_DISABLED")
    await execute(db, "UPDATE users SET disabled_at = NULL WHERE id = %(id)s", id=owner)
    assert "" == await refusal(process(db).authenticator.identify(made.secret))


async def test_a_typo_does_not_reach_the_database() -> None:
    """A key that cannot be one is refused where there is no database at all."""
    async with Database("postgresql://127.0.0.1:1/nowhere") as nowhere:
        house = process(nowhere)
        made = secret.new()
        for bad in (made[:-1], made + "x", made[:-1] + ("a" if made[-1] != "a" else "b"), "apt_", "apt_" + "x" * 9000):
            assert "INVALID_KEY" == await refusal(house.authenticator.identify(bad))


async def test_a_key_of_another_deployment_is_unknown(db: Database) -> None:
    """It looks like one, and is nobody's here."""
    assert "UNKNOWN_KEY" == await refusal(process(db).authenticator.identify(secret.new()))


async def test_the_last_use_is_known_to_a_minute(db: Database, owner: UUID) -> None:
    """It is written once in a minute, after the call that it is for."""
    clock = Clock()
    house = process(db, clock)
    made = await house.keys.create(owner, SPEC)
    assert made.key.last_used_at is None

    async def used_at() -> datetime | None:
        return (await house.keys.list(owner))[0].last_used_at

    first = clock()
    await house.authenticator.identify(made.secret)
    await within_five_seconds(used_at, first)
    clock.turn(seconds=59)
    await process(db, clock).authenticator.identify(made.secret)
    await asyncio.sleep(0.2)
    assert first == await used_at()
    clock.turn(seconds=1)
    await asyncio.gather(*(process(db, clock).authenticator.identify(made.secret) for _ in range(4)))
    await within_five_seconds(used_at, clock())


async def test_a_user_has_fifty_live_keys(db: Database, owner: UUID, stranger: UUID) -> None:
    """However many ask at once; expired ones and other people's do not count."""
    clock = Clock()
    house = process(db, clock)
    await house.keys.create(stranger, SPEC)
    await house.keys.create(owner, KeySpec("Old", [READ], clock() + timedelta(seconds=1)))
    clock.turn(seconds=1)
    made = await asyncio.gather(*(house.keys.create(owner, SPEC) for _ in range(MAX_LIVE + 6)), return_exceptions=True)
    refused = [each for each in made if isinstance(each, Unmet)]
    assert ["TOO_MANY_KEYS"] * 6 == [each.reason for each in refused]
    assert MAX_LIVE == sum(isinstance(each, NewKey) for each in made)
    listed = await house.keys.list(owner)
    assert MAX_LIVE + 1 == len(listed)
    assert "Old" == listed[-1].display_name
    await house.keys.revoke(owner, listed[0].id)
    await house.keys.create(owner, SPEC)


async def test_keys_are_private(db: Database, owner: UUID, stranger: UUID) -> None:
    """Nobody lists or ends another person's, admins included."""
    house = process(db)
    made = await house.keys.create(owner, SPEC)
    for is_admin in (False, True):
        assert [] == await house.keys.list(stranger, is_admin=is_admin)
        with pytest.raises(NotFound):
            await house.keys.revoke(stranger, made.key.id, is_admin=is_admin)
        expected = NotFound if is_admin else Denied
        with pytest.raises(expected):
            await house.keys.list(stranger, service_account_id=owner, is_admin=is_admin)
        with pytest.raises(expected):
            await house.keys.create(stranger, SPEC, service_account_id=owner, is_admin=is_admin)
    await house.authenticator.identify(made.secret)


async def test_admins_see_to_the_keys_of_service_accounts(db: Database, owner: UUID) -> None:
    """And nobody else; they may have the scope admin, with which they act for users."""
    house, account = process(db), await program(db)
    with pytest.raises(Denied):
        await house.keys.create(owner, SPEC, service_account_id=account)
    with pytest.raises(NotFound):
        await house.keys.create(owner, SPEC, service_account_id=uuid4(), is_admin=True)
    made = await house.keys.create(owner, KeySpec("Backend", SCOPES), service_account_id=account, is_admin=True)
    assert [made.key] == await house.keys.list(owner, service_account_id=account, is_admin=True)
    identity = await house.authenticator.identify(made.secret)
    assert (account, True, True) == (identity.user_id, identity.is_admin, identity.may_act)
    with pytest.raises(NotFound):
        await house.keys.revoke(owner, made.key.id)
    await house.keys.revoke(owner, made.key.id, is_admin=True)
    assert "UNKNOWN_KEY" == await refusal(house.authenticator.identify(made.secret))


async def test_the_scope_admin_is_for_admins(db: Database, owner: UUID) -> None:
    """Who is none any more has a key that is none; no person's key acts for users."""
    house, spec = process(db), KeySpec("Backend", ["admin"])
    with pytest.raises(Denied) as caught:
        await house.keys.create(owner, spec)
    assert "NOT_AN_ADMIN" == caught.value.reason
    made = await house.keys.create(owner, spec, is_admin=True)
    plain = await house.keys.create(owner, SPEC, is_admin=True)
    await execute(db, "UPDATE users SET role = 'admin' WHERE id = %(id)s", id=owner)
    identity = await house.authenticator.identify(made.secret)
    assert (True, False) == (identity.is_admin, identity.may_act)
    assert not (await house.authenticator.identify(plain.secret)).is_admin
    await execute(db, "UPDATE users SET role = 'user' WHERE id = %(id)s", id=owner)
    assert not (await process(db).authenticator.identify(made.secret)).is_admin


async def test_a_person_is_an_admin_while_the_role_lasts(db: Database) -> None:
    """Sessions follow the role within five seconds."""
    house: Auth = process(db)
    ada = await register(house)

    async def is_admin() -> bool:
        return (await house.authenticator.identify(ada.tokens.access_token)).is_admin

    assert not await is_admin()
    await execute(db, "UPDATE users SET role = 'admin' WHERE id = %(id)s", id=ada.user.id)
    await within_five_seconds(is_admin, True)


async def test_a_deleted_accounts_keys_are_gone(db: Database) -> None:
    """Within five seconds, everywhere."""
    here, there = process(db), process(db)
    ada = await register(here)
    made = await here.keys.create(ada.user.id, SPEC)
    await there.authenticator.identify(made.secret)
    await here.accounts.delete(ada.user.id, "correct horse")
    await within_five_seconds(lambda: refusal(there.authenticator.identify(made.secret)), "UNKNOWN_KEY")
    with pytest.raises(Unauthenticated):
        await here.keys.create(ada.user.id, SPEC)


async def test_acting_is_for_whom_there_is(db: Database, owner: UUID) -> None:
    """An unknown user, a service account and a disabled user are each named."""
    house, account = process(db), await program(db)
    made = await house.keys.create(owner, KeySpec("Backend", SCOPES), service_account_id=account, is_admin=True)
    identity = await house.authenticator.identify(made.secret)
    acting = await house.authenticator.act(identity, owner)
    assert (owner, account, False, False) == (acting.user_id, acting.actor_id, acting.is_admin, acting.may_act)
    assert identity.scopes == acting.scopes
    for nobody in (uuid4(), account):
        assert "USER_NOT_FOUND" == await refusal(house.authenticator.act(identity, nobody))
    await execute(db, "UPDATE users SET disabled_at = now() WHERE id = %(id)s", id=owner)
    await within_five_seconds(lambda: refusal(house.authenticator.act(identity, owner)), "USER_DISABLED")

"""Accounts: what can be registered, changed and ended, and what an outsider can learn."""

import asyncio
import statistics
import time
from uuid import uuid4

import pytest

from appointments import auth
from appointments.auth import Passwords
from appointments.calendar import booking
from appointments.db import Database
from appointments.shared.errors import Fault, Invalid, Taken, Unauthenticated
from tests.auth.signing_in import (
    EMAIL,
    LAPTOP,
    PASSWORD,
    PHONE,
    SECRET,
    Clock,
    is_signed_in,
    live_tokens,
    login,
    process,
    register,
    session_of,
)
from tests.people import spec

NEW = "a new password"


async def test_who_registers_is_signed_in(db: Database) -> None:
    """And is who the account says."""
    house = process(db)
    signed_in = await register(house)
    identity = await house.authenticator.identify(signed_in.tokens.access_token)
    assert await house.accounts.get(identity.user_id) == signed_in.user
    assert (signed_in.user.email, signed_in.user.display_name, signed_in.user.time_zone) == (EMAIL, "Ada", "UTC")


@pytest.mark.parametrize("email", ["a@b.example", "a@example.test", "a+tag@sub.example.org", "ä@example.com"])
async def test_an_address_is_an_address(db: Database, email: str) -> None:
    """Reserved names for tests and letters of the world included."""
    house = process(db)
    assert (await register(house, email)).user.email == email


async def test_an_address_has_one_account_whatever_its_case(db: Database) -> None:
    """ADA@Example.COM is ada@example.com, at registration and at sign-in."""
    house = process(db)
    ada = await register(house)
    with pytest.raises(Taken) as caught:
        await register(house, "ADA@Example.COM")
    assert caught.value.reason == "EMAIL_TAKEN"
    assert (await login(house, "ADA@Example.COM")).user == ada.user


async def test_one_of_many_registrations_at_once_wins(db: Database) -> None:
    """The constraint decides, and the losers leave nothing behind."""
    houses = [process(db) for _ in range(4)]
    results = await asyncio.gather(*(register(house) for house in houses), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["SignIn", "Taken", "Taken", "Taken"]
    async with db.connection() as connection:
        cursor = await connection.execute("SELECT count(*) FROM subjects")
        assert await cursor.fetchone() == (1,)


async def test_everything_that_is_wrong_with_a_registration_is_named_at_once(db: Database) -> None:
    """All three fields."""
    with pytest.raises(Invalid) as caught:
        await process(db).accounts.register("nobody", "short", "x" * 201, LAPTOP)
    assert [violation.field for violation in caught.value.violations] == ["email", "password", "display_name"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            ("email", email)
            for email in (
                "",
                "a",
                "a@",
                "@b.example",
                "a@localhost",
                "a b@c.example",
                "a\0@b.example",
                "\ud800@b.example",
            )
        ),
        ("email", "x" * 300 + "@b.example"),
        ("email", "x" * 5_000_000),
        *(("password", password) for password in ("", "x" * 7, "x" * 73, "nul\0nul\0", "\ud800" * 8)),
        *(("display_name", name) for name in ("x" * 201, "a\0b", "\ud800")),
    ],
)
async def test_a_bad_field_is_named_and_nothing_is_created(db: Database, field: str, value: str) -> None:
    """Each by itself."""
    good = {"email": EMAIL, "password": PASSWORD, "display_name": "Ada"}
    with pytest.raises(Invalid) as caught:
        await process(db).accounts.register(**(good | {field: value}), device=LAPTOP)
    assert [violation.field for violation in caught.value.violations] == [field]
    assert await live_tokens(db) == 0


async def test_wrong_password_and_unknown_address_have_one_answer(db: Database) -> None:
    """Nobody learns who has an account."""
    house = process(db)
    await register(house)
    answers = set()
    for email, password in (
        (EMAIL, "wrong horse"),
        ("nobody@example.com", PASSWORD),
        ("no address", PASSWORD),
        ("a\0@b.example", PASSWORD),
        ("\ud800", "\ud800"),
        (EMAIL, "x" * 73),
        (EMAIL, "a\0b"),
        ("x" * 1_000_000, "x" * 1_000_000),
    ):
        with pytest.raises(Unauthenticated) as caught:
            await house.accounts.login(email, password, PHONE)
        answers.add((caught.value.reason, caught.value.message))
    assert {reason for reason, _ in answers} == {"WRONG_CREDENTIALS"}
    assert len(answers) == 1


async def test_wrong_password_and_unknown_address_take_the_same_time(db: Database) -> None:
    """One hash of the same cost each way, over 72 bytes too: the medians differ by far less than a hash takes."""
    house = auth.build(db, Passwords(cost=10), secret=SECRET)
    await register(house)
    times: dict[tuple[str, str], list[float]] = {
        (EMAIL, "wrong horse"): [],
        ("nobody@example.com", PASSWORD): [],
        ("no address", PASSWORD): [],
        (EMAIL, "x" * 73): [],
    }
    for _ in range(7):
        for (email, password), taken in times.items():
            began = time.perf_counter()
            with pytest.raises(Unauthenticated):
                await house.accounts.login(email, password, PHONE)
            taken.append(time.perf_counter() - began)
    medians = [statistics.median(taken) for taken in times.values()]
    assert min(medians) > 0.5 * max(medians)


async def test_what_is_missing_at_sign_in_is_named(db: Database) -> None:
    """A mistake of the form, not of the person."""
    with pytest.raises(Invalid) as caught:
        await process(db).accounts.login("", "", PHONE)
    assert [violation.field for violation in caught.value.violations] == ["email", "password"]


async def test_the_profile_changes_field_by_field(db: Database) -> None:
    """What is not given stays."""
    clock = Clock()
    house = process(db, clock)
    ada = (await register(house)).user
    clock.turn(seconds=1)
    assert (await house.accounts.update(ada.id, time_zone="Europe/Vienna")).time_zone == "Europe/Vienna"
    changed = await house.accounts.update(ada.id, display_name="Ada Lovelace")
    assert (changed.display_name, changed.time_zone) == ("Ada Lovelace", "Europe/Vienna")
    assert (changed.created_at, changed.updated_at) == (ada.created_at, clock.time)
    assert (await house.accounts.update(ada.id, display_name="", time_zone="")).time_zone == "UTC"
    with pytest.raises(Invalid) as caught:
        await house.accounts.update(ada.id, display_name="\0", time_zone="Mars/Olympus")
    assert [violation.field for violation in caught.value.violations] == ["display_name", "time_zone"]


async def test_a_changed_password_ends_the_other_sessions(db: Database) -> None:
    """The session that changed it stays; the old password is worth nothing."""
    house = process(db)
    here, elsewhere = await register(house), await login(house)
    await house.accounts.change_password(here.user.id, await session_of(house, here), PASSWORD, NEW)
    assert await is_signed_in(house, here.tokens.access_token)
    assert not await is_signed_in(house, elsewhere.tokens.access_token)
    await house.rotation.exchange(here.tokens.refresh_token)
    with pytest.raises(Unauthenticated):
        await house.rotation.exchange(elsewhere.tokens.refresh_token)
    with pytest.raises(Unauthenticated):
        await login(house)
    await house.accounts.login(EMAIL, NEW, PHONE)


@pytest.mark.parametrize(
    ("current", "new", "fields"),
    [
        ("wrong horse", NEW, ["current_password"]),
        ("", "short", ["current_password", "new_password"]),
        (PASSWORD, "x" * 73, ["new_password"]),
        ("x" * 73, NEW, ["current_password"]),
    ],
)
async def test_a_password_does_not_change_without_the_current_one(
    db: Database, current: str, new: str, fields: list[str]
) -> None:
    """Nor to a bad one; every session stays."""
    house = process(db)
    here, elsewhere = await register(house), await login(house)
    with pytest.raises(Invalid) as caught:
        await house.accounts.change_password(here.user.id, await session_of(house, here), current, new)
    assert [violation.field for violation in caught.value.violations] == fields
    assert await is_signed_in(house, elsewhere.tokens.access_token)
    await login(house)


async def test_no_sign_in_with_the_old_password_survives_its_change(db: Database) -> None:
    """Sign-ins race with the change: whoever got in with the old password is out when it is done."""
    for _ in range(10):
        house, thief = process(db), process(db)
        email = f"{uuid4()}@example.com"
        here = await register(house, email)
        session_id = await session_of(house, here)
        change = house.accounts.change_password(here.user.id, session_id, PASSWORD, NEW)
        results = await asyncio.gather(*(login(thief, email) for _ in range(6)), change, return_exceptions=True)
        assert [each for each in results if isinstance(each, BaseException) and not isinstance(each, Fault)] == []
        assert [session.id for session in await house.sessions.list(here.user.id)] == [session_id]


async def test_a_deleted_account_leaves_nothing(db: Database) -> None:
    """Appointments, sessions and the address are gone; tokens stop at once."""
    house = process(db)
    here, elsewhere = await register(house), await login(house)
    await booking.create(db, here.user.id, spec())
    with pytest.raises(Invalid) as caught:
        await house.accounts.delete(here.user.id, "wrong horse")
    assert caught.value.reason == "WRONG_PASSWORD"
    await house.accounts.delete(here.user.id, PASSWORD)
    for tokens in (here.tokens, elsewhere.tokens):
        assert not await is_signed_in(house, tokens.access_token)
        with pytest.raises(Unauthenticated):
            await house.rotation.exchange(tokens.refresh_token)
    async with db.connection() as connection:
        for table in ("subjects", "users", "sessions", "refresh_tokens", "appointments", "bookings"):
            cursor = await connection.execute(f"SELECT count(*) FROM {table}")
            assert (table, await cursor.fetchone()) == (table, (0,))
    with pytest.raises(Unauthenticated):
        await house.accounts.get(here.user.id)
    await register(house)


async def test_an_account_may_be_deleted_while_it_is_used(db: Database) -> None:
    """Bookings, refreshes and sign-ins race with the deletion: they succeed or are refused, and nothing is left."""
    house = process(db)
    here = await register(house)
    tokens = [(await login(house)).tokens for _ in range(4)]
    results = await asyncio.gather(
        *(booking.create(db, here.user.id, spec()) for _ in range(4)),
        *(house.rotation.exchange(each.refresh_token) for each in tokens),
        *(login(house) for _ in range(2)),
        house.accounts.delete(here.user.id, PASSWORD),
        return_exceptions=True,
    )
    assert [result for result in results if isinstance(result, Exception) and not isinstance(result, Fault)] == []
    async with db.connection() as connection:
        cursor = await connection.execute(
            "SELECT (SELECT count(*) FROM sessions) + (SELECT count(*) FROM appointments)"
        )
        assert await cursor.fetchone() == (0,)

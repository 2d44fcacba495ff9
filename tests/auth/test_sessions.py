"""Sessions: listed, ended one by one, swept; and how long an ended one is believed."""

import asyncio

import pytest

from appointments.auth import Device
from appointments.db import Database
from appointments.shared.errors import NotFound
from tests.auth.signing_in import (
    LAPTOP,
    PHONE,
    Clock,
    is_signed_in,
    login,
    process,
    register,
    session_of,
    sign_out_within_five_seconds,
)


async def test_sessions_are_listed_with_the_last_used_first(db: Database) -> None:
    """Each as it signed in; only one's own; a refresh counts as use."""
    clock = Clock()
    house = process(db, clock)
    laptop = await register(house)
    await register(house, "grace@example.com")
    clock.turn(minutes=1)
    await login(house)
    devices = [(each.user_agent, each.ip_address) for each in await house.sessions.list(laptop.user.id)]
    assert devices == [("Phone", "192.0.2.2"), ("Laptop", "192.0.2.1")]
    clock.turn(minutes=1)
    await house.rotation.exchange(laptop.tokens.refresh_token)
    first, second = await house.sessions.list(laptop.user.id)
    assert [first.user_agent, second.user_agent] == [LAPTOP.user_agent, PHONE.user_agent]
    assert first.last_used_at == clock.time
    assert (first.expires_at - first.created_at).days == 30


async def test_a_user_agent_is_cut_and_cleaned(db: Database) -> None:
    """Headers hold what clients like; a list shows 400 printable characters of it."""
    house = process(db)
    ada = await register(house, device=Device("\x1b[2J\0" + "x" * 1000, ""))
    (session,) = await house.sessions.list(ada.user.id)
    assert session.user_agent == "[2J" + "x" * 397


async def test_a_revoked_session_is_out_at_once(db: Database) -> None:
    """Its tokens stop, the others stay, and it cannot be revoked twice."""
    house = process(db)
    here, elsewhere = await register(house), await login(house)
    doomed = await session_of(house, elsewhere)
    await house.sessions.revoke(here.user.id, doomed)
    assert not await is_signed_in(house, elsewhere.tokens.access_token)
    assert await is_signed_in(house, here.tokens.access_token)
    assert await session_of(house, here) == (await house.sessions.list(here.user.id))[0].id
    with pytest.raises(NotFound):
        await house.sessions.revoke(here.user.id, doomed)


async def test_nobody_revokes_anothers_session(db: Database) -> None:
    """To anyone else it is not there."""
    house = process(db)
    ada, grace = await register(house), await register(house, "grace@example.com")
    with pytest.raises(NotFound):
        await house.sessions.revoke(grace.user.id, await session_of(house, ada))
    assert await is_signed_in(house, ada.tokens.access_token)


async def test_a_logout_ends_the_session_in_every_process_within_five_seconds(db: Database) -> None:
    """A spent token is as good for it as the live one, and a second time changes nothing."""
    here, there = process(db), process(db)
    ada = await register(here)
    await here.rotation.exchange(ada.tokens.refresh_token)
    assert await is_signed_in(there, ada.tokens.access_token)
    await here.sessions.log_out(ada.tokens.refresh_token)
    await here.sessions.log_out(ada.tokens.refresh_token)
    await here.sessions.log_out("unknown")
    assert not await is_signed_in(here, ada.tokens.access_token)
    await sign_out_within_five_seconds(there, ada.tokens.access_token)


async def test_an_answer_that_was_asked_for_before_a_revocation_is_not_kept(db: Database) -> None:
    """Lookups race with the revocation: afterwards the session is out, whatever they had seen."""
    house = process(db)
    ada = await register(house)
    for _ in range(20):
        elsewhere = await login(house)
        doomed = await session_of(process(db), elsewhere)
        checks = [asyncio.create_task(is_signed_in(house, elsewhere.tokens.access_token)) for _ in range(5)]
        await asyncio.sleep(0)
        await house.sessions.revoke(ada.user.id, doomed)
        assert not await is_signed_in(house, elsewhere.tokens.access_token)
        await asyncio.gather(*checks)


async def test_who_gives_up_waiting_does_not_fail_the_others(db: Database) -> None:
    """Many requests share one lookup; the first is cancelled."""
    house = process(db)
    token = (await register(house)).tokens.access_token
    checks = [asyncio.create_task(is_signed_in(house, token)) for _ in range(4)]
    await asyncio.sleep(0)
    checks[0].cancel()
    results = await asyncio.gather(*checks, return_exceptions=True)
    assert results[1:] == [True, True, True]


async def test_the_sweep_takes_what_has_ended_and_nothing_else(db: Database) -> None:
    """Expired, silent and revoked sessions go a day later, with all their tokens."""
    clock = Clock()
    house = process(db, clock)
    ada = await register(house)
    await login(house)  # falls silent
    await house.sessions.log_out((await login(house)).tokens.refresh_token)
    assert await house.sessions.sweep() == 0
    clock.turn(days=1)
    assert await house.sessions.sweep() == 1
    tokens = ada.tokens
    for _ in range(2):
        clock.turn(days=4)
        tokens = (await house.rotation.exchange(tokens.refresh_token)).tokens
    assert await house.sessions.sweep() == 1
    assert len(await house.sessions.list(ada.user.id)) == 1
    clock.turn(days=31)
    assert await house.sessions.sweep() == 1
    async with db.connection() as connection:
        cursor = await connection.execute("SELECT count(*) FROM refresh_tokens")
        assert await cursor.fetchone() == (0,)

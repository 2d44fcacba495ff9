"""Refresh: honest repeats stay signed in, thieves do not, and nobody is logged out by somebody else's mistake."""

import asyncio

import pytest

from appointments.auth.rotation import Refreshed
from appointments.db import Database
from appointments.shared.errors import Invalid, Unauthenticated
from tests.auth.signing_in import (
    SECRET,
    Clock,
    is_signed_in,
    live_tokens,
    login,
    process,
    register,
    sign_out_within_five_seconds,
)

ATTEMPT = "attempt-1"


async def refusal(exchange: object) -> str:
    """The reason why an exchange fails."""
    with pytest.raises(Unauthenticated) as caught:
        await exchange  # type: ignore[misc]
    return caught.value.reason


async def test_a_refresh_rotates_the_token(db: Database) -> None:
    """The successor works, and there is one of it."""
    house = process(db)
    first = (await register(house)).tokens
    second = (await house.rotation.exchange(first.refresh_token)).tokens
    third = (await house.rotation.exchange(second.refresh_token)).tokens
    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
    assert await is_signed_in(house, third.access_token)
    assert await live_tokens(db) == 1


async def test_a_replay_of_a_spent_token_ends_every_session(db: Database) -> None:
    """Theft: thief and owner are out on every device, and what they hold stops working."""
    house = process(db)
    stolen = (await register(house)).tokens
    elsewhere = (await login(house)).tokens
    successor = (await house.rotation.exchange(stolen.refresh_token)).tokens
    assert await refusal(house.rotation.exchange(stolen.refresh_token)) == "REFRESH_TOKEN_REUSED"
    for tokens in (stolen, successor, elsewhere):
        assert not await is_signed_in(house, tokens.access_token)
    assert await live_tokens(db) == 0
    for tokens in (successor, elsewhere):
        assert await refusal(house.rotation.exchange(tokens.refresh_token)) == "INVALID_REFRESH_TOKEN"


async def test_a_theft_touches_nobody_else(db: Database) -> None:
    """Other users stay signed in."""
    house = process(db)
    stolen = (await register(house)).tokens
    other = (await register(house, "grace@example.com")).tokens
    await house.rotation.exchange(stolen.refresh_token)
    await refusal(house.rotation.exchange(stolen.refresh_token))
    assert await is_signed_in(house, other.access_token)
    await house.rotation.exchange(other.refresh_token)


async def test_a_theft_is_seen_by_other_processes_within_five_seconds(db: Database) -> None:
    """Another process may believe an access token for a moment, not longer."""
    here, there = process(db), process(db)
    stolen = (await register(here)).tokens
    successor = (await here.rotation.exchange(stolen.refresh_token)).tokens
    assert await is_signed_in(there, successor.access_token)
    await refusal(here.rotation.exchange(stolen.refresh_token))
    await sign_out_within_five_seconds(there, successor.access_token)


async def test_eight_tabs_that_refresh_at_once_share_one_successor(db: Database) -> None:
    """All in flight together, with attempts of their own or none: everybody succeeds."""
    house = process(db)
    token = (await register(house)).tokens.refresh_token
    attempts = [None, *(f"tab-{number}" for number in range(7))]
    results = await asyncio.gather(*(house.rotation.exchange(token, attempt) for attempt in attempts))
    assert len({result.tokens.refresh_token for result in results}) == 1
    assert await live_tokens(db) == 1


async def test_tabs_that_arrive_while_the_answer_is_held_back_join(db: Database) -> None:
    """Requests that trickle in over more than the first one's time still belong to what is in flight."""
    house = process(db)
    token = (await register(house)).tokens.refresh_token
    tabs: list[asyncio.Task[Refreshed]] = []
    for _ in range(8):
        tabs.append(asyncio.create_task(house.rotation.exchange(token)))
        await asyncio.sleep(0.03)
    assert len({result.tokens.refresh_token for result in await asyncio.gather(*tabs)}) == 1
    assert await refusal(house.rotation.exchange(token)) == "REFRESH_TOKEN_REUSED"


async def test_tabs_in_flight_may_reach_two_processes(db: Database) -> None:
    """No attempt has an id, but each was on its way before any answer: twenty times one live successor."""
    houses = [process(db), process(db)]
    token = stolen = (await register(houses[0])).tokens.refresh_token
    for _ in range(20):
        stolen = token
        results = await asyncio.gather(*(houses[number % 2].rotation.exchange(token) for number in range(8)))
        (token,) = {result.tokens.refresh_token for result in results}
        assert await live_tokens(db) == 1
    assert await refusal(houses[1].rotation.exchange(stolen)) == "REFRESH_TOKEN_REUSED"


async def test_one_attempt_may_reach_two_processes(db: Database) -> None:
    """Eight requests of one attempt, spread over two processes, twenty times: one live successor each time."""
    houses = [process(db), process(db)]
    token = (await register(houses[0])).tokens.refresh_token
    for round_ in range(20):
        results = await asyncio.gather(
            *(houses[number % 2].rotation.exchange(token, f"attempt-{round_}") for number in range(8))
        )
        (token,) = {result.tokens.refresh_token for result in results}
        assert await live_tokens(db) == 1


async def test_a_lost_answer_can_be_asked_for_again(db: Database) -> None:
    """A retry of the attempt, from another process even, gets the same successor; after 60 seconds it is theft."""
    clock = Clock()
    house = process(db, clock)
    token = (await register(house)).tokens.refresh_token
    first = await house.rotation.exchange(token, ATTEMPT)
    clock.turn(seconds=60)
    again = await process(db, clock).rotation.exchange(token, ATTEMPT)
    assert again.tokens.refresh_token == first.tokens.refresh_token
    assert again.tokens.refresh_expires_at == first.tokens.refresh_expires_at
    clock.turn(seconds=1)
    assert await refusal(house.rotation.exchange(token, ATTEMPT)) == "REFRESH_TOKEN_REUSED"


async def test_a_tab_that_joined_can_ask_again_under_its_own_attempt(db: Database) -> None:
    """It was answered by another tab's exchange; if its answer is lost, its retry is honest too."""
    house = process(db)
    token = (await register(house)).tokens.refresh_token
    first, _ = await asyncio.gather(house.rotation.exchange(token, "tab-1"), house.rotation.exchange(token, "tab-2"))
    again = await house.rotation.exchange(token, "tab-2")
    assert again.tokens.refresh_token == first.tokens.refresh_token


async def test_a_retry_under_another_attempt_is_theft(db: Database) -> None:
    """The id of the attempt is what tells a retry from a replay."""
    house = process(db)
    token = (await register(house)).tokens.refresh_token
    await house.rotation.exchange(token, ATTEMPT)
    assert await refusal(house.rotation.exchange(token, "attempt-2")) == "REFRESH_TOKEN_REUSED"


async def test_a_retry_after_the_successor_was_used_is_theft(db: Database) -> None:
    """Whoever has the successor does not need to ask again."""
    house = process(db)
    token = (await register(house)).tokens.refresh_token
    successor = (await house.rotation.exchange(token, ATTEMPT)).tokens.refresh_token
    await house.rotation.exchange(successor)
    assert await refusal(house.rotation.exchange(token, ATTEMPT)) == "REFRESH_TOKEN_REUSED"


async def test_a_retry_survives_a_rotation_of_the_secret(db: Database) -> None:
    """The successor was made under the previous secret and is found again."""
    token = (await register(house := process(db))).tokens.refresh_token
    first = await house.rotation.exchange(token, ATTEMPT)
    restarted = process(db, secret="a new secret of at least thirty-two bytes", previous=SECRET)
    again = await restarted.rotation.exchange(token, ATTEMPT)
    assert again.tokens.refresh_token == first.tokens.refresh_token


async def test_a_client_that_hangs_up_breaks_nobody_else_off(db: Database) -> None:
    """The first request and one that joined are given up; the others get their answer."""
    house = process(db)
    token = (await register(house)).tokens.refresh_token
    tabs = [asyncio.create_task(house.rotation.exchange(token, ATTEMPT)) for _ in range(4)]
    await asyncio.sleep(0)
    tabs[0].cancel()
    tabs[2].cancel()
    results = await asyncio.gather(*tabs, return_exceptions=True)
    assert [isinstance(result, Refreshed) for result in results] == [False, True, False, True]
    again = await house.rotation.exchange(token, ATTEMPT)
    assert isinstance(results[1], Refreshed)
    assert again.tokens.refresh_token == results[1].tokens.refresh_token


async def test_an_unknown_token_is_refused_and_touches_nobody(db: Database) -> None:
    """Guessing ends no session."""
    house = process(db)
    tokens = (await register(house)).tokens
    for guess in ("x", tokens.refresh_token[:-1], tokens.refresh_token + "A", "é", "x" * 100_000, "a\0b"):
        assert await refusal(house.rotation.exchange(guess)) == "INVALID_REFRESH_TOKEN"
    assert await is_signed_in(house, tokens.access_token)


async def test_a_logged_out_token_is_refused_and_ends_no_other_session(db: Database) -> None:
    """Neither the live token of a session that was logged out, nor a spent one, is theft."""
    house = process(db)
    spent = (await register(house)).tokens
    elsewhere = (await login(house)).tokens
    last = (await house.rotation.exchange(spent.refresh_token)).tokens
    await house.sessions.log_out(last.refresh_token)
    for tokens in (last, spent):
        assert await refusal(house.rotation.exchange(tokens.refresh_token)) == "INVALID_REFRESH_TOKEN"
        assert not await is_signed_in(house, tokens.access_token)
    assert await is_signed_in(house, elsewhere.access_token)


async def test_a_refresh_token_expires_after_seven_days(db: Database) -> None:
    """And then it is plainly not valid."""
    clock = Clock()
    house = process(db, clock)
    token = (await register(house)).tokens.refresh_token
    clock.turn(days=7)
    assert await refusal(house.rotation.exchange(token)) == "INVALID_REFRESH_TOKEN"


async def test_a_session_ends_after_thirty_days_however_often_it_is_refreshed(db: Database) -> None:
    """The last refresh token of a session lives no longer than the session."""
    clock = Clock()
    house = process(db, clock)
    tokens = (await register(house)).tokens
    began = clock.time
    for _ in range(5):
        clock.turn(days=5.9)
        tokens = (await house.rotation.exchange(tokens.refresh_token)).tokens
    assert (tokens.refresh_expires_at - began).days == 30
    clock.turn(days=0.5)
    assert await refusal(house.rotation.exchange(tokens.refresh_token)) == "INVALID_REFRESH_TOKEN"
    assert not await is_signed_in(house, tokens.access_token)


async def test_a_spent_token_shows_theft_as_long_as_its_session_lives(db: Database) -> None:
    """Weeks later, after sweeps, the first token of a session still gives the thief away."""
    clock = Clock()
    house = process(db, clock)
    stolen = (await register(house)).tokens
    tokens = stolen
    for _ in range(4):
        clock.turn(days=6)
        await house.sessions.sweep()
        tokens = (await house.rotation.exchange(tokens.refresh_token)).tokens
    assert await refusal(house.rotation.exchange(stolen.refresh_token)) == "REFRESH_TOKEN_REUSED"


async def test_thefts_on_all_sessions_at_once_do_not_deadlock(db: Database) -> None:
    """Each ends all the others; they agree on an order."""
    house = process(db)
    signed_in = [(await register(house)).tokens, *[(await login(house)).tokens for _ in range(5)]]
    for tokens in signed_in:
        await house.rotation.exchange(tokens.refresh_token)
    others = [process(db) for _ in signed_in]
    async with asyncio.timeout(10):
        reasons = await asyncio.gather(
            *(
                refusal(other.rotation.exchange(tokens.refresh_token))
                for other, tokens in zip(others, signed_in, strict=True)
            )
        )
    assert "REFRESH_TOKEN_REUSED" in reasons
    assert await live_tokens(db) == 0


@pytest.mark.parametrize("attempt_id", ["", "x" * 101, "a b\n", "é", "a\0b"])
async def test_a_bad_attempt_id_is_named_and_spends_nothing(db: Database, attempt_id: str) -> None:
    """The client learns of its mistake while its token is still good."""
    house = process(db)
    token = (await register(house)).tokens.refresh_token
    with pytest.raises(Invalid):
        await house.rotation.exchange(token, attempt_id)
    await house.rotation.exchange(token, ATTEMPT)


async def test_a_missing_token_is_named(db: Database) -> None:
    """It is the client's mistake, not a matter of credentials."""
    with pytest.raises(Invalid) as caught:
        await process(db).rotation.exchange("")
    assert [violation.field for violation in caught.value.violations] == ["refresh_token"]

"""Passwords: bounds, and what bcrypt must not be asked too often."""

import asyncio
from collections.abc import Iterator

import pytest

from appointments.auth import passwords
from appointments.auth.passwords import Hasher, Passwords
from appointments.shared.errors import Unavailable

GOOD = "correct horse"


@pytest.fixture
def hasher() -> Iterator[Hasher]:
    """The cheapest hashes that bcrypt makes."""
    passwords = Passwords(cost=4, workers=1)
    with passwords.slot() as hasher:
        yield hasher
    passwords.close()


async def hash_in_place(passwords: Passwords) -> str:
    """Hash a password as a request does."""
    with passwords.slot() as hasher:
        return await hasher.hash(GOOD)


async def test_only_the_password_itself_matches_its_hash(hasher: Hasher) -> None:
    """The point of it all."""
    hashed = await hasher.hash(GOOD)
    assert hashed.startswith("$2b$04$")
    assert await hasher.verify(GOOD, hashed)
    assert not await hasher.verify(GOOD + "!", hashed)


async def test_nothing_matches_an_unknown_account(hasher: Hasher) -> None:
    """There is work, and the answer is no."""
    assert not await hasher.verify(GOOD, None)


@pytest.mark.parametrize("password", ["x" * 73, "ä" * 37, "nul\0nul\0", "\ud800" * 8, ""])
async def test_a_password_that_bcrypt_would_refuse_just_does_not_match(hasher: Hasher, password: str) -> None:
    """No error tells such a password from a wrong one."""
    assert not await hasher.verify(password, await hasher.hash(GOOD))
    assert not await hasher.verify(password, None)


async def test_a_password_is_not_cut_at_72_bytes(hasher: Hasher) -> None:
    """What follows the 72nd byte is not ignored."""
    hashed = await hasher.hash("x" * 72)
    assert await hasher.verify("x" * 72, hashed)
    assert not await hasher.verify("x" * 73, hashed)


@pytest.mark.parametrize("password", ["x" * 8, "x" * 72, "ä" * 36, "🐎" * 18])
def test_a_good_password_has_no_problem(password: str) -> None:
    """8 characters to 72 bytes."""
    assert passwords.problem(password) is None


@pytest.mark.parametrize(
    "password", ["", "x" * 7, " " * 8, "x" * 73, "ä" * 37, "nul\0nul\0", "\ud800" * 8, "x" * 5_000_000]
)
def test_a_bad_password_has_a_problem(password: str) -> None:
    """Too short, too long, or no text."""
    assert passwords.problem(password)


async def test_more_passwords_than_may_wait_are_refused_and_the_others_served() -> None:
    """One at work and two waiting: of ten at once seven are sent away, with a hint."""
    queue = Passwords(cost=8, workers=1, waiting=2)
    results = await asyncio.gather(*(hash_in_place(queue) for _ in range(10)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, Unavailable)]
    assert (len(refused), {fault.reason for fault in refused}) == (7, {"PASSWORD_QUEUE_FULL"})
    assert all(fault.retry_after for fault in refused)
    assert await hash_in_place(queue)  # there is room again
    queue.close()


async def test_requests_that_were_given_up_leave_their_place_in_the_queue() -> None:
    """A client that hangs up does not keep others out."""
    queue = Passwords(cost=8, workers=1, waiting=2)
    waiting = [asyncio.create_task(hash_in_place(queue)) for _ in range(3)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert len(await asyncio.gather(*(hash_in_place(queue) for _ in range(3)))) == 3
    queue.close()

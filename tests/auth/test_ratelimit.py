"""The limiter's arithmetic and its keys."""

import asyncio

import pytest

from appointments.auth.ratelimit import Limiter, network
from appointments.shared.errors import TooMany


async def attempts(limiter: Limiter, action: str, who: str, count: int) -> list[TooMany]:
    """Make attempts at once; returns the refusals."""
    results = await asyncio.gather(*(limiter.admit(action, who) for _ in range(count)), return_exceptions=True)
    assert all(result is None or isinstance(result, TooMany) for result in results)
    return [result for result in results if isinstance(result, TooMany)]


async def test_of_twenty_at_once_ten_pass() -> None:
    """The burst; at a rate so slow that the machine's speed does not matter."""
    refused = await attempts(Limiter(per_second=1), "login", "192.0.2.1", 20)
    assert len(refused) == 10
    assert all(0 < fault.retry_after <= 1 for fault in refused if fault.retry_after is not None)


async def test_after_the_hinted_time_the_next_one_passes() -> None:
    """Five a second: the hint is the truth."""
    limiter = Limiter()
    refused = await attempts(limiter, "login", "192.0.2.1", 20)
    await asyncio.sleep((refused[0].retry_after or 0) + 0.005)  # timers count in milliseconds
    await limiter.admit("login", "192.0.2.1")


async def test_others_and_other_actions_are_not_limited() -> None:
    """Each action of each caller has a bucket of its own."""
    limiter = Limiter(per_second=1)
    await attempts(limiter, "login", "192.0.2.1", 20)
    assert await attempts(limiter, "login", "192.0.2.2", 10) == []
    assert await attempts(limiter, "register", "192.0.2.1", 10) == []


async def test_a_flood_of_addresses_does_not_push_a_limited_one_out() -> None:
    """An attacker with fifty thousand addresses gains nothing at the fifty-thousand-and-first."""
    limiter = Limiter(per_second=1)
    await attempts(limiter, "login", "192.0.2.1", 20)
    for number in range(50_000):
        await limiter.admit("login", str(number))
    # At one a second some attempts have come back meanwhile; a forgotten bucket would let ten in.
    assert await attempts(limiter, "login", "192.0.2.1", 20)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:0db8:0001:0002::1", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("unix", "unix"),
        ("", ""),
    ],
)
def test_an_address_counts_as_its_network(address: str, expected: str) -> None:
    """Whoever has an IPv6 address has 2^64 of them."""
    assert network(address) == expected

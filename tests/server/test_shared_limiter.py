"""Limiter state in a real Redis: shared by several instances, done without while it is away, and used again after."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from appointments.auth import ratelimit
from appointments.auth.ratelimit import AWAY_SECONDS, Limiter
from appointments.shared.errors import TooMany
from tests import service
from tests.clients import new_email
from tests.programs import Redis, running


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[Redis]:
    """A Redis, which may take its time on a busy machine: one that is stopped refuses connections at once."""
    monkeypatch.setattr(ratelimit, "SHARED_SECONDS", 10.0)
    with running() as server:
        yield server


@pytest.fixture
async def limiters(redis: Redis) -> AsyncIterator[tuple[Limiter, Limiter]]:
    """Two that share it, one attempt a second. They are closed whatever happens: uvloop waits for open connections."""
    one, other = Limiter(redis_url=redis.url, per_second=1), Limiter(redis_url=redis.url, per_second=1)
    yield one, other
    await one.close()
    await other.close()


async def passed(*limiters: Limiter, attempts: int = 20) -> int:
    """Spread attempts of one caller over the limiters; returns how many get through."""
    calls = [limiters[number % len(limiters)].admit("login", "192.0.2.1") for number in range(attempts)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(None), TooMany} >= {type(result) for result in results}
    return results.count(None)


async def test_two_limiters_count_together(limiters: tuple[Limiter, Limiter]) -> None:
    """Of twenty attempts over both, the burst of ten passes; one more if a second passes meanwhile."""
    assert 10 <= await passed(*limiters) <= 12


async def test_without_redis_each_counts_for_itself(
    redis: Redis, limiters: tuple[Limiter, Limiter], caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is kept from signing in, nobody gets more than the burst of each; one warning says so, another its end."""
    redis.stop()
    assert 20 <= await passed(*limiters, attempts=40) <= 24  # a second may pass meanwhile on a busy machine
    assert [record.getMessage().partition(":")[2].partition(",")[0] for record in caplog.records] == [
        " Redis is away",
        " Redis is away",
    ]
    redis.start()
    await asyncio.sleep(AWAY_SECONDS)
    assert 10 <= await passed(*limiters) <= 12
    assert caplog.records[-1].getMessage() == "limiter: Redis is back"


async def test_a_restart_of_redis_is_not_noticed(
    redis: Redis, limiters: tuple[Limiter, Limiter], caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that died at rest is replaced within the attempt."""
    limiter, _ = limiters
    await limiter.admit("login", "192.0.2.1")
    redis.stop()
    redis.start()
    await limiter.admit("login", "192.0.2.1")
    assert caplog.records == []


async def test_two_instances_share_the_limit(redis: Redis, dsn: str) -> None:
    """Twenty logins spread over two services: ten pass the limiter, the others are told when to come back."""
    # At the slowest hash the machine has to offer nobody would wait; at this one all twenty are there within a moment.
    environment = {"REDIS_URL": redis.url, "BCRYPT_COST": "4"}
    with service.start(dsn, environment) as one, service.start(dsn, environment) as other:
        async with httpx.AsyncClient() as client:
            body = {"email": new_email(), "password": "not the right one"}
            answers = await asyncio.gather(
                *(client.post(f"{(one, other)[number % 2].url}/auth/login", json=body) for number in range(20))
            )
    statuses = Counter(answer.status_code for answer in answers)
    assert {401, 429} == set(statuses)
    assert 10 <= statuses[401] <= 13  # five more a second
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 429)

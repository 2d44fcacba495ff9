"""The rate limiter: a burst of ten attempts, then five a second, per action and per caller. Mail has a slower pace.

The algorithm is GCRA, a form of token bucket. The state is in this process, or in a Redis that several processes share.
In this process there is room for so many callers that nobody can evict another caller's state within the two seconds
for which it matters. While Redis is away each process counts by itself. A limit that is N times too wide is better than
refusing every sign-in, and better than no limit.
"""

import asyncio
import logging
import time
from ipaddress import IPv6Address, ip_address
from typing import Any, Literal

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from throttled.asyncio import MemoryStore, RateLimiterType, RateLimitResult, RedisStore, Throttled, per_hour, per_sec
from throttled.asyncio.store import BaseStore
from throttled.exceptions import StoreUnavailableError

from appointments.shared import metrics
from appointments.shared.errors import TooMany

PER_SECOND = 5
BURST = 10

MAIL_PER_HOUR = 10
MAIL_BURST = 10
"""How much mail one address or account may cause to be sent, where whoever asks need not be its reader."""

MAX_KEYS = 262_144

SHARED_SECONDS = 0.25
"""How long to wait for Redis, which usually answers within a millisecond."""

AWAY_SECONDS = 1.0
"""How long Redis is not asked again after it failed to answer, so that not every sign-in waits for it."""

CONNECTIONS = 16

Pace = Literal["attempts", "mail"]

_log = logging.getLogger(__name__)


class Limiter:
    """Counts attempts, in the Redis at ``redis_url`` or in this process."""

    def __init__(self, *, redis_url: str | None = None, per_second: int = PER_SECOND, burst: int = BURST) -> None:
        quotas = {
            "attempts": per_sec(per_second, burst=burst),
            "mail": per_hour(MAIL_PER_HOUR, burst=MAIL_BURST),
        }

        def throttled(store: BaseStore) -> dict[str, Throttled]:
            gcra = RateLimiterType.GCRA.value
            return {pace: Throttled(using=gcra, quota=quota, store=store) for pace, quota in quotas.items()}

        self._own = throttled(MemoryStore(options={"MAX_SIZE": MAX_KEYS}))
        self._redis = _redis(redis_url) if redis_url else None
        self._shared = throttled(self._redis) if self._redis else None
        self._away = False
        self._again_at = 0.0

    async def admit(self, action: str, who: str, *, pace: Pace = "attempts") -> None:
        """Count one attempt of ``who``: a network, a user id or an address.

        Raises:
            TooMany: the limit is reached; it carries the seconds until the next attempt is allowed.
        """
        key = f"{action}:{who}"
        result = await self._count_shared(pace, key) or await self._own[pace].limit(key)
        if result.limited:
            metrics.LIMITER_REFUSALS.inc()
            raise TooMany("Too many attempts.", retry_after=result.state.retry_after)

    async def close(self) -> None:
        """Close the connections to Redis."""
        if self._redis:
            client: Any = self._redis._backend.get_client()  # the store has no way to close it
            await client.connection_pool.disconnect()

    async def _count_shared(self, pace: Pace, key: str) -> RateLimitResult | None:
        if self._shared is None or time.monotonic() < self._again_at:
            return None
        try:
            async with asyncio.timeout(SHARED_SECONDS):
                result = await self._shared[pace].limit(key)
        except (StoreUnavailableError, TimeoutError) as error:
            if not self._away:
                _log.warning("limiter: Redis is away, counting in this process: %s", error)
            self._away, self._again_at = True, time.monotonic() + AWAY_SECONDS
            return None
        if self._away:
            _log.warning("limiter: Redis is back")
            self._away = False
        return result


def _redis(url: str) -> RedisStore:
    connection = {
        "max_connections": CONNECTIONS,
        "timeout": SHARED_SECONDS,  # for a free connection
        "socket_connect_timeout": SHARED_SECONDS,
        # One immediate retry: an idle connection may have died when Redis was restarted.
        "retry": Retry(NoBackoff(), 1),
    }
    pool = "redis.asyncio.BlockingConnectionPool"
    return RedisStore(url, options={"CONNECTION_POOL_CLASS": pool, "CONNECTION_POOL_KWARGS": connection})


def network(address: str) -> str:
    """The network that one customer has: the whole IPv4 address, the first 64 bits of an IPv6 one (RFC 6177)."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    if not isinstance(ip, IPv6Address):
        return str(ip)
    if ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    return f"{IPv6Address(int(ip) >> 64 << 64)}/64"

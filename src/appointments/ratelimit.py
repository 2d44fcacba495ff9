"""The limiter: five attempts a second after a burst of ten, per action and per caller.

GCRA, which is a token bucket by another name. State is this process's own, and large enough that nobody can push
another caller's out of it within the two seconds that it matters.
"""

from ipaddress import IPv6Address, ip_address

from throttled.asyncio import MemoryStore, RateLimiterType, Throttled, per_sec

from appointments.errors import TooMany

PER_SECOND = 5
BURST = 10
MAX_KEYS = 262_144


class Limiter:
    """Counts attempts."""

    def __init__(self, *, per_second: int = PER_SECOND, burst: int = BURST) -> None:
        self._throttled = Throttled(
            using=RateLimiterType.GCRA.value,
            quota=per_sec(per_second, burst=burst),
            store=MemoryStore(options={"MAX_SIZE": MAX_KEYS}),
        )

    async def admit(self, action: str, who: str) -> None:
        """Count one attempt of ``who``: a network or a user id.

        Raises:
            TooMany: with the seconds until the next one is let in.
        """
        result = await self._throttled.limit(f"{action}:{who}")
        if result.limited:
            raise TooMany("Too many attempts.", retry_after=result.state.retry_after)


def network(address: str) -> str:
    """The part of an address that one customer has: IPv4 whole, of IPv6 the first 64 bits (RFC 6177)."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    if not isinstance(ip, IPv6Address):
        return str(ip)
    if ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    return f"{IPv6Address(int(ip) >> 64 << 64)}/64"

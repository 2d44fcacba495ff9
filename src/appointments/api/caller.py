"""Who asks: what the policy learns about a request before a handler sees it."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Visitor:
    """Anybody. ``address`` is the client's IP address, ``attempt_id`` marks the retries of one refresh."""

    request_id: str
    address: str
    user_agent: str
    attempt_id: str | None


@dataclass(frozen=True, slots=True)
class Caller(Visitor):
    """Somebody signed in."""

    user_id: UUID
    session_id: UUID

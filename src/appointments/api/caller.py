"""Who makes a request: what the policy knows about it before a handler sees it."""

import re
from dataclasses import dataclass
from uuid import UUID

from uuid_utils import uuid4

from appointments.calendar.log import Cause

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Visitor:
    """A client that may be anybody. ``address`` is its IP address, ``attempt_id`` marks the retries of one refresh."""

    request_id: str
    address: str
    user_agent: str
    attempt_id: str | None


@dataclass(frozen=True, slots=True)
class Caller(Visitor):
    """A client with an identity."""

    user_id: UUID
    session_id: UUID

    @property
    def actor_id(self) -> UUID:
        """Who really calls."""
        return self.user_id

    @property
    def is_admin(self) -> bool:
        """Whether the caller manages everything."""
        return False


def cause(caller: Caller) -> Cause:
    """What the log of changes has of a call."""
    return Cause(caller.actor_id if caller.actor_id != caller.user_id else None, caller.request_id)


def request_id(given: str) -> str:
    """Return the id of a request: the client's own if it is safe in a log and in a header, else a new one."""
    return given if _SANE_ID.fullmatch(given) else str(uuid4())

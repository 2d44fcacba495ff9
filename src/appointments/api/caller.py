"""Who makes a request: what the policy knows about it before a handler sees it."""

import re
from dataclasses import dataclass
from uuid import UUID

from uuid_utils import uuid4

from appointments.auth.identity import Identity
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

    identity: Identity
    read_after: str = ""
    """What the answer to the caller's last write said, so that a replica shows it: ``x-read-after``."""

    @property
    def user_id(self) -> UUID:
        """Whose call it is."""
        return self.identity.user_id

    @property
    def actor_id(self) -> UUID:
        """Who really calls: the user, or the service account that acts for the user."""
        return self.identity.actor_id

    @property
    def session_id(self) -> UUID | None:
        """The session that the user has signed in with; None for a program with a key."""
        return self.identity.session_id

    @property
    def is_admin(self) -> bool:
        """Whether the caller manages everything."""
        return self.identity.is_admin


def cause(caller: Caller) -> Cause:
    """What the log of changes has of a call."""
    return Cause(caller.actor_id if caller.actor_id != caller.user_id else None, caller.request_id)


def request_id(given: str) -> str:
    """Return the id of a request: the client's own if it is safe in a log and in a header, else a new one."""
    return given if _SANE_ID.fullmatch(given) else str(uuid4())

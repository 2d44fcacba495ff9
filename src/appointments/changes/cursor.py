"""Where a follower of one calendar is: an epoch and a position, as an opaque string that only this follower can use."""

from dataclasses import dataclass
from uuid import UUID

from appointments.db import paging

_EPOCH_BYTES = 16
_POSITION_BYTES = 8


@dataclass(frozen=True, slots=True)
class Follower:
    """Who follows, and what: a resource, or (None) their own calendar."""

    user_id: UUID
    resource_id: UUID | None = None
    is_admin: bool = False

    @property
    def calendar_id(self) -> UUID:
        """Whose changes they get."""
        return self.resource_id or self.user_id

    def __str__(self) -> str:
        return f"changes {self.user_id} {self.resource_id}"


@dataclass(frozen=True, slots=True)
class Cursor:
    """Everything at or below a position has been seen. Positions of two epochs have nothing to do with each other."""

    epoch: UUID
    position: int


def encode(cursor: Cursor, follower: Follower) -> str:
    """Make the string."""
    return paging.seal(cursor.epoch.bytes + cursor.position.to_bytes(_POSITION_BYTES), follower)


def decode(text: str, follower: Follower) -> Cursor | None:
    """Read it; None if it is not one of this follower's."""
    packed = paging.unseal(text, follower)
    if packed is None or len(packed) != _EPOCH_BYTES + _POSITION_BYTES:
        return None
    return Cursor(UUID(bytes=packed[:_EPOCH_BYTES]), int.from_bytes(packed[_EPOCH_BYTES:]))

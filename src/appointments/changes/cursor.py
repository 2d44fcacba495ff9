"""Cursors: how far a follower of one calendar has read. Clients see an opaque string, good for this follower only."""

from dataclasses import dataclass
from uuid import UUID

from appointments.db import paging

_EPOCH_BYTES = 16
_POSITION_BYTES = 8


@dataclass(frozen=True, slots=True)
class Follower:
    """Who follows, and what: a resource, or with None their own calendar."""

    user_id: UUID
    resource_id: UUID | None = None
    is_admin: bool = False

    @property
    def calendar_id(self) -> UUID:
        """The calendar whose changes they get: the resource's or their own."""
        return self.resource_id or self.user_id

    def __str__(self) -> str:
        return f"changes {self.user_id} {self.resource_id}"


@dataclass(frozen=True, slots=True)
class Cursor:
    """Everything up to and including a position has been read. Positions of different epochs cannot be compared."""

    epoch: UUID
    position: int


def encode(cursor: Cursor, follower: Follower) -> str:
    """The opaque string for a follower's cursor."""
    return paging.seal(cursor.epoch.bytes + cursor.position.to_bytes(_POSITION_BYTES), follower)


def decode(text: str, follower: Follower) -> Cursor | None:
    """Read a cursor from its string. None if it does not belong to this follower."""
    packed = paging.unseal(text, follower)
    if packed is None or len(packed) != _EPOCH_BYTES + _POSITION_BYTES:
        return None
    return Cursor(UUID(bytes=packed[:_EPOCH_BYTES]), int.from_bytes(packed[_EPOCH_BYTES:]))

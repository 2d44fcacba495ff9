"""Cursors: how far a follower has read. Clients see an opaque string, good for this follower only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from appointments.db import paging
from appointments.shared.errors import Violation
from appointments.shared.validation import is_uuid

MOST_RESOURCES = 50
"""So many resources may be followed beside one's own calendar."""

_EPOCH_BYTES = 16
_POSITION_BYTES = 8


@dataclass(frozen=True, slots=True)
class Follower:
    """Who follows, and what: a resource; or, with None, their own calendar and those of ``resource_ids``."""

    user_id: UUID
    resource_id: UUID | None = None
    is_admin: bool = False
    resource_ids: tuple[UUID, ...] = ()

    @property
    def calendar_id(self) -> UUID:
        """The calendar whose changes they get in any case: the resource's or their own."""
        return self.resource_id or self.user_id

    @property
    def calendar_ids(self) -> tuple[UUID, ...]:
        """All calendars whose changes they get."""
        return (self.calendar_id, *self.resource_ids)

    def __str__(self) -> str:
        # Without resource_ids: positions are the same in all calendars, so a cursor outlives their choice.
        return f"changes {self.user_id} {self.resource_id}"


def violations(resource_id: str, resource_ids: Sequence[str]) -> Iterator[Violation]:
    """What is wrong with what somebody wants to follow, as requests spell it."""
    if resource_id and not is_uuid(resource_id):
        yield Violation("resource_id", "must be a UUID")
    if resource_id and resource_ids:
        yield Violation("resource_ids", "must be empty if resource_id is given")
    if len(resource_ids) > MOST_RESOURCES:
        yield Violation("resource_ids", f"must be at most {MOST_RESOURCES}, are {len(resource_ids):,}")
        return
    folded = [each.lower() for each in resource_ids]
    for index, each in enumerate(folded):
        if not is_uuid(each):
            yield Violation(f"resource_ids[{index}]", "must be a UUID")
        elif each in folded[:index]:
            yield Violation(f"resource_ids[{index}]", "is there already")


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

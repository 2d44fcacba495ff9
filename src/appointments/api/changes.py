"""ChangeService: convert, call the feature, convert. `message` and `follower` serve /events and webhooks too."""

from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from appointments.api import convert, resources
from appointments.api.appointments import CHANGEABLE
from appointments.api.caller import Caller
from appointments.changes import following, reading
from appointments.changes.cursor import Cursor, Follower, decode, encode, violations
from appointments.changes.hub import Hub
from appointments.changes.reading import Batch, Change
from appointments.db import Database
from appointments.shared.errors import Invalid
from appointments.v1 import changes_pb2 as pb

DEFAULT_SIZE = 100
MAX_SIZE = 1000

_KINDS = {
    "created": pb.CHANGE_KIND_CREATED,
    "updated": pb.CHANGE_KIND_UPDATED,
    "changed": pb.CHANGE_KIND_UPDATED,
    "deleted": pb.CHANGE_KIND_DELETED,
    "undeleted": pb.CHANGE_KIND_UNDELETED,
    "removed": pb.CHANGE_KIND_REMOVED,
    "access": pb.CHANGE_KIND_ACCESS,
    "responded": pb.CHANGE_KIND_RESPONDED,
}
_FIELDS = {column: field for field, column in CHANGEABLE.items()}


class ChangeService:
    """What has changed since, and what changes now. Statuses are in proto/appointments/v1/changes.proto."""

    def __init__(self, db: Database, hub: Hub) -> None:
        self._db = db
        self._hub = hub

    async def ListChanges(self, request: pb.ListChangesRequest, caller: Caller) -> pb.ListChangesResponse:
        """Read on from a cursor."""
        who = follower(caller, request.resource_id, request.resource_ids)
        cursor = decoded(request.cursor, who)
        if request.page_size < 0:
            raise Invalid.field("page_size", "must not be negative")
        # The caller's own last change must be among them.
        await self._hub.settled()
        size = min(request.page_size or DEFAULT_SIZE, MAX_SIZE)
        batch = await reading.page(self._db, who, cursor, size=size)
        response = pb.ListChangesResponse(next_cursor=encode(batch.cursor, who), more=batch.more)
        response.changes.extend(map(message, batch.changes))
        return response

    def WatchChanges(self, request: pb.WatchChangesRequest, caller: Caller) -> AsyncGenerator[pb.WatchChangesResponse]:
        """Read on from a cursor, and then follow."""
        who = follower(caller, request.resource_id, request.resource_ids)
        return self.watch(who, decoded(request.cursor, who))

    def watch(self, who: Follower, cursor: Cursor | None) -> AsyncGenerator[pb.WatchChangesResponse]:
        """The same for whoever has read the request."""
        return following.follow(self._db, self._hub, who, cursor, partial(response_of, who))


def follower(caller: Caller, resource_id: str, resource_ids: Sequence[str]) -> Follower:
    """Who follows, and what.

    Raises:
        Invalid: it is nothing that can be followed.
    """
    if found := list(violations(resource_id, resource_ids)):
        raise Invalid(found)
    only = UUID(resource_id) if resource_id else None
    return Follower(caller.user_id, only, caller.is_admin, tuple(map(UUID, resource_ids)))


def decoded(cursor: str, who: Follower) -> Cursor | None:
    """Read a cursor of this follower's; "" is none.

    Raises:
        Invalid: it is not one of theirs.
    """
    if not cursor:
        return None
    if (found := decode(cursor, who)) is None:
        raise Invalid.field("cursor", "is not a cursor of yours for this calendar", reason="INVALID_CURSOR")
    return found


def response_of(who: Follower, batch: Batch) -> pb.WatchChangesResponse:
    """An answer of a stream."""
    response = pb.WatchChangesResponse(next_cursor=encode(batch.cursor, who))
    response.changes.extend(map(message, batch.changes))
    return response


def message(value: Change) -> pb.Change:
    """A change as the contract has it."""
    what, _, kind = value.kind.partition(".")
    change = pb.Change(kind=_KINDS.get(kind, pb.CHANGE_KIND_UNSPECIFIED))
    convert.set_timestamp(change.change_time, value.changed_at)
    if value.resource_id:
        change.resource_id = str(value.resource_id)
    if value.item_id is None:
        return change
    change.id = str(value.item_id)
    change.version = value.version
    if value.actor_id:
        change.actor_id = str(value.actor_id)
    if value.request_id:
        change.request_id = value.request_id
    if value.fields:
        change.changed_fields.paths.extend(_FIELDS.get(field, field) for field in value.fields)
    if value.appointment is not None:
        change.appointment.CopyFrom(convert.appointment(value.appointment))
    elif value.resource is not None:
        change.resource.CopyFrom(resources.message_of(value.resource))
    elif value.series is not None:
        change.series.CopyFrom(convert.series(value.series))
    elif value.gone:
        if kind != "deleted":
            change.kind = pb.CHANGE_KIND_REMOVED
        gone: Any = getattr(change, what)
        gone.id = change.id
        convert.set_timestamp(gone.delete_time, value.changed_at)
    return change

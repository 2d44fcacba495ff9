"""Reading the log: the entries of one calendar after a cursor, with the current state of what they are about.

An entry only says what has changed. A follower gets it together with the item as it is at the time of reading, and only
as much as they may see then: a resource's managers see its appointments, others only that something has changed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from appointments.calendar import invited, resources, series_booking
from appointments.calendar.appointment import COLUMNS, Appointment, from_row
from appointments.calendar.materializing import Booked
from appointments.calendar.resource import Resource, Role
from appointments.changes.cursor import Cursor, Follower
from appointments.db import Database, Micros, Statement
from appointments.shared.errors import Expired, NotFound


class Entry(NamedTuple):
    """A row of the log."""

    position: int
    calendar_id: UUID
    kind: str
    item_id: UUID
    version: int
    actor_id: UUID | None
    request_id: str | None
    fields: list[str] | None
    changed_at: Micros


class Head(NamedTuple):
    """Where the log begins and ends."""

    epoch: UUID
    last_position: int
    pruned_position: int

    @property
    def end(self) -> Cursor:
        """The cursor of now."""
        return Cursor(self.epoch, self.last_position)

    def check(self, cursor: Cursor) -> None:
        """Check that everything after a cursor is still in the log.

        Raises:
            Expired: some of it is no longer kept, or the log has a new epoch.
        """
        if cursor.epoch != self.epoch or not self.pruned_position <= cursor.position <= self.last_position:
            raise Expired("The cursor is from too long ago, or from before a restore: list again, and begin there.")


@dataclass(frozen=True, slots=True)
class Change:
    """What a follower gets.

    At most one of ``appointment``, ``resource``, ``series`` and ``gone`` is set. ``gone``: they no longer see the item.
    If none is set, they may not know what has changed, and ``item_id`` and the fields after it are unset, too.
    """

    kind: str
    changed_at: Micros
    item_id: UUID | None = None
    version: int = 0
    actor_id: UUID | None = None
    request_id: str | None = None
    fields: Sequence[str] | None = None
    appointment: Appointment | None = None
    resource: Resource | None = None
    series: Booked | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Some changes, and the cursor that goes on after them."""

    changes: list[Change]
    cursor: Cursor
    more: bool = False


HEAD = Statement("SELECT epoch, last_position, pruned_position FROM change_head")

# Both from one snapshot: what is not among the entries up to the head's position is not there.
AFTER = Statement(
    """
    SELECT epoch, last_position, pruned_position,
           position, calendar_id, kind, item_id, version, actor_id, request_id, fields, changed_at
    FROM change_head LEFT JOIN LATERAL (
        SELECT position, calendar_id, kind, item_id, version, actor_id, request_id, fields, changed_at FROM changes
        WHERE position > %(after)s::bigint ORDER BY position LIMIT %(limit)s::bigint
    ) AS entries ON true
    """
)

# The same for several calendars, each from a position of its own. The first column is the number of the question.
OF_CALENDARS = Statement(
    """
    SELECT number, epoch, last_position, pruned_position,
           position, calendar_id, kind, item_id, version, actor_id, request_id, fields, changed_at
    FROM change_head
    CROSS JOIN unnest(%(calendar_ids)s::uuid[], %(positions)s::bigint[])
        WITH ORDINALITY AS asked (asked_id, since, number)
    LEFT JOIN LATERAL (
        SELECT position, calendar_id, kind, item_id, version, actor_id, request_id, fields, changed_at FROM changes
        WHERE calendar_id = asked_id AND position > since ORDER BY position LIMIT %(limit)s::bigint
    ) AS entries ON true
    ORDER BY number, position
    """
)

ITEMS = Statement(f"SELECT {COLUMNS} FROM appointments WHERE id = ANY (%(ids)s::uuid[])")


async def head(db: Database) -> Head:
    """Where the log ends now."""
    return Head._make((await db.fetch(HEAD, {}))[0])


async def after(db: Database, position: int, limit: int) -> tuple[Head, list[Entry]]:
    """The entries of all calendars after a position, at most ``limit``, and where the log ended then."""
    rows = await db.fetch(AFTER, {"after": position, "limit": limit})
    return Head._make(rows[0][:3]), [Entry._make(row[3:]) for row in rows if row[3] is not None]


async def of_calendars(
    db: Database, questions: Sequence[tuple[UUID, int]], limit: int
) -> list[tuple[Head, list[Entry]]]:
    """For each calendar and position: the entries after it, at most ``limit``, and where the log ended then."""
    values = {"calendar_ids": [each[0] for each in questions], "positions": [each[1] for each in questions]}
    found: list[tuple[Head, list[Entry]]] = []
    for row in await db.fetch(OF_CALENDARS, {**values, "limit": limit}):
        if row[0] > len(found):
            found.append((Head._make(row[1:4]), []))
        if row[4] is not None:
            found[-1][1].append(Entry._make(row[4:]))
    return found


async def items(db: Database, entries: Iterable[Entry]) -> dict[UUID, Appointment]:
    """The appointments that entries are about, as they are now. Those of deleted accounts are missing."""
    ids = {entry.item_id for entry in entries if entry.kind.startswith("appointment.")}
    if not ids:
        return {}
    found = map(from_row, await db.fetch(ITEMS, {"ids": list(ids)}))
    return {appointment.id: appointment for appointment in found}


async def page(db: Database, follower: Follower, cursor: Cursor | None, *, size: int) -> Batch:
    """What has changed after a cursor, at most ``size`` changes. Without a cursor: no changes, and the current cursor.

    Raises:
        Expired: some of it is no longer kept, or the log has a new epoch.
        NotFound: the follower sees no such resource.
    """
    role = await role_of(db, follower)
    if cursor is None:
        return Batch([], (await head(db)).end)
    ((now, entries),) = await of_calendars(db, [(follower.calendar_id, cursor.position)], size + 1)
    now.check(cursor)
    more = len(entries) > size
    chosen = entries[:size]
    changes = await seen(db, follower, role, chosen, await items(db, chosen))
    return Batch(changes, Cursor(now.epoch, chosen[-1].position) if more else now.end, more)


async def role_of(db: Database, follower: Follower) -> int:
    """A follower's role on the resource that they follow. In their own calendar they may see everything.

    Raises:
        NotFound: they see no such resource.
    """
    if follower.resource_id is None:
        return Role.MANAGER
    found = await resources.get(db, follower.user_id, follower.resource_id, is_admin=follower.is_admin)
    return found.role


async def seen(
    db: Database, follower: Follower, role: int, entries: Iterable[Entry], found: Mapping[UUID, Appointment]
) -> list[Change]:
    """What a follower with a role gets of entries of their calendar; ``found`` are the appointments as they are now."""
    entries = list(entries)
    changes = []
    others = [] if follower.resource_id else [
        entry.item_id for entry in entries if (item := found.get(entry.item_id)) and item.owner_id != follower.user_id
    ]  # fmt: skip
    invitations = await invited.seen(db, follower.user_id, others) if others else {}
    for entry in entries:
        if entry.kind.startswith("resource."):
            changes.append(await _of_resource(db, follower, entry))
        elif entry.kind.startswith("series."):
            changes.append(await _of_series(db, follower, entry))
        elif entry.item_id in invitations:
            changes.append(_change(entry, appointment=invitations[entry.item_id]))
        else:
            changes.append(_of_appointment(follower, role, entry, found.get(entry.item_id)))
    return changes


async def _of_resource(db: Database, follower: Follower, entry: Entry) -> Change:
    try:
        resource = await resources.get(db, follower.user_id, entry.item_id, is_admin=follower.is_admin)
    except NotFound:
        return _change(entry, gone=True)
    return _change(entry, resource=resource)


async def _of_series(db: Database, follower: Follower, entry: Entry) -> Change:
    try:
        series = await series_booking.get(db, follower.user_id, entry.item_id)
    except NotFound:
        return _change(entry, gone=True)
    return _change(entry, series=series, request_id=entry.request_id)


def _of_appointment(follower: Follower, role: int, entry: Entry, found: Appointment | None) -> Change:
    if found is not None and found.owner_id == follower.user_id and follower.resource_id is None:
        return _change(entry, appointment=found, request_id=entry.request_id)
    if role < Role.MANAGER and not (found is not None and found.owner_id == follower.user_id):
        return Change("appointment.changed", entry.changed_at)
    if found is None or found.deleted_at is not None or str(follower.resource_id) not in (found.resource_ids or ()):
        return _change(entry, gone=True)
    if found.owner_id != follower.user_id:
        found = found._replace(reminders=None)  # they are its owner's alone
    return _change(entry, appointment=found)


def _change(
    entry: Entry,
    *,
    appointment: Appointment | None = None,
    resource: Resource | None = None,
    series: Booked | None = None,
    request_id: str | None = None,
    gone: bool = False,
) -> Change:
    return Change(
        entry.kind, entry.changed_at, entry.item_id, entry.version, entry.actor_id, request_id, entry.fields,
        appointment, resource, series, gone,
    )  # fmt: skip

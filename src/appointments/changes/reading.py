"""Reading the log: the entries of some calendars after a cursor, with the current state of what they are about.

An entry only says what has changed. A follower gets it together with the item as it is at the time of reading, and only
as much as they may see then: a resource's managers see its appointments, others only that something has changed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple
from uuid import UUID

from appointments.calendar import invited, resources, series_booking
from appointments.calendar.appointment import COLUMNS, Appointment, from_row
from appointments.calendar.materializing import Booked
from appointments.calendar.resource import Resource, Role
from appointments.changes.cursor import Cursor, Follower
from appointments.db import Database, Micros, Statement
from appointments.shared.errors import Expired, NotFound

CALENDARS_AT_ONCE = 200
"""About so many calendars are read on by one statement."""


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
    """What a follower gets. ``resource_id`` is the resource in whose calendar it is a change; None: in their own.

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
    resource_id: UUID | None = None


class Seen(NamedTuple):
    """What a follower gets of entries, each change beside its entry, and their roles on resources from there on."""

    changes: Sequence[Change]
    entries: Sequence[Entry]
    roles: Mapping[UUID, int]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some changes, and the cursor that goes on after them."""

    changes: list[Change]
    cursor: Cursor
    more: bool = False


NO_ROLES: Mapping[UUID, int] = {}
"""Of who follows no resource: one for all of them, of whom there are thousands."""

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

# The same for several questions, each about some calendars and from a position of its own. The first column is the
# number of the question. The first entries of all its calendars are among the first ones of each of them.
OF_CALENDARS = Statement(
    """
    SELECT number, epoch, last_position, pruned_position,
           position, calendar_id, kind, item_id, version, actor_id, request_id, fields, changed_at
    FROM change_head
    CROSS JOIN unnest(%(positions)s::bigint[], %(firsts)s::integer[], %(lasts)s::integer[])
        WITH ORDINALITY AS asked (since, first_one, last_one, number)
    LEFT JOIN LATERAL (
        SELECT of_one.* FROM unnest((%(calendar_ids)s::uuid[])[first_one:last_one]) AS asked_id
        CROSS JOIN LATERAL (
            SELECT position, calendar_id, kind, item_id, version, actor_id, request_id, fields, changed_at FROM changes
            WHERE calendar_id = asked_id AND position > since ORDER BY position LIMIT %(limit)s::bigint
        ) AS of_one
        ORDER BY position LIMIT %(limit)s::bigint
    ) AS entries ON true
    ORDER BY number, position
    """
)

# A few of many, so one by one: booking.CREATE_MANY says why.
ITEMS = Statement(
    f"""
    SELECT item.* FROM unnest(%(ids)s::uuid[]) AS asked (id)
    CROSS JOIN LATERAL (SELECT {COLUMNS} FROM appointments WHERE appointments.id = asked.id OFFSET 0) AS item
    """
)


async def head(db: Database) -> Head:
    """Where the log ends now."""
    return Head._make((await db.fetch(HEAD, {}))[0])


async def after(db: Database, position: int, limit: int) -> tuple[Head, list[Entry]]:
    """The entries of all calendars after a position, at most ``limit``, and where the log ended then."""
    rows = await db.fetch(AFTER, {"after": position, "limit": limit})
    return Head._make(rows[0][:3]), [Entry._make(row[3:]) for row in rows if row[3] is not None]


async def of_calendars(
    db: Database, questions: Sequence[tuple[Sequence[UUID], int]], limit: int
) -> list[tuple[Head, list[Entry]]]:
    """For each question, calendars and a position: the first entries after it, ``limit`` at most, and the log's end."""
    found: list[tuple[Head, list[Entry]]] = []
    for some in _in_turns(questions):
        found += await _of_some(db, some, limit)
    return found


def _in_turns(questions: Sequence[tuple[Sequence[UUID], int]]) -> Iterator[list[tuple[Sequence[UUID], int]]]:
    """Questions about :data:`CALENDARS_AT_ONCE` calendars or a few more, so that no statement takes long."""
    some: list[tuple[Sequence[UUID], int]] = []
    count = 0
    for question in questions:
        some.append(question)
        count += len(question[0])
        if count >= CALENDARS_AT_ONCE:
            yield some
            some, count = [], 0
    if some:
        yield some


async def _of_some(
    db: Database, questions: Sequence[tuple[Sequence[UUID], int]], limit: int
) -> list[tuple[Head, list[Entry]]]:
    lasts = list(accumulate(len(calendar_ids) for calendar_ids, _ in questions))
    values = {
        "calendar_ids": [each for calendar_ids, _ in questions for each in calendar_ids],
        "positions": [position for _, position in questions],
        "firsts": [first + 1 for first in [0, *lasts[:-1]]],
        "lasts": lasts,
        "limit": limit,
    }
    found: list[tuple[Head, list[Entry]]] = []
    for row in await db.fetch(OF_CALENDARS, values):
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
        NotFound: the follower does not see one of the resources.
    """
    roles = await roles_of(db, follower)
    if cursor is None:
        return Batch([], (await head(db)).end)
    ((now, entries),) = await of_calendars(db, [(follower.calendar_ids, cursor.position)], size + 1)
    now.check(cursor)
    more = len(entries) > size
    chosen = entries[:size]
    changes, _, _ = await seen(db, follower, roles, chosen, await items(db, chosen))
    return Batch(list(changes), Cursor(now.epoch, chosen[-1].position) if more else now.end, more)


async def roles_of(db: Database, follower: Follower) -> Mapping[UUID, int]:
    """A follower's role on each of the resources that they follow.

    Raises:
        NotFound: they do not see one of them.
    """
    if follower.resource_id is not None:
        found = await resources.get(db, follower.user_id, follower.resource_id, is_admin=follower.is_admin)
        return {follower.resource_id: found.role}
    if not follower.resource_ids:
        return NO_ROLES
    seen = await resources.readable(db, follower.user_id, follower.resource_ids, is_admin=follower.is_admin)
    for resource_id in follower.resource_ids:
        if resource_id not in seen:
            named = {"resource_id": str(resource_id)}
            raise NotFound(f"No such resource: {resource_id}.", reason="RESOURCE_NOT_FOUND", metadata=named)
    return {resource_id: found.role for resource_id, found in seen.items()}


async def seen(
    db: Database,
    follower: Follower,
    roles: Mapping[UUID, int],
    entries: Iterable[Entry],
    found: Mapping[UUID, Appointment],
) -> Seen:
    """What a follower gets of entries; ``found`` are the appointments as they are now.

    ``roles`` are those on the resources that they follow. What is about a resource has them read again. Of one that the
    follower does not see any more they get that it is gone, and nothing else; it has no role then.

    Raises:
        NotFound: it is the only one that they follow.
    """
    entries = [entry for entry in entries if entry.calendar_id == follower.user_id or entry.calendar_id in roles]
    ids = {entry.item_id for entry in entries if entry.kind.startswith("resource.")}
    rooms: Mapping[UUID, Resource] = {}
    if ids:
        rooms = await resources.readable(db, follower.user_id, list(ids), is_admin=follower.is_admin)
        if follower.resource_id in ids and follower.resource_id not in rooms:
            raise NotFound("No such resource.")
        roles, entries = _roles_now(roles, rooms, entries)
    others = [
        entry.item_id for entry in entries
        if entry.calendar_id == follower.user_id
        and (item := found.get(entry.item_id)) and item.owner_id != follower.user_id
    ]  # fmt: skip
    invitations = await invited.seen(db, follower.user_id, others) if others else {}
    changes = []
    for entry in entries:
        if entry.kind.startswith("resource."):
            room = rooms.get(entry.item_id)
            changes.append(_change(follower, entry, resource=room, gone=room is None))
        elif entry.kind.startswith("series."):
            changes.append(await _of_series(db, follower, entry))
        elif entry.calendar_id == follower.user_id:
            changes.append(_of_own(follower, entry, found.get(entry.item_id), invitations.get(entry.item_id)))
        else:
            changes.append(_of_resource(follower, roles[entry.calendar_id], entry, found.get(entry.item_id)))
    return Seen(changes, entries, roles)


def _roles_now(
    roles: Mapping[UUID, int], rooms: Mapping[UUID, Resource], entries: Sequence[Entry]
) -> tuple[Mapping[UUID, int], list[Entry]]:
    """The roles after entries about resources, now ``rooms``; and the entries, of a lost one only the last about it."""
    last = {entry.item_id: entry for entry in entries if entry.calendar_id == entry.item_id}
    now = {
        resource_id: rooms[resource_id].role if resource_id in last else role
        for resource_id, role in roles.items() if resource_id in rooms or resource_id not in last
    }  # fmt: skip
    lost = roles.keys() - now.keys()
    return now, [entry for entry in entries if entry.calendar_id not in lost or entry is last[entry.calendar_id]]


async def _of_series(db: Database, follower: Follower, entry: Entry) -> Change:
    try:
        series = await series_booking.get(db, follower.user_id, entry.item_id)
    except NotFound:
        return _change(follower, entry, gone=True)
    return _change(follower, entry, series=series, request_id=entry.request_id)


def _of_own(follower: Follower, entry: Entry, found: Appointment | None, invitation: Appointment | None) -> Change:
    """In the follower's own calendar: their own appointment, or one that they are, or were, invited to."""
    if found is not None and found.owner_id == follower.user_id:
        return _change(follower, entry, appointment=found, request_id=entry.request_id)
    return _change(follower, entry, appointment=invitation, gone=invitation is None)


def _of_resource(follower: Follower, role: int, entry: Entry, found: Appointment | None) -> Change:
    is_own = found is not None and found.owner_id == follower.user_id
    if role < Role.MANAGER and not is_own:
        return Change("appointment.changed", entry.changed_at, resource_id=entry.calendar_id)
    if found is None or found.deleted_at is not None or str(entry.calendar_id) not in (found.resource_ids or ()):
        return _change(follower, entry, gone=True)
    # Reminders are the owner's alone.
    return _change(follower, entry, appointment=found if is_own else found._replace(reminders=None))


def _change(
    follower: Follower,
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
        appointment, resource, series, gone, None if entry.calendar_id == follower.user_id else entry.calendar_id,
    )  # fmt: skip

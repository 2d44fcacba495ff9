"""Importing a file: all of it in one transaction, under the owner's lock.

So ``validate_only`` is the same transaction, rolled back, and its report is what an import would have said. What was
imported before is known by its UID and RECURRENCE-ID, and what this service exported by its id. It is changed where the
file says otherwise, and else left alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from enum import Enum
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
from uuid_utils.compat import uuid7

from appointments.calendar import (
    booking_rules,
    conflicts,
    frontiers,
    holds,
    materializing,
    placement,
    series_booking,
    series_guests,
    series_updating,
    updating,
)
from appointments.calendar.appointment import COLUMNS as APPOINTMENT
from appointments.calendar.appointment import LIVE, NO_TIME, Appointment, Spec, changed_fields, from_row, to_values
from appointments.calendar.frontiers import LONGEST
from appointments.calendar.log import Cause, of_owner
from appointments.calendar.materializing import AgainError, Terms, again
from appointments.calendar.series import COLUMNS as SERIES
from appointments.calendar.series import FARTHEST, Series, SeriesSpec, day_begins
from appointments.calendar.series import from_row as series_from_row
from appointments.calendar.validation import violations
from appointments.db import Connection, Database, Statement, instant
from appointments.icalendar import ical
from appointments.icalendar.imports import lines, plan
from appointments.icalendar.imports.plan import Change, Entry, Note
from appointments.shared.errors import (
    Collision,
    Conflict,
    Fault,
    Invalid,
    Miss,
    Misses,
    SeriesConflict,
    Unauthenticated,
)
from appointments.shared.validation import is_uuid

MOST_COLLISIONS = 10
_TOGETHER = 500
"""Appointments that are booked by one statement."""


class OnConflict(Enum):
    """What becomes of what collides: nothing is imported at all, it is left out, or it comes but takes no time."""

    FAIL = "FAIL"
    SKIP = "SKIP"
    TRANSPARENT = "TRANSPARENT"


class State(Enum):
    """How the file stands to the calendar."""

    NEW = "NEW"
    CHANGED = "CHANGED"
    UNCHANGED = "UNCHANGED"
    COLLIDING = "COLLIDING"
    UNSUPPORTED = "UNSUPPORTED"


@dataclass(slots=True)
class Item:
    """What became, or would become, of an entry; ids of what is there now."""

    entry: Entry
    state: State = State.UNSUPPORTED
    notes: list[Note] = field(default_factory=list)
    appointment_id: UUID | None = None
    series_id: UUID | None = None
    collisions: tuple[Collision, ...] = ()
    is_there: bool = False
    """Whether it is in the calendar afterwards."""
    is_new: bool = False
    """Whether its id is of this import."""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of each entry, in the order of the file.

    ``made`` is what is in something's way and came with the same import: where it is undone, these ids are nobody's.
    """

    items: list[Item]
    made: frozenset[UUID]


class _Seen(Exception):
    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report


@dataclass(frozen=True, slots=True)
class _Known:
    """What is there already: of each UID and RECURRENCE-ID a live appointment or series."""

    appointments: dict[tuple[str, str], Appointment]
    series: dict[str, Series]

    @property
    def resources(self) -> list[UUID]:
        """What they take, in the order of the ids."""
        taken = [each.spec.resources for each in self.appointments.values()]
        taken += [each.spec.first.resources for each in self.series.values()]
        return sorted({each for some in taken for each in some})


async def run(
    db: Database,
    owner_id: UUID,
    ics: bytes,
    *,
    on_conflict: OnConflict,
    validate_only: bool,
    cause: Cause,
    horizon: timedelta = frontiers.HORIZON,
) -> Report:
    """Import a file into somebody's calendar, or only say what an import would do.

    Raises:
        Invalid: it is no iCalendar file, or too large (``ics``).
        Conflict: something collides, and nothing is to be imported then.
    """
    rows = await db.fetch(HOME, {"user_id": owner_id})
    if not rows:
        raise Unauthenticated("The account has been deleted.")
    now = datetime.now(UTC)
    # In a thread: a large file takes a second, in which others are served.
    entries = await asyncio.to_thread(_read, ics, rows[0][0], now)

    async def once(connection: Connection) -> Report:
        importing = _Import(connection, owner_id, on_conflict, cause, Terms(horizon=horizon, now=now))
        items = await importing.run(entries)
        in_the_way = sorted({each.id for item in items for each in item.collisions})
        made = await connection.fetch(MADE, {"ids": in_the_way}) if in_the_way else []
        report = Report(items, frozenset(row[0] for row in made))
        if validate_only:
            raise _Seen(report)
        colliding = [item for item in report.items if item.state is State.COLLIDING]
        if colliding and on_conflict is OnConflict.FAIL:
            found = {each.id: each for item in colliding for each in item.collisions if each.id not in report.made}
            count = f"{len(colliding):,} of them find" if len(colliding) > 1 else "One of them finds"
            said = f"{count} no place, the first on line {colliding[0].entry.line}; nothing was imported."
            raise Conflict(sorted(found.values(), key=lambda each: each.start_at)[:MOST_COLLISIONS], message=said)
        return report

    try:
        return await again(db, once)
    except _Seen as seen:
        return seen.report
    except psycopg.errors.ForeignKeyViolation as error:
        raise Unauthenticated("The account has been deleted.") from error


def _read(ics: bytes, home: str, now: datetime) -> list[Entry]:
    return plan.plan(lines.read(ics), home, now)


class _Import:
    """One run, in one transaction."""

    def __init__(
        self, connection: Connection, owner_id: UUID, on_conflict: OnConflict, cause: Cause, terms: Terms
    ) -> None:
        self._connection = connection
        self._owner_id = owner_id
        self._yields = on_conflict is OnConflict.TRANSPARENT
        self._cause = cause
        self._terms = replace(terms, skip=on_conflict is OnConflict.SKIP)
        self._locked = updating.Locked([], {}, [])

    async def run(self, entries: Sequence[Entry]) -> list[Item]:
        """Import entries: series first, because an occurrence that was moved away leaves its place to others."""
        known = await self._lock(entries)
        items = [Item(entry, notes=list(entry.notes)) for entry in entries]
        new: list[Item] = []
        for item in sorted(items, key=lambda item: not isinstance(item.entry.wanted, SeriesSpec)):
            entry = item.entry
            series = None if entry.recurrence_id else known.series.get(entry.uid)
            current = known.appointments.get((entry.uid, entry.recurrence_id))
            if entry.is_cancelled:
                await self._cancel(item, series, current)
            elif isinstance(entry.wanted, SeriesSpec):
                await self._series(item, entry.wanted, series, current)
            elif entry.wanted and series:
                await self._make_single(item, entry.wanted, series)
            elif entry.wanted and current:
                await self._amend(item, entry.wanted, current)
            elif entry.wanted:
                item.state = State.NEW
                new.append(item)
        for start in range(0, len(new), _TOGETHER):
            await self._book(new[start : start + _TOGETHER])
        return items

    async def _lock(self, entries: Sequence[Entry]) -> _Known:
        """Lock the owner, and who and what is booked by what is known; then look again."""
        uids = sorted({entry.uid for entry in entries if entry.uid})
        found = await self._find(uids)
        held, guest_ids = found.resources, await self._guests(found)
        roles = await placement.hold(self._connection, self._owner_id, held) if held else {}
        await placement.lock(self._connection, self._owner_id, held, guest_ids)
        self._locked = updating.Locked(held, roles, guest_ids)
        known = await self._find(uids)
        if not set(known.resources) <= set(held) or not set(await self._guests(known)) <= set(guest_ids):
            raise AgainError
        return known

    async def _guests(self, known: _Known) -> list[UUID]:
        """Whose time may be taken by what is known, because they have accepted it."""
        ids = [each.id for each in known.appointments.values() if each.attendees]
        found = [row[0] for row in await self._connection.fetch(GUESTS, {"ids": ids})] if ids else []
        if known.series:
            found += await series_guests.of(self._connection, [each.id for each in known.series.values()])
        return found

    async def _find(self, uids: Sequence[str]) -> _Known:
        values = {"owner_id": self._owner_id, "uids": uids, "ids": [UUID(uid) for uid in uids if is_uuid(uid)]}
        appointments = await self._connection.fetch(KNOWN_APPOINTMENTS, values)
        series = await self._connection.fetch(KNOWN_SERIES, values)
        return _Known(
            {(row[0], row[1]): from_row(row[2:]) for row in appointments},
            {row[0]: series_from_row(row[1:]) for row in series},
        )

    async def _tried(self, work: Callable[[], Awaitable[None]]) -> Fault | None:
        """Do something, of which nothing is left if it fails; return why."""
        await self._connection.fetch(SAVEPOINT, {})
        try:
            await work()
        except Fault as fault:
            await self._connection.fetch(BACK, {})
            await self._connection.fetch(RELEASE, {})
            return fault
        await self._connection.fetch(RELEASE, {})
        return None

    async def _cancel(self, item: Item, series: Series | None, current: Appointment | None) -> None:
        item.state = State.CHANGED if series or current else State.UNCHANGED
        if fault := await self._tried(lambda: self._remove(series, current)):
            self._keep(item, series, current)
            _tell(item, fault)

    async def _remove(self, series: Series | None, current: Appointment | None) -> None:
        """Delete what is there, if the rules of booking allow it."""
        if series:
            await series_updating.remove(self._connection, series, self._cause, wall=None, now=self._terms.clock)
        if current and not await updating.remove(self._connection, current, cause=self._cause):
            raise AgainError

    @staticmethod
    def _keep(item: Item, series: Series | None, current: Appointment | None) -> None:
        item.is_there = bool(series or current)
        item.series_id = series.id if series else None
        item.appointment_id = current.id if current else None

    async def _make_single(self, item: Item, wanted: Spec, series: Series) -> None:
        """Book an appointment in the place of what was a series, which stays where the appointment finds no place."""
        item.state, appointment_id = State.CHANGED, uuid7()

        async def work() -> None:
            await self._remove(series, None)
            await self._book_one(item, appointment_id, wanted)

        if fault := await self._tried(work):
            self._keep(item, series, None)
            _tell(item, fault)
            return
        item.appointment_id, item.is_there, item.is_new = appointment_id, True, True
        await self._remember([item])

    async def _amend(self, item: Item, wanted: Spec, current: Appointment) -> None:
        """Change an appointment that is there; where its new time is taken it stays as it is, or takes no time."""
        item.appointment_id, item.is_there = current.id, True
        spec, item.state = _merged(current.spec, wanted), State.CHANGED
        if spec == _sayable(current.spec):
            item.state = State.UNCHANGED
            return
        fault = await self._tried(lambda: self._amend_to(current, spec))
        if isinstance(fault, Conflict) and self._yields:
            if _transparent(spec) == _sayable(current.spec):
                item.state = State.UNCHANGED
                return
            _tell(item, fault)
            fault = await self._tried(lambda: self._amend_to(current, _transparent(spec)))
        if fault:
            _tell(item, fault)

    async def _amend_to(self, current: Appointment, spec: Spec) -> None:
        amended = await updating.amend(
            self._connection, self._owner_id, current.id, partial(_checked, spec), self._locked, cause=self._cause
        )
        if not amended:
            raise AgainError

    async def _book(self, items: Sequence[Item]) -> None:
        """Book new appointments: those that are free in one statement, the others one by one."""
        wanted = [(item, uuid7(), _spec_of(item)) for item in items]
        created: set[UUID] = set()
        if not self._cause.actor_id:  # whoever acts for the owner may be bound by rules, one by one
            created = await self._insert([(appointment_id, spec) for _, appointment_id, spec in wanted])
        for item, appointment_id, spec in wanted:
            if appointment_id not in created:
                try:
                    await self._book_one(item, appointment_id, spec)
                except Fault as fault:  # of a single statement, which has left nothing behind
                    _tell(item, fault)
                    continue
            item.appointment_id, item.is_there, item.is_new = appointment_id, True, True
        await self._remember([item for item in items if item.is_there])

    async def _book_one(self, item: Item, appointment_id: UUID, spec: Spec) -> None:
        if not spec.transparent:
            conflict = await conflicts.find(self._connection, self._owner_id, spec, besides=appointment_id)
            if conflict and not self._yields:
                raise conflict
            if conflict:
                _tell(item, conflict)
                spec = _transparent(spec)
        if not spec.transparent:
            await booking_rules.check(
                self._connection, self._owner_id, spec, [], acted=self._cause.actor_id is not None
            )
            await frontiers.make_way(self._connection, self._owner_id, spec)
            await holds.clear(self._connection, self._owner_id, spec)
        if not await self._insert([(appointment_id, spec)]):
            raise await conflicts.found(self._connection, self._owner_id, spec, besides=appointment_id)

    async def _insert(self, wanted: Sequence[tuple[UUID, Spec]]) -> set[UUID]:
        values = _columns(
            [
                to_values(spec) | {"id": each, "transparent": spec.transparent, "reminders": _as_text(spec.reminders)}
                for each, spec in wanted
            ]
        )
        rows = await self._connection.fetch(BOOK, values | {"owner_id": self._owner_id} | self._cause.values)
        return {row[0] for row in rows}

    async def _remember(self, items: Sequence[Item]) -> None:
        values = {
            "owner_id": self._owner_id,
            "uids": [item.entry.uid for item in items],
            "recurrence_ids": [item.entry.recurrence_id for item in items],
            "appointment_ids": [item.appointment_id for item in items],
            "series_ids": [item.series_id for item in items],
        }
        await self._connection.fetch(REMEMBER, values)

    async def _series(self, item: Item, wanted: SeriesSpec, series: Series | None, current: Appointment | None) -> None:
        """Book a series, in the place of what it was before, which stays where no occurrence finds a place."""
        if series:
            item.series_id, item.is_there = series.id, True
            wanted = replace(wanted, first=_merged(series.spec.first, wanted.first))
            if await self._is_so(series, wanted, item.entry.changes):
                item.state = State.UNCHANGED
                return
        item.state = State.CHANGED if series or current else State.NEW

        async def work() -> None:
            await self._remove(series, current)
            item.series_id, misses = await self._book_series(wanted, item.entry.changes)
            if misses.total:
                conflict = SeriesConflict(misses)
                if not await self._has_place(item.series_id, wanted, misses):
                    raise conflict
                _tell(item, conflict)
            item.is_there = True

        fault = await self._tried(work)
        if isinstance(fault, (Conflict, SeriesConflict)) and self._yields:
            _tell(item, fault)
            wanted = replace(wanted, first=_transparent(wanted.first))
            fault = await self._tried(work)
        if fault:
            self._keep(item, series, current)
            _tell(item, fault)
        else:
            item.appointment_id, item.is_new = None, True
            await self._remember([item])

    async def _is_so(self, series: Series, wanted: SeriesSpec, changes: Sequence[Change]) -> bool:
        """Whether a series is what the file says, and so are the occurrences that differ from it."""
        spec = series.spec
        rows = await self._connection.fetch(OCCURRENCES, {"series_id": series.id})
        off, live, skipped = set(spec.excluded), dict[datetime, Spec](), set[datetime]()
        for *columns, is_skipped in rows:
            occurrence = from_row(tuple(columns))
            at = instant(occurrence.original_start_at or 0)
            if occurrence.deleted_at is None:
                live[at] = occurrence.spec
            else:
                (skipped if is_skipped else off).add(at)
        if not off <= set(wanted.excluded) <= off | skipped:
            return False
        # What the same occurrences can be said with is compared, not how it happens to be said.
        if ical.recurrence(spec) != ical.recurrence(wanted):
            return False
        firsts = [wanted.first, _transparent(wanted.first)] if self._yields else [wanted.first]
        if _sayable(spec.first) not in firsts:
            return False
        wished = {change.original_at: change.spec for change in changes}
        for at in wished.keys() | live.keys():
            base = _at_place(spec, at)
            there = live.get(at, base)
            if at not in skipped and _merged(there, wished.get(at, base)) != _sayable(there):
                return False
        return True

    async def _book_series(self, spec: SeriesSpec, changes: Sequence[Change]) -> tuple[UUID, Misses]:
        series = await series_booking.insert(self._connection, self._owner_id, spec, self._cause)
        moved: dict[UUID, Spec] = {}

        async def change_rows() -> None:
            for change in changes:
                base = _at_place(spec, change.original_at)
                changed = _merged(base, change.spec)
                if spec.first.transparent:
                    changed = _transparent(changed)
                fields = changed_fields(base, changed)
                values = to_values(changed) | {"series_id": series.id, "original_start_at": change.original_at}
                values |= {"transparent": changed.transparent, "fields": fields}
                rows = await self._connection.fetch(CHANGE, values) if fields else []
                if rows and not changed.transparent and _OF_PLACE & set(fields):
                    moved[rows[0][0]] = changed

        terms = self._terms
        if spec.endless and changes:
            far = max(change.original_at for change in changes) - terms.clock + LONGEST
            terms = replace(terms, horizon=min(max(terms.horizon, far), FARTHEST))
        booked = await materializing.settle(
            self._connection, series, spec, terms, self._cause, before_booking=change_rows if changes else None
        )
        misses = booked.misses
        for appointment_id, changed in moved.items():
            await frontiers.make_way(self._connection, self._owner_id, changed)
            if await placement.place(
                self._connection, self._owner_id, appointment_id, changed, changed.resources, owner=True
            ):
                continue
            conflict = await conflicts.found(self._connection, self._owner_id, changed, besides=appointment_id)
            if not terms.skip:
                raise conflict
            await frontiers.skip(self._connection, [appointment_id], self._cause)
            missed = Miss(changed.start_at, conflict.collisions)
            misses = Misses((*misses.named, missed), misses.total + 1)
        return series.id, misses

    async def _has_place(self, series_id: UUID, spec: SeriesSpec, misses: Misses) -> bool:
        """Whether a series, of which occurrences were skipped, has others: rows, or some that become rows later."""
        if (await self._connection.fetch(HAS_OCCURRENCE, {"series_id": series_id}))[0][0]:
            return True
        return spec.endless and misses.total < sum(1 for _ in spec.slots(until=self._terms.clock + FARTHEST))


_OF_PLACE = {"start_at", "end_at", "resource_ids", "transparent", "all_day"}
"""What an occurrence is booked by itself for."""


def _tell(item: Item, fault: Fault) -> None:
    """Say of an item why it could not be had as it was wanted."""
    collisions: tuple[Collision, ...] = ()
    if isinstance(fault, Conflict):
        item.state, collisions = State.COLLIDING, fault.collisions
    elif isinstance(fault, SeriesConflict):
        item.state = State.COLLIDING
        found = {each.id: each for miss in fault.misses.named for each in miss.collisions}
        collisions = tuple(sorted(found.values(), key=lambda each: each.start_at))
    else:
        item.state = State.UNSUPPORTED
    item.collisions = item.collisions or collisions[:MOST_COLLISIONS]
    item.notes.append(Note(item.entry.line, fault.message))


def _checked(spec: Spec, _: Appointment) -> Spec:
    if found := violations(spec):
        raise Invalid(found)
    return spec


def _spec_of(item: Item) -> Spec:
    wanted = item.entry.wanted
    if not isinstance(wanted, Spec):
        raise TypeError("only single appointments are booked together")
    return wanted


def _merged(current: Spec, wanted: Spec) -> Spec:
    """What the file says, with what it cannot say as it is: guests, resources, buffers."""
    merged = replace(
        wanted,
        attendees=current.attendees,
        resource_ids=current.resource_ids,
        reminders=current.reminders if wanted.reminders is None else wanted.reminders,
        buffer_before=wanted.buffer_before or current.buffer_before,
        buffer_after=wanted.buffer_after or current.buffer_after,
    )
    return _transparent(merged) if wanted.transparent else merged


def _transparent(spec: Spec) -> Spec:
    return replace(spec, transparent=True, resource_ids=(), buffer_before=NO_TIME, buffer_after=NO_TIME)


def _as_text(reminders: tuple[int, ...] | None) -> str | None:
    # PostgreSQL has no arrays of arrays of different lengths, so each is the text of one.
    return None if reminders is None else f"{{{','.join(map(str, reminders))}}}"


def _sayable(spec: Spec) -> Spec:
    # iCalendar knows whole seconds.
    return replace(spec, start_at=spec.start_at.replace(microsecond=0), end_at=spec.end_at.replace(microsecond=0))


def _at_place(spec: SeriesSpec, at: datetime) -> Spec:
    """What an occurrence is that nothing was changed of."""
    if not spec.first.all_day:
        return replace(spec.first, start_at=at, end_at=at + spec.length)
    midnight = datetime.combine(at.astimezone(spec.zone).date(), time())
    return replace(spec.first, start_at=at, end_at=day_begins(midnight + spec.length, spec.zone))


def _columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


SAVEPOINT, BACK, RELEASE = (
    Statement("SAVEPOINT item"), Statement("ROLLBACK TO SAVEPOINT item"), Statement("RELEASE SAVEPOINT item")
)  # fmt: skip

HOME = Statement("SELECT time_zone FROM users WHERE id = %(user_id)s::uuid")

# What was imported, and what this service has exported, whose UID is its id. What was deleted is not known any more.
KNOWN_APPOINTMENTS = Statement(
    f"""
    WITH known AS (
        SELECT DISTINCT ON (uid, recurrence_id) * FROM (
            SELECT uid, recurrence_id, appointment_id, 1 AS rank
            FROM unnest(%(uids)s::text[]) AS asked (uid) JOIN imported_items USING (uid)
            WHERE imported_items.owner_id = %(owner_id)s::uuid AND appointment_id IS NOT NULL
            UNION ALL
            SELECT appointments.id::text, '', appointments.id, 2
            FROM unnest(%(ids)s::uuid[]) AS asked (id) JOIN appointments USING (id) WHERE series_id IS NULL
        ) AS every
        JOIN appointments ON appointments.id = appointment_id
        WHERE owner_id = %(owner_id)s::uuid AND {LIVE}
        ORDER BY uid, recurrence_id, rank
    )
    SELECT uid, recurrence_id, {APPOINTMENT} FROM known ORDER BY uid, recurrence_id
    """
)
KNOWN_SERIES = Statement(
    f"""
    WITH known AS (
        SELECT DISTINCT ON (uid) uid, known_id FROM (
            SELECT uid, series_id AS known_id, 1 AS rank
            FROM unnest(%(uids)s::text[]) AS asked (uid) JOIN imported_items USING (uid)
            WHERE owner_id = %(owner_id)s::uuid AND series_id IS NOT NULL
            UNION ALL
            SELECT series.id::text, series.id, 2 FROM unnest(%(ids)s::uuid[]) AS asked (id) JOIN series USING (id)
        ) AS every
        JOIN series ON series.id = known_id
        WHERE series.owner_id = %(owner_id)s::uuid AND series.deleted_at IS NULL
        ORDER BY uid, rank
    )
    SELECT uid, {SERIES} FROM known JOIN series ON series.id = known_id ORDER BY uid
    """
)
REMEMBER = Statement(
    """
    INSERT INTO imported_items (owner_id, uid, recurrence_id, appointment_id, series_id)
    SELECT %(owner_id)s::uuid, item.* FROM unnest(
        %(uids)s::text[], %(recurrence_ids)s::text[], %(appointment_ids)s::uuid[], %(series_ids)s::uuid[]
    ) AS item (uid, recurrence_id, appointment_id, series_id)
    ORDER BY uid, recurrence_id
    ON CONFLICT ON CONSTRAINT imported_items_pkey DO UPDATE SET
        appointment_id = excluded.appointment_id, series_id = excluded.series_id
    """
)
BOOK = Statement(
    f"""
    WITH asked AS MATERIALIZED (
        SELECT * FROM unnest(
            %(id)s::uuid[], %(title)s::text[], %(description)s::text[], %(location)s::text[],
            %(start_at)s::timestamptz[], %(end_at)s::timestamptz[], %(time_zone)s::text[], %(attendees)s::jsonb[],
            %(buffer_before)s::integer[], %(buffer_after)s::integer[], %(all_day)s::boolean[],
            %(transparent)s::boolean[], %(reminders)s::text[]
        ) AS asked (
            id, title, description, location, start_at, end_at, time_zone, attendees, buffer_before, buffer_after,
            all_day, transparent, reminders
        )
    ), taken AS (
        INSERT INTO bookings (appointment_id, subject_id, during)
        SELECT id, %(owner_id)s::uuid, tstzrange(
            start_at - buffer_before * interval '1 second', end_at + buffer_after * interval '1 second'
        ) AS during
        FROM asked WHERE NOT transparent ORDER BY during
        ON CONFLICT ON CONSTRAINT bookings_no_overlap DO NOTHING
        RETURNING appointment_id
    ), created AS (
        INSERT INTO appointments (
            id, owner_id, title, description, location, start_at, end_at, time_zone, attendees,
            created_at, updated_at, version, buffer_before, buffer_after, all_day, transparent, actor_id, reminders
        )
        SELECT id, %(owner_id)s::uuid, title, description, location, start_at, end_at, time_zone, attendees,
               now(), now(), 1, buffer_before, buffer_after, all_day, transparent, %(actor_id)s::uuid,
               reminders::integer[]
        FROM asked WHERE transparent OR id IN (SELECT appointment_id FROM taken)
        RETURNING id, owner_id, actor_id, version, created_at, updated_at
    ), {of_owner("appointment.created", "created")}
    SELECT id FROM created
    """
)
GUESTS = Statement(
    """
    SELECT DISTINCT user_id FROM invitees
    WHERE appointment_id = ANY (%(ids)s::uuid[]) AND user_id IS NOT NULL ORDER BY user_id
    """
)
# Rows of this transaction have its time.
MADE = Statement("SELECT id FROM appointments WHERE id = ANY (%(ids)s::uuid[]) AND created_at = now()")
HAS_OCCURRENCE = Statement(
    "SELECT EXISTS (SELECT FROM appointments WHERE series_id = %(series_id)s::uuid AND deleted_at IS NULL)"
)
OCCURRENCES = Statement(
    f"""
    SELECT {APPOINTMENT}, skipped FROM appointments
    WHERE series_id = %(series_id)s::uuid AND (deleted_at IS NOT NULL OR overrides <> '{{}}')
    """
)
# The row is of this transaction: its first version says so.
CHANGE = Statement(
    """
    UPDATE appointments
    SET title = %(title)s::text, description = %(description)s::text, location = %(location)s::text,
        start_at = %(start_at)s::timestamptz, end_at = %(end_at)s::timestamptz, time_zone = %(time_zone)s::text,
        buffer_before = %(buffer_before)s::integer, buffer_after = %(buffer_after)s::integer,
        all_day = %(all_day)s::boolean, transparent = %(transparent)s::boolean, overrides = %(fields)s::text[],
        resource_ids = CASE WHEN NOT %(transparent)s::boolean THEN resource_ids END,
        reminders = %(reminders)s::integer[]
    WHERE series_id = %(series_id)s::uuid AND original_start_at = %(original_start_at)s::timestamptz
    RETURNING id
    """
)

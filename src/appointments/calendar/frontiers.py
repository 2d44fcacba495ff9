"""Frontiers: up to when the occurrences of endless series are materialised as rows, and what closes the time beyond.

Each subject of an endless series has one booking without an appointment, its *tail*. The tail runs from the subject's
frontier to the end of time. So the constraint on bookings also refuses whatever would collide with an occurrence that
is not a row yet. To book beyond a frontier, move it past that time first: occurrences become rows, and the tail begins
later.

This holds for each subject with a tail: every occurrence of its endless series that begins before the frontier is a
row, ends before the frontier, and is either deleted or booked for the subject. Each subject has a frontier of its own,
because moving one must not move those of everybody else in the same series. So the row of an occurrence can be booked
for one of its subjects while the tail of another subject still covers it.

Every function that takes a connection expects its subjects to be locked (docs/booking.md).
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import LiteralString, NamedTuple
from uuid import UUID

from uuid_utils.compat import uuid7

from appointments.calendar.appointment import FOLDED, Appointment, Spec
from appointments.calendar.log import Cause, of_all
from appointments.calendar.placement import SPAN, span_values
from appointments.calendar.series import COLUMNS, FARTHEST, MOST, Series, SeriesSpec, Slot, from_row
from appointments.db import Connection, Database, Micros, Statement, instant
from appointments.shared.errors import Conflict

HORIZON = timedelta(days=120)
"""How far ahead occurrences are rows to begin with, if a setting does not say otherwise."""

SETTLE_JOB: LiteralString = "invitations.settle"
"""The job that takes the time of guests for occurrences that became rows after their series was accepted."""

STEP = timedelta(days=90)
"""How far a frontier moves at least. The next booking is likely to be close to this one."""

LONGEST = timedelta(days=33)
"""The longest an occurrence can take, including all buffers and the extra hour when summer time ends."""

END = datetime(2102, 1, 1, tzinfo=UTC)
BY_ITSELF = Cause()
_BATCH = 100


class Place(NamedTuple):
    """A subject whose time a series takes. For a unit of a resource: which resource, and its buffers in seconds."""

    subject_id: UUID
    resource_id: UUID | None
    before: int
    after: int


class Span(NamedTuple):
    """An occurrence of a series at a place."""

    lower: datetime
    upper: datetime
    slot: Slot


def spans(spec: SeriesSpec, place: Place, since: datetime | None, until: datetime) -> list[Span]:
    """The spans that a series takes of a place and that begin in ``[since, until)``."""
    before = spec.first.buffer_before + timedelta(seconds=place.before)
    after = spec.first.buffer_after + timedelta(seconds=place.after)
    found = (
        Span(slot.start_at - before, slot.end_at + after, slot)
        for slot in spec.slots(since=since, until=until + before)
    )
    return [span for span in found if (since is None or span.lower >= since) and span.lower < until]


def past_straddlers(until: datetime, taken: Iterable[Span]) -> datetime:
    """The first instant from ``until`` on at which no occurrence is under way."""
    for span in sorted(taken):
        if span.lower < until < span.upper:
            until = span.upper
    return until


async def places(connection: Connection, series_id: UUID) -> list[Place]:
    """Whose time a series takes."""
    return [Place._make(row) for row in await connection.fetch(PLACES, {"series_id": series_id})]


PLACES = Statement(
    """
    SELECT subject_id, resource_id, coalesce(buffer_before, 0), coalesce(buffer_after, 0)
    FROM series_subjects LEFT JOIN resources ON resources.id = resource_id
    WHERE series_id = %(series_id)s::uuid ORDER BY subject_id
    """
)


async def tails(connection: Connection, subject_ids: Sequence[UUID]) -> dict[UUID, datetime]:
    """The frontiers of these subjects. Subjects without a tail are left out."""
    rows = await connection.fetch(TAILS, {"subject_ids": subject_ids})
    return {subject_id: instant(frontier) for subject_id, frontier in rows}


TAILS = Statement(
    """
    SELECT subject_id, lower(during) FROM bookings
    WHERE appointment_id IS NULL AND subject_id = ANY (%(subject_ids)s::uuid[])
    """
)


async def extend(
    connection: Connection,
    subject_id: UUID,
    until: datetime,
    now: datetime,
    *,
    step: timedelta = STEP,
    besides: UUID | None = None,
) -> bool:
    """Move a subject's frontier to ``until`` at least, if it has one.

    Occurrences that collide are skipped: two endless series may collide where neither had rows. The occurrence
    ``besides`` is not: its caller moves it in the same transaction.

    Returns:
        True if no tail covers the time before ``until`` any more. False if that is farther ahead than frontiers go.
    """
    frontier = (await tails(connection, [subject_id])).get(subject_id)
    if frontier is None or frontier >= until:
        return True
    if until > max(now + FARTHEST, frontier):
        return False
    await connection.fetch(LOCK_OWNERS, {"subject_id": subject_id})
    found = [
        (from_row(row[4:]), Place._make(row[:4])) for row in await connection.fetch(ENDLESS, {"subject_id": subject_id})
    ]
    if not found:
        await connection.fetch(DROP_IDLE, {"subject_ids": [subject_id]})
        return True
    target = min(max(until, frontier + step), max(until, now + FARTHEST))
    ahead = [(series, spans(series.spec, place, frontier, target + LONGEST)) for series, place in found]
    target = past_straddlers(target, (span for _, taken in ahead for span in taken))
    await connection.fetch(SHRINK, {"subject_id": subject_id, "frontier": target})
    due = [(series, [span.slot for span in taken if span.lower < target]) for series, taken in ahead]
    await make_rows(connection, due, BY_ITSELF)
    for (series, slots), (_, place) in zip(due, found, strict=True):
        ids = await lock_rows(connection, series.id, slots)
        missed = await book(connection, ids, [place], {})
        await skip(connection, [each for each in missed if each != besides], BY_ITSELF)
    return True


# If an owner's account is being deleted, this waits until it is gone, and its series with it. Otherwise the lock keeps
# it from being deleted meanwhile.
LOCK_OWNERS = Statement(
    """
    SELECT subjects.id FROM subjects WHERE subjects.id IN (
        SELECT owner_id FROM series_subjects JOIN series ON series.id = series_id
        WHERE subject_id = %(subject_id)s::uuid AND endless
    )
    ORDER BY subjects.id FOR KEY SHARE
    """
)
ENDLESS = Statement(
    f"""
    SELECT subject_id, resource_id, coalesce(resources.buffer_before, 0), coalesce(resources.buffer_after, 0), {COLUMNS}
    FROM series_subjects JOIN series ON series.id = series_id LEFT JOIN resources ON resources.id = resource_id
    WHERE subject_id = %(subject_id)s::uuid AND endless
    ORDER BY series.id
    """
)
SHRINK = Statement(
    """
    UPDATE bookings SET during = tstzrange(%(frontier)s::timestamptz, '2102-01-01 00:00:00+00')
    WHERE subject_id = %(subject_id)s::uuid AND appointment_id IS NULL
    """
)
DROP_IDLE = Statement(
    """
    DELETE FROM bookings
    WHERE appointment_id IS NULL AND subject_id = ANY (%(subject_ids)s::uuid[]) AND NOT EXISTS (
        SELECT FROM series_subjects JOIN series ON series.id = series_id
        WHERE series_subjects.subject_id = bookings.subject_id AND endless
    )
    """
)


async def drop_idle(connection: Connection, subject_ids: Sequence[UUID]) -> None:
    """Delete the tails of those of these subjects that no endless series takes any more."""
    await connection.fetch(DROP_IDLE, {"subject_ids": subject_ids})


async def make_rows(connection: Connection, due: Sequence[tuple[Series, Sequence[Slot]]], cause: Cause) -> int:
    """Make occurrences of series rows, unless they are there already. Their bookings are another matter.

    Returns:
        How many were not there.
    """
    flat = [(series.id, slot) for series, slots in due for slot in slots]
    if not flat:
        return 0
    values = {
        "ids": [uuid7() for _ in flat],
        "series_ids": [series_id for series_id, _ in flat],
        "walls": [slot.wall for _, slot in flat],
        "starts": [slot.start_at for _, slot in flat],
        "ends": [slot.end_at for _, slot in flat],
    }
    return int((await connection.fetch(MAKE_ROWS, values | cause.values))[0][0])


# Guests with an account who have accepted the series: a job takes their time, because their subjects are not locked.
MAKE_ROWS = Statement(
    f"""
    WITH made AS (
        INSERT INTO appointments (
            id, owner_id, title, description, location, start_at, end_at, time_zone, attendees, created_at, updated_at,
            version, buffer_before, buffer_after, transparent, all_day, actor_id, resource_ids,
            series_id, occurs_wall, original_start_at, overrides, reminders
        )
        SELECT due.id, series.owner_id, title, description, location, due.start_at, due.end_at, time_zone, attendees,
               now(), now(), 1, buffer_before, buffer_after, transparent, all_day,
               coalesce(%(actor_id)s::uuid, series.actor_id), resource_ids, series.id, wall, due.start_at, '{{}}',
               reminders
        FROM unnest(
            %(ids)s::uuid[], %(series_ids)s::uuid[], %(walls)s::timestamp[], %(starts)s::timestamptz[],
            %(ends)s::timestamptz[]
        ) AS due (id, series_id, wall, start_at, end_at)
        JOIN series ON series.id = due.series_id
        ORDER BY series.id, wall
        ON CONFLICT (series_id, occurs_wall) WHERE series_id IS NOT NULL DO NOTHING
        RETURNING appointments.*
    ), deferred AS (
        INSERT INTO jobs (kind, payload, due_at, deferred_at)
        SELECT DISTINCT '{SETTLE_JOB}', jsonb_build_object('user_id', users.id), now(), now()
        FROM made CROSS JOIN LATERAL jsonb_array_elements(attendees) AS guest
        JOIN users ON email = {FOLDED} AND email_verified_at IS NOT NULL
        WHERE attendees <> '[]' AND guest ->> 'response' = 'ACCEPTED' AND NOT transparent
    ), {of_all("appointment.created", "made")}
    SELECT count(*) FROM made
    """
)


async def lock_rows(connection: Connection, series_id: UUID, slots: Sequence[Slot]) -> list[UUID]:
    """Lock the live rows of these occurrences, without those that were moved: they are booked where they are now."""
    values = {"series_id": series_id, "walls": [slot.wall for slot in slots]}
    return [row[0] for row in await connection.fetch(LOCK_ROWS, values)] if slots else []


LOCK_ROWS = Statement(
    """
    SELECT id FROM appointments
    WHERE series_id = %(series_id)s::uuid AND occurs_wall = ANY (%(walls)s::timestamp[]) AND deleted_at IS NULL
      AND NOT overrides && '{start_at,end_at,resource_ids,transparent}'
    ORDER BY series_id, occurs_wall FOR NO KEY UPDATE
    """
)


async def book(
    connection: Connection, ids: Sequence[UUID], at: Sequence[Place], frontiers: dict[UUID, datetime]
) -> list[UUID]:
    """Book occurrences for each place, if they begin before its frontier. Bookings that exist already stay.

    Returns:
        The occurrences that collide at one of the places. At the other places they are booked all the same.
    """
    if not ids or not at:
        return []
    values = {
        "ids": ids,
        "subject_ids": [place.subject_id for place in at],
        "resource_ids": [place.resource_id for place in at],
        "before": [place.before for place in at],
        "after": [place.after for place in at],
        "frontiers": [frontiers.get(place.subject_id, END) for place in at],
    }
    await connection.fetch(CLEAR_HOLDS, values)
    return [row[0] for row in await connection.fetch(BOOK, values)]


CLEAR_HOLDS = Statement("DELETE FROM bookings WHERE subject_id = ANY (%(subject_ids)s::uuid[]) AND expires_at <= now()")
BOOK = Statement(
    """
    WITH wanted AS MATERIALIZED (
        SELECT appointments.id, place.subject_id, place.resource_id, start_at, span.during
        FROM appointments CROSS JOIN unnest(
            %(subject_ids)s::uuid[], %(resource_ids)s::uuid[], %(before)s::integer[], %(after)s::integer[],
            %(frontiers)s::timestamptz[]
        ) AS place (subject_id, resource_id, before, after, frontier)
        CROSS JOIN LATERAL (SELECT tstzrange(
            start_at - (buffer_before + place.before) * interval '1 second',
            end_at + (buffer_after + place.after) * interval '1 second'
        ) AS during) AS span
        WHERE appointments.id = ANY (%(ids)s::uuid[]) AND deleted_at IS NULL AND lower(span.during) < frontier
          AND NOT EXISTS (
              SELECT FROM bookings
              WHERE bookings.appointment_id = appointments.id
                AND (bookings.subject_id = place.subject_id OR bookings.resource_id = place.resource_id)
          )
    ), taken AS (
        INSERT INTO bookings (appointment_id, subject_id, during, resource_id, start_at)
        SELECT id, subject_id, during, resource_id, CASE WHEN resource_id IS NOT NULL THEN start_at END
        FROM wanted ORDER BY subject_id, during
        ON CONFLICT ON CONSTRAINT bookings_no_overlap DO NOTHING
        RETURNING appointment_id, subject_id
    )
    SELECT DISTINCT wanted.id FROM wanted
    LEFT JOIN taken ON taken.appointment_id = wanted.id AND taken.subject_id = wanted.subject_id
    WHERE taken.subject_id IS NULL
    """
)


async def skip(connection: Connection, ids: Sequence[UUID], cause: Cause) -> None:
    """Delete occurrences that collide, marked as skipped, so that they can be restored once their time is free."""
    if ids:
        await connection.fetch(SKIP, {"ids": ids, **cause.values})


SKIP = Statement(
    f"""
    WITH amended AS (
        UPDATE appointments
        SET deleted_at = now(), updated_at = now(), version = version + 1, skipped = true
        WHERE id = ANY (%(ids)s::uuid[]) AND deleted_at IS NULL
        RETURNING appointments.*
    ), freed AS (
        DELETE FROM bookings USING amended WHERE appointment_id = amended.id
    ), {of_all("appointment.deleted", "amended", actor="coalesce(%(actor_id)s::uuid, actor_id, owner_id)")}
    SELECT id FROM amended
    """
)


async def lay(connection: Connection, subject_ids: Sequence[UUID], frontier: datetime) -> bool:
    """Insert the tails of these subjects from a frontier on. False if something is booked beyond it."""
    rows = await connection.fetch(LAY, {"subject_ids": subject_ids, "frontier": frontier})
    return len(rows) == len(subject_ids)


LAY = Statement(
    """
    INSERT INTO bookings (subject_id, during)
    SELECT subject_id, tstzrange(%(frontier)s::timestamptz, '2102-01-01 00:00:00+00')
    FROM unnest(%(subject_ids)s::uuid[]) AS subject_id ORDER BY subject_id
    ON CONFLICT ON CONSTRAINT bookings_no_overlap DO NOTHING
    RETURNING subject_id
    """
)


async def make_way(connection: Connection, owner_id: UUID, spec: Spec, now: datetime | None = None) -> None:
    """Move the frontiers that a spec would collide with: its owner's, and that of one unit of each of its resources.

    Raises:
        Conflict: the spec is farther ahead than frontiers go.
    """
    moment = now or datetime.now(UTC)
    values = {"owner_id": owner_id, "resource_ids": spec.resources, **span_values(spec)}
    while rows := await connection.fetch(IN_THE_WAY, values):
        for subject_id, until in rows:
            if not await extend(connection, subject_id, instant(until), moment):
                raise Conflict(
                    [], message="Beside series without an end nothing can be booked more than ten years ahead."
                )


async def reach(connection: Connection, occurrence: Appointment, *, leaves: bool) -> None:
    """Move the frontiers of an occurrence's subjects past it, so that it is booked for all of them.

    An occurrence that ``leaves`` gives all of its bookings up, so it is not skipped where there is no place for it.
    """
    besides = occurrence.id if leaves else None
    until = instant(occurrence.end_at) + LONGEST
    for place in await places(connection, UUID(occurrence.series_text)):
        if place.resource_id is None or str(place.resource_id) in (occurrence.resource_ids or ()):
            await extend(connection, place.subject_id, until, datetime.now(UTC), besides=besides)


# For each resource this takes the first unit on which nothing else is booked. Units without a tail in the way come
# first: if there is one, no frontier of the resource has to move.
IN_THE_WAY = Statement(
    f"""
    SELECT %(owner_id)s::uuid, %(end_at)s::timestamptz + %(buffer_after)s::integer * interval '1 second'
    WHERE EXISTS (
        SELECT FROM bookings
        WHERE subject_id = %(owner_id)s::uuid AND appointment_id IS NULL
          AND lower(during) < %(end_at)s::timestamptz + %(buffer_after)s::integer * interval '1 second'
    )
    UNION ALL
    SELECT unit.subject_id, upper(span.during)
    FROM resources
    CROSS JOIN LATERAL (SELECT {SPAN} AS during) AS span
    CROSS JOIN LATERAL (
        SELECT resource_units.subject_id, EXISTS (
            SELECT FROM bookings
            WHERE bookings.subject_id = resource_units.subject_id AND appointment_id IS NULL
              AND lower(bookings.during) < upper(span.during)
        ) AS closed
        FROM resource_units
        WHERE resource_units.resource_id = resources.id AND resource_units.unit <= resources.units AND NOT EXISTS (
            SELECT FROM bookings
            WHERE bookings.subject_id = resource_units.subject_id AND bookings.during && span.during
              AND appointment_id IS NOT NULL AND (expires_at IS NULL OR expires_at > now())
        )
        ORDER BY closed, resource_units.unit LIMIT 1
    ) AS unit
    WHERE resources.id = ANY (ARRAY(SELECT unnest(%(resource_ids)s::uuid[]))) AND closed
    """
)


async def make_way_alone(db: Database, owner_id: UUID, spec: Spec) -> None:
    """The same in a transaction of its own, for a spec without resources."""

    async def work(connection: Connection) -> None:
        await connection.fetch(LOCK_OWNER, {"owner_id": owner_id})
        await make_way(connection, owner_id, spec)

    await db.transact(work)


LOCK_OWNER = Statement("SELECT id FROM subjects WHERE id = %(owner_id)s::uuid FOR NO KEY UPDATE")


async def open_until(db: Database, person_ids: Sequence[UUID], resource_ids: Sequence[UUID], until: datetime) -> None:
    """Move the frontiers of people, and of every unit of resources, past ``until``, so that free time shows as free.

    Time that is farther ahead than frontiers go still shows as taken.
    """
    for subject_id, _ in await _short(db, person_ids, resource_ids, until):
        await _extend_alone(db, subject_id, until, datetime.now(UTC))


async def look_ahead(
    db: Database,
    person_ids: Sequence[UUID],
    resource_ids: Sequence[UUID],
    *,
    since: datetime,
    until: datetime,
    now: datetime,
) -> bool:
    """Move frontiers that are short of ``until`` on by a step, or to ``since`` if that is farther.

    So whoever lists page by page makes as many rows as they read, and not what is behind them.

    Returns:
        Whether any was, so that there may be more to see.
    """
    short = await _short(db, person_ids, resource_ids, until)
    for subject_id, frontier in short:
        await _extend_alone(db, subject_id, min(until, max(since, frontier + STEP)), now)
    return bool(short)


async def look_ahead_unbooked(db: Database, owner_id: UUID, until: datetime) -> bool:
    """Make rows until then of somebody's endless series that take no time; return whether there were any to make."""
    made = 0
    for _, last_at, *columns in await db.fetch(UNBOOKED_OF, {"owner_ids": [owner_id], "until": until}):
        series = from_row(tuple(columns))
        if _after(series, last_at, until):
            made += await _make_unbooked(db, series, until, LOCK_OWNER)
    return bool(made)


async def _short(
    db: Database, person_ids: Sequence[UUID], resource_ids: Sequence[UUID], until: datetime
) -> list[tuple[UUID, datetime]]:
    """The frontiers of people and of units of resources that are short of ``until``."""
    values = {"person_ids": person_ids, "resource_ids": resource_ids, "until": until}
    return [(subject_id, instant(frontier)) for subject_id, frontier in await db.fetch(SHORT, values)]


async def _extend_alone(db: Database, subject_id: UUID, until: datetime, now: datetime) -> None:
    async def work(connection: Connection) -> None:
        await connection.fetch(LOCK_OWNER, {"owner_id": subject_id})
        await extend(connection, subject_id, until, now)

    await db.transact(work)


# Only tails contain the last day of 2101.
_IS_TAIL: LiteralString = "during @> '2101-12-31 00:00:00+00'::timestamptz"
# A subject has at most one tail, so the limit changes nothing but the plan. Without it PostgreSQL, which does not know
# how few bookings are tails, may read all of them. The ids come out of subqueries, so it plans once for all calls.
SHORT = Statement(
    f"""
    SELECT unit_id, frontier FROM (
        SELECT unnest(ARRAY(SELECT unnest(%(person_ids)s::uuid[]))) AS unit_id
        UNION ALL
        SELECT resource_units.subject_id FROM resource_units
        WHERE resource_id = ANY (ARRAY(SELECT unnest(%(resource_ids)s::uuid[])))
    ) AS units
    CROSS JOIN LATERAL (
        SELECT lower(during) AS frontier FROM bookings WHERE subject_id = unit_id AND {_IS_TAIL} LIMIT 1
    ) AS tail
    WHERE frontier < %(until)s::timestamptz
    ORDER BY unit_id
    """
)

MAY_BE_SHORT: LiteralString = f"""
    EXISTS (
        SELECT FROM bookings
        WHERE subject_id = %(owner_id)s::uuid AND {_IS_TAIL} AND lower(during) < %(ahead)s::timestamptz
    )
    OR EXISTS (SELECT FROM series WHERE owner_id = %(owner_id)s::uuid AND endless AND transparent)
"""
"""Whether rows of somebody's endless series may be missing before ``ahead``."""


async def extend_due(db: Database, horizon: timedelta, now: datetime | None = None) -> int:
    """Move every frontier that is nearer than the horizon, each in a short transaction. Return how many moved.

    The tails themselves are the to-do list, so a run that is late or repeated does no harm. Subjects that are locked by
    somebody else are left for the next run, so any number of processes may run this at once.
    """
    moment = now or datetime.now(UTC)
    moved = 0
    after: tuple[datetime, UUID] = datetime(1, 1, 1, tzinfo=UTC), UUID(int=0)
    while True:
        values = {"until": moment + horizon, "after_at": after[0], "after_id": after[1], "limit": _BATCH}
        due = await db.fetch(DUE, values)
        if not due:
            return moved
        for subject_id, _ in due:
            moved += await db.transact(partial(_extend_if_free, subject_id=subject_id, now=moment, horizon=horizon))
        after = instant(due[-1][1]), due[-1][0]


async def _extend_if_free(connection: Connection, subject_id: UUID, now: datetime, horizon: timedelta) -> int:
    if not await connection.fetch(TRY_LOCK, {"subject_id": subject_id}):
        return 0
    await connection.fetch(DROP_IDLE, {"subject_ids": [subject_id]})
    return int(await extend(connection, subject_id, now + horizon, now))


# Tails left behind by deleted accounts come nearer than the horizon one day, too. Then they are dropped.
DUE = Statement(
    """
    SELECT subject_id, lower(during) FROM bookings
    WHERE appointment_id IS NULL AND lower(during) < %(until)s::timestamptz
      AND (lower(during), subject_id) > (%(after_at)s::timestamptz, %(after_id)s::uuid)
    ORDER BY lower(during), subject_id LIMIT %(limit)s::bigint
    """
)
TRY_LOCK = Statement("SELECT id FROM subjects WHERE id = %(subject_id)s::uuid FOR NO KEY UPDATE SKIP LOCKED")


async def extend_unbooked(db: Database, horizon: timedelta, now: datetime | None = None) -> int:
    """Make the rows of endless series that take no time, up to the horizon: they have no tail that would say so.

    Returns:
        Of how many series there were any to make.
    """
    moment = now or datetime.now(UTC)
    made = 0
    for _, _, *columns in await db.fetch(UNBOOKED, {"until": moment + horizon / 2}):
        made += await _make_unbooked(db, from_row(tuple(columns)), moment + horizon, TRY_LOCK) > 0
    return made


async def _make_unbooked(db: Database, series: Series, until: datetime, lock: Statement) -> int:
    """Make the rows of a series that takes no time; 0 if another has its owner, and ``lock`` does not wait."""

    async def work(connection: Connection) -> int:
        if not await connection.fetch(lock, {"subject_id": series.owner_id, "owner_id": series.owner_id}):
            return 0
        # It may have changed since it was read. Whoever changes it has its owner locked.
        rows = await connection.fetch(UNBOOKED_OF, {"owner_ids": [series.owner_id], "until": until})
        made = 0
        for series_id, last_at, *columns in rows:
            if series_id == series.id:
                again = from_row(tuple(columns))
                made += await make_rows(connection, [(again, _after(again, last_at, until))], BY_ITSELF)
        return made

    return await db.transact(work)


def _after(series: Series, last_at: Micros | None, until: datetime) -> list[Slot]:
    """The next occurrences, at most so many at once, of a series that takes no time after its last row."""
    since = instant(last_at) + timedelta(microseconds=1) if last_at is not None else None
    return list(islice(series.spec.slots(since=since, until=until), MOST))


_UNBOOKED: LiteralString = f"""
    SELECT series.id, last_at, {COLUMNS} FROM series CROSS JOIN LATERAL (
        SELECT max(original_start_at) AS last_at FROM appointments WHERE series_id = series.id
    ) AS rows
    WHERE endless AND transparent AND (last_at IS NULL OR last_at < %(until)s::timestamptz)
"""
UNBOOKED = Statement(_UNBOOKED)
UNBOOKED_OF = Statement(f"{_UNBOOKED} AND owner_id = ANY (%(owner_ids)s::uuid[])")

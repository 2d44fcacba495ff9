"""Series: booked whole or not at all, changed, deleted and restored, each occurrence an appointment of its own.

The promise: no occurrence of a live series and no other live appointment take one subject's time at once, to the end of
time. Occurrences are rows up to the frontiers of the series' subjects; beyond, their tails stand for it
(:mod:`~appointments.calendar.frontiers`). What belongs to somebody else is :class:`NotFound`.

Everything here runs in one transaction that has every subject of the series, all units of its resources included, and
then the series itself. So it is all or nothing, whatever races.
"""

import hashlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from uuid_utils.compat import uuid7

from appointments.calendar import frontiers, placing
from appointments.calendar.appointment import Spec, seconds
from appointments.calendar.frontiers import LONGEST, Place, Span, past_straddlers, spans
from appointments.calendar.listing import page_size
from appointments.calendar.log import BY_OWNER, Cause, of_all
from appointments.calendar.rules import EARLIEST
from appointments.calendar.series import (
    COLUMNS,
    FARTHEST,
    Series,
    SeriesSpec,
    Slot,
    divided,
    from_row,
    overlap_problems,
    to_values,
    utc_now,
    violations,
)
from appointments.db import Connection, Database, Row, Statement, instant, paging
from appointments.errors import (
    Collision,
    Invalid,
    Miss,
    Misses,
    NotFound,
    SeriesConflict,
    Stale,
    Taken,
    Unauthenticated,
    Unmet,
    Violation,
)
from appointments.recurrence import instant as instant_of

T = TypeVar("T")

HORIZON = timedelta(days=120)
MOST_NAMED = 100
MOST_COLLISIONS = 10
_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Terms:
    """How a series is to be booked: ``skip`` what collides, or fail; ``only_look`` and change nothing.

    ``horizon`` is how far ahead endless series become rows at once; ``now`` is the clock.
    """

    skip: bool = False
    only_look: bool = False
    horizon: timedelta = HORIZON
    now: datetime | None = None

    @property
    def clock(self) -> datetime:
        """The time it is."""
        return self.now or utc_now()


NO_MISSES = Misses()


@dataclass(frozen=True, slots=True)
class Booked:
    """A series as it is, how far its occurrences are rows (None: all are), and what found no place."""

    series: Series
    expanded_until: datetime | None
    misses: Misses = NO_MISSES


class _Seen(Exception):
    def __init__(self, booked: Booked) -> None:
        super().__init__()
        self.booked = booked


class _AgainError(Exception):
    """Somebody booked beyond a frontier that was just being laid."""


TERMS = Terms()


async def create(
    db: Database,
    owner_id: UUID,
    spec: SeriesSpec,
    terms: Terms = TERMS,
    *,
    request_id: UUID | None = None,
    cause: Cause = BY_OWNER,
) -> Booked:
    """Book every occurrence for the owner and all resources.

    A retry with the same ``request_id`` and spec returns the series as it is now, and books nothing (AIP-155).

    Raises:
        Invalid: the spec breaks a rule, occurrences overlap each other, or the request id was used with another spec.
        SeriesConflict: occurrences find no place, and are not to be skipped.
        NotFound: the owner sees no such resource.
        Denied: the owner may not book a resource.
        Unmet: it has no end, and one of its subjects is booked more than ten years ahead.
    """
    now = terms.clock
    if found := violations(spec, now):
        raise Invalid(found)
    digest = hashlib.sha256(f"{spec!r}{terms.skip}".encode()).digest() if request_id else None

    async def work(connection: Connection) -> Booked:
        if request_id and (earlier := await _replay(connection, owner_id, request_id, digest)):
            return earlier
        await _hold(connection, owner_id, spec.first.resources)
        await placing.lock(connection, owner_id, spec.first.resources)
        if not terms.skip:
            await _look(connection, owner_id, spec, terms)
        values = {"id": uuid7(), "owner_id": owner_id, "previous_id": None, "request_id": request_id}
        values |= to_values(spec) | {"request_digest": digest, "endless": False} | cause.values
        series = from_row((await connection.fetch(INSERT, values))[0])
        return await _settle(connection, series, spec, terms, cause)

    try:
        return await _run(db, work, terms)
    except psycopg.errors.UniqueViolation as error:
        if error.diag.constraint_name != "series_request_id":
            raise
        return await create(db, owner_id, spec, terms, request_id=request_id, cause=cause)
    except psycopg.errors.ForeignKeyViolation as error:
        raise Unauthenticated("The account has been deleted.") from error


async def _run(db: Database, work: Callable[[Connection], Awaitable[Booked]], terms: Terms) -> Booked:
    """Run a transaction, again if somebody was faster; one that only looks leaves nothing behind."""

    async def once(connection: Connection) -> Booked:
        booked = await work(connection)
        if terms.only_look:
            raise _Seen(booked)
        return booked

    for _ in range(_ATTEMPTS):
        try:
            return await db.transact(once)
        except _Seen as seen:
            return seen.booked
        except _AgainError:
            continue
    raise Unmet("Too much is being booked at once.", reason="BUSY")


INSERT = Statement(
    f"""
    WITH series AS (
        INSERT INTO series (
            id, owner_id, title, description, location, attendees, resource_ids, buffer_before, buffer_after, transparent,
            all_day, start_wall, length, time_zone, rule, added, excluded, endless, previous_id, created_at, updated_at,
            version, actor_id, request_id, request_digest
        )
        VALUES (
            %(id)s::uuid, %(owner_id)s::uuid, %(title)s::text, %(description)s::text, %(location)s::text,
            %(attendees)s::jsonb, %(resource_ids)s::uuid[], %(buffer_before)s::integer, %(buffer_after)s::integer,
            %(transparent)s::boolean, %(all_day)s::boolean, %(start_wall)s::timestamp, %(length)s::bigint,
            %(time_zone)s::text, %(rule)s::text, %(added)s::timestamp[], %(excluded)s::timestamp[], false,
            %(previous_id)s::uuid, now(), now(), 1, %(actor_id)s::uuid, %(request_id)s::uuid, %(request_digest)s::bytea
        )
        RETURNING series.*
    ), logged AS (
        INSERT INTO new_changes (calendar_id, kind, item_id, version, actor_id, request_id, changed_at)
        SELECT owner_id, 'series.created', id, version, coalesce(actor_id, owner_id), %(x_request_id)s::text, updated_at
        FROM series
    )
    SELECT {COLUMNS} FROM series
    """
)


async def _replay(connection: Connection, owner_id: UUID, request_id: UUID, digest: bytes | None) -> Booked | None:
    rows = await connection.fetch(REPLAY, {"owner_id": owner_id, "request_id": request_id})
    if not rows:
        return None
    if rows[0][0] != digest:
        raise Invalid.field("request_id", "was used before with another body", reason="REQUEST_ID_REUSED")
    return await _as_it_is(connection, from_row(rows[0][1:]))


REPLAY = Statement(
    f"""
    SELECT request_digest, {COLUMNS} FROM series
    WHERE owner_id = %(owner_id)s::uuid AND request_id = %(request_id)s::uuid
    """
)


async def _hold(
    connection: Connection, owner_id: UUID, resource_ids: Sequence[UUID], new: Sequence[UUID] | None = None
) -> None:
    """Hold resources as they are; those that are ``new`` (all, if not given) must be the owner's to book."""
    if resource_ids:
        roles = await placing.hold(connection, owner_id, resource_ids)
        placing.check_bookable(roles, resource_ids if new is None else new)


async def _settle(
    connection: Connection,
    series: Series,
    spec: SeriesSpec,
    terms: Terms,
    cause: Cause,
    *,
    made_since: datetime | None = None,
    booked_since: datetime | None = None,
) -> Booked:
    """Choose places for a series, make rows, book them, and lay tails. Its row says so far that it ends.

    Occurrences that start before ``made_since`` are not made, those before ``booked_since`` not booked.
    """
    at = [] if spec.first.transparent else await _choose(connection, series, spec, terms)
    further = timedelta(seconds=max((place.before + place.after for place in at), default=0))
    until = await _target(connection, spec, at, terms)
    slots = list(spec.slots(since=made_since, until=until))
    if found := overlap_problems(spec, slots, further):
        raise Invalid(found)
    await frontiers.make_rows(connection, [(series, slots)], cause)
    values = {"series_id": series.id, "since": booked_since or EARLIEST}
    ids = [row[0] for row in await connection.fetch(UNBOOKED, values)]
    edges = await frontiers.tails(connection, [place.subject_id for place in at])
    missed = await frontiers.book(connection, ids, at, edges)
    misses = await _named(connection, missed, at)
    if spec.endless and at:
        misses = _merged(misses, await _beyond(connection, series, spec, at, until, terms.clock))
    if misses.total and not terms.skip:
        raise SeriesConflict(misses)
    await frontiers.skip(connection, missed, cause)
    if spec.endless:
        open_places = [place.subject_id for place in at if place.subject_id not in edges]
        if not await frontiers.lay(connection, open_places, until):
            raise _AgainError
    series = from_row((await connection.fetch(FINISH, {"id": series.id, "endless": spec.endless}))[0])
    edge = min([*edges.values(), until]) if spec.endless else None
    return Booked(series, edge, misses)


async def _look(connection: Connection, owner_id: UUID, spec: SeriesSpec, terms: Terms) -> None:
    """Tell at once of what is in the way already: most that collide do so with what is there, and need no rows.

    Raises:
        SeriesConflict: occurrences find no place.
    """
    if spec.first.transparent:
        return
    slots = list(spec.slots(until=terms.clock + terms.horizon if spec.endless else None))
    values = {
        "owner_id": owner_id,
        "resource_ids": spec.first.resources,
        "starts": [slot.start_at for slot in slots],
        "ends": [slot.end_at for slot in slots],
        "buffer_before": seconds(spec.first.buffer_before),
        "buffer_after": seconds(spec.first.buffer_after),
    }
    misses = _told(await connection.fetch(LOOK, values))
    if misses.total:
        raise SeriesConflict(misses)


# A resource of several units is left to the booking itself, which chooses among them.
LOOK = Statement(
    """
    SELECT slot.start_at, bookings.resource_id, other.id, other.start_at, other.end_at
    FROM unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS slot (start_at, end_at)
    CROSS JOIN (
        SELECT %(owner_id)s::uuid AS subject_id, 0 AS before, 0 AS after
        UNION ALL
        SELECT resource_units.subject_id, resources.buffer_before, resources.buffer_after
        FROM resources JOIN resource_units ON resource_units.resource_id = resources.id AND unit = 1
        WHERE resources.id = ANY (%(resource_ids)s::uuid[]) AND units = 1
    ) AS place
    JOIN bookings ON bookings.subject_id = place.subject_id AND bookings.during && tstzrange(
        slot.start_at - (%(buffer_before)s::integer + place.before) * interval '1 second',
        slot.end_at + (%(buffer_after)s::integer + place.after) * interval '1 second'
    )
    JOIN appointments AS other ON other.id = bookings.appointment_id
    WHERE bookings.expires_at IS NULL OR bookings.expires_at > now()
    ORDER BY slot.start_at, other.start_at
    """
)

FINISH = Statement(f"UPDATE series SET endless = %(endless)s::boolean WHERE id = %(id)s::uuid RETURNING {COLUMNS}")
# The rows that a series books where it says: what was changed by itself is booked where it is.
UNBOOKED = Statement(
    """
    SELECT id FROM appointments
    WHERE series_id = %(series_id)s::uuid AND deleted_at IS NULL AND NOT transparent
      AND original_start_at >= %(since)s::timestamptz
      AND NOT overrides && '{start_at,end_at,resource_ids,transparent,all_day}'
    ORDER BY occurs_wall
    """
)


async def _choose(connection: Connection, series: Series, spec: SeriesSpec, terms: Terms) -> list[Place]:
    """Choose a unit of each resource: the one on which the fewest occurrences find no place, and keep to it."""
    chosen: list[tuple[UUID, UUID | None]] = [(series.owner_id, None)]
    if spec.first.resource_ids:
        slots = list(spec.slots(until=None if not spec.endless else terms.clock + terms.horizon))
        values = {
            "resource_ids": spec.first.resources,
            "series_id": series.id,
            "starts": [slot.start_at for slot in slots],
            "ends": [slot.end_at for slot in slots],
            "buffer_before": seconds(spec.first.buffer_before),
            "buffer_after": seconds(spec.first.buffer_after),
        }
        chosen += await connection.fetch(CHOOSE, values)
    await connection.fetch(
        TAKE_PART,
        {
            "series_id": series.id,
            "subject_ids": [subject_id for subject_id, _ in chosen],
            "resource_ids": [resource_id for _, resource_id in chosen],
        },
    )
    return await frontiers.places(connection, series.id)


CHOOSE = Statement(
    """
    SELECT DISTINCT ON (resources.id) resource_units.subject_id, resources.id
    FROM resources JOIN resource_units ON resource_units.resource_id = resources.id AND unit <= resources.units
    CROSS JOIN LATERAL (
        SELECT count(*) AS taken FROM unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS slot (start_at, end_at)
        WHERE resources.units > 1 AND EXISTS (
            SELECT FROM bookings
            WHERE bookings.subject_id = resource_units.subject_id AND appointment_id IS NOT NULL
              AND (bookings.expires_at IS NULL OR bookings.expires_at > now())
              AND bookings.during && tstzrange(
                  slot.start_at - (%(buffer_before)s::integer + resources.buffer_before) * interval '1 second',
                  slot.end_at + (%(buffer_after)s::integer + resources.buffer_after) * interval '1 second'
              )
        )
    ) AS found
    WHERE resources.id = ANY (%(resource_ids)s::uuid[])
    ORDER BY resources.id, taken, EXISTS (
        SELECT FROM series_subjects
        WHERE series_id = %(series_id)s::uuid AND series_subjects.subject_id = resource_units.subject_id
    ) DESC, unit
    """
)
TAKE_PART = Statement(
    """
    WITH gone AS (
        DELETE FROM series_subjects
        WHERE series_id = %(series_id)s::uuid AND NOT subject_id = ANY (%(subject_ids)s::uuid[])
    )
    INSERT INTO series_subjects (series_id, subject_id, resource_id)
    SELECT %(series_id)s::uuid, subject_id, resource_id
    FROM unnest(%(subject_ids)s::uuid[], %(resource_ids)s::uuid[]) AS part (subject_id, resource_id)
    ON CONFLICT ON CONSTRAINT series_subjects_pkey DO NOTHING
    """
)


async def _target(connection: Connection, spec: SeriesSpec, at: Sequence[Place], terms: Terms) -> datetime:
    """How far a series becomes rows, once every frontier of its subjects is out of the way of that."""
    now = terms.clock
    farthest = now + FARTHEST + LONGEST
    subject_ids = [place.subject_id for place in at]
    if not spec.endless:
        last = max((slot.end_at for slot in spec.slots()), default=now)
        until = last + LONGEST
        for place in at:
            # Nothing is to stand for series where this one has its rows.
            upper = last + spec.first.buffer_after + timedelta(seconds=place.after)
            if not await frontiers.extend(connection, place.subject_id, upper, now):
                raise Unmet(
                    "Beside series without an end nothing can be booked more than ten years ahead.",
                    reason="TOO_FAR_AHEAD",
                )
        return until
    until = max(now + terms.horizon, spec.first.end_at + LONGEST)
    for _ in range(_ATTEMPTS):
        booked = await connection.fetch(LAST_BOOKED, {"subject_ids": subject_ids, "since": until})
        edges = await frontiers.tails(connection, subject_ids)
        until = max([until, *(instant(row[0]) for row in booked if row[0] is not None), *edges.values()])
        taken = [span for place in at for span in spans(spec, place, until - 2 * LONGEST, until + LONGEST)]
        until = past_straddlers(until, taken)
        if until > farthest:
            raise Unmet(
                "Something is booked more than ten years ahead, so the series needs an end.",
                reason="BOOKED_TOO_FAR_AHEAD",
            )
        if all(edge == until for edge in edges.values()):
            return until
        for subject_id, edge in edges.items():
            if edge < until:
                await frontiers.extend(connection, subject_id, until, now, step=timedelta())
    return until


LAST_BOOKED = Statement(
    """
    SELECT max(upper(during)) FROM bookings
    WHERE subject_id = ANY (%(subject_ids)s::uuid[]) AND appointment_id IS NOT NULL
      AND during && tstzrange(%(since)s::timestamptz, '2102-01-01 00:00:00+00')
    """
)


async def _named(connection: Connection, missed: Sequence[UUID], at: Sequence[Place]) -> Misses:
    """What is in the way of occurrences: of appointments only the owner's own, of a resource only that it is taken."""
    if not missed:
        return Misses()
    values = {
        "ids": missed,
        "subject_ids": [place.subject_id for place in at],
        "before": [place.before for place in at],
        "after": [place.after for place in at],
    }
    return replace(_told(await connection.fetch(IN_THE_WAY, values)), total=len(missed))


def _told(rows: Sequence[Row]) -> Misses:
    """What rows of occurrences and what is in their way say."""
    found: dict[int, tuple[dict[UUID, Collision], set[UUID]]] = defaultdict(lambda: ({}, set()))
    for original, resource_id, other_id, start_at, end_at in rows:
        collisions, resources = found[original]
        if resource_id:
            resources.add(resource_id)
        elif other_id:
            collisions[other_id] = Collision(other_id, instant(start_at), instant(end_at))
    named = [
        Miss(instant(original), tuple(collisions.values())[:MOST_COLLISIONS], tuple(sorted(resources)))
        for original, (collisions, resources) in sorted(found.items())[:MOST_NAMED]
    ]
    return Misses(tuple(named), len(found))


IN_THE_WAY = Statement(
    """
    SELECT missed.original_start_at, bookings.resource_id, other.id, other.start_at, other.end_at
    FROM appointments AS missed CROSS JOIN unnest(
        %(subject_ids)s::uuid[], %(before)s::integer[], %(after)s::integer[]
    ) AS place (subject_id, before, after)
    JOIN bookings ON bookings.subject_id = place.subject_id
        AND bookings.appointment_id IS DISTINCT FROM missed.id AND bookings.during && tstzrange(
            missed.start_at - (missed.buffer_before + place.before) * interval '1 second',
            missed.end_at + (missed.buffer_after + place.after) * interval '1 second'
        )
    LEFT JOIN appointments AS other ON other.id = bookings.appointment_id
    WHERE missed.id = ANY (%(ids)s::uuid[])
    ORDER BY missed.original_start_at, other.start_at
    """
)


async def _beyond(
    connection: Connection, series: Series, spec: SeriesSpec, at: Sequence[Place], since: datetime, now: datetime
) -> Misses:
    """Occurrences of the next ten years that other endless series will be in the way of, where none is a row yet."""
    found: dict[datetime, set[UUID]] = {}
    until = now + FARTHEST
    for place in at:
        rows = await connection.fetch(frontiers.ENDLESS, {"subject_id": place.subject_id})
        others: list[Span] = []
        for row in rows:
            other, other_place = from_row(row[4:]), Place._make(row[:4])
            if other.id != series.id:
                others += spans(other.spec, other_place, since, until)
        if not others:
            continue
        mine = [(span.lower, span.upper, 0, span) for span in spans(spec, place, since, until)]
        theirs = [(span.lower, span.upper, 1, span) for span in others]
        for span in _overlapping(sorted(mine + theirs)):
            found.setdefault(span.slot.start_at, set()).update({place.resource_id} - {None})  # type: ignore[arg-type]
    named = [Miss(start, (), tuple(sorted(resources))) for start, resources in sorted(found.items())[:MOST_NAMED]]
    return Misses(tuple(named), len(found))


def _overlapping(taken: list[tuple[datetime, datetime, int, Span]]) -> list[Span]:
    """Which of the first kind (0) overlap one of the second, all in the order of their beginnings."""
    found: dict[datetime, Span] = {}
    last: list[tuple[datetime, datetime, int, Span]] = []
    for each in taken:
        last = [earlier for earlier in last if earlier[1] > each[0]]
        for earlier in last:
            if earlier[2] != each[2]:
                span = each[3] if each[2] == 0 else earlier[3]
                found[span.lower] = span
        last.append(each)
    return [found[lower] for lower in sorted(found)]


def _merged(one: Misses, other: Misses) -> Misses:
    named = sorted((*one.named, *other.named), key=lambda miss: miss.original_start_at)
    return Misses(tuple(named[:MOST_NAMED]), one.total + other.total)


async def get(db: Database, owner_id: UUID, series_id: UUID) -> Booked:
    """Read a series, deleted or not.

    Raises:
        NotFound: the owner has no such series.
    """
    async with db.connection() as connection:
        return await _as_it_is(connection, await _own(connection, GET, owner_id, series_id))


GET = Statement(f"SELECT {COLUMNS} FROM series WHERE id = %(id)s::uuid AND owner_id = %(owner_id)s::uuid")


async def _own(connection: Connection, statement: Statement, owner_id: UUID, series_id: UUID) -> Series:
    rows = await connection.fetch(statement, {"id": series_id, "owner_id": owner_id})
    if not rows:
        raise NotFound("No such series.")
    return from_row(rows[0])


async def _as_it_is(connection: Connection, series: Series) -> Booked:
    return Booked(series, (await _expanded(connection, [series])).get(series.id))


async def _expanded(connection: Connection, found: Sequence[Series]) -> dict[UUID, datetime]:
    ids = [series.id for series in found if series.endless]
    rows = await connection.fetch(EXPANDED, {"ids": ids}) if ids else []
    return {series_id: instant(until) for series_id, until in rows if until is not None}


EXPANDED = Statement(
    """
    SELECT series.id, CASE
        WHEN transparent THEN (SELECT max(original_start_at) FROM appointments WHERE series_id = series.id)
        ELSE (
            SELECT min(lower(during)) FROM bookings JOIN series_subjects USING (subject_id)
            WHERE series_subjects.series_id = series.id AND appointment_id IS NULL
        )
    END
    FROM series WHERE series.id = ANY (%(ids)s::uuid[])
    """
)


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, and the token that goes on after it ("" on the last)."""

    series: list[Booked]
    next_token: str


async def page(db: Database, owner_id: UUID, *, show_deleted: bool = False, size: int = 0, token: str = "") -> Page:
    """List an owner's series, the newest first: ``size`` of them (50 if 0, 1,000 at most) after ``token``.

    Raises:
        Invalid: the size is negative, or the token belongs to another list.
    """
    list_name = f"series {owner_id} {show_deleted}"
    bad = [Violation("page_size", "must not be negative")] if size < 0 else []
    after = paging.decode(token, list_name) if token else paging.Key(frontiers.END, UUID(int=0))
    if after is None:
        bad.append(Violation("page_token", "is not a page token of this list"))
    if bad or after is None:
        raise Invalid(bad)
    limit = page_size(size)
    values = {
        "owner_id": owner_id,
        "show_deleted": show_deleted,
        "before_at": after.start_at,
        "before_id": after.id,
        "limit": limit + 1,
    }
    async with db.connection() as connection:
        found = list(map(from_row, await connection.fetch(LIST, values)))
        expanded = await _expanded(connection, found[:limit])
    entries = [Booked(series, expanded.get(series.id)) for series in found[:limit]]
    if len(found) <= limit:
        return Page(entries, "")
    last = found[limit - 1]
    return Page(entries, paging.encode(paging.Key(instant(last.created_at), last.id), list_name))


LIST = Statement(
    f"""
    SELECT {COLUMNS} FROM series
    WHERE owner_id = %(owner_id)s::uuid AND (%(show_deleted)s::boolean OR deleted_at IS NULL)
      AND (created_at, id) < (%(before_at)s::timestamptz, %(before_id)s::uuid)
    ORDER BY created_at DESC, id DESC LIMIT %(limit)s::bigint
    """
)


async def update(
    db: Database,
    owner_id: UUID,
    series_id: UUID,
    change: Callable[[SeriesSpec], SeriesSpec],
    terms: Terms = TERMS,
    *,
    from_id: UUID | None = None,
    include_past: bool = False,
    etag: str = "",
    cause: Cause = BY_OWNER,
) -> Booked:
    """Replace a series' spec by what ``change`` makes of it: for all occurrences, or from one on.

    From one on, that one and all that follow become a series of their own, with the ids that they have. What was changed
    in an occurrence by itself stays, field by field. What has begun stays too, unless ``include_past``.

    Raises:
        NotFound: the owner has no such live series, or sees no such resource.
        Denied: a new resource is not the owner's to book.
        Stale: ``etag`` is given and not the current one.
        Invalid: the new spec breaks a rule, or ``from_id`` is none of its occurrences.
        SeriesConflict: occurrences find no place, and are not to be skipped.
        Unmet: as for :func:`create`.
    """
    now = terms.clock

    def decide(spec: SeriesSpec) -> SeriesSpec:
        changed = change(spec)
        if changed != spec and (found := violations(changed, now)):
            raise Invalid(found)
        return changed

    async def work(connection: Connection, held: Sequence[UUID]) -> Booked | None:
        series = await _lock(connection, owner_id, series_id, held)
        _check(series, etag)
        if series.deleted_at is not None:
            raise NotFound("No such series.")
        old, previous = series.spec, series
        boundary = None if include_past else now
        wall = await _split_wall(connection, series, from_id)
        before = old
        if wall is not None:
            before, old = divided(old, wall)
        new = decide(old)
        if new == old and wall is None:
            return await _as_it_is(connection, series)
        if not set(new.first.resources) <= set(held):
            return None
        added = [each for each in new.first.resources if each not in old.first.resources]
        await _hold(connection, owner_id, held, added)
        at = await frontiers.places(connection, series.id)
        if retimed := _said(old) != _said(new):
            await _reach_rows(connection, series.id, at, now)
        if wall is None:
            series = await _rewrite_row(connection, series, new, cause)
        else:
            series = await _split(connection, previous, before, new, wall, cause)
            begins = instant_of(wall, new.zone)
            boundary = max(boundary, begins) if boundary else begins
        rows = await connection.fetch(ROWS, {"series_id": series.id, "boundary": boundary or EARLIEST})
        if not retimed:
            matches = {row[0]: Slot(row[1], instant(row[2]), instant(row[3])) for row in rows}
            await _rewrite_rows(connection, series, old, new, matches, cause, retimed=False)
            finished = await connection.fetch(FINISH, {"id": series.id, "endless": new.endless})
            return await _as_it_is(connection, from_row(finished[0]))
        return await _move(connection, series, old, new, rows, at, terms, cause, boundary)

    return await _locked(db, owner_id, series_id, change, work, terms)


async def _locked(
    db: Database,
    owner_id: UUID,
    series_id: UUID,
    change: Callable[[SeriesSpec], SeriesSpec],
    work: Callable[[Connection, Sequence[UUID]], Awaitable[Booked | None]],
    terms: Terms,
) -> Booked:
    """Run a change under the locks of all resources that it may need, of which it knows once it has read the series."""
    while True:
        current = (await get(db, owner_id, series_id)).series.spec
        held = list(dict.fromkeys([*current.first.resources, *_readable(change(current).first)]))

        async def once(connection: Connection, held: Sequence[UUID] = held) -> Booked:
            booked = await work(connection, held)
            if booked is None:
                raise _AgainError  # somebody else has given it other resources: they have to be locked first
            return booked

        try:
            return await _run(db, once, terms)
        except Unmet as unmet:
            if unmet.reason != "BUSY":
                raise


def _readable(spec: Spec) -> list[UUID]:
    try:
        return spec.resources
    except ValueError:
        return []  # the rules will say which is no id


async def _lock(connection: Connection, owner_id: UUID, series_id: UUID, resource_ids: Sequence[UUID]) -> Series:
    """Lock a series as every change of it does: its resources, all their units and its owner, then itself."""
    if resource_ids:
        await placing.hold(connection, owner_id, resource_ids)
    await placing.lock(connection, owner_id, resource_ids)
    series = await _own(connection, LOCK, owner_id, series_id)
    if not set(series.spec.first.resources) <= set(resource_ids):
        raise _AgainError
    return series


LOCK = Statement(
    f"""
    SELECT {COLUMNS} FROM series WHERE id = %(id)s::uuid AND owner_id = %(owner_id)s::uuid FOR NO KEY UPDATE
    """
)


def _check(series: Series, etag: str) -> None:
    if etag and etag != series.etag:
        raise Stale("The series has changed since it was read.")


async def _split_wall(connection: Connection, series: Series, from_id: UUID | None) -> datetime | None:
    """Where a series is divided: the wall time of an occurrence; None if that would leave nothing before it."""
    if from_id is None:
        return None
    rows = await connection.fetch(OCCURRENCE, {"id": from_id, "series_id": series.id})
    if not rows:
        raise Invalid.field("from_appointment_id", "is none of the occurrences of the series")
    wall: datetime = rows[0][0]
    first = next(series.spec.slots(), None)
    return None if first is None or wall <= first.wall else wall


OCCURRENCE = Statement(
    """
    SELECT occurs_wall FROM appointments
    WHERE id = %(id)s::uuid AND series_id = %(series_id)s::uuid AND deleted_at IS NULL
    """
)


async def _rewrite_row(
    connection: Connection, series: Series, spec: SeriesSpec, cause: Cause, *, kind: str = "series.updated"
) -> Series:
    """Write a series' spec. Until it is settled its row says that it ends, so that nothing is made of it meanwhile."""
    values = {"id": series.id, "kind": kind, "deleted_at": None} | to_values(spec) | cause.values
    return from_row((await connection.fetch(REWRITE, values))[0])


REWRITE = Statement(
    f"""
    WITH series AS (
        UPDATE series
        SET title = %(title)s::text, description = %(description)s::text, location = %(location)s::text,
            attendees = %(attendees)s::jsonb, resource_ids = %(resource_ids)s::uuid[],
            buffer_before = %(buffer_before)s::integer, buffer_after = %(buffer_after)s::integer,
            transparent = %(transparent)s::boolean, all_day = %(all_day)s::boolean,
            start_wall = %(start_wall)s::timestamp, length = %(length)s::bigint, time_zone = %(time_zone)s::text,
            rule = %(rule)s::text, added = %(added)s::timestamp[], excluded = %(excluded)s::timestamp[],
            endless = false, actor_id = %(actor_id)s::uuid, updated_at = now(), version = version + 1,
            deleted_at = %(deleted_at)s::timestamptz
        WHERE id = %(id)s::uuid
        RETURNING series.*
    ), logged AS (
        INSERT INTO new_changes (calendar_id, kind, item_id, version, actor_id, request_id, changed_at)
        SELECT owner_id, %(kind)s::text, id, version, coalesce(actor_id, owner_id), %(x_request_id)s::text, updated_at
        FROM series
    )
    SELECT {COLUMNS} FROM series
    """
)


async def _split(
    connection: Connection, series: Series, before: SeriesSpec, after: SeriesSpec, wall: datetime, cause: Cause
) -> Series:
    """End a series before an occurrence; it and all that follow become rows of a new one."""
    await _rewrite_row(connection, series, before, cause)
    values = {"id": uuid7(), "owner_id": series.owner_id, "previous_id": series.id, "request_id": None}
    values |= to_values(after) | {"request_digest": None} | cause.values
    created = from_row((await connection.fetch(INSERT, values))[0])
    await connection.fetch(HAND_OVER, {"id": series.id, "new_id": created.id, "wall": wall})
    return created


HAND_OVER = Statement(
    """
    WITH rows AS (
        UPDATE appointments SET series_id = %(new_id)s::uuid
        WHERE series_id = %(id)s::uuid AND occurs_wall >= %(wall)s::timestamp
    )
    INSERT INTO series_subjects (series_id, subject_id, resource_id)
    SELECT %(new_id)s::uuid, subject_id, resource_id FROM series_subjects WHERE series_id = %(id)s::uuid
    """
)


async def _move(
    connection: Connection,
    series: Series,
    old: SeriesSpec,
    new: SeriesSpec,
    rows: Sequence[Row],
    previously: Sequence[Place],
    terms: Terms,
    cause: Cause,
    boundary: datetime | None,
) -> Booked:
    """Give rows of a series the times of its new spec, from a moment on; make, book and delete what that needs."""
    by = new.start_wall - old.start_wall
    since = None if boundary is None else boundary + by
    await connection.fetch(FREE, {"ids": [row[0] for row in rows]})
    until = terms.clock + FARTHEST + 2 * LONGEST if new.endless else None
    matches = _matched(rows, list(new.slots(since=since, until=until)), by)
    await _leave(connection, [row[0] for row in rows if row[0] not in matches], cause)
    await _rewrite_rows(connection, series, old, new, matches, cause, retimed=True)
    misses = await _book_apart(connection, series, previously, terms, cause)
    booked = await _settle(connection, series, new, terms, cause, made_since=since, booked_since=since)
    await frontiers.drop_idle(connection, [place.subject_id for place in previously])
    return replace(booked, misses=_merged(booked.misses, misses))


def _said(spec: SeriesSpec) -> tuple[Any, ...]:
    """What decides when a series takes whose time."""
    first = spec.first
    return (
        spec.start_wall, spec.length, first.time_zone, first.all_day, spec.rule, set(spec.added), set(spec.excluded),
        first.buffer_before, first.buffer_after, first.transparent, set(first.resource_ids),
    )  # fmt: skip


async def _reach_rows(connection: Connection, series_id: UUID, at: Sequence[Place], now: datetime) -> None:
    """Move the frontiers of a series past its last row: no tail may stand for what is booked anew."""
    last = (await connection.fetch(LAST_ROW, {"series_id": series_id}))[0][0]
    if last is not None:
        for place in at:
            await frontiers.extend(connection, place.subject_id, instant(last) + LONGEST, now, step=timedelta())


LAST_ROW = Statement(
    "SELECT max(end_at) FROM appointments WHERE series_id = %(series_id)s::uuid AND deleted_at IS NULL"
)
ROWS = Statement(
    """
    SELECT id, occurs_wall, original_start_at, end_at, deleted_at IS NULL, skipped FROM appointments
    WHERE series_id = %(series_id)s::uuid AND original_start_at >= %(boundary)s::timestamptz
    ORDER BY occurs_wall FOR NO KEY UPDATE
    """
)
FREE = Statement("DELETE FROM bookings WHERE appointment_id = ANY (%(ids)s::uuid[])")


def _matched(rows: Sequence[Row], slots: Sequence[Slot], by: timedelta) -> dict[UUID, Slot]:
    """Which row is which occurrence from now on: the one that it is moved to, or for a live one the next that is left."""
    left = {slot.wall: slot for slot in slots}
    matches: dict[UUID, Slot] = {}
    for row in rows:
        if slot := left.pop(row[1] + by, None):
            matches[row[0]] = slot
    rest = iter(sorted(left.values()))
    for row in rows:
        if row[0] not in matches and row[4] and (following := next(rest, None)):
            matches[row[0]] = following
    return matches


async def _leave(connection: Connection, ids: Sequence[UUID], cause: Cause) -> None:
    """Delete occurrences that a series has no more; they are single appointments from then on."""
    if ids:
        await connection.fetch(LEAVE, {"ids": ids, **cause.values})


LEAVE = Statement(
    f"""
    WITH freed AS (
        DELETE FROM bookings WHERE appointment_id = ANY (%(ids)s::uuid[])
    ), amended AS (
        UPDATE appointments
        SET deleted_at = coalesce(deleted_at, now()), updated_at = now(), version = version + 1, skipped = false,
            actor_id = %(actor_id)s::uuid, series_id = NULL, occurs_wall = NULL, original_start_at = NULL,
            overrides = NULL
        WHERE id = ANY (%(ids)s::uuid[])
        RETURNING appointments.*
    ), {of_all("appointment.deleted", "amended")}
    SELECT id FROM amended
    """
)


async def _rewrite_rows(
    connection: Connection,
    series: Series,
    old: SeriesSpec,
    new: SeriesSpec,
    matches: dict[UUID, Slot],
    cause: Cause,
    *,
    retimed: bool,
) -> None:
    """Give rows their new wall times, in two steps because no two may have the same meanwhile, and what else is new."""
    if not matches:
        return
    fields = [field for field in Spec.__slots__ if getattr(old.first, field) != getattr(new.first, field)]
    values = {
        "ids": list(matches),
        "walls": [slot.wall for slot in matches.values()],
        "starts": [slot.start_at for slot in matches.values()],
        "ends": [slot.end_at for slot in matches.values()],
        "fields": fields,
        "left_ids": [each for each in old.first.resources if each not in new.first.resources],
        "series_id": series.id,
        "retimed": retimed,
        **cause.values,
    }
    if retimed:
        await connection.fetch(PARK, values)
    await connection.fetch(REWRITE_ROWS, values)


PARK = Statement(
    """
    UPDATE appointments SET occurs_wall = occurs_wall + interval '4000 years' WHERE id = ANY (%(ids)s::uuid[])
    """
)
REWRITE_ROWS = Statement(
    f"""
    WITH amended AS (
        UPDATE appointments SET
            occurs_wall = CASE WHEN %(retimed)s::boolean THEN wall ELSE occurs_wall END,
            original_start_at = CASE WHEN %(retimed)s::boolean THEN slot.start_at ELSE original_start_at END,
            start_at = CASE
                WHEN overrides && '{{start_at,end_at}}' OR NOT %(retimed)s::boolean THEN appointments.start_at
                ELSE slot.start_at
            END,
            end_at = CASE
                WHEN overrides && '{{start_at,end_at}}' OR NOT %(retimed)s::boolean THEN appointments.end_at
                ELSE slot.end_at
            END,
            time_zone = CASE
                WHEN overrides && '{{start_at,end_at,time_zone}}' THEN appointments.time_zone ELSE series.time_zone
            END,
            all_day = CASE
                WHEN overrides && '{{start_at,end_at,all_day}}' THEN appointments.all_day ELSE series.all_day
            END,
            title = CASE WHEN 'title' = ANY (overrides) THEN appointments.title ELSE series.title END,
            description = CASE
                WHEN 'description' = ANY (overrides) THEN appointments.description ELSE series.description
            END,
            location = CASE WHEN 'location' = ANY (overrides) THEN appointments.location ELSE series.location END,
            attendees = CASE WHEN 'attendees' = ANY (overrides) THEN appointments.attendees ELSE series.attendees END,
            buffer_before = CASE
                WHEN overrides && '{{buffer_before,transparent}}' THEN appointments.buffer_before
                ELSE series.buffer_before
            END,
            buffer_after = CASE
                WHEN overrides && '{{buffer_after,transparent}}' THEN appointments.buffer_after ELSE series.buffer_after
            END,
            transparent = CASE
                WHEN overrides && '{{transparent,resource_ids}}' THEN appointments.transparent ELSE series.transparent
            END,
            resource_ids = CASE
                WHEN overrides && '{{resource_ids,transparent}}' THEN appointments.resource_ids
                ELSE series.resource_ids
            END,
            deleted_at = CASE WHEN skipped AND %(retimed)s::boolean THEN NULL ELSE appointments.deleted_at END,
            skipped = skipped AND NOT %(retimed)s::boolean,
            updated_at = now(), version = appointments.version + 1, actor_id = %(actor_id)s::uuid
        FROM unnest(
            %(ids)s::uuid[], %(walls)s::timestamp[], %(starts)s::timestamptz[], %(ends)s::timestamptz[]
        ) AS slot (id, wall, start_at, end_at), series
        WHERE appointments.id = slot.id AND series.id = %(series_id)s::uuid
        RETURNING appointments.*
    ), {of_all("appointment.updated", "amended", left="%(left_ids)s::uuid[]", fields="%(fields)s::text[]")}
    SELECT count(*) FROM amended
    """
)


async def _book_apart(
    connection: Connection, series: Series, owner_at: Sequence[Place], terms: Terms, cause: Cause
) -> Misses:
    """Book the occurrences that were changed by themselves, and have no bookings, where they are."""
    missed: list[UUID] = []
    for appointment_id, start_at, end_at, before, after, resource_ids, time_zone in await connection.fetch(
        APART, {"series_id": series.id}
    ):
        spec = Spec(
            "", instant(start_at), instant(end_at), time_zone, resource_ids=tuple(resource_ids or ()),
            buffer_before=timedelta(seconds=before), buffer_after=timedelta(seconds=after),
        )  # fmt: skip
        await placing.lock(connection, series.owner_id, spec.resources)
        await frontiers.make_way(connection, series.owner_id, spec, terms.clock)
        if not await placing.place(connection, series.owner_id, appointment_id, spec, spec.resources, owner=True):
            missed.append(appointment_id)
    misses = await _named(connection, missed, owner_at)
    if misses.total and not terms.skip:
        raise SeriesConflict(misses)
    await frontiers.skip(connection, missed, cause)
    return misses


APART = Statement(
    """
    SELECT id, start_at, end_at, buffer_before, buffer_after, resource_ids::text[], time_zone FROM appointments
    WHERE series_id = %(series_id)s::uuid AND deleted_at IS NULL AND NOT transparent
      AND overrides && '{start_at,end_at,resource_ids,transparent,all_day}'
      AND NOT EXISTS (SELECT FROM bookings WHERE appointment_id = appointments.id)
    ORDER BY occurs_wall
    """
)


async def delete(
    db: Database,
    owner_id: UUID,
    series_id: UUID,
    *,
    from_id: UUID | None = None,
    etag: str = "",
    cause: Cause = BY_OWNER,
    terms: Terms = TERMS,
) -> Booked:
    """Delete all occurrences softly, or one and all that follow: then the series ends before it.

    Raises:
        NotFound: the owner has no such live series.
        Stale: ``etag`` is given and not the current one.
        Invalid: ``from_id`` is none of its occurrences.
    """

    async def work(connection: Connection, held: Sequence[UUID]) -> Booked:
        series = await _lock(connection, owner_id, series_id, held)
        _check(series, etag)
        if series.deleted_at is not None:
            raise NotFound("No such series.")
        wall = await _split_wall(connection, series, from_id)
        at = await frontiers.places(connection, series.id)
        if wall is None:
            series = from_row((await connection.fetch(DELETE, {"id": series.id, **cause.values}))[0])
        else:
            series = await _rewrite_row(connection, series, divided(series.spec, wall)[0], cause)
            await _reach_rows(connection, series.id, at, terms.clock)
        await connection.fetch(
            DELETE_ROWS,
            {"series_id": series.id, "wall": wall or instant(0).replace(year=1, tzinfo=None), **cause.values},
        )
        await frontiers.drop_idle(connection, [place.subject_id for place in at])
        return Booked(series, None)

    return await _locked(db, owner_id, series_id, lambda spec: spec, work, terms)


DELETE = Statement(
    f"""
    WITH series AS (
        UPDATE series
        SET deleted_at = now(), endless = false, updated_at = now(), version = version + 1, actor_id = %(actor_id)s::uuid
        WHERE id = %(id)s::uuid
        RETURNING series.*
    ), logged AS (
        INSERT INTO new_changes (calendar_id, kind, item_id, version, actor_id, request_id, changed_at)
        SELECT owner_id, 'series.deleted', id, version, coalesce(actor_id, owner_id), %(x_request_id)s::text, updated_at
        FROM series
    )
    SELECT {COLUMNS} FROM series
    """
)
DELETE_ROWS = Statement(
    f"""
    WITH amended AS (
        UPDATE appointments
        SET deleted_at = now(), updated_at = now(), version = version + 1, actor_id = %(actor_id)s::uuid
        WHERE series_id = %(series_id)s::uuid AND occurs_wall >= %(wall)s::timestamp AND deleted_at IS NULL
        RETURNING appointments.*
    ), freed AS (
        DELETE FROM bookings USING amended WHERE appointment_id = amended.id
    ), {of_all("appointment.deleted", "amended")}
    SELECT count(*) FROM amended
    """
)


async def undelete(
    db: Database, owner_id: UUID, series_id: UUID, terms: Terms = TERMS, *, cause: Cause = BY_OWNER
) -> Booked:
    """Bring a deleted series back, with the occurrences that were deleted with it.

    Raises:
        NotFound: the owner has no such series, or does not see one of its resources any more.
        Denied: the owner may not book one of its resources any more.
        Taken: it is not deleted.
        SeriesConflict: occurrences find no place, and are not to be skipped.
        Unmet: as for :func:`create`.
    """

    async def work(connection: Connection, held: Sequence[UUID]) -> Booked:
        series = await _lock(connection, owner_id, series_id, held)
        if series.deleted_at is None:
            raise Taken("The series is not deleted.", reason="SERIES_NOT_DELETED")
        await _hold(connection, owner_id, held)
        spec = series.spec
        await connection.fetch(
            RESTORE_ROWS, {"series_id": series.id, "deleted_at": instant(series.deleted_at), **cause.values}
        )
        at = await frontiers.places(connection, series.id)
        series = await _rewrite_row(connection, series, spec, cause, kind="series.undeleted")
        misses = await _book_apart(connection, series, at, terms, cause)
        booked = await _settle(connection, series, spec, terms, cause, made_since=terms.clock)
        return replace(booked, misses=_merged(booked.misses, misses))

    return await _locked(db, owner_id, series_id, lambda spec: spec, work, terms)


RESTORE_ROWS = Statement(
    f"""
    WITH amended AS (
        UPDATE appointments
        SET deleted_at = NULL, updated_at = now(), version = version + 1, actor_id = %(actor_id)s::uuid
        WHERE series_id = %(series_id)s::uuid AND deleted_at = %(deleted_at)s::timestamptz AND NOT skipped
        RETURNING appointments.*
    ), {of_all("appointment.undeleted", "amended")}
    SELECT count(*) FROM amended
    """
)

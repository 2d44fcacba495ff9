"""Updating, deleting and restoring series, whole or from one occurrence on.

An occurrence keeps its id through every update of its series, as long as it is part of it. Fields of an occurrence that
were changed individually keep their values.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

import psycopg
from uuid_utils.compat import uuid7

from appointments.calendar import booking_rules, frontiers, placement, series_booking, series_guests
from appointments.calendar.appointment import (
    FOLDED,
    NOT_ANSWERED,
    UNANSWERED,
    Spec,
    has_answered,
    has_moved,
    with_answers,
)
from appointments.calendar.booking_rules import GivenUp
from appointments.calendar.frontiers import LONGEST, Place
from appointments.calendar.log import BY_OWNER, Cause, of_all
from appointments.calendar.materializing import (
    FINISH,
    GET,
    INSERT,
    LIKE_THE_SERIES,
    TERMS,
    AgainError,
    Booked,
    Terms,
    as_it_is,
    hold,
    merged,
    named,
    own,
    run,
    settle,
)
from appointments.calendar.recurrence import instant as instant_of
from appointments.calendar.series import (
    COLUMNS,
    FARTHEST,
    Series,
    SeriesSpec,
    Slot,
    divided,
    from_row,
    rejoined_at,
    to_values,
    violations,
)
from appointments.calendar.validation import EARLIEST
from appointments.db import Connection, Database, Micros, Row, Statement, instant
from appointments.shared.errors import Invalid, Misses, NotFound, SeriesConflict, Stale, Taken, Unmet
from appointments.shared.validation import fold_email


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
    even_if_same: bool = False,
) -> Booked:
    """Replace a series' spec by what ``change`` makes of it: for all occurrences, or from ``from_id`` on.

    With ``from_id``, that occurrence and all that follow become a series of their own and keep their ids. Fields that
    were changed individually keep their values. So do occurrences that have begun, unless ``include_past``. With
    ``even_if_same`` the occurrences to come are booked anew even if the spec is the same, whatever the rules of
    booking: their instants may have moved, because the clock rules of their zone have.

    Raises:
        NotFound: the owner has no such live series, or sees no such resource.
        Denied: a new resource is not the owner's to book.
        Stale: ``etag`` is given and not the current one.
        Invalid: the new spec breaks a rule, or ``from_id`` is not one of its occurrences.
        SeriesConflict: occurrences collide, and are not to be skipped.
        Unmet: as for :func:`~appointments.calendar.series_booking.create`, or a rule of booking does not allow an
            occurrence to give up its time.
    """
    now = terms.clock

    def decide(spec: SeriesSpec, followers: Sequence[str]) -> SeriesSpec:
        changed = _with_answers(change(spec), spec, followers)
        if changed != spec and (found := violations(changed, now)):
            raise Invalid(found)
        return changed

    async def work(connection: Connection, held: Sequence[UUID]) -> Booked | None:
        series, guest_ids = await _lock(connection, owner_id, series_id, held)
        _check(series, etag)
        if series.deleted_at is not None:
            raise NotFound("No such series.")
        old, previous = series.spec, series
        boundary = None if include_past else now
        wall = await _split_wall(connection, series, from_id)
        before = old
        if wall is not None:
            before, old = divided(old, wall)
        new = decide(old, series.followers or ())
        if new == old and wall is None and not even_if_same:
            return await as_it_is(connection, series)
        if not set(new.first.resources) <= set(held):
            return None
        added = [each for each in new.first.resources if each not in old.first.resources]
        await hold(connection, owner_id, held, added)
        at = await frontiers.places(connection, series.id)
        retimed = even_if_same or _said(old) != _said(new)
        if retimed or wall is not None:
            await _reach_rows(connection, series.id, at, now)
        if wall is None:
            series = await _rewrite_row(connection, series, new, cause)
        else:
            begins = instant_of(wall, new.zone)
            boundary = max(boundary, begins) if boundary else begins
            series = await _split(connection, previous, (before, new), wall=wall, boundary=boundary, cause=cause)
        rows = await connection.fetch(ROWS, {"series_id": series.id, "boundary": boundary or EARLIEST})
        if not retimed:
            matches = {row[0]: Slot(row[1], instant(row[2]), instant(row[3])) for row in rows}
            await _rewrite_rows(connection, series, old, new, matches=matches, cause=cause, retimed=False)
            await series_guests.follow(connection, series.id, guest_ids, cause)
            finished = await connection.fetch(FINISH, {"id": series.id, "endless": new.endless})
            return await as_it_is(connection, from_row(finished[0]))
        booked = await _move(
            connection, series, old, new, rows=rows, previously=at, terms=terms, cause=cause, boundary=boundary,
            judged=not even_if_same,
        )  # fmt: skip
        await series_guests.follow(connection, series.id, guest_ids, cause)
        return booked

    return await _locked(db, owner_id, series_id, change, work=work, terms=terms)


def _with_answers(changed: SeriesSpec, current: SeriesSpec, followers: Sequence[str]) -> SeriesSpec:
    """A changed spec with what the attendees have answered.

    Of other times or another rule nobody has answered yet, but for those who have accepted and follow.
    """
    before = current.first
    if _asks_anew(current, changed):
        asked = (
            each
            if each.response == "ACCEPTED" and fold_email(each.email) in followers
            else replace(each, response=NOT_ANSWERED, comment="")
            for each in before.attendees
        )
        before = replace(changed.first, attendees=tuple(asked))
    return replace(changed, first=with_answers(changed.first, before))


def _asks_anew(old: SeriesSpec, new: SeriesSpec) -> bool:
    return old.rule != new.rule or has_moved(old.first, new.first)


async def _locked(
    db: Database,
    owner_id: UUID,
    series_id: UUID,
    change: Callable[[SeriesSpec], SeriesSpec],
    *,
    work: Callable[[Connection, Sequence[UUID]], Awaitable[Booked | None]],
    terms: Terms,
    other_id: UUID | None = None,
    with_rows: bool = False,
) -> Booked:
    """Run a change under the locks of all resources that it may need. The series is read first to learn which.

    ``other_id`` is another series of the owner that takes part. ``with_rows`` locks what single occurrences have, too.
    """
    while True:
        current = (await series_booking.get(db, owner_id, series_id)).series.spec
        held = list(dict.fromkeys([*current.first.resources, *_readable(change(current).first)]))
        if other_id:
            other = (await series_booking.get(db, owner_id, other_id)).series.spec
            held = list(dict.fromkeys([*held, *other.first.resources]))
        if with_rows:
            rows = await db.fetch(RESOURCES_OF_ROWS, {"series_id": series_id})
            held = list(dict.fromkeys([*held, *(row[0] for row in rows)]))

        async def once(connection: Connection, held: Sequence[UUID] = held) -> Booked:
            booked = await work(connection, held)
            if booked is None:
                raise AgainError  # somebody else has given it other resources: they have to be locked first
            return booked

        try:
            return await run(db, once, terms)
        except Unmet as unmet:
            if unmet.reason != "BUSY":
                raise


RESOURCES_OF_ROWS = Statement(
    "SELECT DISTINCT unnest(resource_ids) FROM appointments WHERE series_id = %(series_id)s::uuid"
)


def _readable(spec: Spec) -> list[UUID]:
    try:
        return spec.resources
    except ValueError:
        return []  # the rules will name the ones that are not ids


class _Locked(NamedTuple):
    """A series that is locked, and its guests with an account, whose subjects are."""

    series: Series
    guest_ids: list[UUID]


async def _lock(
    connection: Connection,
    owner_id: UUID,
    series_id: UUID,
    resource_ids: Sequence[UUID],
    *,
    other_ids: Sequence[UUID] = (),
) -> _Locked:
    """Lock a series in the order that every change of it keeps: resources; their units, its owner and guests; itself.

    The guests of ``other_ids``, which are series too, are locked with them.
    """
    series_ids = [series_id, *other_ids]
    guest_ids = await series_guests.of(connection, series_ids)
    if resource_ids:
        await placement.hold(connection, owner_id, resource_ids)
    await placement.lock(connection, owner_id, resource_ids, guest_ids)
    series = await own(connection, LOCK, owner_id, series_id)
    if not set(series.spec.first.resources) <= set(resource_ids):
        raise AgainError
    if not set(await series_guests.of(connection, series_ids)) <= set(guest_ids):
        raise AgainError  # somebody was invited meanwhile
    return _Locked(series, guest_ids)


LOCK = Statement(
    f"""
    SELECT {COLUMNS} FROM series WHERE id = %(id)s::uuid AND owner_id = %(owner_id)s::uuid FOR NO KEY UPDATE
    """
)


def _check(series: Series, etag: str) -> None:
    if etag and etag != series.etag:
        raise Stale("The series has changed since it was read.")


async def _split_wall(connection: Connection, series: Series, from_id: UUID | None) -> datetime | None:
    """Where a series is split: the wall time of an occurrence. None if there would be nothing before it.

    Raises:
        Invalid: ``from_id`` is not one of its occurrences.
    """
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
    """Write a series' spec. Its row is not endless until it is settled, so that no frontier makes rows of it before."""
    values = {"id": series.id, "kind": kind, "deleted_at": None} | to_values(spec) | cause.values
    return from_row((await connection.fetch(REWRITE, values))[0])


# Whoever is asked anew, or is not invited any more, does not follow either.
_FOLLOWERS: LiteralString = f"""CASE WHEN followers IS NOT NULL THEN nullif(ARRAY(
    SELECT address FROM unnest(followers) AS address WHERE {has_answered("ACCEPTED", "%(attendees)s::jsonb")}
), '{{}}') END"""
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
            deleted_at = %(deleted_at)s::timestamptz, reminders = %(reminders)s::integer[],
            followers = {_FOLLOWERS}
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
    connection: Connection,
    series: Series,
    halves: tuple[SeriesSpec, SeriesSpec],
    *,
    wall: datetime,
    boundary: datetime,
    cause: Cause,
) -> Series:
    """End a series before an occurrence; it and all that follow become rows of a new one.

    Those from the boundary on are about to be rewritten. The others only have another series from now on.
    """
    before, after = halves
    await _rewrite_row(connection, series, before, cause)
    values = {"id": uuid7(), "owner_id": series.owner_id, "previous_id": series.id, "request_id": None}
    values |= to_values(after) | {"request_digest": None} | cause.values
    created = from_row((await connection.fetch(INSERT, values))[0])
    await connection.fetch(
        HAND_OVER, {"id": series.id, "new_id": created.id, "wall": wall, "boundary": boundary, **cause.values}
    )
    return created


HAND_OVER = Statement(
    f"""
    WITH rewritten AS (
        UPDATE appointments SET series_id = %(new_id)s::uuid
        WHERE series_id = %(id)s::uuid AND occurs_wall >= %(wall)s::timestamp
          AND original_start_at >= %(boundary)s::timestamptz
    ), kept AS (
        UPDATE appointments
        SET series_id = %(new_id)s::uuid, updated_at = now(), version = version + 1, actor_id = %(actor_id)s::uuid
        WHERE series_id = %(id)s::uuid AND occurs_wall >= %(wall)s::timestamp
          AND original_start_at < %(boundary)s::timestamptz
        RETURNING appointments.*
    ), {of_all("appointment.updated", "kept")}
    INSERT INTO series_subjects (series_id, subject_id, resource_id)
    SELECT %(new_id)s::uuid, subject_id, resource_id FROM series_subjects WHERE series_id = %(id)s::uuid
    """
)


async def rejoin(
    db: Database,
    owner_id: UUID,
    series_id: UUID,
    other_id: UUID,
    change: Callable[[SeriesSpec], SeriesSpec],
    *,
    terms: Terms = TERMS,
    etag: str = "",
    other_etag: str = "",
    cause: Cause = BY_OWNER,
) -> Booked:
    """Take back into a series the one that was split off it, so that they are one series again.

    ``change`` gives the series the rule and the dates that it had before the split. The occurrences of the other series
    keep their ids and what was changed in them individually; in all else they are again what the series says, except
    those that have begun. The other series is deleted, and has no occurrences any more.

    Raises:
        NotFound: the owner has no such live series.
        Stale: an etag is given and not the current one of its series.
        Invalid: the other series was not split off this one, or ``change`` does not go on where that was.
        SeriesConflict, Unmet: as for :func:`update`.
    """
    now = terms.clock

    async def work(connection: Connection, held: Sequence[UUID]) -> Booked:
        if (await own(connection, GET, owner_id, other_id)).previous_text != str(series_id):
            raise Invalid.field("rejoin_series_id", "was not split off this series")
        # A series that was split off is younger. So the two are locked by id.
        series, guest_ids = await _lock(connection, owner_id, series_id, held, other_ids=[other_id])
        other = await own(connection, LOCK, owner_id, other_id)
        if not set(other.spec.first.resources) <= set(held):
            raise AgainError
        _check(series, etag)
        _check(other, other_etag)
        if series.deleted_at is not None or other.deleted_at is not None:
            raise NotFound("No such series.")
        old, new = other.spec, change(series.spec)
        if new.first != series.spec.first:
            raise Invalid.field("update_mask", "must name only the rule and the dates where series are rejoined")
        if found := violations(new, now):
            raise Invalid(found)
        slot = rejoined_at(series.spec, new)
        if slot is None:
            raise Invalid.field("series.recurrence_rule", "does not go on where the series was split")
        second = divided(new, slot.wall)[1]
        await hold(
            connection, owner_id, held, [each for each in new.first.resources if each not in old.first.resources]
        )
        at = [*await frontiers.places(connection, series_id), *await frontiers.places(connection, other_id)]
        for each in (series_id, other_id):
            await _reach_rows(connection, each, await frontiers.places(connection, each), now)
        mine = await connection.fetch(ROWS, {"series_id": series_id, "boundary": now})
        theirs = await connection.fetch(ROWS, {"series_id": other_id, "boundary": now})
        retimed = _said(old) != _said(second)
        await connection.fetch(
            HAND_BACK, {"id": other_id, "new_id": series_id, "boundary": now, "retimed": retimed, **cause.values}
        )
        await connection.fetch(DELETE, {"id": other_id, **cause.values})
        series = await _rewrite_row(connection, series, new, cause)
        # All that is to come is booked anew, because the unit of a resource is chosen for all of it.
        await connection.fetch(FREE, {"ids": [row[0] for row in (*mine, *theirs)]})
        since = max(slot.start_at, now)
        until = now + FARTHEST + 2 * LONGEST if new.endless else None
        slots = list(new.slots(since=since, until=until))
        matches = _matched(theirs, slots, second.start_wall - old.start_wall)
        standing = await _check_given_up(
            connection, series, (old, new), matches=matches, ids=[row[0] for row in theirs], cause=cause
        )
        standing |= {matches[row[0]].start_at for row in theirs if row[0] in matches and not (row[4] or row[5])}
        standing |= {instant(row[2]) for row in mine}
        await _leave(connection, [row[0] for row in theirs if row[0] not in matches], cause)
        await _rewrite_rows(connection, series, old, new, matches=matches, cause=cause, retimed=retimed)
        misses = await _book_apart(connection, series, at, terms, cause)
        booked = await settle(
            connection, series, new, terms, cause, made_since=since, booked_since=now, standing=standing
        )
        await series_guests.follow(connection, series_id, guest_ids, cause)
        await frontiers.drop_idle(connection, [place.subject_id for place in at])
        return replace(booked, misses=merged(booked.misses, misses))

    try:
        return await _locked(db, owner_id, series_id, change, work=work, terms=terms, other_id=other_id)
    except psycopg.errors.UniqueViolation as error:
        if error.diag.constraint_name != "appointments_by_series":
            raise
        raise Invalid.field("rejoin_series_id", "has occurrences that are past where this series has some") from error


HAND_BACK = Statement(
    f"""
    WITH rewritten AS (
        UPDATE appointments SET
            series_id = %(new_id)s::uuid,
            occurs_wall = occurs_wall + CASE WHEN %(retimed)s::boolean THEN interval '4000 years' ELSE interval '0' END
        WHERE series_id = %(id)s::uuid AND original_start_at >= %(boundary)s::timestamptz
    ), kept AS (
        UPDATE appointments
        SET series_id = %(new_id)s::uuid, updated_at = now(), version = version + 1, actor_id = %(actor_id)s::uuid
        WHERE series_id = %(id)s::uuid AND original_start_at < %(boundary)s::timestamptz
        RETURNING appointments.*
    ), {of_all("appointment.updated", "kept")}
    SELECT count(*) FROM kept
    """
)


async def _move(
    connection: Connection,
    series: Series,
    old: SeriesSpec,
    new: SeriesSpec,
    *,
    rows: Sequence[Row],
    previously: Sequence[Place],
    terms: Terms,
    cause: Cause,
    boundary: datetime | None,
    judged: bool,
) -> Booked:
    """Give the rows of a series from ``boundary`` on the times of its new spec: insert, book and delete as needed.

    The rules of booking apply only if ``judged``. A change of the clocks is nobody's decision: it is not judged.
    """
    by = new.start_wall - old.start_wall
    since = None if boundary is None else boundary + by
    await connection.fetch(FREE, {"ids": [row[0] for row in rows]})
    until = terms.clock + FARTHEST + 2 * LONGEST if new.endless else None
    matches = _matched(rows, list(new.slots(since=since, until=until)), by)
    standing = {slot.start_at for slot in matches.values()}
    if judged:
        standing = await _check_given_up(
            connection, series, (old, new), matches=matches, ids=[row[0] for row in rows], cause=cause
        )
        # What was deleted by itself stays so. What was skipped is tried again.
        standing |= {matches[row[0]].start_at for row in rows if row[0] in matches and not (row[4] or row[5])}
    await _leave(connection, [row[0] for row in rows if row[0] not in matches], cause)
    await _rewrite_rows(connection, series, old, new, matches=matches, cause=cause, retimed=True)
    misses = await _book_apart(connection, series, previously, terms, cause)
    booked = await settle(
        connection, series, new, terms, cause, made_since=since, booked_since=since, standing=standing
    )
    await frontiers.drop_idle(connection, [place.subject_id for place in previously])
    return replace(booked, misses=merged(booked.misses, misses))


def _said(spec: SeriesSpec) -> tuple[Any, ...]:
    """The part of a spec that decides whose time the series takes, and when."""
    first = spec.first
    return (
        spec.start_wall, spec.length, first.time_zone, first.all_day, spec.rule, set(spec.added), set(spec.excluded),
        first.buffer_before, first.buffer_after, first.transparent, set(first.resource_ids),
    )  # fmt: skip


async def _reach_rows(connection: Connection, series_id: UUID, at: Sequence[Place], now: datetime) -> None:
    """Move the frontiers of a series past its last row while it is still endless: a tail must not cover what ends."""
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
    """Match rows with the occurrences of the new spec.

    A row goes with the occurrence whose wall time is its own, moved ``by`` as much as the start. Live rows without such
    an occurrence take those that are left over, in order.
    """
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


async def _check_given_up(
    connection: Connection,
    series: Series,
    change: tuple[SeriesSpec, SeriesSpec],
    *,
    matches: dict[UUID, Slot],
    ids: Sequence[UUID],
    cause: Cause,
) -> set[datetime]:
    """See that rules allow what a change moves, gives back or deletes.

    Returns:
        When those occurrences begin that keep their time and have no new resource: nothing of them is booked anew.
    """
    old, new = (spec.first for spec in change)
    left = [each for each in old.resources if each not in new.resources]
    added = not set(new.resources) <= set(old.resources)
    rebuffered = any(getattr(old, name) != getattr(new, name) for name in ("buffer_before", "buffer_after"))
    given_up: list[GivenUp] = []
    standing: set[datetime] = set()
    for appointment_id, start_at, end_at, resource_ids, transparent, overrides in await connection.fetch(
        LIVE_ROWS, {"ids": ids}
    ):
        slot, by_itself = matches.get(appointment_id), frozenset(overrides)
        moves = (
            slot is not None
            and (instant(start_at), instant(end_at)) != (slot.start_at, slot.end_at)
            and not by_itself & {"start_at", "end_at"}
        )
        shown_anew = old.transparent != new.transparent and not by_itself & {"transparent", "resource_ids"}
        if slot is None or moves or shown_anew or (rebuffered and not by_itself & {"buffer_before", "transparent"}):
            given_up.append(GivenUp(start_at, resource_ids or (), owner_too=not transparent))
            continue
        if left and not by_itself & {"resource_ids", "transparent"}:
            given_up.append(GivenUp(start_at, left, owner_too=False))
        if not added:
            standing.add(slot.start_at)
    await booking_rules.check_given_up(connection, series.owner_id, given_up, acted=cause.actor_id is not None)
    return standing


LIVE_ROWS = Statement(
    """
    SELECT id, start_at, end_at, resource_ids, transparent, overrides FROM appointments
    WHERE id = ANY (%(ids)s::uuid[]) AND deleted_at IS NULL
    """
)


async def _leave(connection: Connection, ids: Sequence[UUID], cause: Cause) -> None:
    """Delete occurrences that a series no longer has. From then on they are (deleted) single appointments."""
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
    *,
    matches: dict[UUID, Slot],
    cause: Cause,
    retimed: bool,
) -> None:
    """Write the new spec to rows. Wall times go in two steps, because they are unique within a series at any moment."""
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
        "asks_anew": retimed and _asks_anew(old, new),
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
_ANSWER: LiteralString = (
    "jsonb_strip_nulls(jsonb_build_object('response', guest -> 'response', 'comment', guest -> 'comment'))"
)
# An answer is for the time that was asked about. Whoever has accepted and follows stays accepted at another time where
# they are free. Everybody else is asked anew where the series asks anew; an occurrence that alone has another time has
# the answers of the series. Everything else keeps what was answered to it.
_REWRITTEN_ATTENDEES: LiteralString = f"""
    CASE WHEN appointments.attendees = '[]' AND series.attendees = '[]' THEN appointments.attendees ELSE (
        SELECT coalesce(jsonb_agg((guest - 'response' - 'comment') || CASE
            WHEN own.answer IS NOT NULL AND (NOT asked_anew OR own.answer ->> 'response' = 'ACCEPTED' AND EXISTS (
                SELECT FROM invitees
                WHERE invitees.appointment_id = appointments.id AND follows AND invitees.address = {FOLDED}
            )) THEN own.answer
            WHEN asked_anew AND (own_list OR %(asks_anew)s::boolean AND own.answer IS NOT NULL)
            THEN '{{"response": "NEEDS-ACTION"}}'
            ELSE {_ANSWER}
        END ORDER BY number), '[]')
        FROM (SELECT
            'attendees' = ANY (overrides)
            OR NOT %(retimed)s::boolean AND NOT 'attendees' = ANY (%(fields)s::text[]) AS own_list,
            %(asks_anew)s::boolean OR %(retimed)s::boolean AND (
                NOT overrides && '{{start_at,end_at}}'
                AND (appointments.start_at, appointments.end_at) <> (slot.start_at, slot.end_at)
                OR NOT overrides && '{{transparent,resource_ids}}' AND appointments.transparent <> series.transparent
            ) AS asked_anew
        ) AS what
        CROSS JOIN LATERAL jsonb_array_elements(
            CASE WHEN own_list THEN appointments.attendees ELSE series.attendees END
        ) WITH ORDINALITY AS listed (guest, number)
        LEFT JOIN LATERAL (
            SELECT address, answer FROM (
                SELECT {FOLDED} AS address, {_ANSWER} AS answer
                FROM jsonb_array_elements(appointments.attendees) AS each (guest)
            ) AS answers
            WHERE answers.address = lower(btrim(listed.guest ->> 'email')) LIMIT 1
        ) AS own ON true
    ) END
"""
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
            -- What decides whose time it takes, and when, changes only where bookings change too. What had begun before
            -- an earlier change of the series has not got the series' resources.
            time_zone = CASE
                WHEN NOT %(retimed)s::boolean OR overrides && '{{start_at,end_at,time_zone}}'
                THEN appointments.time_zone ELSE series.time_zone
            END,
            all_day = CASE
                WHEN NOT %(retimed)s::boolean OR overrides && '{{start_at,end_at,all_day}}'
                THEN appointments.all_day ELSE series.all_day
            END,
            title = CASE WHEN 'title' = ANY (overrides) THEN appointments.title ELSE series.title END,
            description = CASE
                WHEN 'description' = ANY (overrides) THEN appointments.description ELSE series.description
            END,
            location = CASE WHEN 'location' = ANY (overrides) THEN appointments.location ELSE series.location END,
            reminders = CASE WHEN 'reminders' = ANY (overrides) THEN appointments.reminders ELSE series.reminders END,
            attendees = {_REWRITTEN_ATTENDEES},
            buffer_before = CASE
                WHEN NOT %(retimed)s::boolean OR overrides && '{{buffer_before,transparent}}'
                THEN appointments.buffer_before ELSE series.buffer_before
            END,
            buffer_after = CASE
                WHEN NOT %(retimed)s::boolean OR overrides && '{{buffer_after,transparent}}'
                THEN appointments.buffer_after ELSE series.buffer_after
            END,
            transparent = CASE
                WHEN NOT %(retimed)s::boolean OR overrides && '{{transparent,resource_ids}}'
                THEN appointments.transparent ELSE series.transparent
            END,
            resource_ids = CASE
                WHEN overrides && '{{resource_ids,transparent}}' THEN appointments.resource_ids
                -- The same ones may come in another order.
                WHEN NOT %(retimed)s::boolean AND NOT coalesce(
                    appointments.resource_ids @> series.resource_ids
                    AND appointments.resource_ids <@ series.resource_ids, false
                ) THEN appointments.resource_ids
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
    """Book the occurrences that are not as the series and have no bookings, where they are now."""
    missed: list[UUID] = []
    for appointment_id, start_at, end_at, before, after, resource_ids, time_zone in await connection.fetch(
        APART, {"series_id": series.id}
    ):
        spec = Spec(
            "", instant(start_at), instant(end_at), time_zone, resource_ids=tuple(resource_ids or ()),
            buffer_before=timedelta(seconds=before), buffer_after=timedelta(seconds=after),
        )  # fmt: skip
        await placement.lock(connection, series.owner_id, spec.resources)
        await frontiers.make_way(connection, series.owner_id, spec, terms.clock)
        if not await placement.place(connection, series.owner_id, appointment_id, spec, spec.resources, owner=True):
            missed.append(appointment_id)
    misses = await named(connection, missed, owner_at)
    if misses.total and not terms.skip:
        raise SeriesConflict(misses)
    await frontiers.skip(connection, missed, cause)
    return misses


APART = Statement(
    f"""
    SELECT appointments.id, start_at, end_at, appointments.buffer_before, appointments.buffer_after,
           appointments.resource_ids::text[], appointments.time_zone
    FROM appointments JOIN series ON series.id = series_id
    WHERE series_id = %(series_id)s::uuid AND appointments.deleted_at IS NULL AND NOT appointments.transparent
      AND NOT {LIKE_THE_SERIES}
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
    """Delete all occurrences softly. With ``from_id`` only that one and all that follow: the series ends before it.

    Raises:
        NotFound: the owner has no such live series.
        Stale: ``etag`` is given and not the current one.
        Invalid: ``from_id`` is not one of its occurrences.
        Unmet: a rule of booking no longer allows one of these occurrences to be deleted.
    """

    async def work(connection: Connection, held: Sequence[UUID]) -> Booked:
        series = (await _lock(connection, owner_id, series_id, held)).series
        _check(series, etag)
        if series.deleted_at is not None:
            raise NotFound("No such series.")
        wall = await _split_wall(connection, series, from_id)
        return Booked(await remove(connection, series, cause, wall=wall, now=terms.clock), None)

    return await _locked(db, owner_id, series_id, lambda spec: spec, work=work, terms=terms)


async def remove(
    connection: Connection, series: Series, cause: Cause, *, wall: datetime | None, now: datetime
) -> Series:
    """The same, in a transaction that has locked a live series and its subjects: all of it, or from a wall time on."""
    since = wall or instant(0).replace(year=1, tzinfo=None)
    rows = await connection.fetch(FOLLOWING, {"series_id": series.id, "wall": since})
    given_up = [GivenUp(start_at, ids or (), owner_too=not transparent) for start_at, ids, transparent in rows]
    await booking_rules.check_given_up(connection, series.owner_id, given_up, acted=cause.actor_id is not None)
    at = await frontiers.places(connection, series.id)
    if wall is None:
        series = from_row((await connection.fetch(DELETE, {"id": series.id, **cause.values}))[0])
    else:
        await _reach_rows(connection, series.id, at, now)
        series = await _rewrite_row(connection, series, divided(series.spec, wall)[0], cause)
    await connection.fetch(DELETE_ROWS, {"series_id": series.id, "wall": since, **cause.values})
    await frontiers.drop_idle(connection, [place.subject_id for place in at])
    return series


FOLLOWING = Statement(
    """
    SELECT start_at, resource_ids, transparent FROM appointments
    WHERE series_id = %(series_id)s::uuid AND occurs_wall >= %(wall)s::timestamp AND deleted_at IS NULL
    """
)
DELETE = Statement(
    f"""
    WITH series AS (
        UPDATE series
        SET deleted_at = now(), endless = false, updated_at = now(), version = version + 1,
            actor_id = %(actor_id)s::uuid
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
        SeriesConflict: occurrences collide, and are not to be skipped.
        Unmet: as for :func:`~appointments.calendar.series_booking.create`. Rules of booking are asked about every
            occurrence that comes back, past ones included.
    """

    async def work(connection: Connection, held: Sequence[UUID]) -> Booked:
        series = (await _lock(connection, owner_id, series_id, held)).series
        if series.deleted_at is None:
            raise Taken("The series is not deleted.", reason="SERIES_NOT_DELETED")
        await hold(connection, owner_id, held, series.spec.first.resources)
        # Whoever had answered is asked anew: what they had accepted was given back.
        asked = tuple(replace(each, response=NOT_ANSWERED, comment="") for each in series.attendees)
        spec = replace(series.spec, first=replace(series.spec.first, attendees=asked))
        restored = await connection.fetch(
            RESTORE_ROWS, {"series_id": series.id, "deleted_at": instant(series.deleted_at), **cause.values}
        )
        ids, originals = [row[0] for row in restored], [instant(row[1]) for row in restored]
        await _check_restored(connection, series, ids, cause, booked=False)
        at = await frontiers.places(connection, series.id)
        series = await _rewrite_row(connection, series, spec, cause, kind="series.undeleted")
        misses = await _book_apart(connection, series, at, terms, cause)
        booked = await settle(connection, series, spec, terms, cause, made_since=terms.clock, standing=originals)
        await _check_restored(connection, series, ids, cause, booked=True)
        return replace(booked, misses=merged(booked.misses, misses))

    return await _locked(db, owner_id, series_id, lambda spec: spec, work=work, terms=terms, with_rows=True)


RESTORE_ROWS = Statement(
    f"""
    WITH amended AS (
        UPDATE appointments
        SET deleted_at = NULL, updated_at = now(), version = version + 1, actor_id = %(actor_id)s::uuid,
            attendees = {UNANSWERED}
        WHERE series_id = %(series_id)s::uuid AND deleted_at = %(deleted_at)s::timestamptz AND NOT skipped
        RETURNING appointments.*
    ), {of_all("appointment.undeleted", "amended")}
    SELECT id, original_start_at FROM amended
    """
)


async def _check_restored(
    connection: Connection, series: Series, ids: Sequence[UUID], cause: Cause, *, booked: bool
) -> None:
    """Check that the rules of booking allow the restored occurrences where they are, those that are past, too.

    Daily limits are checked once all of them are ``booked``, all other rules before that.
    """
    acted = cause.actor_id is not None
    groups: dict[tuple[Micros, tuple[UUID, ...]], list[Micros]] = defaultdict(list)
    for _, start_at, end_at, resource_ids, transparent, _ in await connection.fetch(LIVE_ROWS, {"ids": ids}):
        if not transparent:
            groups[end_at - start_at, tuple(resource_ids or ())].append(start_at)
    for (length, resource_ids), starts in groups.items():
        starts.sort()
        if booked:
            await booking_rules.check_limits(connection, series.owner_id, starts, resource_ids, acted=acted)
            continue
        first = instant(starts[0])
        spec = replace(
            series.spec.first,
            start_at=first,
            end_at=first + timedelta(microseconds=length),
            resource_ids=tuple(map(str, resource_ids)),
            transparent=False,
        )
        await booking_rules.check(
            connection, series.owner_id, spec, resource_ids, acted=acted, starts=starts, limits=False
        )

"""Updating, deleting and restoring appointments, under the overlap rule of :mod:`~appointments.calendar.booking`.

A change first tries a single statement, which only applies to the version that was just read. If somebody else was
faster, or if resources have to be booked anew, a transaction takes the locks and reads again. ``cause`` says who acts
for the owner, if it is not the owner, and by which request.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

import psycopg

from appointments.calendar import booking, booking_rules, conflicts, frontiers, holds, invited, moving, placement
from appointments.calendar.appointment import (
    COLUMNS,
    LIVE,
    UNANSWERED,
    Appointment,
    Spec,
    changed_fields,
    from_row,
    to_values,
)
from appointments.calendar.log import BY_OWNER, Cause, of_all, of_owner
from appointments.calendar.validation import violations
from appointments.db import Connection, Database, Row, Statement, micros
from appointments.shared.errors import Denied, Invalid, NotFound, Stale, Taken, Unmet


async def update(
    db: Database,
    owner_id: UUID,
    appointment_id: UUID,
    change: Callable[[Spec], Spec],
    *,
    etag: str = "",
    cause: Cause = BY_OWNER,
    override: bool = False,
    retime: tuple[datetime, datetime] | None = None,
    ttl: timedelta | None = None,
) -> Appointment:
    """Replace the spec by what ``change`` makes of it. ``change`` must be pure: it may run again.

    With ``ttl`` it is a hold, which then expires so long from now.

    ``retime`` is the new start and end where ``change`` sets these two and nothing else. It saves a round trip.

    Raises:
        NotFound: the owner has no such live appointment, or sees no such resource.
        Denied: it is somebody else's on a resource that the owner manages, or a resource may not be booked.
        Stale: ``etag`` is given and not the current one.
        Invalid: the new spec breaks a rule, or ``ttl`` is out of bounds or given for what is no hold.
        Conflict: the new time overlaps other appointments of the owner (its own old time does not count), or a resource
            is taken then.
        Unmet: a booking rule does not allow it, unless the owner may ``override`` it and does.
    """
    acted = cause.actor_id is not None

    def decide(current: Appointment) -> Spec:
        _check_etag(etag, current)
        spec = change(current.spec)
        found = violations(spec) if spec != current.spec else []
        if found := found + holds.violations(ttl, spec, is_hold=current.expires_at is not None):
            raise Invalid(found)
        return spec

    if retime and not acted:
        moved = await moving.move(db, owner_id, appointment_id, *retime, etag=etag, request_id=cause.request_id)
        if moved is not None:
            return moved
    while True:
        current = await _live(db, owner_id, appointment_id)
        spec = decide(current)
        if spec == current.spec and ttl is None:
            return current
        bound = _is_retimed(spec, current) and await booking_rules.binds_owner(db, owner_id, acted=acted)
        guests = await invited.guests(db, appointment_id) if invited.concerns_guests(current, spec) else None
        if not bound and guests is None and ttl is None and (rows := await _amend_at_once(db, current, spec, cause)):
            return from_row(rows[0])
        held = spec.resources
        if current.series_text or ttl is not None:
            # An occurrence may be booked for one of its subjects while the tail of another still covers it. So the
            # resources that it leaves have to be locked, too; and all of a hold's that gets another end.
            held = list(dict.fromkeys([*held, *current.spec.resources]))

        async def work(
            connection: Connection, held: list[UUID] = held, guests: list[invited.Guest] = guests or []
        ) -> Appointment | None:
            roles = await placement.hold(connection, owner_id, held) if held else {}
            guest_ids = [guest.user_id for guest in guests]
            await placement.lock(connection, owner_id, held, guest_ids)
            locked = Locked(held, roles, guest_ids)
            return await amend(
                connection, owner_id, appointment_id, decide, locked, cause=cause, override=override, ttl=ttl
            )

        if amended := await db.transact(work):
            return amended


class Locked(NamedTuple):
    """What a transaction has locked beside an owner: units of resources, with the owner's roles on them, and guests."""

    resource_ids: Sequence[UUID]
    roles: Mapping[UUID, int]
    guest_ids: Sequence[UUID]


async def amend(
    connection: Connection,
    owner_id: UUID,
    appointment_id: UUID,
    decide: Callable[[Appointment], Spec],
    locked: Locked,
    *,
    cause: Cause,
    override: bool = False,
    ttl: timedelta | None = None,
) -> Appointment | None:
    """The same, in a transaction that has locked the owner and others.

    None: still others have to be locked, because it has got other resources or guests meanwhile.

    Raises:
        NotFound, Denied, Invalid, Conflict, Unmet: as for :func:`update`. What was done has then to be rolled back.
    """
    current = _found(await connection.fetch(LOCK, {"id": appointment_id, "owner_id": owner_id}))
    spec = decide(current)
    concerned_ids = {*spec.resources, *(current.spec.resources if ttl is not None else ())}
    if not concerned_ids <= set(locked.resource_ids):
        return None
    guests: list[invited.Guest] = []
    if concerned := invited.concerns_guests(current, spec):
        guests = await invited.guests(connection, appointment_id)
        if not {guest.user_id for guest in guests} <= set(locked.guest_ids):
            return None
    if spec == current.spec and ttl is None:
        return current
    if ttl is not None:
        current = await holds.prolong(connection, current, ttl)
    if spec != current.spec:
        await _rebook(connection, current, spec, locked.roles, acted=cause.actor_id is not None, override=override)
    if concerned:
        spec = await invited.rebook(connection, current, spec, guests)
    values = _rewriting(current, spec, cause)
    if ttl is not None:
        values["fields"] = [*values["fields"], "expire_time"]
    return _found(await connection.fetch(REWRITE, values))


async def _amend_at_once(db: Database, current: Appointment, spec: Spec, cause: Cause) -> list[Row]:
    """Change what a single statement can change. No rows: somebody else was faster, or it takes a transaction."""
    values = _rewriting(current, spec, cause)
    if not _is_retimed(spec, current) and not _is_reassigned(spec, current):
        return await db.fetch(REWRITE, values)
    if spec.resource_ids or current.resource_ids or spec.transparent or current.transparent:
        return []
    try:
        return await db.fetch(MOVE, values)
    except psycopg.errors.ExclusionViolation:
        async with db.connection() as connection:
            if conflict := await conflicts.find(connection, current.owner_id, spec, besides=current.id):
                raise conflict from None
        return []


# Fields of an occurrence that were changed individually are recorded, because updates of its series leave them alone.
OVERRIDES: LiteralString = """
    CASE WHEN series_id IS NOT NULL THEN (
        SELECT array_agg(DISTINCT field) FROM unnest(overrides || %(fields)s::text[]) AS field
    ) END
"""

REWRITE = Statement(
    f"""
    WITH amended AS (
        UPDATE appointments
        SET title = %(title)s::text, description = %(description)s::text, location = %(location)s::text,
            start_at = %(start_at)s::timestamptz, end_at = %(end_at)s::timestamptz, time_zone = %(time_zone)s::text,
            attendees = %(attendees)s::jsonb, buffer_before = %(buffer_before)s::integer,
            buffer_after = %(buffer_after)s::integer, all_day = %(all_day)s::boolean,
            transparent = %(transparent)s::boolean, resource_ids = %(resource_ids)s::uuid[],
            actor_id = %(actor_id)s::uuid, updated_at = now(), version = version + 1, overrides = {OVERRIDES},
            reminders = %(reminders)s::integer[]
        WHERE id = %(id)s::uuid AND owner_id = %(owner_id)s::uuid AND version = %(version)s::bigint
          AND {LIVE}
        RETURNING appointments.*
    ), {of_all("appointment.updated", "amended", left="%(left_ids)s::uuid[]", fields="%(fields)s::text[]")}
    SELECT {COLUMNS} FROM amended
    """
)

# The subject is locked first, and then the appointment. Whatever changes a booking also changes the version. So if the
# version still matches after the wait for the lock, the booking is the one in the statement's snapshot.
MOVE = Statement(
    f"""
    WITH subject AS MATERIALIZED (
        SELECT subjects.id AS subject_id FROM subjects WHERE subjects.id = %(owner_id)s::uuid FOR NO KEY UPDATE
    ), current AS MATERIALIZED (
        SELECT appointments.id AS current_id FROM appointments JOIN subject ON owner_id = subject_id
        WHERE appointments.id = %(id)s::uuid AND version = %(version)s::bigint AND {LIVE}
        FOR NO KEY UPDATE OF appointments
    ), moved AS (
        UPDATE bookings SET during = tstzrange(
            %(start_at)s::timestamptz - %(buffer_before)s::integer * interval '1 second',
            %(end_at)s::timestamptz + %(buffer_after)s::integer * interval '1 second'
        )
        FROM current WHERE appointment_id = current_id AND subject_id = %(owner_id)s::uuid
        RETURNING appointment_id AS moved_id
    ), amended AS (
        UPDATE appointments
        SET title = %(title)s::text, description = %(description)s::text, location = %(location)s::text,
            start_at = %(start_at)s::timestamptz, end_at = %(end_at)s::timestamptz, time_zone = %(time_zone)s::text,
            attendees = %(attendees)s::jsonb, buffer_before = %(buffer_before)s::integer,
            buffer_after = %(buffer_after)s::integer, all_day = %(all_day)s::boolean,
            actor_id = %(actor_id)s::uuid, updated_at = now(), version = version + 1, overrides = {OVERRIDES},
            reminders = %(reminders)s::integer[]
        FROM moved WHERE id = moved_id
        RETURNING appointments.*
    ), {of_owner("appointment.updated", "amended", fields="%(fields)s::text[]")}
    SELECT {COLUMNS} FROM amended
    """
)

# The subject is locked first, and then the appointment.
LOCK = Statement(
    f"""
    WITH subject AS MATERIALIZED (
        SELECT subjects.id AS subject_id FROM subjects WHERE subjects.id = %(owner_id)s::uuid FOR NO KEY UPDATE
    )
    SELECT {COLUMNS} FROM appointments JOIN subject ON owner_id = subject_id
    WHERE id = %(id)s::uuid AND {LIVE}
    FOR NO KEY UPDATE OF appointments
    """
)


async def _rebook(
    connection: Connection,
    current: Appointment,
    spec: Spec,
    roles: Mapping[UUID, int],
    *,
    acted: bool,
    override: bool,
) -> None:
    """Give an appointment the bookings of a new spec, under the locks of its owner and its new resources."""
    owner_id, before, after = current.owner_id, current.spec.resources, spec.resources
    retimed = _is_retimed(spec, current)
    freed = before if retimed else [each for each in before if each not in after]
    placed = after if retimed else [each for each in after if each not in before]
    placement.check_bookable(roles, placed)
    acted = acted and retimed
    overridden = await booking_rules.check_change(connection, current, freed, acted=acted, override=override)
    overridden += await booking_rules.check(
        connection, owner_id, spec, placed, acted=acted, override=override, besides=current.id
    )
    await booking_rules.record(connection, current.id, overridden)
    if current.series_text:
        await frontiers.reach(connection, current, leaves=retimed)
    await connection.fetch(FREE, {"id": current.id, "resource_ids": freed, "owner_too": retimed, "owner_id": owner_id})
    await frontiers.make_way(connection, owner_id, spec)
    takes_time = retimed and not spec.transparent
    if (placed or takes_time) and not await placement.place(
        connection, owner_id, current.id, spec, placed, owner=takes_time, expires_at=current.expires_at
    ):
        raise await conflicts.found(connection, owner_id, spec, besides=current.id)


FREE = Statement(
    """
    DELETE FROM bookings WHERE appointment_id = %(id)s::uuid
       AND (resource_id = ANY (%(resource_ids)s::uuid[])
            OR (%(owner_too)s::boolean AND subject_id = %(owner_id)s::uuid))
    """
)


def _rewriting(current: Appointment, spec: Spec, cause: Cause) -> dict[str, Any]:
    return to_values(spec) | {
        "id": current.id,
        "owner_id": current.owner_id,
        "version": current.version,
        "transparent": spec.transparent,
        "resource_ids": spec.resources or None,
        "left_ids": [each for each in current.spec.resources if each not in spec.resources],
        "fields": changed_fields(current.spec, spec),
        **cause.values,
    }


def _is_retimed(spec: Spec, current: Appointment) -> bool:
    """Whether the time that is taken changes: its span, its buffers, or whether there is any."""
    taken = (micros(spec.start_at), micros(spec.end_at), spec.buffer_before, spec.buffer_after, spec.transparent)
    old = current.spec
    return taken != (current.start_at, current.end_at, old.buffer_before, old.buffer_after, old.transparent)


def _is_reassigned(spec: Spec, current: Appointment) -> bool:
    return set(spec.resource_ids) != set(current.resource_ids or ())


async def confirm(
    db: Database, owner_id: UUID, appointment_id: UUID, *, etag: str = "", cause: Cause = BY_OWNER
) -> Appointment:
    """Turn a hold into an appointment. One that is confirmed already is returned as it is.

    Raises:
        NotFound: the owner has no such live appointment, or the hold has expired.
        Denied: it is somebody else's on a resource that the owner manages.
        Stale: ``etag`` is given and not the current one.
    """
    while True:
        current = await _live(db, owner_id, appointment_id)
        _check_etag(etag, current)
        if current.expires_at is None:
            return current
        values = {"id": appointment_id, "owner_id": owner_id, "version": current.version, **cause.values}
        if rows := await db.transact(partial(holds.confirm, values=values)):
            return from_row(rows[0])
        # It has expired, or somebody else has changed it since it was read.


async def delete(
    db: Database,
    owner_id: UUID,
    appointment_id: UUID,
    *,
    etag: str = "",
    cause: Cause = BY_OWNER,
    override: bool = False,
) -> Appointment:
    """Delete softly: the row stays, but its time and its resources are free at once.

    Raises:
        NotFound: the owner has no such live appointment.
        Denied: it is somebody else's on a resource that the owner manages.
        Stale: ``etag`` is given and not the current one.
        Unmet: a booking rule does not allow it any more, unless the owner may ``override`` it and does.
    """
    acted = cause.actor_id is not None
    while True:
        current = await _live(db, owner_id, appointment_id)
        _check_etag(etag, current)
        if current.resource_ids or acted:
            async with db.connection() as connection:
                # No lock is needed: if a rule changes at the same moment, either order is fine.
                overridden = await booking_rules.check_change(
                    connection, current, current.spec.resources, acted=acted, override=override
                )
                await booking_rules.record(connection, appointment_id, overridden)
        values = {"id": appointment_id, "owner_id": owner_id, "version": current.version, **cause.values}
        held = current.spec.resources if current.series_text else []
        guests = await invited.guests(db, appointment_id) if current.attendees else []
        if held or guests:
            guest_ids = [guest.user_id for guest in guests]
            rows = await db.transact(partial(_delete_locked, values=values, resource_ids=held, guest_ids=guest_ids))
        else:
            rows = await db.fetch(DELETE, values)
        if rows:
            return from_row(rows[0])
        # Somebody else has changed it since it was read.


async def remove(connection: Connection, current: Appointment, *, cause: Cause) -> bool:
    """The same, in a transaction that has locked the owner and guests; False if it has changed since it was read.

    Raises:
        Unmet: as for :func:`delete`.
    """
    acted = cause.actor_id is not None
    await booking_rules.check_change(connection, current, current.spec.resources, acted=acted)
    values = {"id": current.id, "owner_id": current.owner_id, "version": current.version, **cause.values}
    return bool(await connection.fetch(DELETE, values))


async def _delete_locked(
    connection: Connection, values: dict[str, Any], resource_ids: list[UUID], guest_ids: Sequence[UUID] = ()
) -> list[Row]:
    """Delete what is booked of others too, under their locks.

    That is an occurrence that a frontier which moves could be booking, of another of its subjects, meanwhile; and what
    guests have accepted. Whoever accepts it after the guests were read changes its version.
    """
    await placement.lock(connection, values["owner_id"], resource_ids, guest_ids)
    return await connection.fetch(DELETE, values)


# If the version still matches after the wait for the locks, the bookings are those in the statement's snapshot. At a
# later version an undelete might have added a booking. The statement would not see it, and the time would stay taken
# although there is no appointment.
DELETE = Statement(
    f"""
    WITH subject AS MATERIALIZED (
        SELECT subjects.id AS subject_id FROM subjects WHERE subjects.id = %(owner_id)s::uuid FOR NO KEY UPDATE
    ), current AS MATERIALIZED (
        SELECT appointments.id AS current_id FROM appointments JOIN subject ON owner_id = subject_id
        WHERE appointments.id = %(id)s::uuid AND version = %(version)s::bigint AND {LIVE}
        FOR NO KEY UPDATE OF appointments
    ), freed AS (
        DELETE FROM bookings USING current WHERE appointment_id = current_id
    ), amended AS (
        UPDATE appointments
        SET deleted_at = now(), updated_at = now(), version = version + 1, actor_id = %(actor_id)s::uuid
        FROM current WHERE id = current_id
        RETURNING appointments.*
    ), {of_all("appointment.deleted", "amended")}
    SELECT {COLUMNS} FROM amended
    """
)


def _check_etag(etag: str, current: Appointment) -> None:
    if etag and etag != current.etag:
        raise Stale("The appointment has changed since it was read.")


async def undelete(
    db: Database, owner_id: UUID, appointment_id: UUID, *, cause: Cause = BY_OWNER, override: bool = False
) -> Appointment:
    """Bring a deleted appointment back, if its time and its resources are still free.

    Raises:
        NotFound: the owner has no such appointment, or does not see one of its resources any more.
        Denied: the owner may not book one of its resources any more.
        Taken: it is not deleted.
        Conflict: its time overlaps other appointments of the owner, or a resource is taken then.
        Unmet: it was a hold (HOLD_ENDED), or a booking rule does not allow it, unless the owner may ``override`` it and
            does.
    """
    acted = cause.actor_id is not None
    bound = await booking_rules.binds_owner(db, owner_id, acted=acted)
    values = {"id": appointment_id, "owner_id": owner_id, **cause.values}
    while True:
        if not bound and (rows := await db.fetch(UNDELETE, values)):
            return from_row(rows[0])
        current = await _own(db, owner_id, appointment_id)
        at_version = values | {"version": current.version}
        if current.deleted_at is None:
            raise Taken("The appointment is not deleted.", reason="APPOINTMENT_NOT_DELETED")
        if current.expires_at is not None:
            raise Unmet("A hold that has ended is not restored. Create it anew.", reason="HOLD_ENDED")
        if current.transparent:
            rows = await db.fetch(RESTORE, at_version)
        elif current.resource_ids or bound:
            restore = partial(_restore, values=at_version, spec=current.spec, acted=acted, override=override)
            rows = await db.transact(restore)
        else:
            async with db.connection() as connection:
                if conflict := await conflicts.find(connection, owner_id, current.spec, besides=appointment_id):
                    raise conflict
                await holds.clear(connection, owner_id, current.spec)
            await frontiers.make_way_alone(db, owner_id, current.spec)
        if rows:
            return from_row(rows[0])
        # What was in the way is gone by now, so try again.


# For an appointment without resources. The booking's foreign key would lock the subject at the end. That lock is taken
# first here, as it is when an account is erased.
UNDELETE = Statement(
    f"""
    WITH subject AS MATERIALIZED (
        SELECT subjects.id AS subject_id FROM subjects WHERE subjects.id = %(owner_id)s::uuid FOR KEY SHARE
    ), gone AS MATERIALIZED (
        SELECT id, owner_id, tstzrange(
            start_at - buffer_before * interval '1 second', end_at + buffer_after * interval '1 second'
        ) AS during
        FROM appointments JOIN subject ON owner_id = subject_id
        WHERE id = %(id)s::uuid AND deleted_at IS NOT NULL AND resource_ids IS NULL AND NOT transparent
          AND expires_at IS NULL
        FOR NO KEY UPDATE OF appointments
    ), taken AS (
        INSERT INTO bookings (appointment_id, subject_id, during)
        SELECT id, owner_id, during FROM gone
        ON CONFLICT ON CONSTRAINT bookings_no_overlap DO NOTHING
        RETURNING appointment_id
    ), amended AS (
        UPDATE appointments
        SET deleted_at = NULL, skipped = false, updated_at = now(), version = version + 1,
            actor_id = %(actor_id)s::uuid, attendees = {UNANSWERED}
        FROM taken WHERE id = taken.appointment_id
        RETURNING appointments.*
    ), {of_owner("appointment.undeleted", "amended")}
    SELECT {COLUMNS} FROM amended
    """
)


async def _restore(
    connection: Connection, values: dict[str, Any], spec: Spec, *, acted: bool, override: bool
) -> list[Row]:
    """Restore an appointment under locks, with its resources. No rows: somebody else was faster."""
    owner_id, appointment_id, held = values["owner_id"], values["id"], spec.resources
    if held:
        placement.check_bookable(await placement.hold(connection, owner_id, held), held)
    await placement.lock(connection, owner_id, held)
    await frontiers.make_way(connection, owner_id, spec)
    rows = await connection.fetch(RESTORE, values)
    if rows:
        overridden = await booking_rules.check(
            connection, owner_id, spec, held, acted=acted, override=override, besides=appointment_id
        )
        if overridden:
            await booking_rules.record(connection, appointment_id, overridden)
            rows = await connection.fetch(booking.GET, {"id": appointment_id, "user_id": owner_id})
        if not await placement.place(connection, owner_id, appointment_id, spec, held, owner=True):
            raise await conflicts.found(connection, owner_id, spec, besides=appointment_id)
    return rows


# The appointment's row alone. Either it takes no time, or its bookings follow in the same transaction.
RESTORE = Statement(
    f"""
    WITH amended AS (
        UPDATE appointments
        SET deleted_at = NULL, skipped = false, updated_at = now(), version = version + 1,
            actor_id = %(actor_id)s::uuid, attendees = {UNANSWERED}
        WHERE id = %(id)s::uuid AND owner_id = %(owner_id)s::uuid AND version = %(version)s::bigint
          AND deleted_at IS NOT NULL
        RETURNING appointments.*
    ), {of_all("appointment.undeleted", "amended")}
    SELECT {COLUMNS} FROM amended
    """
)


async def _own(db: Database, owner_id: UUID, appointment_id: UUID) -> Appointment:
    found = await booking.get(db, owner_id, appointment_id)
    if found.owner_id != owner_id:
        why = "you are invited to it" if found.address else "you only manage a resource of it"
        raise Denied(f"The appointment is somebody else’s; {why}.", reason="NOT_THE_OWNER")
    return found


async def _live(db: Database, owner_id: UUID, appointment_id: UUID) -> Appointment:
    found = await _own(db, owner_id, appointment_id)
    if found.deleted_at is not None:
        raise NotFound("No such appointment.")
    return found


def _found(rows: list[Row]) -> Appointment:
    if not rows:
        raise NotFound("No such appointment.")
    return from_row(rows[0])

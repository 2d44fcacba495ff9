"""Appointments and the overlap rule.

The promise: no two live appointments take the time of one subject at once, whatever races. The row of an appointment
says what it is. Its rows in ``bookings`` say who and what is taken when: one for its owner, and one for each of its
resources. The constraint ``bookings_no_overlap`` refuses a second row of one subject that overlaps.

Every function takes the owner. What belongs to somebody else is :class:`NotFound`, exactly as if it did not exist.
``cause`` is who acts for the owner, and by which request. It goes into the log of changes.

docs/booking.md draws how a create is booked, and lists what every path locks in which order.
"""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import LiteralString, NamedTuple
from uuid import UUID

import psycopg
from uuid_utils.compat import uuid7

from appointments.calendar import booking_rules, conflicts, frontiers, holds, invited, placement
from appointments.calendar.appointment import COLUMNS, LIVE, MICROSECOND, Appointment, Spec, booked, from_row, to_values
from appointments.calendar.log import BY_OWNER, Cause, of_all, of_owner
from appointments.calendar.placement import FREE_UNIT, SPAN
from appointments.calendar.resource import ROLE
from appointments.calendar.validation import violations
from appointments.db import Connection, Database, Micros, Reads, Statement, Values
from appointments.shared.errors import Invalid, NotFound, Unauthenticated


async def create(
    db: Database,
    owner_id: UUID,
    spec: Spec,
    *,
    request_id: UUID | None = None,
    cause: Cause = BY_OWNER,
    ttl: timedelta | None = None,
    override: bool = False,
) -> Appointment:
    """Book ``spec`` for its owner, in one round trip if everything is free. With ``ttl`` it is a hold for so long.

    Rules of booking that the owner may override, with ``override``, are recorded. A resource with rules takes more
    round trips: they are judged under the locks of its units.

    A retry with the same ``request_id`` and spec returns the first answer, whatever has happened since (AIP-155).

    Raises:
        Invalid: the spec breaks a rule, or the request id was used with another spec.
        Conflict: the time overlaps other appointments of the owner, or a resource is taken then.
        NotFound: the owner sees no such resource.
        Denied: the owner may not book a resource.
        Unmet: a rule of booking does not allow it, or the owner has too many open holds already.
    """
    if found := violations(spec) + holds.violations(ttl, spec):
        raise Invalid(found)
    appointment_id = uuid7()
    values = to_values(spec) | {
        "id": appointment_id,
        "owner_id": owner_id,
        "request_id": request_id,
        "request_digest": _digest(spec, ttl, override=override) if request_id else None,
        "resource_ids": spec.resources or None,
        "ttl": ttl // MICROSECOND if ttl else None,
        **cause.values,
    }
    acted = cause.actor_id is not None
    under_locks = bool(ttl) or await booking_rules.binds_owner(db, owner_id, acted=acted and not spec.transparent)
    while True:
        created = await _insert(db, values, spec, under_locks=under_locks, override=override)
        if created is not None:
            return booked(
                appointment_id,
                owner_id,
                spec,
                created.at,
                actor_id=cause.actor_id,
                expires_at=_end(created.at, ttl),
                overridden=created.overridden,
            )
        if request_id and (earlier := await _replay(db, values, spec, ttl)):
            return earlier
        if spec.resource_ids or under_locks:
            async with db.connection() as connection:
                if spec.resource_ids:
                    placement.check_bookable(await placement.hold(connection, owner_id, spec.resources), spec.resources)
                    if not under_locks and await booking_rules.find(connection, owner_id, spec.resources, acted=False):
                        under_locks = True
                        continue
                if conflict := await conflicts.find(connection, owner_id, spec):
                    raise conflict
        else:
            if conflict := await conflicts.find_of_owner(db, owner_id, spec):
                raise conflict
            async with db.connection() as connection:
                await holds.clear(connection, owner_id, spec)
            await frontiers.make_way_alone(db, owner_id, spec)
        # What was in the way has gone in the meantime, so the time may be free now. Of a resource another unit may be
        # free. This time the units are chosen under their locks, so that nobody can be faster again.
        under_locks = under_locks or bool(spec.resource_ids)


# The booking is inserted first. If the time is taken it yields no row, and so no appointment is inserted. The booking's
# foreign keys are checked when the statement ends.
def _create(column: LiteralString = "", value: LiteralString = "") -> Statement:
    return Statement(
        f"""
        WITH taken AS (
            INSERT INTO bookings (appointment_id, subject_id, during)
            VALUES (%(id)s::uuid, %(owner_id)s::uuid, tstzrange(
                %(start_at)s::timestamptz - %(buffer_before)s::integer * interval '1 second',
                %(end_at)s::timestamptz + %(buffer_after)s::integer * interval '1 second'
            ))
            ON CONFLICT ON CONSTRAINT bookings_no_overlap DO NOTHING
            RETURNING appointment_id
        ), created AS (
            INSERT INTO appointments (
                id, owner_id, title, description, location, start_at, end_at, time_zone, attendees,
                created_at, updated_at, version, request_id, request_digest, buffer_before, buffer_after, all_day,
                actor_id{column}
            )
            SELECT appointment_id, %(owner_id)s::uuid, %(title)s::text, %(description)s::text, %(location)s::text,
                   %(start_at)s::timestamptz, %(end_at)s::timestamptz, %(time_zone)s::text, %(attendees)s::jsonb,
                   now(), now(), 1, %(request_id)s::uuid, %(request_digest)s::bytea,
                   %(buffer_before)s::integer, %(buffer_after)s::integer, %(all_day)s::boolean,
                   %(actor_id)s::uuid{value}
            FROM taken
            RETURNING id, owner_id, actor_id, version, created_at, updated_at
        ), {of_owner("appointment.created", "created")}
        SELECT id, owner_id, created_at FROM created
        """
    )


CREATE = _create()
# Most appointments have no reminders of their own, so the statement that most creates run does not name them.
CREATE_REMINDED = _create(", reminders", ", %(reminders)s::integer[]")


# The same for several appointments at once. It gives up soon on a lock, because a request that has to wait for one
# waits alone. Two such statements cannot wait for each other, because the rows are inserted in the order of subjects
# and starts. An owner of several rows is locked first: a booking that moves could wait for one of the rows while
# another waits for it.
#
# OFFSET 0 keeps the planner from joining: while a table is small it would read all of it, and the plan is kept until
# PostgreSQL analyzes the table, which may have grown a hundredfold by then.
CREATE_MANY = Statement(
    f"""
    WITH impatient AS MATERIALIZED (
        SELECT set_config('lock_timeout', '100ms', true)
    ), locked AS MATERIALIZED (
        SELECT count(*) FROM (
            SELECT subjects.id FROM impatient, subjects WHERE subjects.id = ANY (%(crowded)s::uuid[])
            ORDER BY subjects.id FOR NO KEY UPDATE OF subjects
        ) AS crowded
    ), asked AS MATERIALIZED (
        SELECT asked.* FROM impatient, locked, unnest(
            %(id)s::uuid[], %(owner_id)s::uuid[], %(title)s::text[], %(description)s::text[], %(location)s::text[],
            %(start_at)s::timestamptz[], %(end_at)s::timestamptz[], %(time_zone)s::text[], %(attendees)s::jsonb[],
            %(request_id)s::uuid[], %(request_digest)s::bytea[], %(buffer_before)s::integer[],
            %(buffer_after)s::integer[], %(all_day)s::boolean[], %(actor_id)s::uuid[], %(x_request_id)s::text[]
        ) AS asked (
            id, owner_id, title, description, location, start_at, end_at, time_zone, attendees,
            request_id, request_digest, buffer_before, buffer_after, all_day, actor_id, x_request_id
        )
        WHERE NOT EXISTS (
            SELECT FROM appointments AS earlier
            WHERE earlier.owner_id = asked.owner_id AND earlier.request_id = asked.request_id OFFSET 0
        )
    ), taken AS (
        INSERT INTO bookings (appointment_id, subject_id, during)
        SELECT id, owner_id, tstzrange(
            start_at - buffer_before * interval '1 second', end_at + buffer_after * interval '1 second'
        ) AS during
        FROM asked ORDER BY owner_id, during
        ON CONFLICT ON CONSTRAINT bookings_no_overlap DO NOTHING
        RETURNING appointment_id
    ), created AS (
        INSERT INTO appointments (
            id, owner_id, title, description, location, start_at, end_at, time_zone, attendees,
            created_at, updated_at, version, request_id, request_digest, buffer_before, buffer_after, all_day, actor_id
        )
        SELECT id, owner_id, title, description, location, start_at, end_at, time_zone, attendees,
               now(), now(), 1, request_id, request_digest, buffer_before, buffer_after, all_day, actor_id
        FROM asked JOIN taken ON id = appointment_id
        RETURNING id, owner_id, actor_id, version, created_at, updated_at
    ), answered AS (
        SELECT created.*, x_request_id FROM created JOIN asked ON asked.id = created.id
    ), {of_owner("appointment.created", "answered", request="x_request_id")}
    SELECT id, owner_id, created_at FROM created
    """
)

# Books the owner and a unit of each resource, all of them or nothing. Resources with rules are booked under locks
# instead. The resources are held, the subjects are locked by id, and the bookings are inserted in that order. If some
# of the subjects were taken, no appointment is inserted. Then the foreign key of the other bookings fails at the end of
# the statement and undoes them. The ids come out of a subquery, so the planner does not know how many there are, and
# plans once for all calls. Planning each call would take as long as everything else.
CREATE_WITH_RESOURCES = Statement(
    f"""
    WITH held AS MATERIALIZED (
        SELECT resources.id AS resource_id, unit.subject_id, span.during
        FROM resources
        CROSS JOIN LATERAL (SELECT {SPAN} AS during) AS span
        CROSS JOIN LATERAL ({FREE_UNIT}) AS unit
        WHERE resources.id = ANY (ARRAY(SELECT unnest(%(resource_ids)s::uuid[]))) AND resources.deleted_at IS NULL
          AND {ROLE} >= 2 AND resources.booking_rules IS NULL
        ORDER BY resources.id FOR KEY SHARE OF resources
    ), places AS MATERIALIZED (
        SELECT subject_id, during, resource_id, %(start_at)s::timestamptz AS start_at FROM held
        UNION ALL
        SELECT %(owner_id)s::uuid, tstzrange(
            %(start_at)s::timestamptz - %(buffer_before)s::integer * interval '1 second',
            %(end_at)s::timestamptz + %(buffer_after)s::integer * interval '1 second'
        ), NULL, NULL
        WHERE (SELECT count(*) FROM held) = cardinality(%(resource_ids)s::uuid[])
    ), locked AS MATERIALIZED (
        SELECT subjects.id FROM subjects
        WHERE subjects.id IN (SELECT subject_id FROM places)
        ORDER BY subjects.id FOR NO KEY UPDATE
    ), taken AS (
        INSERT INTO bookings (appointment_id, subject_id, during, resource_id, start_at)
        SELECT %(id)s::uuid, subject_id, during, resource_id, start_at FROM places
        WHERE (SELECT count(*) FROM locked) = cardinality(%(resource_ids)s::uuid[]) + 1
        ORDER BY subject_id
        ON CONFLICT ON CONSTRAINT bookings_no_overlap DO NOTHING
        RETURNING appointment_id
    ), created AS (
        INSERT INTO appointments (
            id, owner_id, title, description, location, start_at, end_at, time_zone, attendees, created_at, updated_at,
            version, request_id, request_digest, buffer_before, buffer_after, all_day, actor_id, resource_ids, reminders
        )
        SELECT %(id)s::uuid, %(owner_id)s::uuid, %(title)s::text, %(description)s::text, %(location)s::text,
               %(start_at)s::timestamptz, %(end_at)s::timestamptz, %(time_zone)s::text, %(attendees)s::jsonb,
               now(), now(), 1, %(request_id)s::uuid, %(request_digest)s::bytea, %(buffer_before)s::integer,
               %(buffer_after)s::integer, %(all_day)s::boolean, %(actor_id)s::uuid, %(resource_ids)s::uuid[],
               %(reminders)s::integer[]
        WHERE (SELECT count(*) FROM taken) = cardinality(%(resource_ids)s::uuid[]) + 1
        RETURNING id, owner_id, actor_id, version, created_at, updated_at, resource_ids
    ), {of_all("appointment.created", "created")}
    SELECT id, owner_id, created_at FROM created
    """
)

# The appointment's row alone. Either it has no bookings, or they follow in the same transaction.
CREATE_UNBOOKED = Statement(
    f"""
    WITH created AS (
        INSERT INTO appointments (
            id, owner_id, title, description, location, start_at, end_at, time_zone, attendees, created_at, updated_at,
            version, request_id, request_digest, buffer_before, buffer_after, all_day, actor_id, resource_ids,
            transparent, expires_at, reminders
        )
        VALUES (
            %(id)s::uuid, %(owner_id)s::uuid, %(title)s::text, %(description)s::text, %(location)s::text,
            %(start_at)s::timestamptz, %(end_at)s::timestamptz, %(time_zone)s::text, %(attendees)s::jsonb,
            now(), now(), 1, %(request_id)s::uuid, %(request_digest)s::bytea, %(buffer_before)s::integer,
            %(buffer_after)s::integer, %(all_day)s::boolean, %(actor_id)s::uuid, %(resource_ids)s::uuid[],
            %(transparent)s::boolean, now() + %(ttl)s::bigint * interval '1 microsecond', %(reminders)s::integer[]
        )
        RETURNING id, owner_id, actor_id, version, created_at, updated_at, resource_ids
    ), {of_all("appointment.created", "created")}
    SELECT id, owner_id, created_at FROM created
    """
)


class _Created(NamedTuple):
    """When it was booked, and which rules were overridden for it."""

    at: Micros
    overridden: Sequence[str] = ()


async def _insert(db: Database, values: Values, spec: Spec, *, under_locks: bool, override: bool) -> _Created | None:
    """Book; None if it could not be had, or the request id was used before."""
    try:
        if under_locks:
            return await db.transact(
                lambda connection: _insert_under_locks(connection, values, spec, override=override)
            )
        if spec.resource_ids:
            rows = await db.fetch(CREATE_WITH_RESOURCES, values | {"user_id": values["owner_id"]})
        elif spec.transparent:
            rows = await db.fetch(CREATE_UNBOOKED, values | {"transparent": True})
        elif spec.reminders is not None:
            rows = await db.fetch(CREATE_REMINDED, values)
        else:
            row = await db.share(CREATE, CREATE_MANY, values, (values["owner_id"], spec.start_at, spec.end_at))
            return _Created(row[2]) if row else None
    except psycopg.errors.UniqueViolation as error:
        if error.diag.constraint_name != "appointments_request_id":
            raise
        return None
    except psycopg.errors.ForeignKeyViolation as error:
        if error.diag.constraint_name == "bookings_appointment":
            return None
        raise Unauthenticated("The account has been deleted.") from error
    return _Created(rows[0][2]) if rows else None


async def _insert_under_locks(connection: Connection, values: Values, spec: Spec, *, override: bool) -> _Created:
    owner_id, appointment_id, resource_ids = values["owner_id"], values["id"], spec.resources
    if resource_ids:
        placement.check_bookable(await placement.hold(connection, owner_id, resource_ids), resource_ids)
    await placement.lock(connection, owner_id, resource_ids)
    await frontiers.make_way(connection, owner_id, spec)
    # Checked first, so that a request id that was used before is answered as such.
    created_at = (await connection.fetch(CREATE_UNBOOKED, values | {"transparent": False}))[0][2]
    overridden = await booking_rules.check(
        connection,
        owner_id,
        spec,
        resource_ids,
        acted=values["actor_id"] is not None,
        override=override,
        besides=appointment_id,
    )
    expires_at = created_at + values["ttl"] if values["ttl"] else None
    if not await placement.place(
        connection, owner_id, appointment_id, spec, resource_ids, owner=True, expires_at=expires_at
    ):
        raise await conflicts.found(connection, owner_id, spec, besides=appointment_id)
    if expires_at is not None:
        await holds.check_limits(connection, owner_id)
    await booking_rules.record(connection, appointment_id, overridden)
    return _Created(created_at, overridden)


REPLAY = Statement(
    """
    SELECT id, created_at, request_digest, actor_id, overridden_rules FROM appointments
    WHERE owner_id = %(owner_id)s::uuid AND request_id = %(request_id)s::uuid
    """
)


async def _replay(db: Database, values: Values, spec: Spec, ttl: timedelta | None) -> Appointment | None:
    rows = await db.fetch(REPLAY, values)
    if not rows:
        return None
    appointment_id, created_at, digest, actor_id, overridden = rows[0]
    if values["request_digest"] != digest:
        raise Invalid.field("request_id", "was used before with another body", reason="REQUEST_ID_REUSED")
    # The body is the same, so with these the first answer is complete.
    return booked(
        appointment_id,
        values["owner_id"],
        spec,
        created_at,
        actor_id=actor_id,
        expires_at=_end(created_at, ttl),
        overridden=overridden or (),
    )


def _digest(spec: Spec, ttl: timedelta | None, *, override: bool) -> bytes:
    # What was not given is not in it, so that a retry is the same to a release that knows fewer fields.
    reminders = "" if spec.reminders is None else f"reminders={spec.reminders}"
    return hashlib.sha256(f"{spec!r}{ttl or ''}{'override' * override}{reminders}".encode()).digest()


def _end(created_at: Micros, ttl: timedelta | None) -> Micros | None:
    return created_at + ttl // MICROSECOND if ttl else None


async def get(db: Reads, user_id: UUID, appointment_id: UUID) -> Appointment:
    """Read one appointment: one's own, deleted or not, or a live one that one is invited to or manages a resource of.

    Raises:
        NotFound: the user may see no such appointment.
    """
    values = {"id": appointment_id, "user_id": user_id}
    rows = await db.fetch_shared(GET, values)
    if not rows:
        if found := await invited.get(db, user_id, appointment_id):
            return found
        rows = await db.fetch(GET_MANAGED, values)
    if not rows:
        raise NotFound("No such appointment.")
    return from_row(rows[0])


GET = Statement(f"SELECT {COLUMNS} FROM appointments WHERE id = %(id)s::uuid AND owner_id = %(user_id)s::uuid")
GET_MANAGED = Statement(
    f"""
    SELECT {COLUMNS} FROM appointments
    WHERE id = %(id)s::uuid AND {LIVE} AND EXISTS (
        SELECT FROM resources
        WHERE resources.id = ANY (appointments.resource_ids) AND resources.deleted_at IS NULL AND {ROLE} = 3
    )
    """
)

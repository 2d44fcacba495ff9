"""Notifies attendees of what has changed: one job for each appointment, which puts letters into the outbox.

What each attendee was told last is stored, and compared with the current appointment. So a job may be late, run twice
or get lost: the next one makes up for it. SEQUENCE is incremented when the time, the place or the cancellation of the
appointment changes, and by nothing else.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from appointments.auth.mailed_links import VERIFIED_JOB
from appointments.calendar import invited
from appointments.calendar.appointment import COLUMNS, Appointment, from_row
from appointments.db import Connection, Database, Statement, instant
from appointments.icalendar.invitations import limits
from appointments.icalendar.invitations.limits import keep_pace
from appointments.jobs import Job, Kind
from appointments.mail import Letter, Outbox
from appointments.shared.validation import fold_email

JOB = "invitations"
REQUEST, CANCEL = "invitation.request", "invitation.cancel"

_OF_SEQUENCE = ("start", "end", "zone", "location", "off")
"""The facts whose change increments SEQUENCE (RFC 5546 §2.1.4)."""


@dataclass(frozen=True, slots=True)
class Organizer:
    """The owner of the appointment."""

    user_id: UUID
    email: str
    name: str
    is_verified: bool


@dataclass(frozen=True, slots=True)
class Told:
    """What an attendee was told last."""

    sequence: int
    version: int
    facts: dict[str, Any]
    is_cancelled: bool


@dataclass(frozen=True, slots=True)
class News:
    """A message that an attendee needs."""

    address: str
    kind: str
    why: str
    sequence: int
    was: dict[str, Any] | None = None


class Telling:
    """Finds out who needs which message, and puts letters into the outbox. ``per_day`` is the limit of strangers."""

    def __init__(self, db: Database, outbox: Outbox, *, per_day: int) -> None:
        self._db = db
        self._outbox = outbox
        self._per_day = per_day

    def kinds(self) -> list[Kind]:
        """The kinds of jobs."""
        return [
            Kind(JOB, self._tell, patience=timedelta(days=7)),
            Kind(VERIFIED_JOB, self._catch_up),
            Kind("invitations.sweep", self._sweep, every=timedelta(hours=6)),
        ]

    async def _tell(self, job: Job) -> None:
        await self._db.transact(lambda connection: self._tell_of(connection, UUID(job.key or "")))

    async def _tell_of(self, connection: Connection, appointment_id: UUID) -> None:
        found = await read(connection, appointment_id)
        if found is None:
            return
        appointment, organizer = found
        now = datetime.now(UTC)
        if not organizer.is_verified or instant(appointment.end_at) <= now:
            return
        rows = await connection.fetch(TOLD, {"id": appointment_id})
        told = {row[0]: Told(*row[1:]) for row in rows}
        news = list(_news(appointment, organizer, told))
        await self._check_pace(connection, organizer, [each for each in news if each.kind == REQUEST])
        for each in news:
            await self._put(connection, appointment, organizer, each)

    async def _check_pace(self, connection: Connection, organizer: Organizer, news: list[News]) -> None:
        # Requests are limited before they book (limits.py). This check covers mail that no request has counted, such as
        # after the organizer confirms their own address.
        if not news:
            return
        addresses = sorted(each.address for each in news)
        await keep_pace(connection, organizer.user_id, addresses, per_day=self._per_day)

    async def _put(self, connection: Connection, appointment: Appointment, organizer: Organizer, news: News) -> None:
        facts = json.dumps(facts_of(appointment)).encode()
        values = {
            "id": appointment.id,
            "address": news.address,
            "sequence": news.sequence,
            "version": appointment.version,
            "told": facts,
            "is_cancelled": news.kind == CANCEL,
        }
        await connection.fetch(TELL, values)
        about = {"sequence": news.sequence, "why": news.why, "was": news.was}
        letter = Letter(news.kind, news.address, organizer.user_id, appointment.id, appointment.version, about)
        await self._outbox.put(connection, letter)

    async def _catch_up(self, job: Job) -> None:
        """An organizer has confirmed their address: send the invitations to their future appointments now."""
        async with self._db.connection() as connection:
            await connection.fetch(CATCH_UP, {"user_id": UUID(job.payload["user_id"])})
        await invited.settle(self._db, UUID(job.payload["user_id"]))

    async def _sweep(self, job: Job) -> None:  # noqa: ARG002
        await self._db.fetch(limits.SWEEP, {})


def _news(appointment: Appointment, organizer: Organizer, told: dict[str, Told]) -> Iterable[News]:
    facts = facts_of(appointment)
    sequence = _sequence(facts, told.values())
    guests = {fold_email(guest.email) for guest in appointment.attendees} - {organizer.email}
    is_hold = appointment.expires_at is not None and not facts["off"]
    for address in sorted(guests | told.keys()):
        before = told.get(address)
        knows = before is not None and not before.is_cancelled
        if is_hold:
            continue
        if facts["off"]:
            if before and knows:
                yield News(address, CANCEL, "off", sequence)
        elif address not in guests:
            if before and knows:
                yield News(address, CANCEL, "removed", before.sequence + 1)
        elif before is None or not knows:
            yield News(address, REQUEST, "new", max(sequence, before.sequence + 1 if before else 0))
        elif before.facts != facts:
            yield News(address, REQUEST, "changed", sequence, before.facts)


def _sequence(facts: dict[str, Any], told: Iterable[Told]) -> int:
    # An attendee who was removed has a sequence of their own, so it does not count here.
    known = [each for each in told if not each.is_cancelled or each.facts["off"]]
    if not known:
        return 0
    newest = max(known, key=lambda each: each.version)
    has_moved = any(newest.facts[fact] != facts[fact] for fact in _OF_SEQUENCE)
    return max(each.sequence for each in known) + has_moved


def facts_of(appointment: Appointment) -> dict[str, Any]:
    """The facts of an appointment that attendees are told."""
    return {
        "title": appointment.title,
        "start": appointment.start_at,
        "end": appointment.end_at,
        "zone": appointment.time_zone,
        "all_day": bool(appointment.all_day),
        "location": appointment.location,
        "description": appointment.description,
        "off": appointment.deleted_at is not None,
    }


async def read(connection: Connection, appointment_id: UUID) -> tuple[Appointment, Organizer] | None:
    """An appointment and its organizer."""
    rows = await connection.fetch(READ, {"id": appointment_id})
    if not rows:
        return None
    *columns, email, name, is_verified = rows[0]
    appointment = from_row(tuple(columns))
    return appointment, Organizer(appointment.owner_id, email, name, is_verified)


READ = Statement(
    f"""
    SELECT {COLUMNS},
           (SELECT coalesce(email, '') FROM users WHERE users.id = owner_id),
           (SELECT display_name FROM users WHERE users.id = owner_id),
           (SELECT email_verified_at IS NOT NULL FROM users WHERE users.id = owner_id)
    FROM appointments WHERE id = %(id)s::uuid
    """
)
TOLD = Statement(
    """
    SELECT address, sequence, version, told, is_cancelled FROM invitations
    WHERE appointment_id = %(id)s::uuid ORDER BY address FOR NO KEY UPDATE
    """
)
TELL = Statement(
    """
    INSERT INTO invitations (appointment_id, address, sequence, version, told, is_cancelled, told_at)
    VALUES (%(id)s::uuid, %(address)s::text, %(sequence)s::integer, %(version)s::bigint, %(told)s::jsonb,
            %(is_cancelled)s::boolean, now())
    ON CONFLICT ON CONSTRAINT invitations_pkey DO UPDATE SET
        sequence = excluded.sequence, version = excluded.version, told = excluded.told,
        is_cancelled = excluded.is_cancelled, told_at = excluded.told_at
    """
)
CATCH_UP = Statement(
    """
    INSERT INTO jobs (kind, key, payload, due_at, deferred_at)
    SELECT DISTINCT CASE WHEN series_id IS NULL THEN 'invitations' ELSE 'invitations.series' END,
           coalesce(series_id, id)::text, '{}'::jsonb, now(), now()
    FROM appointments
    WHERE owner_id = %(user_id)s::uuid AND start_at > now() AND deleted_at IS NULL AND attendees <> '[]'
    ORDER BY 1, 2 LIMIT 1000
    ON CONFLICT ON CONSTRAINT jobs_once DO NOTHING
    """
)

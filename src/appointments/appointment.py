"""An appointment, and its row.

The only place that knows the columns' order: statements select :data:`COLUMNS` and hand each row to :func:`from_row`.
"""

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

from appointments.db import Row
from appointments.plan import Attendee, Plan

COLUMNS: LiteralString = """
    id, owner_id, title, start_at, end_at, time_zone, description, location, nullif(attendees, '[]'),
    created_at, updated_at, deleted_at, version
"""


class Appointment(NamedTuple):
    """A row of ``appointments``, column by column. ``version`` counts its changes from 1.

    A tuple and not a dataclass: a list makes hundreds, and the driver hands over tuples.
    """

    id: UUID
    owner_id: UUID
    title: str
    start_at: datetime
    end_at: datetime
    time_zone: str
    description: str
    location: str
    attendees: tuple[Attendee, ...]
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    version: int

    @property
    def plan(self) -> Plan:
        """What a person decided about it."""
        return Plan(*self[2:9])

    @property
    def etag(self) -> str:
        """The version as an entity tag (AIP-154, RFC 9110 §8.8.3)."""
        return f'"{self.version}"'


def from_row(row: Row) -> Appointment:
    """Read a row of :data:`COLUMNS`."""
    attendees = tuple(Attendee(**guest) for guest in row[8]) if row[8] else ()  # None is nobody: nothing to parse
    return Appointment._make((*row[:8], attendees, *row[9:]))


def booked(appointment_id: UUID, owner_id: UUID, plan: Plan, created_at: datetime) -> Appointment:
    """What a plan is as soon as it is booked."""
    return Appointment(
        appointment_id, owner_id, plan.title, plan.start_at, plan.end_at, plan.time_zone, plan.description,
        plan.location, plan.attendees, created_at, created_at, None, 1,
    )  # fmt: skip


def to_values(plan: Plan) -> dict[str, Any]:
    """The named parameters that write a plan."""
    return {
        "title": plan.title,
        "description": plan.description,
        "location": plan.location,
        "start_at": plan.start_at,
        "end_at": plan.end_at,
        "time_zone": plan.time_zone,
        "attendees": json.dumps(list(map(asdict, plan.attendees))).encode() if plan.attendees else b"[]",
    }

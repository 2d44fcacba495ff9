"""An appointment, and its row.

The only place that knows the columns' order: statements select :data:`COLUMNS` and hand each row to :func:`from_row`.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from appointments.plan import Attendee, Plan

COLUMNS: LiteralString = """
    id, owner_id, title, start_at, end_at, time_zone, description, location, attendees,
    created_at, updated_at, deleted_at, version
"""


@dataclass(frozen=True, slots=True)
class Appointment:
    """A row of ``appointments``. ``version`` counts its changes from 1."""

    id: UUID
    owner_id: UUID
    plan: Plan
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    version: int

    @property
    def etag(self) -> str:
        """The version as an entity tag (AIP-154, RFC 9110 §8.8.3)."""
        return f'"{self.version}"'


def from_row(row: tuple[Any, ...]) -> Appointment:
    """Read a row of :data:`COLUMNS`."""
    appointment_id, owner_id, title, start_at, end_at, time_zone, description, location, guests, *rest = row
    attendees = tuple(Attendee(**guest) for guest in guests)
    plan = Plan(title, start_at, end_at, time_zone, description, location, attendees)
    return Appointment(appointment_id, owner_id, plan, *rest)


def to_values(plan: Plan) -> dict[str, Any]:
    """The named parameters that write a plan."""
    return {
        "title": plan.title,
        "description": plan.description,
        "location": plan.location,
        "start_at": plan.start_at,
        "end_at": plan.end_at,
        "time_zone": plan.time_zone,
        "attendees": Jsonb([asdict(attendee) for attendee in plan.attendees]),
    }

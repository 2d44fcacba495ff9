"""A resource: what its managers decide about it (:class:`ResourceSpec`), its row (:class:`Resource`), and its rules."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

from appointments.calendar.appointment import NO_TIME, seconds
from appointments.calendar.bookable import hours, rules
from appointments.calendar.bookable.hours import ALWAYS, Hours
from appointments.calendar.bookable.rules import NO_RULES, BookingRules
from appointments.calendar.validation import buffer_problem
from appointments.db import Micros
from appointments.shared.errors import Violation
from appointments.shared.validation import ZONES, problem

MAX_SEATS = 100_000
MAX_UNITS = 100

KINDS = ("room", "equipment")


class Role(IntEnum):
    """What somebody may do with a resource. Each role includes those before it."""

    NONE = 0
    VIEWER = 1
    BOOKER = 2
    MANAGER = 3


@dataclass(frozen=True, slots=True)
class ResourceSpec:
    """What a resource is to be. ``kind`` is one of :data:`KINDS`, ``seats`` 0 if not said."""

    kind: str
    display_name: str
    time_zone: str
    description: str = ""
    location: str = ""
    seats: int = 0
    units: int = 1
    buffer_before: timedelta = NO_TIME
    buffer_after: timedelta = NO_TIME
    default_role: int = Role.NONE
    hours: Hours = ALWAYS
    booking_rules: BookingRules = NO_RULES


# What a person may do is what everybody may, or what was granted to them, whichever is more. Admins manage every
# resource, so that one whose last manager has left is not out of reach.
ROLE: LiteralString = """
    greatest(resources.default_role, coalesce((
        SELECT role FROM resource_grants
        WHERE resource_grants.resource_id = resources.id AND resource_grants.user_id = %(user_id)s::uuid
    ), 0), (SELECT 3 FROM users WHERE users.id = %(user_id)s::uuid AND users.role = 'admin'))
"""

# A service account that sees to users sees to every resource as well; what it books is judged by its own roles.
_ROLE_OR_ADMIN: LiteralString = f"CASE WHEN %(is_admin)s::boolean THEN 3 ELSE {ROLE} END"

COLUMNS: LiteralString = f"""
    id::text AS id_text, kind, display_name, time_zone, description, location, seats, units, buffer_before,
    buffer_after, default_role, hours, booking_rules, created_at, updated_at, deleted_at, version,
    {_ROLE_OR_ADMIN} AS role
"""


class Resource(NamedTuple):
    """A row of ``resources`` as one person sees it, column by column: ``role`` is theirs. Buffers are in seconds."""

    id_text: str
    kind: str
    display_name: str
    time_zone: str
    description: str
    location: str
    seats: int
    units: int
    buffer_before: int
    buffer_after: int
    default_role: int
    hours: dict[str, Any] | None
    booking_rules: dict[str, Any] | None
    created_at: Micros
    updated_at: Micros
    deleted_at: Micros | None
    version: int
    role: int

    @property
    def id(self) -> UUID:
        """Its id."""
        return UUID(self.id_text)

    @property
    def spec(self) -> ResourceSpec:
        """What its managers decided about it."""
        return ResourceSpec(
            self.kind, self.display_name, self.time_zone, self.description, self.location, self.seats, self.units,
            timedelta(seconds=self.buffer_before), timedelta(seconds=self.buffer_after), self.default_role,
            Hours.from_json(self.hours), BookingRules.from_json(self.booking_rules),
        )  # fmt: skip

    @property
    def etag(self) -> str:
        """The version as an entity tag (AIP-154)."""
        return f'"{self.version}"'


def to_values(spec: ResourceSpec) -> dict[str, Any]:
    """The named parameters that write a spec."""
    return {
        "kind": spec.kind,
        "display_name": spec.display_name,
        "time_zone": spec.time_zone,
        "description": spec.description,
        "location": spec.location,
        "seats": spec.seats,
        "units": spec.units,
        "buffer_before": seconds(spec.buffer_before),
        "buffer_after": seconds(spec.buffer_after),
        "default_role": spec.default_role,
        "hours": (spec.hours.dumps() or "").encode() or None,
        "booking_rules": (spec.booking_rules.dumps() or "").encode() or None,
    }


def violations(spec: ResourceSpec) -> list[Violation]:
    """Every rule that the spec breaks; empty if there can be such a resource."""
    found = [Violation(f"resource.{field}", description) for field, description in _problems(spec)]
    found += hours.violations(spec.hours, "resource.hours")
    return found + rules.violations(spec.booking_rules, "resource.booking_rules")


def _problems(spec: ResourceSpec) -> Iterator[tuple[str, str]]:
    if spec.kind not in KINDS:
        yield "kind", "must be a known kind, such as RESOURCE_KIND_ROOM" if spec.kind else "is required"
    for field, value, least, most in (
        ("display_name", spec.display_name, 1, 200),
        ("description", spec.description, 0, 10_000),
        ("location", spec.location, 0, 500),
    ):
        if found := problem(value, most=most, least=least):
            yield field, found
    if spec.time_zone not in ZONES:
        yield "time_zone", "must be an IANA time zone, such as Europe/Zurich" if spec.time_zone else "is required"
    if not 0 <= spec.seats <= MAX_SEATS:
        yield "seats", f"must be from 0 to {MAX_SEATS:,}"
    if not 1 <= spec.units <= MAX_UNITS:
        yield "units", f"must be from 1 to {MAX_UNITS}"
    for field, buffer in (("buffer_before", spec.buffer_before), ("buffer_after", spec.buffer_after)):
        if found := buffer_problem(buffer):
            yield field, found
    if spec.default_role not in set(Role):
        yield "default_role", "must be a known role"

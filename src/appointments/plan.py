"""A plan: what a person decides about an appointment, and the bounds that it must keep.

Pure: no clock, no database. :func:`violations` names every broken rule at once, with the field's path in the contract.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import available_timezones

from appointments.errors import Violation
from appointments.text import email_problem, fold_email, problem

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2101, 1, 1, tzinfo=UTC)
UNSET = datetime.min.replace(tzinfo=UTC)
LONGEST = timedelta(days=31)
MAX_ATTENDEES = 100

ZONES = frozenset(available_timezones() - {"Factory", "localtime"})
"""The IANA zones and their aliases, from the system's database or the ``tzdata`` package."""

RESPONSES = frozenset({"NEEDS-ACTION", "ACCEPTED", "DECLINED", "TENTATIVE"})
"""PARTSTAT of RFC 5545 §3.2.12, as far as it concerns events."""


@dataclass(frozen=True, slots=True)
class Attendee:
    """Somebody invited. ``response`` is one of :data:`RESPONSES`."""

    email: str
    display_name: str = ""
    response: str = "NEEDS-ACTION"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is booked. Times are aware, to the microsecond, ``[start_at, end_at)``; UNSET where none was given."""

    title: str
    start_at: datetime
    end_at: datetime
    time_zone: str
    description: str = ""
    location: str = ""
    attendees: tuple[Attendee, ...] = ()


def violations(plan: Plan) -> list[Violation]:
    """Every rule that the plan breaks; empty if it can be booked."""
    return [Violation(f"appointment.{field}", description) for field, description in _problems(plan)]


def _problems(plan: Plan) -> Iterator[tuple[str, str]]:
    for field, value, least, most in (
        ("title", plan.title, 1, 200),
        ("description", plan.description, 0, 10_000),
        ("location", plan.location, 0, 500),
    ):
        if found := problem(value, most=most, least=least):
            yield field, found
    yield from _time_problems(plan.start_at, plan.end_at)
    if plan.time_zone not in ZONES:
        yield "time_zone", "must be an IANA time zone, such as Europe/Zurich" if plan.time_zone else "is required"
    yield from _attendee_problems(plan.attendees)


def _time_problems(start_at: datetime, end_at: datetime) -> Iterator[tuple[str, str]]:
    bad = False
    for field, value in (("start_time", start_at), ("end_time", end_at)):
        if not EARLIEST <= value <= LATEST:
            yield field, "is required" if value == UNSET else "must be in the years 1970 to 2100"
            bad = True
    if bad:
        return
    if start_at >= end_at:
        yield "end_time", "must be after start_time"
    elif end_at - start_at > LONGEST:
        yield "end_time", f"must be at most {LONGEST.days} days after start_time"


def _attendee_problems(attendees: tuple[Attendee, ...]) -> Iterator[tuple[str, str]]:
    if len(attendees) > MAX_ATTENDEES:
        yield "attendees", f"must be at most {MAX_ATTENDEES}, are {len(attendees):,}"
        return
    seen: set[str] = set()
    for index, attendee in enumerate(attendees):
        here = f"attendees[{index}]"
        folded = fold_email(attendee.email)
        if found := email_problem(attendee.email):
            yield f"{here}.email", found
        elif folded in seen:
            yield f"{here}.email", "is there already; each address may be invited once"
        seen.add(folded)
        if found := problem(attendee.display_name, most=200):
            yield f"{here}.display_name", found
        if attendee.response not in RESPONSES:
            yield f"{here}.response", "is not a known response"

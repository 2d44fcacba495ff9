"""The rules that an appointment must keep, as far as it can be judged alone.

Pure: no clock, no database. :func:`violations` names every broken rule at once, with the field's path in the contract.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from appointments.calendar.appointment import UNSET, Attendee, Spec
from appointments.errors import Violation
from appointments.validation import ZONES, email_problem, fold_email, problem

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2101, 1, 1, tzinfo=UTC)
LONGEST = timedelta(days=31)
MAX_ATTENDEES = 100

RESPONSES = frozenset({"NEEDS-ACTION", "ACCEPTED", "DECLINED", "TENTATIVE"})
"""PARTSTAT of RFC 5545 §3.2.12, as far as it concerns events."""


def violations(spec: Spec) -> list[Violation]:
    """Every rule that the spec breaks; empty if it can be booked."""
    return [Violation(f"appointment.{field}", description) for field, description in _problems(spec)]


def _problems(spec: Spec) -> Iterator[tuple[str, str]]:
    for field, value, least, most in (
        ("title", spec.title, 1, 200),
        ("description", spec.description, 0, 10_000),
        ("location", spec.location, 0, 500),
    ):
        if found := problem(value, most=most, least=least):
            yield field, found
    yield from _time_problems(spec.start_at, spec.end_at)
    if spec.time_zone not in ZONES:
        yield "time_zone", "must be an IANA time zone, such as Europe/Zurich" if spec.time_zone else "is required"
    yield from _attendee_problems(spec.attendees)


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

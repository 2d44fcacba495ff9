"""The rules that an appointment must keep, as far as it can be judged alone.

Pure: no clock, no database. :func:`violations` names every broken rule at once, with the field's path in the contract.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from appointments.calendar import reminders
from appointments.calendar.appointment import NO_TIME, UNSET, Attendee, Spec
from appointments.shared.errors import Violation
from appointments.shared.validation import ZONES, email_problem, fold_email, is_uuid, problem

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2101, 1, 1, tzinfo=UTC)
LONGEST = timedelta(days=31)
LONGEST_DAYS = LONGEST + timedelta(hours=2)
"""Whole days: thirty-one of them have an hour more where summer time ends, and in Antarctica/Troll two."""

MAX_ATTENDEES = 100
MAX_RESOURCES = 20
LONGEST_BUFFER = timedelta(hours=24)

RESPONSES = frozenset({"NEEDS-ACTION", "ACCEPTED", "DECLINED", "TENTATIVE"})
"""PARTSTAT of RFC 5545 §3.2.12, as far as it concerns events."""


def violations(spec: Spec) -> list[Violation]:
    """Every rule that the spec breaks; empty if it can be booked."""
    found = [Violation(f"appointment.{field}", description) for field, description in _problems(spec)]
    return found + reminders.violations(spec.reminders, "appointment.reminders") if spec.reminders else found


def _problems(spec: Spec) -> Iterator[tuple[str, str]]:
    for field, value, least, most in (
        ("title", spec.title, 1, 200),
        ("description", spec.description, 0, 10_000),
        ("location", spec.location, 0, 500),
    ):
        if found := problem(value, most=most, least=least):
            yield field, found
    zone = ZoneInfo(spec.time_zone) if spec.time_zone in ZONES else None
    yield from _time_problems(spec, zone)
    if zone is None:
        yield "time_zone", "must be an IANA time zone, such as Europe/Zurich" if spec.time_zone else "is required"
    # Most appointments have none of these, and this runs for every create.
    if spec.attendees:
        yield from _attendee_problems(spec.attendees)
    if spec.resource_ids:
        yield from _resource_problems(spec.resource_ids)
    if spec.buffer_before or spec.buffer_after:
        yield from _buffer_problems(spec)
    if spec.transparent:
        yield from _transparency_problems(spec)


def _time_problems(spec: Spec, zone: ZoneInfo | None) -> Iterator[tuple[str, str]]:
    times = (("start_time", spec.start_at), ("end_time", spec.end_at))
    bad = [field for field, value in times if not EARLIEST <= value <= LATEST]
    for field, value in times:
        if field in bad:
            yield field, "is required" if value == UNSET else "must be in the years 1970 to 2100"
    if bad:
        return
    if spec.start_at >= spec.end_at:
        yield "end_time", "must be after start_time"
    elif spec.end_at - spec.start_at > (LONGEST_DAYS if spec.all_day else LONGEST):
        yield "end_time", f"must be at most {LONGEST.days} days after start_time"
    if spec.all_day and zone:
        for field, value in times:
            if not begins_day(value, zone):
                yield field, f"must be the first instant of a day in {zone.key}, because the appointment is all_day"


def begins_day(value: datetime, zone: ZoneInfo) -> bool:
    """Whether an instant is the first one of a day in a zone. A day whose midnight is skipped begins when it begins."""
    local = value.astimezone(zone)
    before = (value - timedelta.resolution).astimezone(zone)
    # Where clocks go back across midnight the day begins twice: the first time counts.
    return before.date() < local.date() and local.fold == 0


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


def _resource_problems(resource_ids: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if len(resource_ids) > MAX_RESOURCES:
        yield "resource_ids", f"must be at most {MAX_RESOURCES}, are {len(resource_ids):,}"
        return
    for index, resource_id in enumerate(resource_ids):
        if not is_uuid(resource_id):
            yield f"resource_ids[{index}]", "must be a UUID"
        elif resource_id in resource_ids[:index]:
            yield f"resource_ids[{index}]", "is there already; each resource may be taken once"


def _buffer_problems(spec: Spec) -> Iterator[tuple[str, str]]:
    for field, value in (("buffer_before", spec.buffer_before), ("buffer_after", spec.buffer_after)):
        if value and (found := buffer_problem(value)):
            yield field, found


def buffer_problem(value: timedelta) -> str | None:
    """Say what is wrong with a buffer, or None."""
    if not NO_TIME <= value <= LONGEST_BUFFER:
        return "must be from 0 to 24 hours"
    return "must be whole seconds" if value.microseconds else None


def _transparency_problems(spec: Spec) -> Iterator[tuple[str, str]]:
    for field, value in (
        ("resource_ids", spec.resource_ids),
        ("buffer_before", spec.buffer_before),
        ("buffer_after", spec.buffer_after),
    ):
        if value:
            yield field, "must be empty, because the appointment is transparent and takes no time"

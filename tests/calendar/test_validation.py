"""The bounds of a spec: each rule at its edge, and every broken one named at once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from appointments.calendar.appointment import UNSET, Attendee, Spec
from appointments.calendar.validation import EARLIEST, LATEST, LONGEST, violations
from appointments.shared.validation import ZONES

TEN = datetime(2030, 5, 1, 10, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
GOOD = Spec("Haircut", TEN, TEN + timedelta(hours=1), "Europe/Zurich")


def fields(spec: Spec) -> list[str]:
    """The bad fields of a spec."""
    return [violation.field.removeprefix("appointment.") for violation in violations(spec)]


def test_a_good_plan_breaks_nothing() -> None:
    """Nor does one at every upper bound."""
    guests = tuple(Attendee(f"guest{index}@example.com", "x" * 200) for index in range(100))
    largest = Spec("t" * 200, TEN, TEN + LONGEST, "UTC", "d" * 10_000, "l" * 500, guests)
    assert [] == fields(GOOD)
    assert [] == fields(largest)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"title": ""}, "title"),
        ({"title": " \t\n"}, "title"),
        ({"title": "t" * 201}, "title"),
        ({"title": "a\x00b"}, "title"),
        ({"title": "a\ud800b"}, "title"),
        ({"description": "d" * 10_001}, "description"),
        ({"description": "\x00"}, "description"),
        ({"location": "l" * 501}, "location"),
        ({"start_at": UNSET}, "start_time"),
        ({"end_at": UNSET}, "end_time"),
        ({"end_at": TEN}, "end_time"),
        ({"end_at": TEN - MICROSECOND}, "end_time"),
        ({"end_at": TEN + LONGEST + MICROSECOND}, "end_time"),
        ({"start_at": EARLIEST - MICROSECOND, "end_at": EARLIEST}, "start_time"),
        ({"start_at": LATEST - MICROSECOND, "end_at": LATEST + MICROSECOND}, "end_time"),
        ({"time_zone": ""}, "time_zone"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"time_zone": "europe/zurich"}, "time_zone"),
        ({"attendees": tuple(Attendee(f"g{index}@example.com") for index in range(101))}, "attendees"),
        ({"attendees": (Attendee("nobody"),)}, "attendees[0].email"),
        ({"attendees": (Attendee(""),)}, "attendees[0].email"),
        ({"attendees": (Attendee("a@example.com"), Attendee("A@Example.COM"))}, "attendees[1].email"),
        ({"attendees": (Attendee("a@example.com", "x" * 201),)}, "attendees[0].display_name"),
        ({"attendees": (Attendee("a@example.com", "", "99"),)}, "attendees[0].response"),
    ],
)
def test_a_broken_rule_names_its_field(change: dict[str, object], field: str) -> None:
    """One rule, one field."""
    assert [field] == fields(replace(GOOD, **change))  # type: ignore[arg-type]


def test_the_first_and_the_last_instant_can_be_booked() -> None:
    """1970 to 2100, both whole."""
    assert [] == fields(replace(GOOD, start_at=EARLIEST, end_at=EARLIEST + MICROSECOND))
    assert [] == fields(replace(GOOD, start_at=LATEST - MICROSECOND, end_at=LATEST))


def test_a_day_of_the_clock_change_is_measured_in_real_hours() -> None:
    """31 days are 744 hours, whatever the clocks of a zone do in between."""
    summer = timezone(timedelta(hours=2))
    start = datetime(2030, 10, 1, tzinfo=summer)
    assert [] == fields(replace(GOOD, start_at=start, end_at=start + LONGEST))


def test_every_broken_rule_is_named_at_once() -> None:
    """A person corrects a form once, not field by field."""
    broken = Spec("", UNSET, UNSET, "Nowhere", "\x00", "l" * 501, (Attendee("x"), Attendee("y")))
    assert [
        "title",
        "description",
        "location",
        "start_time",
        "end_time",
        "time_zone",
        "attendees[0].email",
        "attendees[1].email",
    ] == fields(broken)


def test_the_zones_are_ianas() -> None:
    """Links and UTC are zones; what only a machine has is not."""
    assert {"UTC", "Europe/Zurich", "America/Argentina/Buenos_Aires", "Etc/GMT+5"} <= ZONES
    assert not {"localtime", "Factory", "posixrules", ""} & ZONES

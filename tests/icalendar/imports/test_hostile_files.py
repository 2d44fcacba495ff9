"""Whatever the bytes of a file are, it is imported, reported or refused by name; nothing else happens."""

from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appointments.icalendar.imports import lines, plan
from appointments.shared.errors import Invalid

NOW = datetime(2026, 6, 1, tzinfo=UTC)

# fmt: off
NAMES = st.sampled_from(
    [
        "UID", "DTSTART", "DTEND", "DURATION", "RRULE", "RDATE", "EXDATE", "RECURRENCE-ID", "STATUS", "TRANSP",
        "SEQUENCE", "SUMMARY", "DESCRIPTION", "TZID", "TZOFFSETFROM", "TZOFFSETTO", "ATTENDEE", "BEGIN", "END",
        "X-APPOINTMENTS-TIME-ZONE", "X-APPOINTMENTS-BUFFER-AFTER",
    ]
)
PARAMETERS = st.sampled_from(
    ["", ";TZID=Europe/Zurich", ";TZID=Own", ";VALUE=DATE", ";TZID=Nowhere", ';X="a;b:c"', ";VALUE=PERIOD", ";TZID="]
)
VALUES = st.one_of(
    st.sampled_from(
        [
        "20270301T090000", "20270301T100000Z", "20270301", "99991231T235959Z", "00010101T000000", "20270332T250000",
        "P1D", "-PT1H", "P99999W", "PT999999999S", "FREQ=DAILY", "FREQ=WEEKLY;COUNT=3", "FREQ=YEARLY;BYDAY=-1SU",
        "FREQ=DAILY;COUNT=99999999", "CANCELLED", "FREQ=DAILY;INTERVAL=0", "FREQ=MONTHLY;UNTIL=99991231", "a",
        "VEVENT", "VCALENDAR", "VTIMEZONE", "STANDARD", "+0100", "-2359", "+9999",
        "20270301T090000,20270302T090000", "Own",
    ]
    ),
    st.text(max_size=30),
)
# fmt: on
LINES = st.builds(lambda name, parameters, value: f"{name}{parameters}:{value}", NAMES, PARAMETERS, VALUES)
COMPONENTS = st.builds(
    lambda kind, inside: "\n".join([f"BEGIN:{kind}", *inside, f"END:{kind}"]),
    st.sampled_from(["VEVENT", "VEVENT", "VTIMEZONE", "VTODO"]),
    st.lists(LINES, max_size=8),
)
RULES = "BEGIN:STANDARD\nDTSTART:{}\nTZOFFSETFROM:+0100\nTZOFFSETTO:{}\nRRULE:{}\nEND:STANDARD"
ZONES = st.builds(
    lambda *values: f"BEGIN:VTIMEZONE\nTZID:Own\n{RULES.format(*values)}\nEND:VTIMEZONE", VALUES, VALUES, VALUES
)
EVENTS = st.builds(
    "BEGIN:VEVENT\nUID:{}\nDTSTART{}:{}\nDTEND{}:{}\nRRULE:{}\nEND:VEVENT".format,
    *(st.sampled_from(["a", "b"]), PARAMETERS, VALUES, PARAMETERS, VALUES, VALUES),
)
FILES = st.lists(st.one_of(COMPONENTS, ZONES, EVENTS, LINES), max_size=6).map(
    lambda parts: "\n".join(["BEGIN:VCALENDAR", *parts, "END:VCALENDAR"]).encode(errors="replace")
)


def look(content: bytes) -> None:
    """Read a file as far as it gets without a database."""
    try:
        entries = plan.plan(lines.read(content), "Europe/Zurich", NOW)
    except Invalid:
        return
    for entry in entries:
        assert entry.line > 0
        # What there is nothing to book of says why.
        assert entry.wanted or entry.notes


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(FILES)
def test_files_that_look_like_calendars(content: bytes) -> None:
    """Right properties with wrong values, in any order and nesting."""
    look(content)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_bytes_that_are_no_calendar(content: bytes, inside: bool) -> None:
    """Any bytes at all, alone or inside a calendar."""
    look(b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n" + content + b"\r\nEND:VEVENT\r\nEND:VCALENDAR" if inside else content)


@pytest.mark.parametrize(
    "content",
    [
        b"BEGIN:VCALENDAR\nX" + b";A=" * 200_000 + b"\nEND:VCALENDAR",
        b"BEGIN:VCALENDAR\nX;A=" + b"," * 500_000 + b"\nEND:VCALENDAR",
        b"BEGIN:VCALENDAR\nX:" + b"\n " * 500_000 + b"\nEND:VCALENDAR",
        b'BEGIN:VCALENDAR\nX;A="' + b'"' * 500_000 + b"\nEND:VCALENDAR",
    ],
)
def test_no_line_takes_long(content: bytes) -> None:
    """Lines that would have a careless pattern try every way to read them."""
    look(content)

"""VTIMEZONEs, read back by other people's code against the machine's zones."""

import io
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from dateutil import tz

from appointments.icalendar import ical

YEARS = (date(2026, 1, 1), date(2029, 12, 31))


@pytest.mark.parametrize(
    ("name", "is_regular"),
    [
        ("Europe/Zurich", True),
        ("America/New_York", True),
        ("Australia/Lord_Howe", True),  # by half an hour
        ("Africa/Casablanca", False),  # by the moon
        ("America/Santiago", False),  # a Sunday on or after a day
        ("Asia/Kathmandu", False),
    ],
)
def test_a_zone_is_the_same_for_other_programs(name: str, is_regular: bool) -> None:
    """Its offset at each hour of four years; regular ones by a rule, since programs read no list of dates alike."""
    (component,) = ical.timezones([], [(name, *YEARS)])
    text = component.to_ical().decode()
    assert is_regular == ("RRULE:FREQ=YEARLY" in text)
    assert "RDATE" not in text
    read = tz.tzical(io.StringIO(text)).get(name)
    clock = ZoneInfo(name)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    while at < datetime(2030, 1, 1, tzinfo=UTC):
        local = at.astimezone(clock)
        # By the wall clock, because dateutil does not know which of two equal hours is the second.
        if not local.fold and (local + timedelta(hours=1)).replace(fold=1).utcoffset() == local.utcoffset():
            assert local.utcoffset() == local.replace(tzinfo=read).utcoffset(), local
        at += timedelta(hours=1)

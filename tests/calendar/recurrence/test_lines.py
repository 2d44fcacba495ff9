"""``appointments recurrence``: a line for a line, whatever the line is, without a database."""

import json
import subprocess
import sys
from typing import Any

import pytest

from appointments.calendar.recurrence import lines

DATES = {"start": "2026-01-01", "date_only": True}
ZURICH = {"start": "2026-03-28T02:30", "zone": "Europe/Zurich"}


def answer(**asked: Any) -> dict[str, Any]:
    """What one line is answered with."""
    (line,) = lines.answers([json.dumps(asked)])
    return dict(json.loads(line))


@pytest.mark.parametrize(
    ("rule", "fields", "expected"),
    [
        ("FREQ=DAILY", {**ZURICH, "limit": 2}, ["2026-03-28T02:30:00", "2026-03-29T03:30:00"]),
        ("FREQ=DAILY;COUNT=1", {"start": "2026-03-28T09:00:01.5"}, ["2026-03-28T09:00:01.500000"]),
        # After and before are just that.
        (
            "FREQ=DAILY",
            {"start": "2026-01-01T09:00", "after": "2030-01-01T09:00", "before": "2030-01-03T09:00"},
            ["2030-01-02T09:00:00"],
        ),
        ("FREQ=MONTHLY;BYMONTHDAY=15", {**DATES, "limit": 2, "zone": None}, ["2026-01-15", "2026-02-15"]),
        ("FREQ=DAILY;BYHOUR=1,2;COUNT=2", DATES, ["2026-01-01", "2026-01-02"]),
        ("FREQ=DAILY;UNTIL=20260101", {**DATES, "added": ["2027-01-01"]}, ["2026-01-01", "2027-01-01"]),
        ("FREQ=DAILY;COUNT=2", {**DATES, "excluded": ["2026-01-01", "2026-01-02"]}, []),
        ("FREQ=DAILY;UNTIL=20260101T090000Z", {"start": "2026-01-01T09:00", "id": 7}, ["2026-01-01T09:00:00"]),
    ],
)
def test_an_answer_lists_wall_times(rule: str, fields: dict[str, Any], expected: list[str]) -> None:
    """As the zone's clock shows them, and no error."""
    assert {"occurrences": expected, "error": None} == answer(rule=rule, **fields)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"rule": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "start": "2026-01-01"}, "never happens"),
        ({"rule": "FREQ=DAILY;UNTIL=20251231", "start": "2026-01-01"}, "never happens"),
        ({"rule": "FREQ=DAILY;UNTIL=20260102T000000", **ZURICH}, "UNTIL must be in UTC"),
        ({"rule": "FREQ=DAILY;UNTIL=20260102T000000Z", **DATES}, "UNTIL must be a date"),
        ({"rule": "FREQ=HOURLY", "start": "2026-01-01"}, "HOURLY"),
        ({"rule": "FREQ=DAILY"}, "start is required"),
        ({"start": "2026-01-01"}, "rule is required"),
        ({"rule": 7, "start": "2026-01-01"}, "rule must be"),
        ({"rule": "FREQ=DAILY", "start": "soon"}, "start must be"),
        ({"rule": "FREQ=DAILY", "start": 5}, "start must be"),
        ({"rule": "FREQ=DAILY", "start": "2026-01-01T09:00Z"}, "start must be a wall time"),
        ({"rule": "FREQ=DAILY", "start": "2026-01-01T09:00", "date_only": True}, "start must be a date"),
        ({"rule": "FREQ=DAILY", "start": "2026-01-01", "zone": "Mars/Base"}, "zone must be"),
        ({"rule": "FREQ=DAILY", "start": "2026-01-01", "zone": ["UTC"]}, "zone must be"),
        ({"rule": "FREQ=DAILY", "start": "2026-01-01", "added": "2026-01-01"}, "added must be a list"),
        ({"rule": "FREQ=DAILY", "start": "2026-01-01", "excluded": [1]}, "excluded must be"),
        ({"rule": "FREQ=DAILY", "start": "2026-01-01", "limit": 0}, "limit must be"),
        ({"rule": "FREQ=DAILY", "start": "2026-01-01", "limit": True}, "limit must be"),
        ({"rule": "FREQ=DAILY", **DATES, "date_only": "yes"}, "date_only must be"),
        ({"rule": "FREQ=DAILY", "start": "0001-01-01T00:00", "zone": "Asia/Tokyo"}, ""),
    ],
)
def test_what_cannot_be_answered_says_why(asked: dict[str, Any], why: str) -> None:
    """No occurrences, and a reason that names the field or the part."""
    found = answer(**asked)
    assert [] == found["occurrences"]
    assert why in found["error"]


def test_endless_answers_end() -> None:
    """Where nothing ends them, after a thousand; at the calendar's end in any case."""
    assert lines.MOST_OF_ENDLESS == len(answer(rule="FREQ=DAILY", start="2026-01-01")["occurrences"])
    last = answer(rule="FREQ=DAILY", start="9999-12-30T09:00", zone="America/Los_Angeles")
    assert None is last["error"]


def test_the_command_answers_without_a_database() -> None:
    """Each line of its input that is not blank, garbage included."""
    rule = b'{"rule": "FREQ=WEEKLY;COUNT=2", "start": "2026-11-24", "date_only": true}'
    ran = subprocess.run(
        [sys.executable, "-m", "appointments", "recurrence", "--jsonl"],
        input=b"\n".join([rule, b"", b"\xff\xfe garbage", b"[]", b"[" * 100_000, rule]),
        capture_output=True,
        check=True,
        env={"DATABASE_URL": "postgresql://nowhere.invalid/"},
    )
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [2, 0, 0, 0, 2] == [len(each["occurrences"]) for each in found]
    assert [True, False, False, False, True] == [each["error"] is None for each in found]


def test_the_command_shows_a_rule_to_a_person() -> None:
    """Ten lines if not told otherwise; a mistake is one line and an exit code."""
    command = [sys.executable, "-m", "appointments", "recurrence"]
    asked = ["FREQ=MONTHLY;BYDAY=-1FR", "--start", "2026-01-30T09:00", "--zone", "Europe/Zurich"]
    ran = subprocess.run([*command, *asked, "--limit", "2"], capture_output=True, text=True, check=True)
    assert ("2026-01-30T09:00:00\n2026-02-27T09:00:00\n", "") == (ran.stdout, ran.stderr)
    assert 10 == len(subprocess.run([*command, *asked], capture_output=True, check=True).stdout.splitlines())
    bad = subprocess.run([*command, "FREQ=NEVER", "--start", "2026-01-30"], capture_output=True, text=True, check=False)
    assert (1, "Error: FREQ=NEVER: FREQ must be DAILY, WEEKLY, MONTHLY or YEARLY\n") == (bad.returncode, bad.stderr)
    unmet = subprocess.run([*command, asked[0], "--start", "2026-01-29"], capture_output=True, text=True, check=True)
    assert "does not meet its start" in unmet.stderr

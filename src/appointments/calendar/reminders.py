"""Reminders: how many minutes before an appointment's start somebody is written to. Pure."""

from collections.abc import Sequence

from appointments.shared.errors import Violation

MOST = 5
FARTHEST = 40_320
"""Minutes: 28 days."""


def violations(minutes: Sequence[int], field: str) -> list[Violation]:
    """What is wrong with reminders, if anything; ``field`` is their path in the contract."""
    if len(minutes) > MOST:
        return [Violation(field, f"must be at most {MOST}, are {len(minutes):,}")]
    found = []
    for index, each in enumerate(minutes):
        if not 0 <= each <= FARTHEST:
            found.append(Violation(f"{field}[{index}]", f"must be from 0 to {FARTHEST:,} minutes (28 days)"))
        elif each in minutes[:index]:
            found.append(Violation(f"{field}[{index}]", "is there already; each may be given once"))
    return found

"""Booking rules: the conditions under which a person or resource can be booked, set by whoever manages their time.

Without rules every time is allowed, even in the past. :mod:`~appointments.calendar.bookable.terms` says which times
they allow.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from appointments.shared.errors import Violation

NONE = timedelta()
_LONGEST = {
    "min_notice": timedelta(days=366),
    "horizon": timedelta(days=3660),
    "min_duration": timedelta(days=31),
    "max_duration": timedelta(days=31),
    "step": timedelta(days=1),
    "change_notice": timedelta(days=366),
}
MAX_DAILY_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class BookingRules:
    """The rules. Zero and False, and True for ``past_changes``, mean that there is no such rule."""

    min_notice: timedelta = NONE
    horizon: timedelta = NONE
    min_duration: timedelta = NONE
    max_duration: timedelta = NONE
    step: timedelta = NONE
    daily_limit: int = 0
    within_hours: bool = False
    change_notice: timedelta = NONE
    past_changes: bool = True

    def to_json(self) -> dict[str, Any] | None:
        """The form in which the database keeps them: only rules that are set, durations in seconds. None: no rules."""
        asked = {
            name: value // timedelta(seconds=1) if isinstance(value, timedelta) else value
            for name, value in asdict(self).items()
            if value != getattr(NO_RULES, name)
        }
        return asked or None

    def dumps(self) -> str | None:
        """The same as JSON."""
        stored = self.to_json()
        return None if stored is None else json.dumps(stored)

    @classmethod
    def from_json(cls, stored: dict[str, Any] | None) -> "BookingRules":
        """Read rules from the database's form."""
        if not stored:
            return NO_RULES
        values: dict[str, Any] = {
            name: timedelta(seconds=value) if name in _LONGEST else value for name, value in stored.items()
        }
        return cls(**values)


NO_RULES = BookingRules()


def violations(rules: BookingRules, field: str) -> list[Violation]:
    """Everything that is wrong with rules. ``field`` is their path in the request."""
    return [Violation(f"{field}.{path}", description) for path, description in _problems(rules)]


def _problems(rules: BookingRules) -> Iterator[tuple[str, str]]:
    for name, longest in _LONGEST.items():
        value: timedelta = getattr(rules, name)
        if not NONE <= value <= longest:
            yield name, f"must be from 0 to {longest.days:,} days"
        elif value.microseconds:
            yield name, "must be whole seconds"
    if rules.step % timedelta(minutes=1):
        yield "step", "must be whole minutes"
    if not 0 <= rules.daily_limit <= MAX_DAILY_LIMIT:
        yield "daily_limit", f"must be from 0 to {MAX_DAILY_LIMIT:,}"
    if rules.horizon and rules.horizon <= rules.min_notice:
        yield "horizon", "must be longer than min_notice: nothing could be booked"
    if rules.max_duration and rules.max_duration < rules.min_duration:
        yield "max_duration", "must be at least min_duration: nothing could be booked"

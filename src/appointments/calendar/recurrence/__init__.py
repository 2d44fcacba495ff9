"""Recurrence rules of RFC 5545: read strictly, expanded between bounds. Pure: no clock, no database, no network."""

from appointments.calendar.recurrence.expansion import LAST_YEAR, walls
from appointments.calendar.recurrence.occurrences import Occurrence, happens, occurrences
from appointments.calendar.recurrence.rule import BadRule, Freq, Rule, check_until, parse
from appointments.calendar.recurrence.wall import instant, is_skipped, wall_at

__all__ = [
    "LAST_YEAR",
    "BadRule",
    "Freq",
    "Occurrence",
    "Rule",
    "check_until",
    "happens",
    "instant",
    "is_skipped",
    "occurrences",
    "parse",
    "wall_at",
    "walls",
]

"""Recurrence rules of RFC 5545: read strictly, expanded between bounds. Pure: no clock, no database, no network."""

from appointments.recurrence.expansion import LAST_YEAR, walls
from appointments.recurrence.occurrences import Occurrence, happens, occurrences
from appointments.recurrence.rule import BadRule, Freq, Rule, check_until, parse
from appointments.recurrence.wall import instant, is_skipped, wall_at

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

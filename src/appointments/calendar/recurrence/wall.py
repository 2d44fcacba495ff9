"""Conversion between instants and wall times: what a clock in a zone shows. Recurrence rules are about wall times.

A wall time that a zone skips is read with the offset before the gap. If a wall time comes twice, the first is meant
(RFC 5545 §3.3.5). Both are what :mod:`zoneinfo` does with ``fold=0``.
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo


def instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """The instant, in UTC, at which a zone's clock shows a wall time."""
    return wall.replace(tzinfo=zone, fold=0).astimezone(UTC)


def wall_at(moment: datetime, zone: ZoneInfo) -> datetime:
    """The wall time that a zone's clock shows at an instant."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def is_skipped(wall: datetime, zone: ZoneInfo) -> bool:
    """Whether a zone's clock never shows a wall time."""
    return wall_at(instant(wall, zone), zone) != wall

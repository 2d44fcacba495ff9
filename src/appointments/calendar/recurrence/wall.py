"""Between wall times, which a person reads off a clock in some zone and rules are about, and instants.

A wall time that a zone skips counts with the offset before the gap; of one that comes twice the first is meant
(RFC 5545 §3.3.5). That is what ``fold=0`` says to :mod:`zoneinfo`.
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo


def instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """When a zone's clock shows a wall time, in UTC."""
    return wall.replace(tzinfo=zone, fold=0).astimezone(UTC)


def wall_at(moment: datetime, zone: ZoneInfo) -> datetime:
    """What a zone's clock shows at an instant."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def is_skipped(wall: datetime, zone: ZoneInfo) -> bool:
    """Whether a zone's clock never shows a wall time."""
    return wall_at(instant(wall, zone), zone) != wall

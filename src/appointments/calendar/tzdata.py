"""What an update of the time zone database (tzdata) does to series: wall times stay, so instants move.

Occurrences are identified by their wall times. When a government changes its clock rules, occurrences that are rows
already are still booked at the instants of the old rules, until :func:`move` moves them.
"""

from dataclasses import replace
from datetime import datetime
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from appointments.calendar import series_updating
from appointments.calendar.log import BY_OWNER
from appointments.calendar.materializing import Booked, Terms
from appointments.calendar.recurrence import instant as instant_of
from appointments.calendar.series import day_begins, utc_now
from appointments.db import Database, Statement, instant

_BATCH = 1_000


class Drift(NamedTuple):
    """An occurrence that is booked at another instant than its wall time is by the tzdata of this process."""

    series_id: UUID
    owner_id: UUID
    time_zone: str
    wall: datetime
    stands_at: datetime
    belongs_at: datetime


async def drifts(db: Database, now: datetime | None = None) -> list[Drift]:
    """All future occurrences that have drifted, ordered by series and wall time."""
    found: list[Drift] = []
    after, wall = UUID(int=0), datetime(1, 1, 1)  # noqa: DTZ001 - a wall time
    while True:
        values = {"now": now or utc_now(), "after": after, "wall": wall, "limit": _BATCH}
        rows = await db.fetch(TO_COME, values)
        for series_id, owner_id, time_zone, all_day, wall_time, original in rows:
            zone = ZoneInfo(time_zone)
            belongs = day_begins(wall_time, zone) if all_day else instant_of(wall_time, zone)
            if belongs != instant(original):
                found.append(Drift(series_id, owner_id, time_zone, wall_time, instant(original), belongs))
        if len(rows) < _BATCH:
            return found
        after, wall = rows[-1][0], rows[-1][4]


TO_COME = Statement(
    """
    SELECT series.id, series.owner_id, series.time_zone, series.all_day, occurs_wall, original_start_at
    FROM series JOIN appointments ON series_id = series.id
    WHERE series.deleted_at IS NULL AND appointments.deleted_at IS NULL
      AND original_start_at >= %(now)s::timestamptz
      AND (series.id, occurs_wall) > (%(after)s::uuid, %(wall)s::timestamp)
    ORDER BY series.id, occurs_wall LIMIT %(limit)s::bigint
    """
)


async def move(db: Database, found: list[Drift], terms: Terms) -> list[Booked]:
    """Move the series of these occurrences to where they belong. Those that collide there are skipped, and returned."""
    owners = {drift.series_id: drift.owner_id for drift in found}
    return [
        await series_updating.update(
            db, owner_id, series_id, lambda spec: spec, replace(terms, skip=True), cause=BY_OWNER, even_if_same=True
        )
        for series_id, owner_id in sorted(owners.items())
    ]

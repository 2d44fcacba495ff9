"""Lists of appointments: those that overlap a window, in the order of their start, page by page.

A page goes on after the last row's key, so that pages neither skip nor repeat while rows are added.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import LiteralString
from uuid import UUID

from appointments import paging
from appointments.appointment import COLUMNS, Appointment, from_row
from appointments.db import Database, Statement
from appointments.errors import Invalid, Violation
from appointments.plan import LONGEST

DEFAULT_SIZE = 50
MAX_SIZE = 1000
_BEGINNING = datetime(1, 2, 1, tzinfo=UTC)  # LONGEST after the first instant that Python knows
_END = datetime(9999, 12, 31, tzinfo=UTC)
_NO_ID = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Window:
    """Which appointments to list: those of an owner that overlap ``[since, until)``; None is no bound."""

    owner_id: UUID
    since: datetime | None = None
    until: datetime | None = None
    show_deleted: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, and the token that goes on after it ("" on the last)."""

    appointments: list[Appointment]
    next_token: str


_OVERLAPPING: LiteralString = f"""
    SELECT {COLUMNS} FROM appointments
    WHERE owner_id = %(owner_id)s::uuid
      AND (start_at, id) > (%(after_start)s::timestamptz, %(after_id)s::uuid)
      AND start_at < %(until)s::timestamptz AND end_at > %(since)s::timestamptz
"""
_IN_ORDER: LiteralString = "ORDER BY start_at, id LIMIT %(limit)s::bigint"

ALL = Statement(f"{_OVERLAPPING} {_IN_ORDER}")
# Live appointments do not overlap, so of those that began before the window only the last can reach into it: the index
# is entered there, and not LONGEST before.
LIVE = Statement(
    f"""
    {_OVERLAPPING}
      AND deleted_at IS NULL
      AND start_at >= coalesce((
          SELECT start_at FROM appointments
          WHERE owner_id = %(owner_id)s::uuid AND deleted_at IS NULL
            AND start_at <= %(since)s::timestamptz
            AND (start_at, id) > (%(after_start)s::timestamptz, %(after_id)s::uuid)
          ORDER BY start_at DESC, id DESC LIMIT 1
      ), %(since)s::timestamptz)
    {_IN_ORDER}
    """
)


async def page(db: Database, window: Window, *, size: int = 0, token: str = "") -> Page:
    """List the appointments of a window by start, then id: ``size`` of them (50 if 0, 1,000 at most) after ``token``.

    Raises:
        Invalid: the window is not one, the size is negative, or the token belongs to another list.
    """
    after = _after(window, size, token)
    limit = min(size or DEFAULT_SIZE, MAX_SIZE)
    values = {
        "owner_id": window.owner_id,
        "since": window.since or _BEGINNING,
        "until": window.until or _END,
        "after_start": after.start_at,
        "after_id": after.id,
        "limit": limit + 1,
    }
    rows = list(map(from_row, await db.fetch(ALL if window.show_deleted else LIVE, values)))
    if len(rows) <= limit:
        return Page(rows, "")
    last = rows[limit - 1]
    return Page(rows[:limit], paging.encode(paging.Key(last.start_at, last.id), window))


def _after(window: Window, size: int, token: str) -> paging.Key:
    found = []
    if window.since and window.until and window.since >= window.until:
        found.append(Violation("end_time", "must be after start_time"))
    if size < 0:
        found.append(Violation("page_size", "must not be negative"))
    # What reaches into the window began at most LONGEST before it: that is where the index is entered.
    after: paging.Key | None = paging.Key((window.since or _BEGINNING) - LONGEST, _NO_ID)
    if token and (after := paging.decode(token, window)) is None:
        found.append(Violation("page_token", "is not a page token of this list"))
    if found or after is None:
        raise Invalid(found)
    return after

"""What a resource is booked for. Its managers see the appointments, other people only when it is taken."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from appointments.calendar import frontiers, resources
from appointments.calendar.appointment import COLUMNS, Appointment, from_row
from appointments.calendar.listing import BEGINNING, END, NO_ID, check_window, page_size, reach
from appointments.calendar.resource import Role
from appointments.calendar.validation import LONGEST_DAYS
from appointments.db import Database, Micros, Row, Statement, instant
from appointments.db.paging import Key, decode, encode
from appointments.shared.errors import Invalid, Violation


@dataclass(frozen=True, slots=True)
class Taken:
    """A span in which somebody else has booked the resource, buffers included."""

    resource_id: str
    start_at: Micros
    end_at: Micros


@dataclass(frozen=True, slots=True)
class Window:
    """Who asks, and which appointments of a resource: those that overlap ``[since, until)``. None is no bound."""

    user_id: UUID
    resource_id: UUID
    since: datetime | None = None
    until: datetime | None = None

    def __str__(self) -> str:
        return f"{self.resource_id} {self.user_id} {self.since} {self.until}"


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, and the token that goes on after it ("" on the last)."""

    entries: list[Appointment | Taken]
    next_token: str


# One row for each booking: a resource with several units may have several at once. Rows with the same start are ordered
# by their unit, because the appointment's id, which would do as well, must not leak through page tokens.
OCCUPANCY = Statement(
    f"""
    SELECT booked_at, unit_id::text AS unit_text, lower(during) AS taken_at, upper(during) AS free_at, {COLUMNS}
    FROM (
        SELECT appointment_id, start_at AS booked_at, subject_id AS unit_id, during FROM bookings
        WHERE resource_id = %(resource_id)s::uuid
          AND (start_at, subject_id) > (%(after_start)s::timestamptz, %(after_unit)s::uuid)
          AND start_at < %(until)s::timestamptz AND (expires_at IS NULL OR expires_at > now())
    ) AS booked JOIN appointments ON id = appointment_id
    WHERE end_at > %(since)s::timestamptz
    ORDER BY booked_at, unit_id
    LIMIT %(limit)s::bigint
    """
)


async def page(
    db: Database,
    window: Window,
    *,
    size: int = 0,
    token: str = "",
    is_admin: bool = False,
    horizon: timedelta = frontiers.HORIZON,
) -> Page:
    """List what takes a resource in a window by start: ``size`` of it (50 if 0, 1,000 at most) after ``token``.

    Where the page reaches beyond half the horizon, occurrences of endless series become rows, as in
    :func:`~appointments.calendar.listing.page_ahead`.

    Raises:
        Invalid: the window is empty, the size is negative, or the token belongs to another list.
        NotFound: the user sees no such live resource.
    """
    after: Key | None = Key(max(window.since or BEGINNING, BEGINNING) - LONGEST_DAYS, NO_ID)
    bad = check_window(window.since, window.until, size)
    if token and (after := decode(token, window)) is None:
        bad.append(Violation("page_token", "is not a page token of this list"))
    if bad or after is None:
        raise Invalid(bad)
    seen = await resources.get(db, window.user_id, window.resource_id, is_admin=is_admin)
    limit = page_size(size)
    values = {
        "resource_id": window.resource_id,
        "since": window.since or BEGINNING,
        "until": window.until or END,
        "after_start": after.start_at,
        "after_unit": after.id,
        "limit": limit + 1,
    }
    rows = await db.fetch(OCCUPANCY, values)
    while ahead := reach(window.since, window.until, _last(rows, limit), horizon):
        if not await frontiers.look_ahead(db, [], [window.resource_id], **ahead._asdict()):
            break
        rows = await db.fetch(OCCUPANCY, values)
    entries: list[Appointment | Taken] = []
    for _, _, taken_at, free_at, *columns in rows[:limit]:
        appointment = from_row(tuple(columns))
        if seen.role == Role.MANAGER or appointment.owner_id == window.user_id:
            entries.append(appointment)
        else:
            entries.append(Taken(seen.id_text, taken_at, free_at))
    last = rows[limit - 1] if len(rows) > limit else None
    return Page(entries, encode(Key(instant(last[0]), UUID(last[1])), window) if last else "")


def _last(rows: list[Row], limit: int) -> Micros | None:
    """When the last row of a page starts, if other pages follow."""
    return rows[limit - 1][0] if len(rows) > limit else None

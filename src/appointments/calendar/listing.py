"""Lists of appointments: those that overlap a window, in the order of their start, page by page.

A person's list has their own appointments, and those that others invite them to.

What others invite to is a statement of its own, asked only where the list of one's own says that the page has some.
The two do not see the same moment. No appointment is in both or goes from one to the other, so none is shown twice or
left out.

A page goes on after the key of the last row. So pages neither skip nor repeat a row while others are added.

Occurrences of endless series are rows up to a frontier. A window that reaches beyond it moves it, page by page.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import LiteralString, NamedTuple
from uuid import UUID

from appointments.calendar import frontiers
from appointments.calendar.appointment import (
    COLUMNS,
    INVITATION,
    LIVE,
    LIVE_COLUMNS,
    MICROSECOND,
    ONCE,
    Appointment,
    from_row,
    from_row_and_invitation,
)
from appointments.calendar.series import FARTHEST
from appointments.calendar.validation import LONGEST_DAYS
from appointments.db import Database, Micros, Reads, Statement, instant, paging
from appointments.shared.errors import Invalid, Violation

DEFAULT_SIZE = 50
MAX_SIZE = 1000
BEGINNING = datetime(1, 3, 1, tzinfo=UTC)  # LONGEST_DAYS after the first instant that Python knows
END = datetime(9999, 12, 31, tzinfo=UTC)
NO_ID = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Window:
    """Which appointments to list: those of an owner that overlap ``[since, until)``; None is no bound."""

    owner_id: UUID
    since: datetime | None = None
    until: datetime | None = None
    show_deleted: bool = False
    series_id: UUID | None = None
    """Only the occurrences of this series."""

    def __str__(self) -> str:
        return f"{self.owner_id} {self.since} {self.until} {self.show_deleted} {self.series_id or ''}"


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, and the token that goes on after it ("" on the last)."""

    appointments: list[Appointment]
    next_token: str


_OF_OWNER: LiteralString = "FROM appointments WHERE owner_id = %(owner_id)s::uuid"
_LIVE: LiteralString = f"SELECT {LIVE_COLUMNS} {_OF_OWNER} AND {LIVE}"
_ANY: LiteralString = f"SELECT {COLUMNS} {_OF_OWNER}"
_IN_ORDER: LiteralString = "ORDER BY start_at, id LIMIT %(limit)s::bigint"
_ON: LiteralString = """
    (start_at, id) > (%(after_start)s::timestamptz, %(after_id)s::uuid)
    AND start_at < %(until)s::timestamptz AND end_at > %(since)s::timestamptz
"""

_OF_OTHERS: LiteralString = """
    user_id = %(owner_id)s::uuid
    AND (starts_at, appointment_id) > (%(after_start)s::timestamptz, %(after_id)s::uuid)
    AND starts_at < %(until)s::timestamptz AND ends_at > %(since)s::timestamptz
"""

_OTHERS: LiteralString = "others"
_SHORT: LiteralString = "short"


def _sign(what: LiteralString, start: LiteralString = "NULL") -> LiteralString:
    """SQL: a row that is no appointment, because it has no id, and says something in the place of the title."""
    return ", ".join(["NULL", "NULL", f"'{what}'", start] + ["NULL"] * (len(Appointment._fields) - 5))


# Most people are invited to nothing. A branch that reads it costs PostgreSQL a fifth of a list of 20 more, though it
# finds nothing, because all that would read it is set up. To look when the first of it starts costs little.
_IF_OTHERS: LiteralString = f"""
    UNION ALL (SELECT {_sign(_OTHERS, "starts_at")} FROM invitees WHERE {_OF_OTHERS}
    ORDER BY starts_at, appointment_id LIMIT 1)
"""
INVITED = Statement(
    f"""
    SELECT {COLUMNS}, {INVITATION} AS invitation FROM invitees JOIN appointments ON appointments.id = appointment_id
    WHERE {_OF_OTHERS} AND {ONCE} ORDER BY starts_at, appointment_id LIMIT %(limit)s::bigint
    """
)

_BEFORE: LiteralString = "start_at >= %(after_start)s::timestamptz AND start_at < %(since)s::timestamptz"
_WITHIN: LiteralString = "start_at >= %(since)s::timestamptz AND start_at < %(until)s::timestamptz"

# Appointments that take time do not overlap, so of those that began before the window only the last can reach into it;
# of transparent ones any number can, and they have an index of their own. Simple scans of an index each: with one scan
# and a computed bound the planner cannot estimate, and sorts the whole calendar.
_LAST_BEFORE: LiteralString = f"""
    (SELECT * FROM ({_LIVE} AND NOT transparent AND {_BEFORE} ORDER BY start_at DESC, id DESC LIMIT 1) AS last_before
    WHERE end_at > %(since)s::timestamptz)
"""
FIRST = Statement(
    f"""
    ({_LAST_BEFORE}
    UNION ALL ({_LIVE} AND transparent AND {_BEFORE} AND end_at > %(since)s::timestamptz {_IN_ORDER})
    UNION ALL ({_LIVE} AND {_WITHIN} {_IN_ORDER})
    LIMIT %(limit)s::bigint)
    {_IF_OTHERS}
    """
)
NEXT = Statement(f"({_LIVE} AND {_ON} {_IN_ORDER}) {_IF_OTHERS}")
ALL = Statement(f"({_ANY} AND {_ON} {_IN_ORDER}) {_IF_OTHERS}")
OF_SERIES = Statement(
    f"""
    ({_ANY} AND series_id = %(series_id)s::uuid AND (%(show_deleted)s::boolean OR deleted_at IS NULL)
    AND {_ON} {_IN_ORDER})
    """
)

# The same for what reaches far ahead. A sign comes last if occurrences may be missing.
_IF_SHORT: LiteralString = f"UNION ALL SELECT {_sign(_SHORT)} WHERE {frontiers.MAY_BE_SHORT}"
AHEAD = {each: Statement(f"{each.sql} {_IF_SHORT}") for each in (FIRST, NEXT, ALL, OF_SERIES)}


async def page(db: Reads, window: Window, *, size: int = 0, token: str = "") -> Page:
    """List the appointments of a window by start, then id: ``size`` of them (50 if 0, 1,000 at most) after ``token``.

    Raises:
        Invalid: the window is not one, the size is negative, or the token belongs to another list.
    """
    return (await _read(db, window, size, token, None))[0]


async def _read(db: Reads, window: Window, size: int, token: str, ahead: datetime | None) -> tuple[Page, bool]:
    """Read a page; say whether it may lack occurrences before ``ahead``."""
    after = _after(window, size, token)
    limit = page_size(size)
    values = {
        "owner_id": window.owner_id,
        "since": window.since or BEGINNING,
        "until": window.until or END,
        "after_start": after.start_at,
        "after_id": after.id,
        "limit": limit + 1,
        "ahead": ahead,
    }
    statement = ALL if window.show_deleted else NEXT if token else FIRST
    if window.series_id:
        statement = OF_SERIES
        values |= {"series_id": window.series_id, "show_deleted": window.show_deleted}
    fetch = db.fetch_shared if statement is FIRST and not ahead and limit <= DEFAULT_SIZE else db.fetch
    found = await fetch(AHEAD[statement] if ahead else statement, values)
    signs = {row[2]: row[3] for row in found[-2:] if row[0] is None}
    rows = list(map(from_row, found[: len(found) - len(signs)]))
    if len(rows) > 1 and _order(rows[1]) < _order(rows[0]):
        # Transparent ones began before the last one that takes time.
        rows.sort(key=_order)
    if len(rows) > limit:
        # What starts after the last of them is on another page.
        values["until"] = instant(rows[-1].start_at) + MICROSECOND
        if _OTHERS in signs and signs[_OTHERS] > rows[-1].start_at:
            del signs[_OTHERS]
    if _OTHERS in signs:
        rows += map(from_row_and_invitation, await fetch(INVITED, values))
        rows.sort(key=_order)
    if len(rows) <= limit:
        return Page(rows, ""), _SHORT in signs
    last = rows[limit - 1]
    return Page(rows[:limit], paging.encode(paging.Key(instant(last.start_at), last.id), window)), _SHORT in signs


async def page_ahead(
    db: Database,
    reads: Reads,
    window: Window,
    *,
    size: int = 0,
    token: str = "",
    horizon: timedelta = frontiers.HORIZON,
) -> Page:
    """List a page as :func:`page` does, with the occurrences of endless series that are no rows yet.

    It costs more statements only where the page reaches beyond half the horizon and rows may be missing there.
    """
    beyond = reach(window.since, window.until, None, horizon)
    found, may_be_short = await _read(reads, window, size, token, beyond.until if beyond else None)
    if not may_be_short:
        return found
    last = found.appointments[-1].start_at if found.next_token else None
    while ahead := reach(window.since, window.until, last, horizon):
        moved = await frontiers.look_ahead(db, [window.owner_id], [], **ahead._asdict())
        if not (moved | await frontiers.look_ahead_unbooked(db, window.owner_id, ahead.until)):
            break
        found = await page(db, window, size=size, token=token)
        last = found.appointments[-1].start_at if found.next_token else None
    return found


class Ahead(NamedTuple):
    """What a page shows of the time to come: where it begins there, and where it ends."""

    since: datetime
    until: datetime
    now: datetime


def reach(since: datetime | None, until: datetime | None, last: Micros | None, horizon: timedelta) -> Ahead | None:
    """How far a page of a window reaches, if that may be beyond a frontier.

    ``last`` is where its last row starts if other pages follow. A window without an end that begins near shows what is
    there; of one that begins far ahead one step is looked at.
    """
    now = datetime.now(UTC)
    near = now + horizon / 2
    begin = since or now
    if until is None and begin <= near:
        return None
    end = until or begin + frontiers.STEP
    if last is not None:
        end = min(end, instant(last))
    # Frontiers may be a step farther than that, so that they are not moved again each time that the clock has.
    end = min(end, now + FARTHEST - frontiers.STEP)
    return Ahead(begin, end, now) if end > near else None


def _order(appointment: Appointment) -> tuple[Micros, str]:
    return appointment.start_at, appointment.id_text


def _after(window: Window, size: int, token: str) -> paging.Key:
    found = check_window(window.since, window.until, size)
    # What reaches into the window began at most LONGEST_DAYS before it: that is where the index is entered.
    after: paging.Key | None = paging.Key(max(window.since or BEGINNING, BEGINNING) - LONGEST_DAYS, NO_ID)
    if token and (after := paging.decode(token, window)) is None:
        found.append(Violation("page_token", "is not a page token of this list"))
    if found or after is None:
        raise Invalid(found)
    return after


def check_window(since: datetime | None, until: datetime | None, size: int) -> list[Violation]:
    """What is wrong with a window and the size of its pages."""
    found = []
    if since and until and since >= until:
        found.append(Violation("end_time", "must be after start_time"))
    if size < 0:
        found.append(Violation("page_size", "must not be negative"))
    return found


def page_size(asked: int) -> int:
    """How many a page holds."""
    return min(asked or DEFAULT_SIZE, MAX_SIZE)

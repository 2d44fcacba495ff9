"""Creating and reading series. They are updated and deleted in :mod:`~appointments.calendar.series_updating`.

The promise: an occurrence of a live series never takes the time of a subject together with another live appointment,
however far ahead. Up to the frontiers of the series' subjects the occurrences are rows. Beyond them the subjects' tails
keep the time closed (:mod:`~appointments.calendar.frontiers`). A series is created whole or not at all. Somebody else's
series is :class:`NotFound`.
"""

import hashlib
from dataclasses import dataclass
from uuid import UUID

import psycopg
from uuid_utils.compat import uuid7

from appointments.calendar import frontiers, placement
from appointments.calendar.listing import page_size
from appointments.calendar.log import BY_OWNER, Cause
from appointments.calendar.materializing import (
    GET,
    INSERT,
    TERMS,
    Booked,
    Terms,
    as_it_is,
    expanded,
    hold,
    look,
    own,
    run,
    settle,
)
from appointments.calendar.series import COLUMNS, Series, SeriesSpec, from_row, to_values, violations
from appointments.db import Connection, Database, Statement, instant, paging
from appointments.shared.errors import Invalid, Unauthenticated, Violation


async def create(
    db: Database,
    owner_id: UUID,
    spec: SeriesSpec,
    terms: Terms = TERMS,
    *,
    request_id: UUID | None = None,
    cause: Cause = BY_OWNER,
) -> Booked:
    """Book every occurrence for the owner and all resources.

    A retry with the same ``request_id`` and spec returns the series as it is now, and books nothing (AIP-155).

    Raises:
        Invalid: the spec breaks a rule, occurrences overlap each other, or the request id was used with another spec.
        SeriesConflict: occurrences collide, and are not to be skipped.
        NotFound: the owner sees no such resource.
        Denied: the owner may not book a resource.
        Unmet: a booking rule does not allow it, or it has no end and one of its subjects is booked more than ten years
            ahead.
    """
    now = terms.clock
    if found := violations(spec, now):
        raise Invalid(found)
    digest = _digest(spec, skip=terms.skip) if request_id else None

    async def work(connection: Connection) -> Booked:
        if request_id and (earlier := await _replay(connection, owner_id, request_id, digest)):
            return earlier
        await hold(connection, owner_id, spec.first.resources)
        await placement.lock(connection, owner_id, spec.first.resources)
        if not terms.skip:
            await look(connection, owner_id, spec, terms)
        series = await insert(connection, owner_id, spec, cause, request_id=request_id, digest=digest)
        return await settle(connection, series, spec, terms, cause)

    try:
        return await run(db, work, terms)
    except psycopg.errors.UniqueViolation as error:
        if error.diag.constraint_name != "series_request_id":
            raise
        return await create(db, owner_id, spec, terms, request_id=request_id, cause=cause)
    except psycopg.errors.ForeignKeyViolation as error:
        raise Unauthenticated("The account has been deleted.") from error


async def insert(
    connection: Connection,
    owner_id: UUID,
    spec: SeriesSpec,
    cause: Cause,
    *,
    request_id: UUID | None = None,
    digest: bytes | None = None,
) -> Series:
    """Write the row of a series, which :func:`~appointments.calendar.materializing.settle` then books."""
    values = {"id": uuid7(), "owner_id": owner_id, "previous_id": None, "request_id": request_id}
    values |= to_values(spec) | {"request_digest": digest, "endless": False} | cause.values
    return from_row((await connection.fetch(INSERT, values))[0])


def _digest(spec: SeriesSpec, *, skip: bool) -> bytes:
    # As for a single appointment: what was not given is not in it.
    reminders = "" if spec.first.reminders is None else f"reminders={spec.first.reminders}"
    return hashlib.sha256(f"{spec!r}{skip}{reminders}".encode()).digest()


async def _replay(connection: Connection, owner_id: UUID, request_id: UUID, digest: bytes | None) -> Booked | None:
    rows = await connection.fetch(REPLAY, {"owner_id": owner_id, "request_id": request_id})
    if not rows:
        return None
    if rows[0][0] != digest:
        raise Invalid.field("request_id", "was used before with another body", reason="REQUEST_ID_REUSED")
    return await as_it_is(connection, from_row(rows[0][1:]))


REPLAY = Statement(
    f"""
    SELECT request_digest, {COLUMNS} FROM series
    WHERE owner_id = %(owner_id)s::uuid AND request_id = %(request_id)s::uuid
    """
)


async def get(db: Database, owner_id: UUID, series_id: UUID) -> Booked:
    """Read a series, deleted or not.

    Raises:
        NotFound: the owner has no such series.
    """
    async with db.connection() as connection:
        return await as_it_is(connection, await own(connection, GET, owner_id, series_id))


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, and the token that goes on after it ("" on the last)."""

    series: list[Booked]
    next_token: str


async def page(db: Database, owner_id: UUID, *, show_deleted: bool = False, size: int = 0, token: str = "") -> Page:
    """List an owner's series, the newest first: ``size`` of them (50 if 0, 1,000 at most) after ``token``.

    Raises:
        Invalid: the size is negative, or the token belongs to another list.
    """
    list_name = f"series {owner_id} {show_deleted}"
    bad = [Violation("page_size", "must not be negative")] if size < 0 else []
    after = paging.decode(token, list_name) if token else paging.Key(frontiers.END, UUID(int=0))
    if after is None:
        bad.append(Violation("page_token", "is not a page token of this list"))
    if bad or after is None:
        raise Invalid(bad)
    limit = page_size(size)
    values = {
        "owner_id": owner_id,
        "show_deleted": show_deleted,
        "before_at": after.start_at,
        "before_id": after.id,
        "limit": limit + 1,
    }
    async with db.connection() as connection:
        found = list(map(from_row, await connection.fetch(LIST, values)))
        edges = await expanded(connection, found[:limit])
    entries = [Booked(series, edges.get(series.id)) for series in found[:limit]]
    if len(found) <= limit:
        return Page(entries, "")
    last = found[limit - 1]
    return Page(entries, paging.encode(paging.Key(instant(last.created_at), last.id), list_name))


LIST = Statement(
    f"""
    SELECT {COLUMNS} FROM series
    WHERE owner_id = %(owner_id)s::uuid AND (%(show_deleted)s::boolean OR deleted_at IS NULL)
      AND (created_at, id) < (%(before_at)s::timestamptz, %(before_id)s::uuid)
    ORDER BY created_at DESC, id DESC LIMIT %(limit)s::bigint
    """
)

"""When is there time? Free and busy, and slots that can be booked.

Both read the table ``bookings``, whose constraint refuses double bookings. Slots are judged by the same code as
bookings (:mod:`appointments.calendar.bookable`). Of other people's time callers learn that it is taken, never by what.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from appointments.calendar import frontiers
from appointments.calendar.appointment import MICROSECOND, NO_TIME, UNSET
from appointments.calendar.bookable import slots
from appointments.calendar.bookable.hours import DAY, Hours, opened
from appointments.calendar.bookable.rules import NO_RULES, BookingRules
from appointments.calendar.bookable.slots import AROUND, Obstacles, Requirement, Slot, Subject
from appointments.calendar.bookable.spans import Span, at_least, gaps
from appointments.calendar.bookable.terms import Terms
from appointments.calendar.booking_rules import full_days
from appointments.calendar.listing import page_size
from appointments.calendar.resource import ROLE, Role
from appointments.calendar.validation import EARLIEST, LATEST, LONGEST, LONGEST_BUFFER, buffer_problem
from appointments.db import Database, Micros, Statement, instant, micros, paging
from appointments.shared.errors import Invalid, NotFound, Violation
from appointments.shared.validation import email_problem, fold_email, is_uuid

MAX_SUBJECTS = 50
LONGEST_WINDOW = timedelta(days=92)
"""Of 24 hours: a window has no zone, so it cannot know on which day a clock is changed."""
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
LONGEST_STEP = timedelta(days=1)

_CHUNK: Micros = 14 * DAY
"""How much of a window is searched first. Each further chunk is twice as long."""

_MOST_STARTS = 5000
"""The most starts in one chunk."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks. ``sees_people``: they may see when other people are taken. ``acts``: somebody acts for them."""

    user_id: UUID
    is_admin: bool = False
    sees_people: bool = True
    acts: bool = False


@dataclass(frozen=True, slots=True)
class Busy:
    """When a subject is taken, and when it is closed, as sets of spans. ``email`` is "" if it was asked for by id."""

    subject_id: UUID
    email: str
    busy: list[Span]
    closed: list[Span]


class _Row(NamedTuple):
    """A subject as the database has it. Buffers are in seconds."""

    id: UUID
    is_person: bool
    zone: str
    hours: dict[str, Any] | None
    before: int
    after: int
    units: int
    role: int
    now: Micros
    booking_rules: dict[str, Any] | None

    def terms(self, asker: Asker) -> Terms:
        """The terms on which it can be booked. People are not bound by their own rules."""
        is_bound = asker.acts or self.id != asker.user_id
        rules = BookingRules.from_json(self.booking_rules) if is_bound else NO_RULES
        return Terms(self.zone, Hours.from_json(self.hours), rules)


async def free_busy(
    db: Database,
    asker: Asker,
    subject_ids: Sequence[str],
    since: datetime,
    until: datetime,
    *,
    emails: Sequence[str] = (),
    with_closed: bool = False,
) -> list[Busy]:
    """When subjects are taken within ``[since, until)``: those by id, then those by address, in their order.

    Raises:
        Invalid: the window, an id or an address is malformed, or there are no subjects or too many.
        NotFound: a subject does not exist, or the asker may not see its time.
    """
    bad = [
        *_window_problems(since, until),
        *_id_problems("subject_ids", subject_ids),
        *_email_problems("emails", emails),
    ]
    if not 1 <= len(subject_ids) + len(emails) <= MAX_SUBJECTS:
        bad.append(("subject_ids", f"must be from 1 to {MAX_SUBJECTS} subjects, with emails"))
    _refuse(bad)
    first, end = micros(since), micros(until)
    ids = list(map(UUID, subject_ids)) + await _by_email(db, asker, emails)
    subjects = await _look(db, asker, ids)
    await _open(db, subjects, until)
    taken = await _taken(db, subjects, first, end)
    return [
        Busy(
            subject.id,
            "" if index < len(subject_ids) else emails[index - len(subject_ids)],
            _cut(at_least(subject.units, taken[index]), first, end),
            gaps(opened(Hours.from_json(subject.hours), subject.zone, first, end), first, end) if with_closed else [],
        )
        for index, subject in enumerate(subjects)
    ]


def _cut(spans: Sequence[Span], first: Micros, end: Micros) -> list[Span]:
    return [(max(start, first), min(stop, end)) for start, stop in spans if start < end and stop > first]


@dataclass(frozen=True, slots=True)
class Wanted:
    """``count`` of these subjects, by id and by e-mail address."""

    subject_ids: tuple[str, ...]
    count: int = 1
    emails: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Search:
    """What is needed, for how long, and when. ``step`` is None if it was not given."""

    wanted: tuple[Wanted, ...]
    length: timedelta
    since: datetime
    until: datetime
    step: timedelta | None = None
    before: timedelta = NO_TIME
    after: timedelta = NO_TIME


@dataclass(frozen=True, slots=True)
class Offer:
    """A slot, and the subjects that would be booked."""

    start: Micros
    end: Micros
    subject_ids: list[UUID]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of slots, and the token of the next ("" on the last page). ``why`` says why there are none at all."""

    offers: list[Offer]
    next_token: str
    why: Obstacles | None = None


async def search(db: Database, asker: Asker, wanted: Search, *, size: int = 0, token: str = "") -> Page:
    """Find slots, in order: ``size`` of them (50 if 0, 1,000 at most) after ``token``.

    Raises:
        Invalid: a field of the search is out of bounds, or the token belongs to another search.
        NotFound: a subject does not exist, or the asker may not see its time.
    """
    listing = f"slots {asker.user_id} {wanted}"
    bad = [*_problems(wanted)]
    if size < 0:
        bad.append(("page_size", "must not be negative"))
    first, end = micros(wanted.since), micros(wanted.until)
    if token:
        after = paging.unseal(token, listing)
        if after is None or len(after) != _PLACE.size:
            bad.append(("page_token", "is not a page token of this search"))
        else:
            first = _PLACE.unpack(after)[0] + 1
    _refuse(bad)
    found, why = await _find(db, asker, wanted, (first, end), page_size(size) + 1)
    length = wanted.length // MICROSECOND
    offers = [Offer(slot.start, slot.start + length, ids) for slot, ids in found[: page_size(size)]]
    more = len(found) > len(offers)
    return Page(
        offers,
        paging.seal(_PLACE.pack(offers[-1].start), listing) if more else "",
        None if found or token else why,
    )


_PLACE = struct.Struct(">q")


async def _find(
    db: Database, asker: Asker, wanted: Search, window: Span, limit: int
) -> tuple[list[tuple[Slot, list[UUID]]], Obstacles]:
    first, end = window
    ids: list[UUID] = []
    requirements = []
    for index, each in enumerate(wanted.wanted):
        here = list(map(UUID, each.subject_ids)) + await _by_email(db, asker, each.emails)
        if len({*ids, *here}) < len(ids) + len(here):
            raise Invalid.field(f"requirements[{index}]", "has a subject that is there already; each may be there once")
        requirements.append(Requirement(tuple(range(len(ids), len(ids) + len(here))), each.count))
        ids += here
    rows = await _look(db, asker, ids)
    length = wanted.length // MICROSECOND
    terms = [row.terms(asker) for row in rows]
    step = (wanted.step or _step(wanted, terms)) // MICROSECOND
    buffers = [
        (
            (wanted.before + timedelta(seconds=row.before)) // MICROSECOND,
            (wanted.after + timedelta(seconds=row.after)) // MICROSECOND,
        )
        for row in rows
    ]
    has_choice = any(each.count < len(each.subjects) for each in requirements)
    margin = max(AROUND if has_choice else 0, *map(max, buffers))
    await _open(db, rows, wanted.until + 2 * LONGEST_BUFFER)
    found: list[tuple[Slot, list[UUID]]] = []
    why = Obstacles()
    end += 1 - length
    chunk = _CHUNK
    while first < end and len(found) < limit:
        stop = min(first + min(chunk, _MOST_STARTS * step), end)
        chunk *= 2
        taken = await _taken(db, rows, first - margin, stop + length + margin)
        full = await full_days(
            db.fetch, [(row.id, row.is_person, each) for row, each in zip(rows, terms, strict=True)], (first, stop)
        )
        subjects = [
            Subject(each, tuple(units), *around, full.get(row.id, frozenset()))
            for row, each, units, around in zip(rows, terms, taken, buffers, strict=True)
        ]
        starts = slots.grid(subjects, requirements, step, first, stop)
        offered, lost = slots.search(subjects, requirements, starts, length, now=rows[0].now)
        found += [(slot, [rows[of].id for of in slot.subjects]) for slot in offered[:limit]]
        why += lost
        first = stop
    return found, why


def _step(wanted: Search, terms: Sequence[Terms]) -> timedelta:
    return max(each.rules.step for each in terms) or min(max(wanted.length, MINUTE), LONGEST_STEP)


def _problems(wanted: Search) -> Iterator[tuple[str, str]]:
    if not wanted.wanted:
        yield "requirements", "is required"
    if sum(len(each.subject_ids) + len(each.emails) for each in wanted.wanted) > MAX_SUBJECTS:
        yield "requirements", f"must be of at most {MAX_SUBJECTS} subjects"
    for index, each in enumerate(wanted.wanted):
        here = f"requirements[{index}]"
        yield from _id_problems(f"{here}.any_of_subject_ids", each.subject_ids)
        yield from _email_problems(f"{here}.any_of_emails", each.emails)
        among = len(each.subject_ids) + len(each.emails)
        if not among:
            yield f"{here}.any_of_subject_ids", "is required"
        elif not 1 <= each.count <= among:
            yield f"{here}.count", f"must be from 1 to {among}, the number of its subjects"
    for field, value, least, most in (
        ("duration", wanted.length, SECOND, LONGEST),
        ("step", wanted.step, MINUTE, LONGEST_STEP),
    ):
        if value is not None and not least <= value <= most:
            is_missing = field == "duration" and not value
            yield field, "is required" if is_missing else f"must be from {_words(least)} to {_words(most)}"
        elif value is not None and value.microseconds:
            yield field, "must be whole seconds"
    for field, buffer in (("buffer_before", wanted.before), ("buffer_after", wanted.after)):
        if found := buffer_problem(buffer):
            yield field, found
    yield from _window_problems(wanted.since, wanted.until)


def _words(value: timedelta) -> str:
    for unit, name in ((timedelta(days=1), "day"), (MINUTE, "minute"), (SECOND, "second")):
        if value >= unit:
            count = value // unit
            return f"{count} {name}{'s' * (count > 1)}"
    return "nothing"


def _window_problems(since: datetime, until: datetime) -> Iterator[tuple[str, str]]:
    bounds = (("start_time", since), ("end_time", until))
    bad = [field for field, value in bounds if not EARLIEST <= value <= LATEST]
    for field, value in bounds:
        if field in bad:
            yield field, "is required" if value == UNSET else "must be in the years 1970 to 2100"
    if bad:
        return
    if since >= until:
        yield "end_time", "must be after start_time"
    elif until - since > LONGEST_WINDOW:
        yield "end_time", f"must be at most {LONGEST_WINDOW.days} days of 24 hours after start_time"


def _id_problems(field: str, ids: Sequence[str]) -> Iterator[tuple[str, str]]:
    for index, each in enumerate(ids[: MAX_SUBJECTS + 1]):
        if not is_uuid(each):
            yield f"{field}[{index}]", "must be a UUID"


def _email_problems(field: str, emails: Sequence[str]) -> Iterator[tuple[str, str]]:
    for index, each in enumerate(emails[: MAX_SUBJECTS + 1]):
        if found := email_problem(each):
            yield f"{field}[{index}]", found


def _refuse(bad: Sequence[tuple[str, str]]) -> None:
    if bad:
        raise Invalid([Violation(field, description) for field, description in bad])


async def _by_email(db: Database, asker: Asker, emails: Sequence[str]) -> list[UUID]:
    """Find the accounts with these addresses.

    Raises:
        NotFound: nobody has one of them, or the asker may not see that person's time.
    """
    if not emails:
        return []
    folded = [fold_email(email) for email in emails]
    known: dict[str, UUID] = dict(await db.fetch(BY_EMAIL, {"emails": folded}))
    for email in folded:
        if email not in known or not (asker.sees_people or known[email] == asker.user_id):
            raise NotFound(f"Nobody whose time you may see has the address {email}.", reason="SUBJECT_NOT_FOUND")
    return [known[email] for email in folded]


BY_EMAIL = Statement("SELECT email, id FROM users WHERE email = ANY (%(emails)s::text[])")


async def _look(db: Database, asker: Asker, ids: Sequence[UUID]) -> list[_Row]:
    """Read subjects, in the order of ``ids``.

    Raises:
        NotFound: one of them does not exist, or the asker may not see its time.
    """
    values = {"ids": ids, "user_id": asker.user_id}
    known = {row[0]: _Row._make(row) for row in await db.fetch(SUBJECTS, values)}
    for subject_id in ids:
        found = known.get(subject_id)
        if found is None or not _sees(asker, found):
            raise NotFound(f"No such subject: {subject_id}.", reason="SUBJECT_NOT_FOUND")
    return [known[subject_id] for subject_id in ids]


def _sees(asker: Asker, subject: _Row) -> bool:
    if subject.is_person:
        return asker.sees_people or subject.id == asker.user_id
    return asker.is_admin or subject.role >= Role.VIEWER


SUBJECTS = Statement(
    f"""
    SELECT id, true, time_zone, hours, 0, 0, 1, 0, now(), booking_rules FROM users
    WHERE id = ANY (ARRAY(SELECT unnest(%(ids)s::uuid[])))
    UNION ALL
    SELECT id, false, time_zone, hours, buffer_before, buffer_after, units, {ROLE}, now(), booking_rules FROM resources
    WHERE id = ANY (ARRAY(SELECT unnest(%(ids)s::uuid[]))) AND deleted_at IS NULL
    """
)


async def _open(db: Database, subjects: Sequence[_Row], until: datetime) -> None:
    """Move the frontiers of endless series past ``until``, as a booking would, so that only real occurrences count."""
    await frontiers.open_until(
        db,
        [subject.id for subject in subjects if subject.is_person],
        [subject.id for subject in subjects if not subject.is_person],
        until,
    )


async def _taken(db: Database, subjects: Sequence[_Row], first: Micros, end: Micros) -> list[list[list[Span]]]:
    """When each unit of each subject is taken, as sets of spans. They are complete within ``[first, end)``."""
    people = [number for number, subject in enumerate(subjects) if subject.is_person]
    resources = [number for number, subject in enumerate(subjects) if not subject.is_person]
    values = {
        "person_ids": [subjects[number].id for number in people],
        "resource_ids": [subjects[number].id for number in resources],
        "since": instant(first),
        "until": instant(end),
    }
    taken: list[list[list[Span]]] = [[[] for _ in range(subject.units)] for subject in subjects]
    for person, resource, unit, begins, ends in await db.fetch(TAKEN, values):
        units = taken[people[person - 1] if person else resources[resource - 1]]
        if unit <= len(units):
            units[unit - 1] = list(zip(begins, ends, strict=True))
    return taken


# Scans the constraint's index once for each unit. Expired holds do not count. range_agg puts the spans in order.
# Ids and times come out of subqueries, here and above, so that PostgreSQL plans once for all calls.
TAKEN = Statement(
    """
    SELECT person, resource, unit,
           ARRAY(SELECT lower(unnest(spans))) AS begins, ARRAY(SELECT upper(unnest(spans))) AS ends
    FROM (
        SELECT person, 0::bigint AS resource, person_id AS unit_id, 1 AS unit
        FROM unnest(ARRAY(SELECT unnest(%(person_ids)s::uuid[]))) WITH ORDINALITY AS people (person_id, person)
        UNION ALL
        SELECT 0, resource, subject_id, unit
        FROM unnest(ARRAY(SELECT unnest(%(resource_ids)s::uuid[]))) WITH ORDINALITY AS rooms (room_id, resource)
        JOIN resource_units ON resource_id = room_id
    ) AS units CROSS JOIN LATERAL (
        SELECT range_agg(during) AS spans FROM bookings
        WHERE subject_id = unit_id
          AND during && (SELECT tstzrange(%(since)s::timestamptz, %(until)s::timestamptz))
          AND (expires_at IS NULL OR expires_at > now())
    ) AS taken
    WHERE spans IS NOT NULL
    """
)

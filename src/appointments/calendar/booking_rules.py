"""Enforcing booking rules: the answer of :mod:`.bookable.terms` for the time that somebody wants to book.

A resource has booking rules, and so may a person: those bind whoever acts for the person. Everything here runs under
the locks that the booking takes anyway, of the resources and their subjects. So no rule changes before the booking is
committed, and neither does what a rule counts.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from appointments.calendar.appointment import LIVE, Appointment, Spec
from appointments.calendar.bookable.hours import DAY, Hours, local_day
from appointments.calendar.bookable.rules import BookingRules
from appointments.calendar.bookable.terms import HOURS, NOTICE, Terms, allowed, changeable
from appointments.calendar.resource import ROLE, Role
from appointments.db import Connection, Database, Micros, Row, Statement, Values, instant, micros
from appointments.shared.errors import Denied, Unmet

NO_ID = UUID(int=0)
Fetch = Callable[[Statement, Values], Awaitable[list[Row]]]

_WHY = {
    "within_hours": "it must lie within the hours",
    "past_changes": "it is past",
    "min_notice": "it is too soon",
    "horizon": "it is too far ahead",
    "min_duration": "it is too short",
    "max_duration": "it is too long",
    "step": "it must begin at a step of the day",
    "daily_limit": "the day is full",
    "change_notice": "it begins too soon to be changed",
}


class Ruled(NamedTuple):
    """A person or resource with booking rules. ``role`` is the booker's role on it."""

    id: UUID
    is_person: bool
    zone: str
    hours: dict[str, Any] | None
    rules: dict[str, Any]
    role: int
    now: Micros

    @property
    def terms(self) -> Terms:
        """The terms on which it can be booked."""
        return Terms(self.zone, Hours.from_json(self.hours), BookingRules.from_json(self.rules))


class Breach(NamedTuple):
    """A broken rule. If several are broken, the smallest tuple is the one to report."""

    stage: int
    order: int
    rule: str
    whose: Ruled
    start: Micros


async def find(connection: Connection, owner_id: UUID, resource_ids: Sequence[UUID], *, acted: bool) -> list[Ruled]:
    """Those of these resources that have rules. If somebody acts for the owner (``acted``), the owner too."""
    if not resource_ids and not acted:
        return []
    values = {"user_id": owner_id, "resource_ids": resource_ids, "acted": acted}
    return [Ruled._make(row) for row in await connection.fetch(RULED, values)]


# Ids and times come out of subqueries, here and below, so that PostgreSQL plans once for all calls.
RULED = Statement(
    f"""
    SELECT id, false, time_zone, hours, booking_rules, {ROLE}, now() FROM resources
    WHERE id = ANY (ARRAY(SELECT unnest(%(resource_ids)s::uuid[]))) AND booking_rules IS NOT NULL AND deleted_at IS NULL
    UNION ALL
    SELECT id, true, time_zone, hours, booking_rules, 0, now() FROM users
    WHERE id = %(user_id)s::uuid AND %(acted)s::boolean AND booking_rules IS NOT NULL
    """
)


async def binds_owner(db: Database, owner_id: UUID, *, acted: bool) -> bool:
    """Whether the owner's rules apply: they have some, and somebody else acts for them."""
    return acted and bool(await db.fetch(OWNER_RULED, {"user_id": owner_id}))


OWNER_RULED = Statement("SELECT FROM users WHERE id = %(user_id)s::uuid AND booking_rules IS NOT NULL")


async def check(
    connection: Connection,
    owner_id: UUID,
    spec: Spec,
    resource_ids: Sequence[UUID],
    *,
    acted: bool,
    override: bool = False,
    besides: UUID = NO_ID,
    starts: Sequence[Micros] = (),
    limits: bool = True,
) -> list[str]:
    """Check that the rules allow a time. The appointment ``besides`` does not count towards daily limits.

    With ``starts``, in order, each of them is checked with the length of the spec. Several starts count against each
    other, too, so pass False for ``limits`` and call :func:`check_limits` once they are booked.

    Returns:
        The names of the broken rules, if they are overridden.

    Raises:
        Unmet: it breaks a rule (BOOKING_RULE).
        Denied: it breaks a rule that the owner may not override, because they do not manage the resource.
    """
    ruled = await find(connection, owner_id, resource_ids, acted=acted and not spec.transparent)
    if not ruled:
        return []
    starts = starts or [micros(spec.start_at)]
    length = micros(spec.end_at) - micros(spec.start_at)
    subjects = [(each.id, each.is_person, each.terms) for each in ruled] if limits else []
    full = await full_days(connection.fetch, subjects, starts, besides)
    return _judge([breach for each in ruled for breach in _breaches(each, starts, length, full)], override=override)


def _breaches(
    ruled: Ruled, starts: Sequence[Micros], length: Micros, full: Mapping[UUID, frozenset[int]]
) -> Iterator[Breach]:
    terms = ruled.terms
    judged = allowed(terms, starts, length, now=ruled.now, full_days=full.get(ruled.id, ()))
    for order, (rule, mask) in enumerate(judged):
        if rule in HOURS and not terms.rules.within_hours:
            continue
        broken = ~mask & ((1 << len(starts)) - 1)
        if broken:
            first = (broken & -broken).bit_length() - 1
            yield Breach(0 if rule in HOURS else 1 if rule in NOTICE else 2, order, rule, ruled, starts[first])


async def check_limits(
    connection: Connection, owner_id: UUID, starts: Sequence[Micros], resource_ids: Sequence[UUID], *, acted: bool
) -> None:
    """Check the daily limits of the days of ``starts``, which are in order and booked already, for these resources.

    Raises:
        Unmet: on one of the days more is booked than its limit allows (BOOKING_RULE). The last starts of a day are the
            ones that are too many.
    """
    if not starts:
        return
    ruled = await find(connection, owner_id, resource_ids, acted=acted)
    limited = [each for each in ruled if each.terms.rules.daily_limit]
    counts = await _day_counts(connection.fetch, [(each.id, each.is_person, each.terms) for each in limited], starts)
    breaches: list[Breach] = []
    for each in limited:
        days: dict[int, list[Micros]] = {}
        for start in starts:
            days.setdefault(local_day(each.terms.zone, start), []).append(start)
        for day, begun in days.items():
            if (over := counts[each.id, day] - each.terms.rules.daily_limit) > 0:
                first = begun[-min(over, len(begun))]
                breaches.append(Breach(2, first, "daily_limit", each, first))
    _judge(breaches, override=False)


async def check_change(
    connection: Connection,
    current: Appointment,
    resource_ids: Sequence[UUID],
    *,
    acted: bool,
    override: bool = False,
) -> list[str]:
    """Check that the rules allow an appointment to give up its time, as :func:`check` does. A hold always may."""
    if current.expires_at is not None:
        return []
    ruled = await find(connection, current.owner_id, resource_ids, acted=acted and not current.transparent)
    start = current.start_at
    return _judge(
        [Breach(1, 0, rule, each, start) for each in ruled if (rule := changeable(each.terms.rules, start, each.now))],
        override=override,
    )


class GivenUp(NamedTuple):
    """What an occurrence gives up: the time of these resources, and with ``owner_too`` that of its owner."""

    start: Micros
    resource_ids: Sequence[UUID]
    owner_too: bool


async def check_given_up(connection: Connection, owner_id: UUID, given_up: Sequence[GivenUp], *, acted: bool) -> None:
    """See that rules allow all of this to be given up, as :func:`check_change`; the earliest that may not be is told.

    Raises:
        Unmet: a rule does not allow it (BOOKING_RULE).
    """
    acted = acted and any(each.owner_too for each in given_up)
    resource_ids = sorted({resource_id for each in given_up for resource_id in each.resource_ids})
    breaches = [
        Breach(1, each.start, rule, ruled, each.start)
        for ruled in await find(connection, owner_id, resource_ids, acted=acted)
        for each in given_up
        if (each.owner_too if ruled.is_person else ruled.id in each.resource_ids)
        and (rule := changeable(ruled.terms.rules, each.start, ruled.now))
    ]
    _judge(breaches, override=False)


def _judge(breaches: Sequence[Breach], *, override: bool) -> list[str]:
    if not override:
        if breaches:
            raise _unmet(min(breaches, key=lambda breach: breach[:2]))
        return []
    for breach in breaches:
        if breach.whose.role < Role.MANAGER:
            raise Denied("Only a manager overrides rules of booking.", reason="NOT_A_MANAGER")
    return sorted({breach.rule for breach in breaches})


def _unmet(breach: Breach) -> Unmet:
    whose = "user" if breach.whose.is_person else "resource"
    return Unmet(
        f"A rule of the {whose} {breach.whose.id} does not allow it: {_WHY[breach.rule]}.",
        reason="BOOKING_RULE",
        metadata={
            "rule": breach.rule,
            "subject_id": str(breach.whose.id),
            "start_time": instant(breach.start).isoformat().replace("+00:00", "Z"),
        },
    )


async def record(connection: Connection, appointment_id: UUID, overridden: Sequence[str]) -> None:
    """Add the overridden rules to those recorded with an appointment."""
    if overridden:
        await connection.fetch(RECORD, {"id": appointment_id, "rules": overridden})


RECORD = Statement(
    """
    UPDATE appointments SET overridden_rules = (
        SELECT array_agg(DISTINCT rule ORDER BY rule) FROM unnest(overridden_rules || %(rules)s::text[]) AS rule
    )
    WHERE id = %(id)s::uuid
    """
)


async def full_days(
    fetch: Fetch,
    subjects: Sequence[tuple[UUID, bool, Terms]],
    starts: Sequence[Micros],
    besides: UUID = NO_ID,
) -> dict[UUID, frozenset[int]]:
    """The days around these starts on which subjects have reached their daily limit.

    ``subjects`` are tuples of the id, whether it is a person, and the terms. Days are counted from 2000, in the
    subject's zone.
    """
    limits = {subject_id: terms.rules.daily_limit for subject_id, _, terms in subjects if terms.rules.daily_limit}
    full: dict[UUID, set[int]] = {}
    for (subject_id, day), count in (await _day_counts(fetch, subjects, starts, besides)).items():
        if count >= limits[subject_id]:
            full.setdefault(subject_id, set()).add(day)
    return {subject_id: frozenset(days) for subject_id, days in full.items()}


async def _day_counts(
    fetch: Fetch, subjects: Sequence[tuple[UUID, bool, Terms]], starts: Sequence[Micros], besides: UUID = NO_ID
) -> Counter[tuple[UUID, int]]:
    """How much begins on the days around these starts, of the subjects that have a daily limit."""
    limited = {subject_id: terms for subject_id, _, terms in subjects if terms.rules.daily_limit}
    if not limited:
        return Counter()
    values = {
        "person_ids": [subject_id for subject_id, is_person, _ in subjects if is_person and subject_id in limited],
        "resource_ids": [
            subject_id for subject_id, is_person, _ in subjects if not is_person and subject_id in limited
        ],
        "since": instant(starts[0] - 2 * DAY),
        "until": instant(starts[-1] + 2 * DAY),
        "besides": besides,
    }
    return Counter(
        (subject_id, local_day(limited[subject_id].zone, start)) for subject_id, start in await fetch(STARTS, values)
    )


STARTS = Statement(
    f"""
    SELECT resource_id, start_at FROM bookings
    WHERE resource_id = ANY (ARRAY(SELECT unnest(%(resource_ids)s::uuid[])))
      AND start_at >= (SELECT %(since)s::timestamptz) AND start_at < (SELECT %(until)s::timestamptz)
      AND (expires_at IS NULL OR expires_at > now()) AND appointment_id <> %(besides)s::uuid
    UNION ALL
    SELECT owner_id, start_at FROM appointments
    WHERE owner_id = ANY (ARRAY(SELECT unnest(%(person_ids)s::uuid[])))
      AND start_at >= (SELECT %(since)s::timestamptz) AND start_at < (SELECT %(until)s::timestamptz)
      AND {LIVE} AND NOT transparent AND id <> %(besides)s::uuid
    """
)

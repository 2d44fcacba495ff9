"""Slots against what looking at every start one by one says."""

import random
from datetime import UTC, datetime, timedelta
from itertools import combinations
from zoneinfo import ZoneInfo

import pytest

from appointments.calendar.bookable.hours import ALWAYS, DAY, MINUTE, DayHours, Hours, opened
from appointments.calendar.bookable.rules import NO_RULES, BookingRules, violations
from appointments.calendar.bookable.slots import Obstacles, Requirement, Slot, Subject, grid, search
from appointments.calendar.bookable.spans import Span, union
from appointments.calendar.bookable.terms import Terms, allowed, changeable
from appointments.db import Micros, instant, micros

MONDAY = micros(datetime(2027, 3, 22, tzinfo=UTC))  # summer time begins in Europe on the Sunday of that week
HOUR = 60 * MINUTE
OFFICE = Hours(tuple(DayHours(weekday, 540, 1020) for weekday in range(1, 6)))
ZONES = ["Europe/Zurich", "UTC", "America/New_York"]


def subject(hours: Hours = ALWAYS, *taken: Span, zone: str = "UTC", rules: BookingRules = NO_RULES) -> Subject:
    """Somebody."""
    return Subject(Terms(zone, hours, rules), (union(taken),))


def one(*among: int, count: int = 1) -> Requirement:
    """So many of these."""
    return Requirement(among, count)


def test_starts_are_counted_from_the_opening() -> None:
    """Wherever the window begins; and from midnight where it is closed or always open."""
    found = grid([subject(OFFICE)], [one(0)], 100 * MINUTE, MONDAY + 10 * HOUR, MONDAY + 24 * HOUR)
    times = [instant(at).strftime("%H:%M") for at in found]
    assert ["10:40", "12:20", "14:00", "15:40", "18:20", "20:00", "21:40", "23:20"] == times
    always = grid([subject()], [one(0)], 100 * MINUTE, MONDAY + 20 * HOUR, MONDAY + 28 * HOUR)
    assert ["20:00", "21:40", "23:20", "00:00", "01:40", "03:20"] == [instant(at).strftime("%H:%M") for at in always]


def test_pages_of_a_grid_fit_together() -> None:
    """Two windows have the starts of the one that they make up, over the night in which the clock is changed."""
    subjects = [subject(OFFICE, zone="Europe/Zurich"), subject(zone="America/New_York")]
    for requirements in ([one(0), one(1)], [one(0, 1)], [one(1)]):
        whole = grid(subjects, requirements, 35 * MINUTE, MONDAY, MONDAY + 8 * DAY)
        assert sorted(set(whole)) == whole
        for cut in range(MONDAY, MONDAY + 8 * DAY, 1000 * MINUTE):
            parts = grid(subjects, requirements, 35 * MINUTE, MONDAY, cut)
            assert whole == parts + grid(subjects, requirements, 35 * MINUTE, cut, MONDAY + 8 * DAY)


def random_subject(dice: random.Random) -> Subject:
    """Hours, rules, units and what is taken, by chance."""
    edges = sorted(dice.sample(range(0, 1441, 30), 4))
    week = tuple(DayHours(day, *edges[at : at + 2]) for day in range(1, 8) for at in (0, 2) if dice.random() < 0.8)
    rules = BookingRules(
        min_notice=timedelta(hours=dice.choice([0, 0, 20])),
        horizon=timedelta(hours=dice.choice([0, 0, 100])),
        min_duration=timedelta(minutes=dice.choice([0, 0, 0, 50])),
        step=timedelta(minutes=dice.choice([0, 0, 45])),
        past_changes=dice.random() < 0.7,
        daily_limit=2,
    )
    terms = Terms(dice.choice(ZONES), Hours(week) if dice.random() < 0.7 else ALWAYS, rules)
    units = tuple(union(_span(dice) for _ in range(dice.randrange(20))) for _ in range(dice.choice([1, 1, 2])))
    days = frozenset(MONDAY // DAY + day for day in range(7) if dice.random() < 0.2)
    return Subject(terms, units, dice.choice([0, 10 * MINUTE]), dice.choice([0, 25 * MINUTE]), days)


def _span(dice: random.Random) -> Span:
    first = MONDAY + dice.randrange(0, 7 * 1440, 5) * MINUTE
    return first, first + dice.randrange(5, 300, 5) * MINUTE


def obstacle(subject: Subject, at: Micros, length: Micros, now: Micros) -> int:
    """The stage at which a start fails, looked at by itself; 5 for none."""
    end, rules = at + length, subject.terms.rules
    if not any(first <= at and end <= stop for first, stop in opened(subject.terms.hours, subject.terms.zone, at, end)):
        return 0
    wait = timedelta(microseconds=at - now)
    if (not rules.past_changes and at < now) or (rules.min_notice and wait < rules.min_notice):
        return 1
    if rules.horizon and wait > rules.horizon:
        return 1
    if rules.min_duration and timedelta(microseconds=length) < rules.min_duration:
        return 2
    local = instant(at).astimezone(ZoneInfo(subject.terms.zone))
    if rules.step and (local.hour * 60 + local.minute) % (rules.step // timedelta(minutes=1)):
        return 2
    if (local.date() - datetime(2000, 1, 1, tzinfo=UTC).date()).days in subject.full_days:
        return 2
    for stage, (before, after) in ((3, (0, 0)), (4, (subject.before, subject.after))):
        wanted = at - before, end + after
        if all(any(first < wanted[1] and wanted[0] < stop for first, stop in taken) for taken in subject.units):
            return stage
    return 5


def test_a_search_finds_what_looking_at_each_start_finds() -> None:
    """Subjects, requirements and windows by chance: the same slots, and the same reasons."""
    dice = random.Random(3)
    seen = Obstacles()
    for _ in range(60):
        subjects = [random_subject(dice) for _ in range(4)]
        requirements = dice.choice(
            [[one(0)], [one(0), one(1)], [one(0, 1, 2)], [one(0, 1, 2, count=2), one(3)], [one(0, 1, 2, 3, count=4)]]
        )
        now, length = MONDAY + dice.randrange(72) * HOUR, dice.choice([30, 60]) * MINUTE
        starts = grid(subjects, requirements, dice.choice([15, 40]) * MINUTE, MONDAY, MONDAY + 7 * DAY)
        found, why = search(subjects, requirements, starts, length, now=now)
        lost = [0] * 6
        expected = []
        for at in starts:
            stages = [obstacle(each, at, length, now) for each in subjects]
            reached = min(
                sorted((stages[of] for of in each.subjects), reverse=True)[each.count - 1] for each in requirements
            )
            lost[reached] += 1
            if reached == 5:
                expected.append(at)
        assert expected == [slot.start for slot in found]
        assert Obstacles(len(starts), *lost[:5]) == why
        for slot in found:
            assert all(obstacle(subjects[of], slot.start, length, now) == 5 for of in slot.subjects)
            assert any(set(slot.subjects[: each.count]) <= set(each.subjects) for each in requirements)
        seen += why
    assert min(seen) > 0


def test_the_least_booked_are_taken() -> None:
    """Within two weeks before and after; of equals the first; and each unit counts for its part."""
    busy = MONDAY - 2 * DAY, MONDAY - 2 * DAY + 3 * HOUR
    long_ago = MONDAY - 20 * DAY, MONDAY - 18 * DAY
    one_unit_of_two = Subject(Terms("UTC", ALWAYS, NO_RULES), ([(busy[0], busy[0] + 4 * HOUR)], []))
    subjects = [subject(ALWAYS, busy), one_unit_of_two, subject(ALWAYS, long_ago), subject()]
    for among, count, expected in (
        ((0, 1, 2, 3), 1, (2,)),
        ((3, 2, 1, 0), 3, (3, 2, 1)),
        ((0, 1), 1, (1,)),
        ((0, 1), 2, (0, 1)),
    ):
        found, _ = search(subjects, [Requirement(among, count)], [MONDAY], HOUR, now=MONDAY)
        assert [Slot(MONDAY, expected)] == found


def test_every_choice_is_made_where_there_is_one() -> None:
    """Two of four: whichever two are taken, the other two are offered."""
    for taken in combinations(range(4), 2):
        subjects = [subject(ALWAYS, *([(MONDAY, MONDAY + HOUR)] if of in taken else [])) for of in range(4)]
        found, why = search(subjects, [one(0, 1, 2, 3, count=2)], [MONDAY], HOUR, now=MONDAY)
        assert [Slot(MONDAY, tuple(sorted(set(range(4)) - set(taken))))] == found
        assert (1, 0, 0, 0, 0, 0) == why


def test_rules_bind_at_their_bounds() -> None:
    """Notice and horizon include their last instant; a step is one of the wall clock."""
    rules = BookingRules(min_notice=timedelta(hours=2), horizon=timedelta(hours=5), max_duration=timedelta(hours=1))
    terms = Terms("Asia/Kathmandu", ALWAYS, rules)  # 5:45 ahead
    starts = [MONDAY + minutes * MINUTE for minutes in (119, 120, 300, 301)]
    assert [0b1111, 0b1110, 0b0111, 0b1111] == [mask for _, mask in allowed(terms, starts, HOUR, now=MONDAY)]
    assert ("max_duration", 0) == list(allowed(terms, starts, HOUR + 1, now=MONDAY))[-1]
    stepped = Terms("Asia/Kathmandu", ALWAYS, BookingRules(step=timedelta(hours=1)))
    starts = [MONDAY, MONDAY + 15 * MINUTE, MONDAY + 15 * MINUTE + 1, MONDAY + 75 * MINUTE]
    assert ("step", 0b1010) == list(allowed(stepped, starts, HOUR, now=MONDAY))[-1]


def test_what_has_begun_or_is_near_may_not_be_changed() -> None:
    """If the rules say so."""
    notice = BookingRules(change_notice=timedelta(hours=2))
    assert ("change_notice", None) == (
        changeable(notice, MONDAY, MONDAY - 1),
        changeable(notice, MONDAY, MONDAY - 2 * HOUR),
    )
    past = BookingRules(past_changes=False)
    assert ("past_changes", None) == (changeable(past, MONDAY, MONDAY + 1), changeable(past, MONDAY, MONDAY))
    assert changeable(NO_RULES, MONDAY, MONDAY + DAY) is None


@pytest.mark.parametrize(
    ("rules", "fields"),
    [
        (NO_RULES, []),
        (BookingRules(min_notice=timedelta(-1), step=timedelta(seconds=90)), ["min_notice", "step"]),
        (BookingRules(min_notice=timedelta(2), horizon=timedelta(2)), ["horizon"]),
        (BookingRules(min_duration=timedelta(2), max_duration=timedelta(1)), ["max_duration"]),
        (BookingRules(change_notice=timedelta(microseconds=1), daily_limit=1001), ["change_notice", "daily_limit"]),
        (BookingRules(horizon=timedelta(3661), daily_limit=-1), ["horizon", "daily_limit"]),
    ],
)
def test_rules_that_cannot_be_are_named(rules: BookingRules, fields: list[str]) -> None:
    """Each by its path; and those that can be survive the database."""
    assert fields == [each.field.removeprefix("rules.") for each in violations(rules, "rules")]
    if not fields:
        day = timedelta(1)
        full = BookingRules(day, 2 * day, 3 * day, 4 * day, 5 * day, 6, True, 7 * day, False)
        assert [full, NO_RULES] == [BookingRules.from_json(each.to_json()) for each in (full, NO_RULES)]

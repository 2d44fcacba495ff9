"""Hours on the wall clock, and sets of spans, against what counting says."""

import random
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from appointments.calendar.bookable.hours import (
    ALWAYS,
    MINUTE,
    DayHours,
    Hours,
    SpecialDay,
    midnights,
    opened,
    violations,
)
from appointments.calendar.bookable.spans import Span, at_least, gaps, union
from appointments.db import instant, micros

NIGHTS = [
    ("Europe/Zurich", date(2027, 3, 28)),
    ("Europe/Zurich", date(2027, 10, 31)),
    ("America/New_York", date(2027, 3, 14)),
    ("America/New_York", date(2027, 11, 7)),
    ("America/Havana", date(2027, 3, 14)),  # midnight is skipped
    ("America/Havana", date(2027, 11, 7)),  # the day begins twice
    ("Australia/Lord_Howe", date(2027, 4, 4)),  # half an hour
    ("Australia/Lord_Howe", date(2027, 10, 3)),
    ("Africa/Casablanca", date(2027, 2, 7)),
    ("Pacific/Apia", date(2011, 12, 30)),  # a day that never was
    ("Antarctica/Troll", date(2027, 3, 28)),  # two hours
    ("Asia/Kathmandu", date(2027, 3, 28)),  # a quarter of an hour from the others, and no summer time
]

OFFICE = Hours(tuple(DayHours(weekday, *span) for weekday in range(1, 6) for span in ((540, 720), (780, 1020))))


def minutes(spans: list[Span]) -> set[int]:
    """Every minute of a set."""
    return {at for first, end in spans for at in range(first, end, MINUTE)}


def shown(hours: Hours, zone: str, at: int) -> bool:
    """Whether a look at the wall clock says that it is open."""
    local = instant(at).astimezone(ZoneInfo(zone))
    special = {day.date: day.hours for day in hours.special_days}.get(local.date().isoformat())
    if special is None and not hours.week:
        return True
    spans = [span for span in hours.week if span.weekday == local.isoweekday()] if special is None else special
    return any(span.start_minute <= local.hour * 60 + local.minute < span.end_minute for span in spans)


def random_hours(dice: random.Random, day: date) -> Hours:
    """Some spans of each weekday, and other ones of a date."""

    def spans(weekday: int) -> list[DayHours]:
        edges = sorted(dice.sample(range(0, 1441, 5), 2 * dice.randrange(4)))
        return [DayHours(weekday, *edges[at : at + 2]) for at in range(0, len(edges), 2)]

    week = [span for weekday in range(1, 8) for span in spans(weekday)] if dice.random() < 0.8 else []
    special = [SpecialDay(day.isoformat(), tuple(spans(0)))] if dice.random() < 0.3 else []
    return Hours(tuple(week), tuple(special))


@pytest.mark.parametrize(("zone", "day"), NIGHTS)
def test_it_is_open_when_the_wall_clock_says_so(zone: str, day: date) -> None:
    """Minute by minute over three days in whose middle the clock is changed, for hours by chance."""
    dice = random.Random(f"{zone} {day}")
    noon = datetime.combine(day, datetime.min.time(), UTC)
    first, end = micros(noon - timedelta(days=1)), micros(noon + timedelta(days=2))
    for _ in range(10):
        hours = random_hours(dice, day)
        assert violations(hours, "hours") == []
        expected = {at for at in range(first, end, MINUTE) if shown(hours, zone, at)}
        assert expected == minutes(opened(hours, zone, first, end))


def test_a_long_window_is_its_parts() -> None:
    """Ninety days at once are the same as ninety times a day, over the change of the year."""
    start = datetime(2027, 10, 20, 7, 3, tzinfo=UTC)
    days = [micros(start + timedelta(days=number)) for number in range(91)]
    apart = [span for first, end in pairwise(days) for span in opened(OFFICE, "America/New_York", first, end)]
    assert union(apart) == opened(OFFICE, "America/New_York", days[0], days[-1])


def test_no_hours_are_always_and_no_spans_of_a_date_are_closed() -> None:
    """The two meanings of nothing."""
    first, end = (micros(datetime(2026, 12, day, tzinfo=UTC)) for day in (23, 26))
    assert [(first, end)] == opened(ALWAYS, "UTC", first, end)
    closed = Hours(special_days=(SpecialDay("2026-12-24"),))
    day = 1440 * MINUTE
    assert [(first, first + day), (first + 2 * day, end)] == opened(closed, "UTC", first, end)
    assert [first, first + day, first + 2 * day] == midnights("UTC", first, end)


def test_hours_survive_the_database() -> None:
    """What is kept is what was given."""
    hours = Hours(OFFICE.week, (SpecialDay("2026-12-24", (DayHours(0, 600, 660),)), SpecialDay("2026-12-25")))
    assert (hours, ALWAYS, None) == (Hours.from_json(hours.to_json()), Hours.from_json(None), ALWAYS.dumps())


def test_everything_that_is_wrong_is_named() -> None:
    """Each by its path."""
    bad = Hours(
        (DayHours(8, 0, 60), DayHours(1, -1, 60), DayHours(1, 60, 60), DayHours(2, 0, 90), DayHours(2, 60, 1441),
         DayHours(2, 80, 100), DayHours(3, 80, 100)),
        (SpecialDay("2026-12-24", (DayHours(0, 9, 8),)), SpecialDay("2026-12-24"), SpecialDay("20261224"),
         SpecialDay("2026-02-30"), SpecialDay("2026-12-25", (DayHours(0, 0, 20), DayHours(0, 10, 30)))),
    )  # fmt: skip
    assert [
        "hours.week[0].weekday",
        "hours.week[1].start_minute",
        "hours.week[2].end_minute",
        "hours.week[4].end_minute",
        "hours.week[5]",
        "hours.special_days[0].hours[0].end_minute",
        "hours.special_days[1].date",
        "hours.special_days[2].date",
        "hours.special_days[3].date",
        "hours.special_days[4].hours[1]",
    ] == [violation.field for violation in violations(bad, "hours")]
    many = Hours((DayHours(1, 0, 1),) * 101, (SpecialDay("2026-12-24"),) * 1001)
    assert ["hours.week", "hours.special_days"] == [violation.field for violation in violations(many, "hours")]


def test_sets_of_spans_are_what_counting_says() -> None:
    """Unions, gaps and where several sets meet, of spans by chance."""
    dice = random.Random(7)
    for _ in range(300):
        sets = [union([_span(dice) for _ in range(dice.randrange(5))]) for _ in range(dice.randrange(1, 5))]
        count = dice.randrange(1, len(sets) + 1)
        expected = [at for at in range(40) if sum(first <= at < end for spans in sets for first, end in spans) >= count]
        assert expected == [at for first, end in at_least(count, sets) for at in range(first, end)]
        left = [at for at in range(5, 35) if not any(first <= at < end for first, end in sets[0])]
        assert left == [at for first, end in gaps(sets[0], 5, 35) for at in range(first, end)]


def _span(dice: random.Random) -> Span:
    first = dice.randrange(38)
    return first, dice.randrange(first + 1, 40)

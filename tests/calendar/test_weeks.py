"""The proof that two series never meet, held against their expansion."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from appointments.calendar.appointment import Spec
from appointments.calendar.frontiers import Place, spans
from appointments.calendar.recurrence import BadRule, instant
from appointments.calendar.series import SeriesSpec
from appointments.calendar.weeks import never_meet, week_of

HOUR = timedelta(hours=1)
NONE = timedelta()
# The clocks of these move on Sundays, on Fridays, by half an hour, with Ramadan, and never.
ZONES = ["Europe/Zurich", "America/New_York", "Asia/Jerusalem", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"]
SINCE = datetime(2030, 3, 1, tzinfo=UTC)
UNTIL = datetime(2033, 3, 1, tzinfo=UTC)


def series(wall: datetime, zone: str, rule: str, length: timedelta = HOUR) -> SeriesSpec:
    """A series that begins at a wall time."""
    start = instant(wall, ZoneInfo(zone))
    return SeriesSpec(Spec("x", start, start + length, zone), rule)


def weekly(day: int, hour: int, zone: str = "Europe/Zurich", rule: str = "FREQ=WEEKLY") -> SeriesSpec:
    """Every week from a day of January 2030 on; the 7th is a Monday."""
    return series(datetime(2030, 1, day, hour), zone, rule)


def meet(one: SeriesSpec, other: SeriesSpec, at: Place) -> bool:
    """Whether occurrences of two series overlap at a place: all are expanded, and each is held against each."""
    mine, theirs = (sorted(spans(each, at, SINCE, UNTIL)) for each in (one, other))
    index = 0
    for span in mine:
        while index < len(theirs) and theirs[index].upper <= span.lower:
            index += 1
        if index < len(theirs) and theirs[index].lower < span.upper:
            return True
    return False


def apart(one: SeriesSpec, other: SeriesSpec, at: Place) -> bool:
    """Whether the proof says that they never meet."""
    before, after = timedelta(seconds=at.before), timedelta(seconds=at.after)
    mine = week_of(one, one.first.buffer_before + before, one.first.buffer_after + after)
    theirs = week_of(other, other.first.buffer_before + before, other.first.buffer_after + after)
    return mine is not None and theirs is not None and never_meet(mine, theirs, SINCE, UNTIL)


PLAIN = Place(UUID(int=1), None, 0, 0)
days = st.lists(st.sampled_from(["MO", "TU", "FR", "SA", "SU"]), min_size=1, max_size=3, unique=True).map(",".join)
rules = st.one_of(
    st.builds("FREQ={};INTERVAL={}".format, st.sampled_from(["WEEKLY", "DAILY", "MONTHLY"]), st.integers(1, 3)),
    st.builds("FREQ={};BYDAY={}".format, st.sampled_from(["WEEKLY", "DAILY", "MONTHLY", "YEARLY"]), days),
    st.builds("FREQ=MONTHLY;BYDAY={}{}".format, st.sampled_from(["1", "-1", "3"]), st.sampled_from(["FR", "SU"])),
    st.builds("FREQ=WEEKLY;BYDAY={};BYHOUR={}".format, days, st.sampled_from(["1", "2,3", "0,23"])),
    st.just("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1"),
    st.just("FREQ=YEARLY;BYMONTH=3,10;BYMONTHDAY=25,26,27,28,29,30,31"),
)
# Half of the hours are those in which clocks are changed.
starts = st.builds(
    lambda day, hour, minute: datetime(2030, 1, 1, hour, minute) + timedelta(days=day),
    st.integers(0, 20),
    st.one_of(st.integers(0, 4), st.integers(0, 23)),
    st.sampled_from([0, 15, 30, 45]),
)
lengths = st.sampled_from([timedelta(minutes=15), HOUR, 3 * HOUR, timedelta(days=2), timedelta(days=9)])
some_series = st.builds(series, starts, st.sampled_from(ZONES), rules, lengths)
buffers = st.sampled_from([0, 0, 900, 7200])


@settings(max_examples=400, deadline=None)
@given(some_series, some_series, st.booleans(), st.builds(Place, st.just(UUID(int=1)), st.none(), buffers, buffers))
@example(weekly(6, 2), weekly(6, 3), False, PLAIN)  # in spring what begins at 02:00 moves to 03:00
@example(weekly(6, 1), weekly(6, 2), False, PLAIN)  # in autumn 02:00 comes twice
@example(weekly(7, 9), weekly(7, 10), False, PLAIN)
@example(weekly(7, 10), weekly(7, 9, "Asia/Jerusalem"), False, PLAIN)
def test_what_is_said_to_be_apart_never_meets(
    one: SeriesSpec, other: SeriesSpec, is_same_zone: bool, at: Place
) -> None:
    """Whatever their rules, lengths, buffers and zones are, and whatever their clocks do."""
    if is_same_zone:
        other = replace(other, first=replace(other.first, time_zone=one.first.time_zone))
    try:
        one.parsed, other.parsed  # noqa: B018 - read, to see whether the rules are any
    except BadRule:
        return
    said = apart(one, other, at)
    event(f"said to be apart: {said}")
    if said:
        assert not meet(one, other, at)


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (weekly(7, 9), weekly(7, 10), True),
        (weekly(7, 9), weekly(8, 9), True),
        (weekly(7, 9), weekly(7, 9), False),
        (weekly(7, 9, rule="FREQ=DAILY"), weekly(7, 10, rule="FREQ=MONTHLY;BYDAY=-1FR"), True),
        (weekly(7, 9, rule="FREQ=WEEKLY;BYDAY=MO,FR"), weekly(9, 9, rule="FREQ=WEEKLY;BYDAY=TU,WE"), True),
        # Every other week each: only their expansion tells that.
        (weekly(7, 9, rule="FREQ=WEEKLY;INTERVAL=2"), weekly(14, 9, rule="FREQ=WEEKLY;INTERVAL=2"), False),
        # Nine in New York is two or three in the afternoon in Zurich.
        (weekly(7, 9), weekly(7, 9, "America/New_York"), True),
        (weekly(7, 14), weekly(7, 9, "America/New_York"), False),
        (weekly(6, 2), weekly(6, 3), False),
        (weekly(6, 9), weekly(6, 10), True),
    ],
)
def test_what_the_proof_sees(one: SeriesSpec, other: SeriesSpec, said: bool) -> None:
    """Another hour or another day of the week is seen at once; what needs counting of weeks is not."""
    assert said == apart(one, other, PLAIN)


def test_what_it_does_not_judge() -> None:
    """Whole days, more times of the day than are worth it, and what takes a week or more."""
    whole = replace(weekly(7, 0), first=replace(weekly(7, 0).first, all_day=True))
    dense = weekly(7, 9, rule="FREQ=DAILY;BYHOUR=9,10,11;BYMINUTE=0,10,20,30,40,50")
    assert (None, None) == (week_of(whole, NONE, NONE), week_of(dense, NONE, NONE))
    long = series(datetime(2030, 1, 7, 9), "UTC", "FREQ=MONTHLY", timedelta(days=7))
    assert not apart(long, weekly(9, 9, "UTC"), PLAIN)

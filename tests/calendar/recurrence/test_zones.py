"""Rules on the clocks of every zone: the wall time holds, and where there is none RFC 5545 §3.3.5 says when it is."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from appointments.calendar.recurrence import instant, is_skipped, occurrences, parse, wall_at
from appointments.shared.validation import ZONES

ZURICH = ZoneInfo("Europe/Zurich")
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
DAILY = parse("FREQ=DAILY")
SPAN = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)


def transitions(zone: ZoneInfo) -> Iterator[datetime]:
    """The instants of a year at which a zone's offset changes, found by halving."""
    since, until = SPAN
    while since < until:
        low, high = since, min(since + 5 * DAY, until)
        since = high
        if low.astimezone(zone).utcoffset() == high.astimezone(zone).utcoffset():
            continue
        while high - low > timedelta(seconds=1):
            middle = low + (high - low) // 2
            middle -= timedelta(microseconds=middle.microsecond)
            if middle.astimezone(zone).utcoffset() == low.astimezone(zone).utcoffset():
                low = middle
            else:
                high = middle
        yield high


def offset(zone: ZoneInfo, at: datetime) -> timedelta:
    """What a zone's clock is ahead of UTC."""
    return at.astimezone(zone).utcoffset() or timedelta()


def test_the_wall_time_holds_in_every_zone_across_every_transition() -> None:
    """Before, in and after the hour that is skipped or comes twice, a day before, at and after the change."""
    checked = 0
    for name in sorted(ZONES):
        zone = ZoneInfo(name)
        for at in transitions(zone):
            before, after = offset(zone, at - MINUTE), offset(zone, at)
            jump = after - before
            # The first wall time that is skipped, or that comes a second time.
            edge = (at + min(before, after)).replace(tzinfo=None)
            for minute in (-1, 0, abs(jump) // MINUTE // 2, abs(jump) // MINUTE - 1, abs(jump) // MINUTE):
                wall = edge + minute * MINUTE
                for days in (2, 1, 0):
                    found = list(islice(occurrences(DAILY, wall - days * DAY, zone), days + 2))[-2:]
                    skipped = jump > timedelta() and edge <= wall < edge + jump
                    assert is_skipped(wall, zone) == skipped
                    # With the offset before the gap, and of two the first.
                    expected = (wall - (before if wall < edge + abs(jump) else after)).replace(tzinfo=UTC)
                    assert (expected, wall) == tuple(found[0]), (name, wall)
                    assert wall + DAY == wall_at(found[1].at, zone) == found[1].wall
                    assert wall + (jump if skipped else timedelta()) == wall_at(found[0].at, zone)
                    checked += 1
    assert checked > 4_000


def test_a_day_that_a_zone_skips_is_one_with_the_next() -> None:
    """Samoa had no 30 December 2011: that occurrence falls on the next one, and there is one."""
    found = list(islice(occurrences(DAILY, datetime(2011, 12, 29, 9), ZoneInfo("Pacific/Apia")), 3))
    shown = [wall_at(each.at, ZoneInfo("Pacific/Apia")) for each in found]
    assert [datetime(2011, 12, 29, 9), datetime(2011, 12, 31, 9), datetime(2012, 1, 1, 9)] == shown


def test_occurrences_come_in_the_order_of_their_instants() -> None:
    """Half past two is later than a quarter past three in the night that has no third hour."""
    rule = parse("FREQ=DAILY;BYHOUR=2,3;BYMINUTE=15,30")
    found = [each.at for each in islice(occurrences(rule, datetime(2026, 3, 29), ZURICH), 6)]
    # 02:15 is 03:15 and 02:30 is 03:30: each once.
    assert ["01:15", "01:30", "00:15", "00:30", "01:15", "01:30"] == [f"{at:%H:%M}" for at in found]
    assert sorted(found) == found
    rule = parse("FREQ=DAILY;BYHOUR=2,3;BYMINUTE=10,50")
    uneven = occurrences(rule, datetime(2026, 3, 29), ZURICH, added=[datetime(2026, 3, 29, 3, 20)])
    assert ["01:10", "01:20", "01:50"] == [f"{each.at:%H:%M}" for each in islice(uneven, 3)]


@pytest.mark.parametrize(
    ("until", "last"),
    [
        ("20260330T003000Z", 30),  # the instant itself is in
        ("20260330T002959Z", 29),
        ("20260330", 30),  # all of that day
        ("20260329T013000Z", 29),  # when the skipped half past two is
        ("20260329T012959Z", 28),
    ],
)
def test_until_is_an_instant(until: str, last: int) -> None:
    """Compared with when the occurrence is, not with what its wall time would say."""
    found = occurrences(parse(f"FREQ=DAILY;UNTIL={until}"), datetime(2026, 3, 28, 2, 30), ZURICH)
    assert last == [each.wall.day for each in found][-1]


def test_an_expansion_can_begin_and_end_at_instants() -> None:
    """Also on the night that clocks are put forward: the second bound is exclusive."""
    since = instant(datetime(2026, 3, 29, 3, 30), ZURICH)
    found = occurrences(DAILY, datetime(2026, 3, 1, 2, 30), ZURICH, since=since, until=since + 2 * DAY)
    assert [datetime(2026, 3, 29, 2, 30), datetime(2026, 3, 30, 2, 30), datetime(2026, 3, 31, 2, 30)] == [
        each.wall for each in found
    ]

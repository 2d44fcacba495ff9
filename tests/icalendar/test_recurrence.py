"""A series whose start is beside its rule, as programs of every kind work it out from what is written of it."""

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import takewhile

import pytest
import vobject
from dateutil.rrule import rrulestr

from appointments.calendar.appointment import Spec
from appointments.calendar.recurrence import parse
from appointments.calendar.series import SeriesSpec, violations
from appointments.icalendar import ical

DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
NOW = datetime(2030, 1, 1, tzinfo=UTC)
FIRST = datetime(2030, 5, 1, 10, tzinfo=UTC)
FAR = datetime(2060, 1, 1)  # noqa: DTZ001 - a wall time


def series(rule: str, start: datetime = FIRST, added: Sequence[datetime] = (), *, all_day: bool = False) -> SeriesSpec:
    """One of short appointments, or of days."""
    length = timedelta(days=1) if all_day else timedelta(minutes=5)
    return SeriesSpec(Spec("x", start, start + length, "UTC", all_day=all_day), rule, tuple(added))


def random_rule(chance: random.Random) -> str:
    """A rule that rarely selects a given day."""
    parts = {
        "DAILY": lambda: f";BYDAY={','.join(chance.sample(DAYS, 2))}",
        "WEEKLY": lambda: f";BYDAY={','.join(chance.sample(DAYS, chance.randint(1, 3)))};WKST={chance.choice(DAYS)}",
        "MONTHLY": lambda: chance.choice(
            (f";BYDAY={chance.choice((-1, 1, 2, 3))}{chance.choice(DAYS)}", f";BYMONTHDAY={chance.randint(-28, -1)}",
             f";BYDAY=MO,TU,WE,TH,FR;BYSETPOS={chance.choice((-1, 1, 7))}")
        ),
        "YEARLY": lambda: chance.choice(
            (f";BYMONTH={chance.randint(1, 12)};BYDAY={chance.choice((-1, 1))}{chance.choice(DAYS)}",
             f";BYMONTH={chance.randint(1, 12)}")
        ),
    }  # fmt: skip
    freq = chance.choice(tuple(parts))
    end = chance.choice((f";COUNT={chance.randint(1, 12)}", f";UNTIL={chance.randint(2031, 2040)}0501T100000Z", ""))
    return f"FREQ={freq};INTERVAL={chance.randint(1, 3)}{end}{parts[freq]()}"


def expected(spec: SeriesSpec) -> list[datetime]:
    """When it takes place."""
    return [slot.start_at.replace(tzinfo=None) for slot in spec.slots(until=FAR.replace(tzinfo=UTC))]


def near(found: Iterable[datetime]) -> list[datetime]:
    """Those before FAR, of which a rule may have no end."""
    return list(takewhile(lambda each: each < FAR, found))


def shown(spec: SeriesSpec, *, start: str = "ruled") -> list[datetime]:
    """When a program shows it that takes the start as ``ruled`` alone, as ``counted`` always, or as ``besides``."""
    written, begin = ical.recurrence(spec), spec.start_wall
    rule = written.rule.replace("Z", "")
    listed = set(near(rrulestr(rule, dtstart=begin)))
    if start != "ruled" and begin not in listed:
        if start == "counted" and (count := parse(rule).count) is not None:
            listed = set(near(rrulestr(rule, dtstart=begin))[: count - 1])
        listed.add(begin)
    return sorted({*listed, *written.added})


@pytest.mark.parametrize("start", ["ruled", "counted", "besides"])
def test_programs_of_every_kind_show_the_same(start: str) -> None:
    """Whether they show a start that the rule does not select, and whether they count it, makes no difference."""
    chance, beside = random.Random(start), 0
    for _ in range(150):
        spec = series(random_rule(chance), FIRST + timedelta(days=chance.randrange(400)))
        if violations(spec, NOW):
            continue
        beside += spec.start_wall in ical.recurrence(spec).added
        assert expected(spec) == shown(spec, start=start), spec.rule
    assert beside > 60


def test_vobject_shows_the_same() -> None:
    """It shows the start always, and takes one from COUNT for it."""
    chance = random.Random(1)
    for _ in range(100):
        spec = series(random_rule(chance), FIRST + timedelta(days=chance.randrange(400)))
        if violations(spec, NOW):
            continue
        written = ical.recurrence(spec)
        lines = ["BEGIN:VCALENDAR", "BEGIN:VEVENT", f"DTSTART:{spec.start_wall:%Y%m%dT%H%M%S}"]
        lines += [f"RRULE:{written.rule.replace('Z', '')}"]
        lines += [f"RDATE:{each:%Y%m%dT%H%M%S}" for each in written.added]
        event = vobject.readOne("\r\n".join([*lines, "END:VEVENT", "END:VCALENDAR", ""])).vevent
        assert expected(spec) == near(event.getrruleset(addRDate=True)), spec.rule


@pytest.mark.parametrize(
    ("spec", "rule", "added"),
    [
        # 2030-05-01 is a Wednesday.
        (series("FREQ=WEEKLY;COUNT=3"), "FREQ=WEEKLY;COUNT=3", []),
        (series("FREQ=WEEKLY;COUNT=3;BYDAY=MO,WE"), "FREQ=WEEKLY;COUNT=3;BYDAY=MO,WE", []),
        (series("FREQ=WEEKLY;COUNT=3;BYDAY=FR"), "FREQ=WEEKLY;UNTIL=20300510T100000Z;BYDAY=FR", [1]),
        (series("FREQ=WEEKLY;BYDAY=FR"), "FREQ=WEEKLY;BYDAY=FR", [1]),
        (series("FREQ=WEEKLY;COUNT=1;BYDAY=FR"), "FREQ=DAILY;COUNT=1", []),
        (series("FREQ=WEEKLY;UNTIL=20300502T100000Z;BYDAY=FR"), "FREQ=DAILY;COUNT=1", []),
        (series("FREQ=WEEKLY;BYDAY=WE", added=[FIRST]), "FREQ=WEEKLY;BYDAY=WE", []),
        (series("FREQ=WEEKLY;BYDAY=FR", added=[FIRST + timedelta(days=4)]), "FREQ=WEEKLY;BYDAY=FR", [1, 5]),
        (series("", added=[FIRST + timedelta(days=4)]), "", [5]),
        (
            series("FREQ=WEEKLY;COUNT=3;BYDAY=FR", FIRST.replace(hour=0), all_day=True),
            "FREQ=WEEKLY;UNTIL=20300510;BYDAY=FR",
            [1],
        ),
    ],
)
def test_what_is_written(spec: SeriesSpec, rule: str, added: list[int]) -> None:
    """As the person wrote it where the rule selects the start, and else with the start as RDATE and UNTIL for COUNT."""
    written = ical.recurrence(spec)
    assert (rule, added) == (written.rule, [each.day for each in written.added])

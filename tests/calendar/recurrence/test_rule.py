"""Reading rules: what RFC 5545 forbids is refused, and the refusal names the part."""

import re
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appointments.calendar.recurrence import BadRule, Freq, Rule, check_until, parse

REFUSED = {
    "": "FREQ",
    ";COUNT=2": "empty part",
    "BYDAY=MO": "FREQ",
    "YEARLY;BYMONTH=11": "YEARLY is not a part",
    "FREQ": "FREQ has no value",
    "FREQ=": "FREQ has no value",
    "FREQ=DAILY;": "empty part",
    "FREQ=DAILY;;COUNT=2": "empty part",
    ";FREQ=DAILY": "empty part",
    "=;FREQ=DAILY": "without a name",
    "RRULE:FREQ=DAILY": "RRULE",
    "FREQ=FORTNIGHTLY": "FREQ",
    "FREQ=DAILY,WEEKLY": "FREQ",
    "FREQ=YEARLY,BYMONTH=2": "FREQ",
    "FREQ=HOURLY": "FREQ=HOURLY is not supported",
    "FREQ=MINUTELY": "FREQ=MINUTELY is not supported",
    "FREQ=SECONDLY": "FREQ=SECONDLY is not supported",
    "RSCALE=HEBREW;FREQ=YEARLY": "RSCALE is not supported",
    "RSCALE=GREGORIAN;FREQ=MONTHLY;SKIP=FORWARD": "RSCALE is not supported",
    "FREQ=MONTHLY;SKIP=OMIT": "SKIP is not supported",
    "FREQ=YEARLY;BYEASTER=0": "BYEASTER is not a part",
    "FREQ=DAILY;X-NAME=1": "X-NAME is not a part",
    "FREQ=DAILY;COUNTS=3": "COUNTS is not a part",
    "FREQ=DAILY;FREQ=DAILY": "FREQ is given twice",
    "FREQ=WEEKLY;BYDAY=MO;BYDAY=TU": "BYDAY is given twice",
    "FREQ=DAILY;COUNT=2;UNTIL=20270101": "COUNT and UNTIL",
    "FREQ=DAILY;COUNT=0": "COUNT",
    "FREQ=DAILY;COUNT=-1": "COUNT",
    "FREQ=DAILY;COUNT=+1": "COUNT",
    "FREQ=DAILY;COUNT=1.5": "COUNT",
    "FREQ=DAILY;COUNT=": "COUNT has no value",
    "FREQ=DAILY;COUNT=many": "COUNT",
    "FREQ=DAILY;COUNT=٣": "COUNT",
    "FREQ=DAILY;COUNT=12345678901": "COUNT",
    "FREQ=DAILY;INTERVAL=0": "INTERVAL",
    "FREQ=DAILY;INTERVAL=-2": "INTERVAL",
    "FREQ=DAILY;INTERVAL=two": "INTERVAL",
    "FREQ=DAILY;UNTIL=": "UNTIL has no value",
    "FREQ=DAILY;UNTIL=tomorrow": "UNTIL",
    "FREQ=DAILY;UNTIL=2027-01-01": "UNTIL",
    "FREQ=DAILY;UNTIL=20270229": "UNTIL",
    "FREQ=DAILY;UNTIL=20270101T": "UNTIL",
    "FREQ=DAILY;UNTIL=20270101T250000Z": "UNTIL",
    "FREQ=DAILY;UNTIL=20270101T080000ZZ": "UNTIL",
    "FREQ=DAILY;UNTIL=20270101Z": "UNTIL",
    "FREQ=DAILY;UNTIL=20270101T080000+0100": "UNTIL",
    "FREQ=YEARLY;BYMONTH=0": "BYMONTH",
    "FREQ=YEARLY;BYMONTH=13": "BYMONTH",
    "FREQ=YEARLY;BYMONTH=-1": "BYMONTH",
    "FREQ=YEARLY;BYMONTH=5L": "BYMONTH",
    "FREQ=YEARLY;BYMONTH=1,,2": "BYMONTH",
    "FREQ=YEARLY;BYMONTH=1,": "BYMONTH",
    "FREQ=YEARLY;BYMONTH=1, 2": "BYMONTH",
    "FREQ=YEARLY;BYWEEKNO=0": "BYWEEKNO",
    "FREQ=YEARLY;BYWEEKNO=54": "BYWEEKNO",
    "FREQ=YEARLY;BYWEEKNO=-54": "BYWEEKNO",
    "FREQ=MONTHLY;BYWEEKNO=20": "BYWEEKNO",
    "FREQ=WEEKLY;BYWEEKNO=20": "BYWEEKNO",
    "FREQ=DAILY;BYWEEKNO=20": "BYWEEKNO",
    "FREQ=YEARLY;BYYEARDAY=0": "BYYEARDAY",
    "FREQ=YEARLY;BYYEARDAY=367": "BYYEARDAY",
    "FREQ=MONTHLY;BYYEARDAY=1": "BYYEARDAY",
    "FREQ=WEEKLY;BYYEARDAY=1": "BYYEARDAY",
    "FREQ=DAILY;BYYEARDAY=1": "BYYEARDAY",
    "FREQ=MONTHLY;BYMONTHDAY=0": "BYMONTHDAY",
    "FREQ=MONTHLY;BYMONTHDAY=32": "BYMONTHDAY",
    "FREQ=MONTHLY;BYMONTHDAY=-32": "BYMONTHDAY",
    "FREQ=MONTHLY;BYMONTHDAY=--1": "BYMONTHDAY",
    "FREQ=WEEKLY;BYMONTHDAY=1": "BYMONTHDAY",
    "FREQ=WEEKLY;BYDAY=": "BYDAY has no value",
    "FREQ=WEEKLY;BYDAY=XX": "BYDAY",
    "FREQ=WEEKLY;BYDAY=1": "BYDAY",
    "FREQ=WEEKLY;BYDAY=MO TU": "BYDAY",
    "FREQ=WEEKLY;BYDAY=MOTU": "BYDAY",
    "FREQ=WEEKLY;BYDAY=MO1": "BYDAY",
    "FREQ=WEEKLY;BYDAY=1MO": "BYDAY may have ordinals",
    "FREQ=DAILY;BYDAY=-1FR": "BYDAY may have ordinals",
    "FREQ=MONTHLY;BYDAY=0MO": "BYDAY",
    "FREQ=MONTHLY;BYDAY=6MO": "BYDAY",
    "FREQ=MONTHLY;BYDAY=-6TH": "BYDAY",
    "FREQ=YEARLY;BYDAY=54MO": "BYDAY",
    "FREQ=YEARLY;BYDAY=1.5MO": "BYDAY",
    "FREQ=YEARLY;BYWEEKNO=20;BYDAY=1MO": "BYDAY must not have ordinals",
    "FREQ=DAILY;BYHOUR=24": "BYHOUR",
    "FREQ=DAILY;BYHOUR=-1": "BYHOUR",
    "FREQ=DAILY;BYMINUTE=60": "BYMINUTE",
    "FREQ=DAILY;BYSECOND=61": "BYSECOND",
    "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=0": "BYSETPOS",
    "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=367": "BYSETPOS",
    "FREQ=MONTHLY;BYSETPOS=1": "BYSETPOS needs another BY part",
    "FREQ=YEARLY;BYSETPOS=1;COUNT=2": "BYSETPOS needs another BY part",
    "FREQ=WEEKLY;WKST=MON": "WKST",
    "FREQ=WEEKLY;WKST=1MO": "WKST",
    "FREQ=WEEKLY;WKST=MO,TU": "WKST",
    " FREQ=WEEKLY": "FREQ",
    "FREQ = WEEKLY": "FREQ",
    "FREQ=WEEKLY;BYDAY=MO\n": "BYDAY",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_rule_is_refused_by_name(text: str) -> None:
    """Each for one reason, which the message says."""
    with pytest.raises(BadRule, match=re.escape(REFUSED[text])):
        parse(text)


def test_every_part_is_read() -> None:
    """In any order and in either case; values are sorted, each once, and negative numbers keep their sign."""
    text = "byday=-1fr,2MO;FREQ=yearly;INTERVAL=2;UNTIL=20300101T000000Z;BYMONTH=5,1,5;BYYEARDAY=-1,+100;WKST=SU"
    assert parse(text) == Rule(
        Freq.YEARLY,
        interval=2,
        until=datetime(2030, 1, 1, tzinfo=UTC),
        by_month=(1, 5),
        by_year_day=(-1, 100),
        by_day=((-1, 4), (2, 0)),
        week_start=6,
    )
    assert (date(2030, 1, 1), datetime(2030, 1, 1, 8, 0, 59)) == (
        parse("FREQ=DAILY;UNTIL=20300101").until,
        parse("FREQ=DAILY;UNTIL=20300101T080060").until,
    )


@pytest.mark.parametrize(
    "text",
    [
        "FREQ=DAILY;INTERVAL=3;COUNT=7",
        "FREQ=WEEKLY;UNTIL=20300101T080000Z;BYDAY=MO,SU;WKST=SU",
        "FREQ=MONTHLY;UNTIL=20300101;BYMONTHDAY=-1,1;BYHOUR=9,17;BYMINUTE=0,30;BYSECOND=5;BYSETPOS=-1",
        "FREQ=YEARLY;UNTIL=09990101T080000;BYWEEKNO=-1,20;BYDAY=TU",
    ],
)
def test_a_rule_is_written_as_it_is_read(text: str) -> None:
    """So that one can be changed and stored."""
    assert text == str(parse(text))


def test_until_is_of_a_kind_with_the_start() -> None:
    """A time for a date, and a local time where there is a zone, are refused; a date is the last whole day."""
    with pytest.raises(BadRule, match="must be a date"):
        check_until(parse("FREQ=DAILY;UNTIL=20300101T080000Z"), zoned=False, date_only=True)
    with pytest.raises(BadRule, match="must be in UTC"):
        check_until(parse("FREQ=DAILY;UNTIL=20300101T080000"), zoned=True, date_only=False)
    for text, zoned in (("20300101", True), ("20300101T080000Z", True), ("20300101T080000", False)):
        check_until(parse(f"FREQ=DAILY;UNTIL={text}"), zoned=zoned, date_only=False)


@given(st.text(alphabet="FREQ=DAILYWKMONTHUCSP;,0123456789+-BXZ:\u0663 ", max_size=40) | st.text(max_size=20))
def test_no_text_is_more_than_refused(text: str) -> None:
    """Whatever it is, it is a rule that can be written again, or a BadRule."""
    try:
        rule = parse(text)
    except BadRule:
        return
    assert rule == parse(str(rule))

"""A recurrence rule (RFC 5545 §3.3.10), and a strict parser for it.

Whatever the grammar or a MUST of the RFC forbids is refused, with an error that names the part. Rules more frequent
than daily and those of other calendar systems (RSCALE, RFC 7529) are refused, too. Two deviations are accepted, because
calendars in the wild write them. If UNTIL is a date although the start has a time, it means all of that day. If UNTIL
is in UTC although the start has no zone, it is compared with the start's own clock.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import IntEnum


class BadRule(ValueError):
    """The rule is malformed or not supported. The message says why, for the person who wrote it."""


class Freq(IntEnum):
    """How long a period is. Each period is expanded on its own."""

    DAILY = 1
    WEEKLY = 2
    MONTHLY = 3
    YEARLY = 4


WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
"""In the order of :meth:`datetime.date.weekday`."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The parts of a rule. An empty tuple is a part that was not given.

    ``by_day`` holds pairs of an ordinal (0 for every week) and a weekday. Weekdays count from 0, Monday, also in
    ``week_start``. ``until`` keeps the form in which it was written: a datetime in UTC, a naive datetime, or a date.
    """

    freq: Freq
    interval: int = 1
    count: int | None = None
    until: datetime | date | None = None
    by_month: tuple[int, ...] = ()
    by_week_no: tuple[int, ...] = ()
    by_year_day: tuple[int, ...] = ()
    by_month_day: tuple[int, ...] = ()
    by_day: tuple[tuple[int, int], ...] = ()
    by_hour: tuple[int, ...] = ()
    by_minute: tuple[int, ...] = ()
    by_second: tuple[int, ...] = ()
    by_set_pos: tuple[int, ...] = ()
    week_start: int = 0

    @property
    def endless(self) -> bool:
        """Whether it has neither COUNT nor UNTIL."""
        return self.count is None and self.until is None

    def __str__(self) -> str:
        """The rule as RFC 5545 writes it."""
        parts = [f"FREQ={self.freq.name}"]
        if self.interval != 1:
            parts.append(f"INTERVAL={self.interval}")
        if self.count is not None:
            parts.append(f"COUNT={self.count}")
        if self.until is not None:
            parts.append(f"UNTIL={_until_text(self.until)}")
        for name, field in _LISTS.items():
            if values := getattr(self, field):
                parts.append(f"{name}={','.join(map(str, values))}")
        if self.by_day:
            days = (f"{ordinal or ''}{WEEKDAYS[day]}" for ordinal, day in self.by_day)
            parts.append(f"BYDAY={','.join(days)}")
        if self.week_start:
            parts.append(f"WKST={WEEKDAYS[self.week_start]}")
        return ";".join(parts)


_LISTS = {
    "BYMONTH": "by_month",
    "BYWEEKNO": "by_week_no",
    "BYYEARDAY": "by_year_day",
    "BYMONTHDAY": "by_month_day",
    "BYHOUR": "by_hour",
    "BYMINUTE": "by_minute",
    "BYSECOND": "by_second",
    "BYSETPOS": "by_set_pos",
}
_TOO_OFTEN = {"HOURLY", "MINUTELY", "SECONDLY"}
_MOST_DIGITS = 9
"""The most digits of a COUNT or an INTERVAL. Larger numbers make no sense, and cost time to parse."""

_INTEGER = re.compile(r"[0-9]+", re.ASCII)
_SIGNED = re.compile(r"[+-]?[0-9]{1,3}", re.ASCII)
_UNSIGNED = re.compile(r"[0-9]{1,2}", re.ASCII)
_WEEKDAY = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)", re.ASCII)
_UNTIL = re.compile(r"([0-9]{8})(T[0-9]{6}(Z?))?", re.ASCII)


def parse(text: str) -> Rule:
    """Parse a rule, given without the name of its property: ``FREQ=WEEKLY;BYDAY=MO``.

    Raises:
        BadRule: the rule is malformed or not supported.
    """
    if text[:6].upper() == "RRULE:":
        raise BadRule("must be the rule alone, without RRULE:")
    if not text:
        raise BadRule("is empty; FREQ is required")
    if len(text) > 10_000:
        raise BadRule("is too long")
    values: dict[str, str] = {}
    for part in text.upper().split(";"):
        name, separator, value = part.partition("=")
        if not part:
            raise BadRule("has an empty part: no two semicolons in a row, and none at the end")
        if name not in _PARTS:
            raise BadRule(_unknown(name))
        if not separator or not value:
            raise BadRule(f"{name} has no value")
        if name in values:
            raise BadRule(f"{name} is given twice")
        values[name] = value
    if "FREQ" not in values:
        raise BadRule("FREQ is required")
    fields = {_FIELDS.get(name, name.lower()): _PARTS[name](name, value) for name, value in values.items()}
    rule = Rule(**fields)  # type: ignore[arg-type]  # each part's reader gives what its field is
    _check_together(rule)
    return rule


def _unknown(name: str) -> str:
    if name in {"RSCALE", "SKIP"}:
        return f"{name} is not supported: only the Gregorian calendar of RFC 5545 is"
    return f"{name[:40]} is not a part of a rule" if name.strip() else "has a part without a name"


def _freq(_: str, value: str) -> Freq:
    if value in _TOO_OFTEN:
        raise BadRule(f"FREQ={value} is not supported: DAILY, WEEKLY, MONTHLY and YEARLY are")
    if value not in Freq.__members__:
        raise BadRule("FREQ must be DAILY, WEEKLY, MONTHLY or YEARLY")
    return Freq[value]


def _positive(name: str, value: str) -> int:
    if not _INTEGER.fullmatch(value) or len(value) > _MOST_DIGITS or not int(value):
        raise BadRule(f"{name} must be a positive whole number of at most {_MOST_DIGITS} digits")
    return int(value)


def _until(name: str, value: str) -> datetime | date:
    if match := _UNTIL.fullmatch(value):
        day, time, utc = match.groups()
        try:
            if not time:
                return datetime.strptime(day, "%Y%m%d").date()
            leap_second = time[5:7] == "60"  # RFC 5545 §3.3.12: read as the second before
            moment = datetime.strptime(day + time[1:5] + ("59" if leap_second else time[5:7]), "%Y%m%d%H%M%S")
            return moment.replace(tzinfo=UTC) if utc else moment
        except ValueError:
            pass
    raise BadRule(f"{name} must be a date or a date with a time, such as 20260503 or 20260503T080000Z")


def _until_text(until: datetime | date) -> str:
    if not isinstance(until, datetime):
        return f"{until:%Y%m%d}".zfill(8)
    return f"{until:%Y%m%dT%H%M%S}".zfill(15) + ("Z" if until.tzinfo else "")


def _weekday(name: str, value: str) -> int:
    if value not in WEEKDAYS:
        raise BadRule(f"{name} must be one of {', '.join(WEEKDAYS)}")
    return WEEKDAYS.index(value)


def _weekdays(name: str, value: str) -> tuple[tuple[int, int], ...]:
    days: set[tuple[int, int]] = set()
    for each in value.split(","):
        match = _WEEKDAY.fullmatch(each)
        if not match:
            raise BadRule(f"{name} must be weekdays such as MO or -1FR, separated by commas")
        ordinal = int(match[1]) if match[1] else 0
        if match[1] and not 1 <= abs(ordinal) <= 53:
            raise BadRule(f"{name}: an ordinal is from 1 to 53 or from -1 to -53")
        days.add((ordinal, WEEKDAYS.index(match[2])))
    return tuple(sorted(days))


def _numbers(least: int, most: int, *, signed: bool = False) -> Callable[[str, str], tuple[int, ...]]:
    pattern = _SIGNED if signed else _UNSIGNED
    bounds = f"from {least} to {most}" + (f" or from -{least} to -{most}" if signed else "")

    def read(name: str, value: str) -> tuple[int, ...]:
        numbers: set[int] = set()
        for each in value.split(","):
            number = int(each) if pattern.fullmatch(each) else None
            if number is None or not least <= (abs(number) if signed else number) <= most:
                raise BadRule(f"{name} must be whole numbers {bounds}, separated by commas")
            numbers.add(number)
        return tuple(sorted(numbers))

    return read


_FIELDS = {**_LISTS, "BYDAY": "by_day", "WKST": "week_start"}
_PARTS: dict[str, Callable[[str, str], object]] = {
    "FREQ": _freq,
    "INTERVAL": _positive,
    "COUNT": _positive,
    "UNTIL": _until,
    "BYMONTH": _numbers(1, 12),
    "BYWEEKNO": _numbers(1, 53, signed=True),
    "BYYEARDAY": _numbers(1, 366, signed=True),
    "BYMONTHDAY": _numbers(1, 31, signed=True),
    "BYDAY": _weekdays,
    "BYHOUR": _numbers(0, 23),
    "BYMINUTE": _numbers(0, 59),
    "BYSECOND": _numbers(0, 60),
    "BYSETPOS": _numbers(1, 366, signed=True),
    "WKST": _weekday,
}


def _check_together(rule: Rule) -> None:
    """Refuse combinations of parts that RFC 5545 forbids."""
    freq = rule.freq
    if rule.count is not None and rule.until is not None:
        raise BadRule("COUNT and UNTIL must not be given together")
    if rule.by_week_no and freq != Freq.YEARLY:
        raise BadRule("BYWEEKNO goes with FREQ=YEARLY only")
    if rule.by_year_day and freq != Freq.YEARLY:
        raise BadRule("BYYEARDAY does not go with FREQ=DAILY, WEEKLY or MONTHLY")
    if rule.by_month_day and freq == Freq.WEEKLY:
        raise BadRule("BYMONTHDAY does not go with FREQ=WEEKLY")
    ordinals = [abs(ordinal) for ordinal, _ in rule.by_day if ordinal]
    if ordinals and freq < Freq.MONTHLY:
        raise BadRule("BYDAY may have ordinals with FREQ=MONTHLY or YEARLY only")
    if ordinals and rule.by_week_no:
        raise BadRule("BYDAY must not have ordinals together with BYWEEKNO")
    if ordinals and freq == Freq.MONTHLY and max(ordinals) > 5:
        raise BadRule("BYDAY: no month has more than five of a weekday")
    others = (
        rule.by_month or rule.by_week_no or rule.by_year_day or rule.by_month_day or rule.by_day
        or rule.by_hour or rule.by_minute or rule.by_second
    )  # fmt: skip
    if rule.by_set_pos and not others:
        raise BadRule("BYSETPOS needs another BY part")


def check_until(rule: Rule, *, zoned: bool, date_only: bool) -> None:
    """Check that UNTIL has the same type as the start.

    Raises:
        BadRule: it has a time and the start has none, or it is a local time and the start has a zone.
    """
    if not isinstance(rule.until, datetime):
        return
    if date_only:
        raise BadRule("UNTIL must be a date, because the start is one")
    if zoned and rule.until.tzinfo is None:
        raise BadRule("UNTIL must be in UTC, such as 20260503T080000Z, because the start has a time zone")

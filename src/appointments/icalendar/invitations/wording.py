"""A series in words: how often it happens, at what time, and until when."""

from datetime import datetime, timedelta

from appointments.calendar.recurrence import Rule, wall_at
from appointments.calendar.recurrence.rule import Freq
from appointments.calendar.series import SeriesSpec

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_UNITS = {Freq.DAILY: "day", Freq.WEEKLY: "week", Freq.MONTHLY: "month", Freq.YEARLY: "year"}
_PLACES = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth", -1: "last", -2: "last but one"}


def when(spec: SeriesSpec) -> str:
    """When a series happens, by its own clock: ``Every week on Monday, 09:00 – 10:00 (Europe/Zurich), from …``."""
    zone, rule = spec.zone, spec.parsed
    start, end = wall_at(spec.first.start_at, zone), wall_at(spec.first.end_at, zone)
    parts = [_how_often(rule, start) if rule else "On single days"]
    if not spec.first.all_day:
        until = f"{end:%H:%M}" if start.date() == end.date() else f"{end:%a %H:%M}"
        parts.append(f"{start:%H:%M} – {until} ({zone.key})")
    elif spec.length > timedelta(days=1):
        parts.append(f"{spec.length.days} days each")
    parts.append(f"from {day(start)}")
    if rule and rule.count is not None:
        parts.append(f"{rule.count} times" if rule.count > 1 else "once")
    elif rule and rule.until is not None:
        last = rule.until
        if isinstance(last, datetime) and last.tzinfo:
            last = wall_at(last, zone)
        parts.append(f"until {last:%a %-d %b %Y}")
    if spec.added:
        parts.append("also on " + _listed(sorted(spec.walls_of(spec.added))))
    if spec.excluded:
        parts.append("not on " + _listed(sorted(spec.walls_of(spec.excluded))))
    return ", ".join(parts)


def day(wall: datetime) -> str:
    """A day as the messages write it."""
    return f"{wall:%a %-d %b %Y}"


def _listed(walls: list[datetime], most: int = 10) -> str:
    said = ", ".join(map(day, walls[:most]))
    return said if len(walls) <= most else f"{said} and {len(walls) - most} more days"


def _how_often(rule: Rule, start: datetime) -> str:
    unit = _UNITS[rule.freq]
    often = f"Every {unit}" if rule.interval == 1 else f"Every {rule.interval} {unit}s"
    # Rules that few people use are not put into words of their own: the calendar part has them.
    if rule.by_week_no or rule.by_year_day or rule.by_set_pos or rule.by_hour or rule.by_minute or rule.by_second:
        return f"{often}, on certain days"
    on: list[str] = []
    if rule.by_day:
        on.append(_and([_weekday(*each) for each in rule.by_day]))
    elif rule.freq is Freq.WEEKLY:
        on.append(_DAYS[start.weekday()])
    if rule.by_month_day:
        on.append("day " + _and([str(each) if each > 0 else f"{each} from the end" for each in rule.by_month_day]))
    elif rule.freq is Freq.MONTHLY and not rule.by_day:
        on.append(f"day {start.day}")
    if rule.freq is Freq.YEARLY and not on and not rule.by_month:
        on.append(f"{start.day} {_MONTHS[start.month - 1]}")
    said = f"{often} on {', '.join(on)}" if on else often
    return f"{said} in {_and([_MONTHS[each - 1] for each in rule.by_month])}" if rule.by_month else said


def _weekday(place: int, weekday: int) -> str:
    if not place:
        return _DAYS[weekday]
    return f"the {_PLACES.get(place, f'{place}.')} {_DAYS[weekday]}"


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"

"""Hours and rules between the contract's messages and the domain's values, unchecked: features name what is wrong."""

from appointments.api.convert import buffer
from appointments.calendar.bookable.hours import DayHours, Hours, SpecialDay
from appointments.calendar.bookable.rules import BookingRules
from appointments.v1 import resources_pb2 as pb


def hours(message: pb.Hours) -> Hours:
    """What a request asks for."""
    return Hours(
        tuple(DayHours(span.weekday, span.start_minute, span.end_minute) for span in message.week),
        tuple(
            SpecialDay(day.date, tuple(DayHours(0, span.start_minute, span.end_minute) for span in day.hours))
            for day in message.special_days
        ),
    )


def set_hours(message: pb.Hours, value: Hours) -> None:
    """Fill hours where they are."""
    for span in value.week:
        message.week.add(weekday=span.weekday, start_minute=span.start_minute, end_minute=span.end_minute)
    for day in value.special_days:
        special = message.special_days.add(date=day.date)
        for span in day.hours:
            special.hours.add(start_minute=span.start_minute, end_minute=span.end_minute)


_DURATIONS = ("min_notice", "horizon", "min_duration", "max_duration", "step", "change_notice")


def rules(message: pb.BookingRules) -> BookingRules:
    """What a request asks for."""
    return BookingRules(
        **{name: buffer(getattr(message, name)) for name in _DURATIONS},
        daily_limit=message.daily_limit,
        within_hours=message.within_hours,
        past_changes=message.past_changes or not message.HasField("past_changes"),
    )


def set_rules(message: pb.BookingRules, value: BookingRules) -> None:
    """Fill rules where they are."""
    for name in _DURATIONS:
        if length := getattr(value, name):
            getattr(message, name).FromTimedelta(length)
    message.daily_limit = value.daily_limit
    message.within_hours = value.within_hours
    if not value.past_changes:
        message.past_changes = False

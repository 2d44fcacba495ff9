"""Hours between the contract's messages and the domain's values, unchecked: the feature names what is wrong."""

from appointments.bookable.hours import DayHours, Hours, SpecialDay
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

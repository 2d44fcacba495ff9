"""Between the contract's messages and the domain's values.

A spec is converted whatever it holds: what is out of bounds stays so, and the feature names all of it at once.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from appointments.calendar.appointment import NO_TIME, UNSET, Appointment, Attendee, Organizer, Spec, etag
from appointments.calendar.materializing import Booked
from appointments.calendar.occupancy import Taken
from appointments.db import Micros, micros
from appointments.shared.errors import Collision, Invalid, Misses
from appointments.shared.validation import fold_email, is_uuid
from appointments.v1 import appointments_pb2 as pb
from appointments.v1 import series_pb2

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCHS_APART = 946_684_800
"""Seconds from the contract's epoch, 1970, to PostgreSQL's, 2000."""

_MIN_SECONDS, _MAX_SECONDS = -62_135_596_800, 253_402_300_799
"""google.protobuf.Timestamp: from 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999999Z."""

_FROM_RESPONSE = {
    "NEEDS-ACTION": pb.ATTENDEE_RESPONSE_NEEDS_ACTION,
    "ACCEPTED": pb.ATTENDEE_RESPONSE_ACCEPTED,
    "DECLINED": pb.ATTENDEE_RESPONSE_DECLINED,
    "TENTATIVE": pb.ATTENDEE_RESPONSE_TENTATIVE,
}
_FAILED, _UNKNOWN = pb.ATTENDEE_DELIVERY_FAILED, pb.ATTENDEE_DELIVERY_UNSPECIFIED
_UNANSWERED = dict.fromkeys(pb.AttendeeResponse.values(), "NEEDS-ACTION")
_TRANSPARENCIES = frozenset(pb.Transparency.values())
_UNSAID, _ORGANIZER, _ATTENDEE = pb.ROLE_UNSPECIFIED, pb.ROLE_ORGANIZER, pb.ROLE_ATTENDEE
_OPAQUE, _TRANSPARENT = pb.TRANSPARENCY_OPAQUE, pb.TRANSPARENCY_TRANSPARENT

_NONE_RARE = [None] * len(Appointment._fields[Appointment._fields.index("version") + 1 :])
"""The last fields of a row, where it has none of them. Most appointments have none."""

_MANY_DAYS = 10_000


def timestamp(value: datetime) -> Timestamp:
    """An aware datetime as a Timestamp."""
    message = Timestamp()
    set_timestamp(message, micros(value))
    return message


def instant(value: Timestamp) -> datetime | None:
    """A Timestamp as an aware datetime, cut to the microsecond; None if it is not a valid Timestamp."""
    if not (_MIN_SECONDS <= value.seconds <= _MAX_SECONDS and 0 <= value.nanos < 1_000_000_000):
        return None
    return _EPOCH + timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)


def identifier(text: str, field: str) -> UUID:
    """A UUID in its canonical spelling (RFC 9562 §4), in either case.

    Raises:
        Invalid: it is none; ``field`` is named.
    """
    if not is_uuid(text):
        raise Invalid.field(field, "must be a UUID" if text else "is required")
    return UUID(text)


def optional_identifier(text: str, field: str) -> UUID | None:
    """The same, or None for an empty text."""
    return identifier(text, field) if text else None


def spec(message: pb.Appointment) -> Spec:
    """What a request asks for, unchecked: the feature names what is wrong with it."""
    return Spec(
        title=message.title,
        start_at=_planned(message, "start_time"),
        end_at=_planned(message, "end_time"),
        time_zone=message.time_zone,
        description=message.description,
        location=message.location,
        attendees=attendees(message),
        resource_ids=tuple(map(str.lower, message.resource_ids)),
        buffer_before=buffer(message.buffer_before) if message.HasField("buffer_before") else NO_TIME,
        buffer_after=buffer(message.buffer_after) if message.HasField("buffer_after") else NO_TIME,
        transparent=_transparent(message),
        all_day=message.all_day,
        reminders=_reminders(message),
    )


def _transparent(message: pb.Appointment) -> bool:
    if message.transparency not in _TRANSPARENCIES:
        raise Invalid.field("appointment.transparency", "is not a known transparency")
    return message.transparency == pb.TRANSPARENCY_TRANSPARENT


def _reminders(message: pb.Appointment) -> tuple[int, ...] | None:
    if message.no_reminders:
        if message.reminders:
            raise Invalid.field("appointment.no_reminders", "does not go with reminders")
        return ()
    return tuple(message.reminders) or None


def buffer(value: Duration) -> timedelta:
    """A Duration as a timedelta, unchecked: what is far out of bounds stays so, and what is not whole seconds too."""
    days, seconds = divmod(value.seconds, 86_400)
    return timedelta(max(-_MANY_DAYS, min(days, _MANY_DAYS)), seconds, 1 if value.nanos else 0)


def _planned(message: pb.Appointment, field: str) -> datetime:
    # A time that is no time becomes one that is far out of bounds, so that it is named with the other bad fields.
    if not message.HasField(field):  # type: ignore[arg-type]
        return UNSET
    return instant(getattr(message, field)) or UNSET + timedelta(days=1)


def ttl(message: pb.Appointment) -> timedelta | None:
    """For how long a create is to hold its time, cut to the microsecond; None is for good. Unchecked."""
    if not message.HasField("ttl"):
        return None
    days, seconds = divmod(message.ttl.seconds, 86_400)
    return timedelta(max(-_MANY_DAYS, min(days, _MANY_DAYS)), seconds, message.ttl.nanos // 1000)


def attendees(message: pb.Appointment) -> tuple[Attendee, ...]:
    """Who is invited. What they answer is not the organizer's to say; an unknown response stays recognisably so."""
    return tuple(
        Attendee(guest.email, guest.display_name, _UNANSWERED.get(guest.response, str(guest.response)))
        for guest in message.attendees
    )


def appointment(
    value: Appointment, make: Callable[..., pb.Appointment] = pb.Appointment, *, viewer: str = ""
) -> pb.Appointment:
    """An appointment as the contract has it; ``make`` may add it to a list where it is, which saves a copy.

    ``viewer`` is who reads it, where that may be somebody who is neither its owner nor invited.
    """
    # A list makes hundreds of these: its row is taken apart once, and what is rare is looked at only if there is any.
    id_, owner, title, start, end, zone, description, location, attendees, created, updated, deleted, version, *rare = (
        value
    )
    message = make()
    message.id = id_
    message.owner_id = message.actor_id = owner
    message.title = title
    message.description = description
    message.location = location
    message.time_zone = zone
    message.etag = etag(version)
    message.transparency = _OPAQUE
    message.role = _ORGANIZER if viewer in ("", owner) else _UNSAID
    set_timestamp(message.start_time, start)
    set_timestamp(message.end_time, end)
    set_timestamp(message.create_time, created)
    set_timestamp(message.update_time, updated)
    if attendees or deleted is not None or rare != _NONE_RARE:
        _add_what_is_rare(message, value)
    return message


def _add_what_is_rare(message: pb.Appointment, value: Appointment) -> None:
    if value.actor_text:
        message.actor_id = value.actor_text
    if value.transparent:
        message.transparency = _TRANSPARENT
    message.all_day = bool(value.all_day)
    if value.resource_ids:
        message.resource_ids.extend(value.resource_ids)
    if value.overridden_rules:
        message.overridden_rules.extend(value.overridden_rules)
    if value.organizer is not None:
        _add_invitation(message, value, value.organizer)
    for guest in value.attendees:
        response = _FROM_RESPONSE[guest.response]
        message.attendees.add(
            email=guest.email,
            display_name=guest.display_name,
            response=response,
            comment=guest.comment,
            delivery=_FAILED if guest.undelivered else _UNKNOWN,
        )
    if value.series_text and value.original_start_at is not None:
        message.series_id = value.series_text
        set_timestamp(message.original_start_time, value.original_start_at)
    if value.buffer_before:
        message.buffer_before.seconds = value.buffer_before
    if value.buffer_after:
        message.buffer_after.seconds = value.buffer_after
    if value.deleted_at is not None:
        set_timestamp(message.delete_time, value.deleted_at)
    if value.expires_at is not None:
        set_timestamp(message.expire_time, value.expires_at)
    if value.reminders is not None and message.role == _ORGANIZER:
        set_reminders(message, value.reminders)


def _add_invitation(message: pb.Appointment, value: Appointment, organizer: Organizer) -> None:
    own = (guest.response for guest in value.attendees if fold_email(guest.email) == value.address)
    message.role, message.own_response = _ATTENDEE, _FROM_RESPONSE[next(own, "NEEDS-ACTION")]
    message.organizer.display_name, message.organizer.email = organizer


def set_reminders(message: pb.Appointment | series_pb2.Series, reminders: list[int]) -> None:
    """Fill in reminders that are not the account's."""
    message.reminders.extend(reminders)
    message.no_reminders = not reminders


def taken(value: Taken, make: Callable[..., pb.Appointment]) -> pb.Appointment:
    """Time that somebody else takes, as an appointment without anything that would tell whose or what for."""
    message = make(resource_ids=[value.resource_id])
    set_timestamp(message.start_time, value.start_at)
    set_timestamp(message.end_time, value.end_at)
    return message


def attendee(guest: Attendee) -> pb.Attendee:
    """Somebody invited, as the contract has them."""
    return pb.Attendee(
        email=guest.email,
        display_name=guest.display_name,
        response=_FROM_RESPONSE[guest.response],
        delivery=_FAILED if guest.undelivered else _UNKNOWN,
    )


def transparency(transparent: bool) -> pb.Transparency.ValueType:
    """Whether time is taken, as the contract has it."""
    return _TRANSPARENT if transparent else _OPAQUE


def conflicting(collision: Collision) -> pb.ConflictingAppointment:
    """An appointment that is in the way."""
    message = pb.ConflictingAppointment(id=str(collision.id))
    set_timestamp(message.start_time, micros(collision.start_at))
    set_timestamp(message.end_time, micros(collision.end_at))
    return message


def misses(found: Misses) -> series_pb2.SeriesConflictInfo:
    """The occurrences that find no place."""
    return series_pb2.SeriesConflictInfo(
        occurrences=[
            series_pb2.OccurrenceConflict(
                original_start_time=timestamp(miss.original_start_at),
                appointments=map(conflicting, miss.collisions),
                resource_ids=map(str, miss.resource_ids),
            )
            for miss in found.named
        ],
        total=found.total,
    )


def series(booked: Booked, *, is_there: bool = True) -> series_pb2.Series:
    """A series as the contract has it; one that was only looked at has no id."""
    row, spec = booked.series, booked.series.spec
    first = spec.first
    message = series_pb2.Series(
        owner_id=row.owner_text,
        title=row.title,
        description=row.description,
        location=row.location,
        start_time=timestamp(first.start_at),
        end_time=timestamp(first.end_at),
        time_zone=row.time_zone,
        recurrence_rule=row.rule,
        added_times=map(timestamp, spec.added),
        excluded_times=map(timestamp, spec.excluded),
        attendees=map(attendee, row.attendees),
        resource_ids=row.resource_ids,
        previous_series_id=row.previous_text or "",
        transparency=transparency(row.transparent),
        all_day=row.all_day,
    )
    for field, value in (("buffer_before", first.buffer_before), ("buffer_after", first.buffer_after)):
        if value != NO_TIME:
            getattr(message, field).FromTimedelta(value)
    if row.reminders is not None:
        set_reminders(message, row.reminders)
    if booked.expanded_until:
        message.expanded_until_time.CopyFrom(timestamp(booked.expanded_until))
    if is_there:
        message.id, message.etag = row.id_text, row.etag
        set_timestamp(message.create_time, row.created_at)
        set_timestamp(message.update_time, row.updated_at)
        if row.deleted_at is not None:
            set_timestamp(message.delete_time, row.deleted_at)
    return message


def set_timestamp(message: Timestamp, value: Micros) -> None:
    """Fill a Timestamp where it is."""
    seconds, rest = divmod(value, 1_000_000)
    message.seconds = seconds + _EPOCHS_APART
    if rest:
        message.nanos = rest * 1000

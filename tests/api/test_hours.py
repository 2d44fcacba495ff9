"""Hours and rules of people and of resources, through the ports."""

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from appointments.v1 import account_pb2, appointments_pb2
from appointments.v1 import resources_pb2 as pb
from tests.clients import Person, appointment, details

OFFICE = pb.Hours(
    week=[pb.DayHours(weekday=day, start_minute=540, end_minute=1020) for day in range(1, 6)],
    special_days=[pb.SpecialDay(date="2026-12-24", hours=[pb.DayHours(start_minute=540, end_minute=720)])],
)


async def change(person: Person, *paths: str, **fields: object) -> account_pb2.User:
    """Change one's own account."""
    request = account_pb2.UpdateCurrentUserRequest(
        user=account_pb2.User(**fields),  # type: ignore[arg-type]
        update_mask=FieldMask(paths=paths),
    )
    return (await person.account.UpdateCurrentUser(request, metadata=person.metadata)).user


async def test_a_person_sets_their_hours(ada: Person) -> None:
    """They stay while other fields change, are there after the next sign-in's look, and can be taken back."""
    assert OFFICE == (await change(ada, hours=OFFICE)).hours
    assert OFFICE == (await change(ada, "display_name", display_name="Ada L.")).hours
    read = (await ada.account.GetCurrentUser(account_pb2.GetCurrentUserRequest(), metadata=ada.metadata)).user
    assert (OFFICE, "Ada L.") == (read.hours, read.display_name)
    assert not (await change(ada, "hours")).HasField("hours")


async def test_wrong_hours_of_a_person_are_named(ada: Person) -> None:
    """By the path of the span, along with the other bad fields; nothing is changed."""
    bad = pb.Hours(week=[pb.DayHours(weekday=9, start_minute=60, end_minute=30)])
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await change(ada, hours=bad, time_zone="Mars/Olympus")
    assert grpc.StatusCode.INVALID_ARGUMENT == refused.value.code()
    assert ["time_zone", "user.hours.week[0].weekday", "user.hours.week[0].end_minute"] == [
        violation.field for violation in details(refused.value)["BadRequest"].field_violations
    ]


async def test_a_resource_has_hours(ada: Person) -> None:
    """From the start, changed by the mask, and taken back."""
    room = pb.Resource(kind=pb.RESOURCE_KIND_ROOM, display_name="Room", time_zone="Europe/Zurich", hours=OFFICE)
    created = (
        await ada.resources.CreateResource(pb.CreateResourceRequest(resource=room), metadata=ada.metadata)
    ).resource
    read = (await ada.resources.GetResource(pb.GetResourceRequest(id=created.id), metadata=ada.metadata)).resource
    assert (OFFICE, created) == (created.hours, read)
    closed = pb.Hours(special_days=[pb.SpecialDay(date="2026-12-24")])
    request = pb.UpdateResourceRequest(resource=pb.Resource(id=created.id, hours=closed))
    assert closed == (await ada.resources.UpdateResource(request, metadata=ada.metadata)).resource.hours
    request.resource.ClearField("hours")
    request.update_mask.paths.append("hours")
    assert not (await ada.resources.UpdateResource(request, metadata=ada.metadata)).resource.HasField("hours")


async def test_wrong_hours_of_a_resource_are_named(ada: Person) -> None:
    """By the path of the date, along with the other bad fields."""
    hours = pb.Hours(special_days=[pb.SpecialDay(date="24.12.2026")])
    room = pb.Resource(kind=pb.RESOURCE_KIND_ROOM, display_name="Room", hours=hours)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ada.resources.CreateResource(pb.CreateResourceRequest(resource=room), metadata=ada.metadata)
    assert ["resource.time_zone", "resource.hours.special_days[0].date"] == [
        violation.field for violation in details(refused.value)["BadRequest"].field_violations
    ]


RULES = pb.BookingRules(
    min_notice=Duration(seconds=3600),
    horizon=Duration(seconds=86_400 * 30),
    min_duration=Duration(seconds=900),
    max_duration=Duration(seconds=7200),
    step=Duration(seconds=900),
    daily_limit=5,
    within_hours=True,
    change_notice=Duration(seconds=60),
    past_changes=False,
)


async def test_rules_of_a_resource_and_of_a_person(ada: Person) -> None:
    """What was asked comes back; past changes are allowed unless it is said; wrong rules are named by their path."""
    room = pb.Resource(kind=pb.RESOURCE_KIND_ROOM, display_name="Room", time_zone="UTC", booking_rules=RULES)
    request = pb.CreateResourceRequest(resource=room)
    created = (await ada.resources.CreateResource(request, metadata=ada.metadata)).resource
    assert RULES == created.booking_rules
    loose = pb.BookingRules(daily_limit=3, past_changes=True)
    changed = pb.UpdateResourceRequest(resource=pb.Resource(id=created.id, booking_rules=loose))
    answer = (await ada.resources.UpdateResource(changed, metadata=ada.metadata)).resource
    assert pb.BookingRules(daily_limit=3) == answer.booking_rules
    assert RULES == (await change(ada, booking_rules=RULES)).booking_rules
    assert not (await change(ada, "booking_rules")).HasField("booking_rules")
    request.resource.booking_rules.horizon.seconds = 60
    request.resource.booking_rules.step.nanos = 1
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ada.resources.CreateResource(request, metadata=ada.metadata)
    assert ["resource.booking_rules.step", "resource.booking_rules.step", "resource.booking_rules.horizon"] == [
        violation.field for violation in details(refused.value)["BadRequest"].field_violations
    ]


async def test_a_breach_is_told_and_overridden(ada: Person, bob: Person) -> None:
    """FAILED_PRECONDITION with the rule and whose it is; the room's manager goes past it, nobody else does."""
    rules = pb.BookingRules(max_duration=Duration(seconds=60))
    room = pb.Resource(
        kind=pb.RESOURCE_KIND_ROOM,
        display_name="Room",
        time_zone="UTC",
        booking_rules=rules,
        default_role=pb.RESOURCE_ROLE_BOOKER,
    )
    request = pb.CreateResourceRequest(resource=room)
    added = (await ada.resources.CreateResource(request, metadata=ada.metadata)).resource
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await bob.create(resource_ids=[added.id])
    info = details(refused.value)["ErrorInfo"]
    assert (grpc.StatusCode.FAILED_PRECONDITION, "BOOKING_RULE") == (refused.value.code(), info.reason)
    assert ("max_duration", added.id) == (info.metadata["rule"], info.metadata["subject_id"])
    booking = appointments_pb2.CreateAppointmentRequest(
        appointment=appointment(resource_ids=[added.id]), override_rules=True
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await bob.appointments.CreateAppointment(booking, metadata=bob.metadata)
    assert grpc.StatusCode.PERMISSION_DENIED == refused.value.code()
    booked = (await ada.appointments.CreateAppointment(booking, metadata=ada.metadata)).appointment
    assert ["max_duration"] == booked.overridden_rules

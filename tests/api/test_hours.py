"""Hours of people and of resources, through the ports."""

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from appointments.v1 import account_pb2
from appointments.v1 import resources_pb2 as pb
from tests.clients import Person, details

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

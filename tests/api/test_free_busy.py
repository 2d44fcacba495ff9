"""Free and busy through the ports: a stranger learns spans and nothing else, and a question has its bounds."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from appointments.v1 import appointments_pb2, availability_pb2, availability_pb2_grpc, resources_pb2
from tests.clients import HOUR, TEN, Person, appointment, details, timestamp
from tests.service import Target

DAY = timedelta(days=1)
ZURICH = ZoneInfo("Europe/Zurich")


@pytest.fixture
async def times(server: Target) -> AsyncIterator["availability_pb2_grpc.AvailabilityServiceAsyncStub"]:
    """The service of free and busy."""
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        yield availability_pb2_grpc.AvailabilityServiceStub(channel)


async def test_private_changes_do_not_show(
    ada: Person, bob: Person, times: "availability_pb2_grpc.AvailabilityServiceAsyncStub"
) -> None:
    """A title, a guest, two appointments for one, what takes no time: every answer has the same bytes."""
    window: dict[str, Any] = {"start_time": timestamp(TEN - HOUR), "end_time": timestamp(TEN + 9 * HOUR)}
    asked = availability_pb2.QueryFreeBusyRequest(subject_ids=[ada.user_id], **window)

    async def seen() -> bytes:
        return (await times.QueryFreeBusy(asked, metadata=bob.metadata)).SerializeToString()

    first = await ada.create(TEN, 2 * HOUR, title="Surgery")
    before = await seen()
    change = appointments_pb2.UpdateAppointmentRequest(
        appointment=appointments_pb2.Appointment(
            id=first.id, title="x" * 200, attendees=[appointments_pb2.Attendee(email="doctor@example.com")]
        ),
        update_mask=FieldMask(paths=["title", "attendees"]),
    )
    await ada.appointments.UpdateAppointment(change, metadata=ada.metadata)
    assert before == await seen()
    await ada.create(TEN, HOUR, transparency=appointments_pb2.TRANSPARENCY_TRANSPARENT, title="Birthday")
    assert before == await seen()
    shorter = appointments_pb2.UpdateAppointmentRequest(appointment=appointment(TEN, HOUR))
    shorter.appointment.id = first.id
    await ada.appointments.UpdateAppointment(shorter, metadata=ada.metadata)
    assert before != await seen()
    held = appointment(TEN + HOUR, HOUR, title="Another")
    held.ttl.FromTimedelta(timedelta(minutes=5))
    request = appointments_pb2.CreateAppointmentRequest(appointment=held)
    await ada.appointments.CreateAppointment(request, metadata=ada.metadata)
    assert before == await seen()


async def crowd(ada: Person) -> list[str]:
    """As many subjects as one question may be about: Ada and 49 rooms of hers."""
    room = resources_pb2.Resource(kind=resources_pb2.RESOURCE_KIND_ROOM, display_name="Room", time_zone="Europe/Zurich")
    request = resources_pb2.CreateResourceRequest(resource=room)
    made = await asyncio.gather(
        *(ada.resources.CreateResource(request, metadata=ada.metadata) for _ in range(49)),
    )
    return [ada.user_id, *(each.resource.id for each in made)]


async def fields(call: Any) -> list[str]:
    """Which fields a call is refused for."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    assert grpc.StatusCode.INVALID_ARGUMENT == refused.value.code()
    return [each.field for each in details(refused.value)["BadRequest"].field_violations]


async def test_fifty_subjects_are_answered_and_one_more_is_refused(
    ada: Person, times: "availability_pb2_grpc.AvailabilityServiceAsyncStub"
) -> None:
    """By id and by address together; a search counts those of all its requirements."""
    subjects = await crowd(ada)
    await ada.create(TEN, HOUR)
    window: dict[str, Any] = {"start_time": timestamp(TEN), "end_time": timestamp(TEN + 2 * HOUR)}

    def busy(ids: list[str], emails: list[str]) -> Any:
        asked = availability_pb2.QueryFreeBusyRequest(subject_ids=ids, emails=emails, **window)
        return times.QueryFreeBusy(asked, metadata=ada.metadata)

    for ids, emails, expected in ((subjects, [], subjects), (subjects[1:], [ada.email], [*subjects[1:], ada.user_id])):
        answer = await busy(ids, emails)
        assert expected == [each.subject_id for each in answer.subjects]
        assert {ada.user_id} == {each.subject_id for each in answer.subjects if each.busy}
    assert ["subject_ids"] == await fields(busy(subjects, [ada.email]))
    assert ["subject_ids"] == await fields(busy([*subjects, subjects[1]], []))
    assert ["subject_ids"] == await fields(busy([], [ada.email] * 51))

    def slots(*requirements: availability_pb2.SlotRequirement) -> Any:
        asked = availability_pb2.SearchSlotsRequest(
            requirements=requirements, duration=Duration(seconds=3600), **window
        )
        return times.SearchSlots(asked, metadata=ada.metadata)

    rooms = availability_pb2.SlotRequirement(any_of_subject_ids=subjects[1:], count=49)
    found = await slots(rooms, availability_pb2.SlotRequirement(any_of_emails=[ada.email]))
    assert [(timestamp(TEN + HOUR), 50)] == [(each.start_time, len(each.subject_ids)) for each in found.slots]
    more = availability_pb2.SlotRequirement(any_of_subject_ids=[ada.user_id], any_of_emails=[ada.email])
    assert ["requirements"] == await fields(slots(rooms, more))


@pytest.mark.parametrize("start", [datetime(2030, 2, 1, tzinfo=ZURICH), datetime(2030, 9, 1, tzinfo=ZURICH)])
async def test_a_window_is_at_most_92_days_of_24_hours(
    ada: Person, times: "availability_pb2_grpc.AvailabilityServiceAsyncStub", start: datetime
) -> None:
    """Whatever clock is changed within: 92 days on the wall are an hour less in spring, and one too many in autumn."""
    first = start.astimezone(TEN.tzinfo)
    on_the_wall = (start + 92 * DAY).astimezone(TEN.tzinfo) - first
    assert on_the_wall == 92 * DAY + (-HOUR if start.month == 2 else HOUR)
    await ada.create(first + 92 * DAY - HOUR, HOUR)

    def busy(length: timedelta) -> Any:
        asked = availability_pb2.QueryFreeBusyRequest(
            subject_ids=[ada.user_id], start_time=timestamp(first), end_time=timestamp(first + length)
        )
        return times.QueryFreeBusy(asked, metadata=ada.metadata)

    def slots(length: timedelta) -> Any:
        asked = availability_pb2.SearchSlotsRequest(
            requirements=[availability_pb2.SlotRequirement(any_of_subject_ids=[ada.user_id])],
            duration=Duration(seconds=3600),
            step=Duration(seconds=86400),
            start_time=timestamp(first),
            end_time=timestamp(first + length),
            page_size=1000,
        )
        return times.SearchSlots(asked, metadata=ada.metadata)

    (whole,) = (await busy(92 * DAY)).subjects
    assert [timestamp(first + 92 * DAY - HOUR)] == [each.start_time for each in whole.busy]
    assert 92 == len((await slots(92 * DAY)).slots)
    for ask in (busy, slots):
        assert ["end_time"] == await fields(ask(92 * DAY + timedelta(microseconds=1)))
        if on_the_wall > 92 * DAY:
            assert ["end_time"] == await fields(ask(on_the_wall))
        else:
            await ask(on_the_wall)

"""What a stranger can learn of somebody's time through the ports: spans, byte for byte, and nothing else."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from appointments.v1 import appointments_pb2, availability_pb2, availability_pb2_grpc
from tests.clients import HOUR, TEN, Person, appointment, timestamp
from tests.service import Target


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

"""Imports through the ports: how large they may be."""

import time

import grpc
import pytest

from appointments.v1 import appointments_pb2 as pb
from appointments.v1 import appointments_pb2_grpc
from tests.clients import HOUR, TEN, Person
from tests.service import Target

LARGEST = 5 * 1024 * 1024


def file_of(size: int, events: int) -> bytes:
    """A calendar of exactly so many bytes."""
    made = ["BEGIN:VCALENDAR"]
    for number in range(events):
        start = TEN + number * HOUR
        made += ["BEGIN:VEVENT", f"UID:{number}", "SUMMARY:Meeting", f"DTSTART:{start:%Y%m%dT%H%M%SZ}", "DURATION:PT1H"]
        made += ["DESCRIPTION:" + "x" * 900, "END:VEVENT"]
    made += ["X-FILLER:", "END:VCALENDAR", ""]
    content = "\r\n".join(made).encode()
    return content.replace(b"X-FILLER:", b"X-FILLER:" + b"x" * (size - len(content)))


async def test_five_mebibytes_are_imported_and_more_are_refused_by_name(server: Target, ada: Person) -> None:
    """With as many components as there may be; what is larger names the field."""
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        stub = appointments_pb2_grpc.AppointmentServiceStub(channel)
        content = file_of(LARGEST, 5_000)
        assert len(content) == LARGEST
        started = time.perf_counter()
        request = pb.ImportAppointmentsRequest(ics=content)
        response = await stub.ImportAppointments(request, metadata=ada.metadata, timeout=60)
        print(f"5 MiB, 5,000 components: {time.perf_counter() - started:.1f} s")  # noqa: T201 - for a report
        assert [each.state for each in response.items] == [pb.IMPORT_STATE_NEW] * 5_000
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await stub.ImportAppointments(pb.ImportAppointmentsRequest(ics=content + b"x"), metadata=ada.metadata)
        assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "ics: must have at most 5,242,880 bytes" in str(refusal.value.details())

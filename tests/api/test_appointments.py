"""AppointmentService on the native port: the contract, and what becomes of bad input."""

import asyncio
import re
from collections import Counter
from datetime import timedelta
from time import monotonic
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from appointments.v1 import appointments_pb2 as pb
from tests.clients import HOUR, TEN, Person, appointment, details, new_address, status, timestamp
from tests.service import Server

Code = grpc.StatusCode


def violations(error: grpc.aio.AioRpcError) -> list[str]:
    """The fields that an INVALID_ARGUMENT names."""
    assert error.code() == Code.INVALID_ARGUMENT
    return [violation.field for violation in details(error)["BadRequest"].field_violations]


async def test_an_appointment_comes_back_whole(ada: Person) -> None:
    """What was sent is what is stored, with the server's fields filled in."""
    guests = [
        pb.Attendee(email="bob@example.com", display_name="Bob", response=pb.ATTENDEE_RESPONSE_ACCEPTED),
        pb.Attendee(email="eve@example.com"),
    ]
    sent = appointment(description="notes", location="Zürich", attendees=guests)
    request = pb.CreateAppointmentRequest(appointment=sent)
    created = (await ada.appointments.CreateAppointment(request, metadata=ada.metadata)).appointment
    assert (sent.title, sent.description, sent.location) == (created.title, created.description, created.location)
    assert (sent.start_time, sent.end_time, sent.time_zone) == (
        created.start_time,
        created.end_time,
        created.time_zone,
    )
    # What guests answer is theirs to say.
    assert {pb.ATTENDEE_RESPONSE_NEEDS_ACTION} == {guest.response for guest in created.attendees}
    assert ada.user_id == created.owner_id
    assert created.etag
    assert not created.HasField("delete_time")
    found = await ada.appointments.GetAppointment(pb.GetAppointmentRequest(id=created.id), metadata=ada.metadata)
    assert created == found.appointment


async def test_output_only_fields_of_a_request_are_ignored(ada: Person, bob: Person) -> None:
    """Nobody books for somebody else, or in the past of the record."""
    created = await ada.create(id=str(uuid4()), owner_id=bob.user_id, create_time=timestamp(TEN), etag="x")
    assert (ada.user_id, False) == (created.owner_id, created.create_time == timestamp(TEN))


async def test_a_conflict_says_with_what(ada: Person, bob: Person) -> None:
    """ALREADY_EXISTS with the caller's own colliding appointments, and nothing of anybody else's."""
    await bob.create()
    first = await ada.create()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ada.create(TEN + HOUR / 2)
    assert refused.value.code() == Code.ALREADY_EXISTS
    found = details(refused.value)
    assert ("TIME_CONFLICT", "appointments.v1") == (found["ErrorInfo"].reason, found["ErrorInfo"].domain)
    assert [pb.ConflictingAppointment(id=first.id, start_time=first.start_time, end_time=first.end_time)] == list(
        found["ConflictInfo"].appointments
    )


async def test_every_bad_field_is_named_at_once(ada: Person) -> None:
    """INVALID_ARGUMENT with a violation a field, the request id included."""
    bad = pb.Appointment(
        title=" ",
        location="l" * 501,
        start_time=timestamp(TEN),
        end_time=Timestamp(seconds=2**62),
        time_zone="Moon/Base",
        attendees=[pb.Attendee(email="x", response=99)],  # type: ignore[arg-type]
    )
    request = pb.CreateAppointmentRequest(appointment=bad, request_id="not-a-uuid")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ada.appointments.CreateAppointment(request, metadata=ada.metadata)
    assert [
        "request_id",
        "appointment.title",
        "appointment.location",
        "appointment.end_time",
        "appointment.time_zone",
        "appointment.attendees[0].email",
        "appointment.attendees[0].response",
    ] == violations(refused.value)


async def test_what_is_wrong_with_a_new_ttl_is_named(ada: Person) -> None:
    """It is missing, it is out of bounds, or the appointment is no hold; "*" takes it only if it is set."""

    async def prolong(*paths: str, **fields: Any) -> pb.Appointment:
        request = pb.UpdateAppointmentRequest(appointment=pb.Appointment(**fields), update_mask=FieldMask(paths=paths))
        return (await ada.appointments.UpdateAppointment(request, metadata=ada.metadata)).appointment

    held = await ada.create(ttl=Duration(seconds=60))
    plain = await ada.create(TEN + 2 * HOUR)
    for fields in (
        {"id": held.id},
        {"id": held.id, "ttl": Duration(seconds=3601)},
        {"id": held.id, "ttl": Duration()},
        {"id": plain.id, "ttl": Duration(seconds=60)},
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await prolong("ttl", **fields)
        assert ["appointment.ttl"] == violations(refused.value)
    longer = await prolong("ttl", id=held.id, ttl=Duration(seconds=3600))
    assert longer.expire_time.ToDatetime() > held.expire_time.ToDatetime() + timedelta(minutes=50)
    held.title, held.etag = "As it was", ""
    whole = await ada.appointments.UpdateAppointment(
        pb.UpdateAppointmentRequest(appointment=held, update_mask=FieldMask(paths=["*"])), metadata=ada.metadata
    )
    assert ("As it was", longer.expire_time) == (whole.appointment.title, whole.appointment.expire_time)


@pytest.mark.parametrize(
    "timestamp_",
    [
        Timestamp(seconds=2**63 - 1),
        Timestamp(seconds=-(2**63)),
        Timestamp(seconds=0, nanos=-1),
        Timestamp(seconds=0, nanos=2**31 - 1),
        Timestamp(seconds=253402300800),
    ],
)
async def test_a_time_that_is_none_is_a_bad_field(ada: Person, timestamp_: Timestamp) -> None:
    """Wherever it stands."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ada.create(start_time=timestamp_)
    assert ["appointment.start_time"] == violations(refused.value)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ada.appointments.ListAppointments(pb.ListAppointmentsRequest(end_time=timestamp_), metadata=ada.metadata)
    assert ["end_time"] == violations(refused.value)


@pytest.mark.parametrize(
    "bad_id", ["", "x", "0" * 32, f"{{{uuid4()}}}", f"urn:uuid:{uuid4()}", f"{uuid4()} ", "\x00", "é" * 36]
)
async def test_a_malformed_id_is_a_bad_field(ada: Person, bad_id: str) -> None:
    """Only the canonical spelling is an id; it is never looked up as anything else."""
    attempts: list[tuple[Any, Message, str]] = [
        (ada.appointments.GetAppointment, pb.GetAppointmentRequest(id=bad_id), "id"),
        (ada.appointments.DeleteAppointment, pb.DeleteAppointmentRequest(id=bad_id), "id"),
        (ada.appointments.UndeleteAppointment, pb.UndeleteAppointmentRequest(id=bad_id), "id"),
        (
            ada.appointments.UpdateAppointment,
            pb.UpdateAppointmentRequest(appointment=pb.Appointment(id=bad_id)),
            "appointment.id",
        ),
    ]
    for call, request, field in attempts:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(request, metadata=ada.metadata)
        assert [field] == violations(refused.value)


async def test_a_mask_says_what_changes(ada: Person) -> None:
    """Named fields only; an empty mask is what is populated; a named empty field is emptied; * is everything."""
    created = await ada.create(description="notes", location="here")

    async def update(message: pb.Appointment, *paths: str) -> pb.Appointment:
        message.id = created.id
        request = pb.UpdateAppointmentRequest(appointment=message, update_mask=FieldMask(paths=paths))
        return (await ada.appointments.UpdateAppointment(request, metadata=ada.metadata)).appointment

    changed = await update(pb.Appointment(title="New", location="there"), "title")
    assert ("New", "here", "notes") == (changed.title, changed.location, changed.description)
    changed = await update(pb.Appointment(location="there"))
    assert ("New", "there", "notes") == (changed.title, changed.location, changed.description)
    changed = await update(pb.Appointment(), "description", "location")
    assert ("New", "", "") == (changed.title, changed.location, changed.description)
    changed = await update(appointment(TEN + HOUR), "*")
    assert ("Haircut", timestamp(TEN + HOUR)) == (changed.title, changed.start_time)
    same = await update(pb.Appointment())
    assert changed == same


@pytest.mark.parametrize(
    "path", ["nope", "owner_id", "id", "create_time", "etag", "attendees.email", "", "Title", "*.x"]
)
async def test_an_unknown_path_is_refused(ada: Person, path: str) -> None:
    """And so is one that is the server's to write; nothing changes."""
    created = await ada.create()
    request = pb.UpdateAppointmentRequest(
        appointment=pb.Appointment(id=created.id, title="New"), update_mask=FieldMask(paths=["title", path])
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ada.appointments.UpdateAppointment(request, metadata=ada.metadata)
    assert ["update_mask"] == violations(refused.value)
    found = await ada.appointments.GetAppointment(pb.GetAppointmentRequest(id=created.id), metadata=ada.metadata)
    assert created == found.appointment


async def test_a_stale_etag_aborts(ada: Person) -> None:
    """ABORTED with a stable reason."""
    created = await ada.create()
    fresh = pb.Appointment(id=created.id, title="New", etag=created.etag)
    await ada.appointments.UpdateAppointment(pb.UpdateAppointmentRequest(appointment=fresh), metadata=ada.metadata)
    attempts: list[tuple[Any, Message]] = [
        (ada.appointments.UpdateAppointment, pb.UpdateAppointmentRequest(appointment=fresh)),
        (ada.appointments.DeleteAppointment, pb.DeleteAppointmentRequest(id=created.id, etag=created.etag)),
    ]
    for call, request in attempts:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(request, metadata=ada.metadata)
        assert (Code.ABORTED, "STALE_ETAG") == (refused.value.code(), details(refused.value)["ErrorInfo"].reason)


async def test_a_strangers_id_is_an_unknown_id(ada: Person, bob: Person) -> None:
    """Every RPC that takes an id answers the same, byte for byte but for the request's own id."""
    created = await ada.create()
    deleted = await ada.create(TEN + HOUR)
    await ada.appointments.DeleteAppointment(pb.DeleteAppointmentRequest(id=deleted.id), metadata=ada.metadata)
    answers = set()
    for appointment_id in (created.id, deleted.id, str(uuid4())):
        attempts: list[tuple[Any, Message]] = [
            (bob.appointments.GetAppointment, pb.GetAppointmentRequest(id=appointment_id)),
            (bob.appointments.DeleteAppointment, pb.DeleteAppointmentRequest(id=appointment_id)),
            (bob.appointments.DeleteAppointment, pb.DeleteAppointmentRequest(id=appointment_id, etag=created.etag)),
            (bob.appointments.UndeleteAppointment, pb.UndeleteAppointmentRequest(id=appointment_id)),
            (
                bob.appointments.UpdateAppointment,
                pb.UpdateAppointmentRequest(appointment=pb.Appointment(id=appointment_id, title="mine")),
            ),
        ]
        for call, request in attempts:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(request, metadata=(*bob.metadata, ("x-request-id", "same")))
            answers.add((refused.value.code(), status(refused.value).SerializeToString(deterministic=True)))
    assert 1 == len(answers)
    assert answers.pop()[0] == Code.NOT_FOUND


async def test_pages_are_walked_with_tokens(ada: Person) -> None:
    """In order, each once, until there is no token."""
    booked = [(await ada.create(TEN + index * HOUR)).id for index in range(7)]
    listed, token = [], ""
    while True:
        request = pb.ListAppointmentsRequest(page_size=3, page_token=token)
        response = await ada.appointments.ListAppointments(request, metadata=ada.metadata)
        listed += [each.id for each in response.appointments]
        token = response.next_page_token
        if not token:
            break
    assert booked == listed


async def test_garbage_is_the_callers_fault(ada: Person, server: Server) -> None:
    """Bytes that are no message, and text that is no UTF-8: INVALID_ARGUMENT, never INTERNAL."""
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        create: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/appointments.v1.AppointmentService/CreateAppointment"
        )
        for garbage in (b"\xff" * 100, b"\x0a\x05abc", b"\x0a\x03\x1a\x01\xff", b"\x12\x02\xc3\x28"):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await create(garbage, metadata=ada.metadata)
            assert (Code.INVALID_ARGUMENT, "MALFORMED_REQUEST") == (
                refused.value.code(),
                details(refused.value)["ErrorInfo"].reason,
            )


async def test_what_is_too_large_is_refused(ada: Person) -> None:
    """A message of 5 MB and metadata of 20 KB are RESOURCE_EXHAUSTED."""
    for attempt in (
        ada.create(description="x" * 5_000_000),
        ada.appointments.GetAppointment(
            pb.GetAppointmentRequest(id=str(uuid4())), metadata=(*ada.metadata, ("x-large", "x" * 20_000))
        ),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await attempt
        assert refused.value.code() == Code.RESOURCE_EXHAUSTED


async def test_unknown_methods_are_unimplemented(ada: Person, server: Server) -> None:
    """A newer client learns what this server lacks."""
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        for path in ("/appointments.v1.AppointmentService/Nope", "/appointments.v2.AppointmentService/GetAppointment"):
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(b"", metadata=ada.metadata)
            assert refused.value.code() == Code.UNIMPLEMENTED


async def test_a_request_id_comes_back(ada: Person) -> None:
    """A sane one is kept, so that a caller can find its request in the log; another is replaced."""
    for given, kept in (("abc-123", True), ("x" * 65, False), ("a b", False)):
        call = ada.appointments.ListAppointments(
            pb.ListAppointmentsRequest(), metadata=(*ada.metadata, ("x-request-id", given))
        )
        await call
        returned = dict(await call.trailing_metadata())["x-request-id"]
        assert kept == (given == returned)
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", str(returned))


async def test_a_hundred_clients_for_one_slot(server: Server, ada: Person) -> None:
    """One wins, ninety-nine are told that it is taken; each round well within two seconds."""
    for round_ in range(20):
        started = monotonic()
        results = await asyncio.gather(*(ada.create(TEN + round_ * HOUR) for _ in range(100)), return_exceptions=True)
        codes = Counter(each.code() if isinstance(each, grpc.aio.AioRpcError) else Code.OK for each in results)
        assert {Code.OK: 1, Code.ALREADY_EXISTS: 99} == codes
        assert monotonic() - started < 5  # it takes a tenth of a second on a quiet machine


async def test_a_call_without_identity_is_refused(server: Server, ada: Person) -> None:
    """No token, a wrong scheme, two tokens: UNAUTHENTICATED."""
    token = ada.tokens.access_token
    for metadata in (
        (),
        (("authorization", token),),
        (("authorization", f"Basic {token}"),),
        (("authorization", "Bearer "),),
        (*ada.metadata, *ada.metadata),
        (("cookie", f"access_token={token}"),),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ada.appointments.ListAppointments(pb.ListAppointmentsRequest(), metadata=metadata)
        assert refused.value.code() == Code.UNAUTHENTICATED
    await ada.appointments.ListAppointments(
        pb.ListAppointmentsRequest(), metadata=(("authorization", f"bearer {token}"),)
    )


async def test_a_deadline_ends_the_call(ada: Person) -> None:
    """A deadline that has passed is DEADLINE_EXCEEDED, and nothing is booked that was not answered."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ada.appointments.ListAppointments(
            pb.ListAppointmentsRequest(), metadata=(*ada.metadata, *new_address()), timeout=-1
        )
    assert refused.value.code() == Code.DEADLINE_EXCEEDED


async def test_nanoseconds_are_cut(ada: Person) -> None:
    """PostgreSQL keeps microseconds; clients that count finer are cut, not refused."""
    start = Timestamp(seconds=int(TEN.timestamp()), nanos=123_456_789)
    created = await ada.create(start_time=start, end_time=timestamp(TEN + timedelta(hours=2)))
    assert 123_456_000 == created.start_time.nanos

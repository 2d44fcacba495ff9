"""Reminders of appointments and their default in the account, through the ports."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from appointments.v1 import account_pb2, resources_pb2, series_pb2, series_pb2_grpc
from appointments.v1 import appointments_pb2 as pb
from tests.clients import HOUR, TEN, Person, appointment, details, timestamp

Code = grpc.StatusCode


def violations(error: grpc.aio.AioRpcError) -> list[tuple[str, str]]:
    """The fields that an INVALID_ARGUMENT names, and why."""
    assert Code.INVALID_ARGUMENT == error.code()
    return [(each.field, each.description) for each in details(error)["BadRequest"].field_violations]


async def update(person: Person, id: str, *paths: str, **fields: object) -> pb.Appointment:  # noqa: A002
    """Change an appointment."""
    request = pb.UpdateAppointmentRequest(
        appointment=pb.Appointment(id=id, **fields),  # type: ignore[arg-type]
        update_mask=FieldMask(paths=paths),
    )
    return (await person.appointments.UpdateAppointment(request, metadata=person.metadata)).appointment


async def read(person: Person, id: str) -> pb.Appointment:  # noqa: A002
    """Read an appointment."""
    request = pb.GetAppointmentRequest(id=id)
    return (await person.appointments.GetAppointment(request, metadata=person.metadata)).appointment


def series_of(person: Person) -> "series_pb2_grpc.SeriesServiceAsyncStub":
    """Where somebody's series are."""
    return series_pb2_grpc.SeriesServiceStub(person.channel)


def said(message: pb.Appointment | series_pb2.Series) -> tuple[list[int], bool]:
    """The reminders of an appointment, and whether there are none on purpose."""
    return list(message.reminders), message.no_reminders


async def test_reminders_come_back(ada: Person) -> None:
    """In their order, from each way of booking; and not from an appointment that leaves them to the account."""
    room = resources_pb2.Resource(kind=resources_pb2.RESOURCE_KIND_ROOM, display_name="Room", time_zone="UTC")
    request = resources_pb2.CreateResourceRequest(resource=room)
    room_id = (await ada.resources.CreateResource(request, metadata=ada.metadata)).resource.id
    ways: list[dict[str, Any]] = [{}, {"resource_ids": [room_id]}, {"transparency": pb.TRANSPARENCY_TRANSPARENT}]
    for hours, decided in enumerate(ways):
        created = await ada.create(TEN + hours * HOUR, reminders=[10, 1440], **decided)
        assert ([10, 1440], False) == said(created)
        assert created == await read(ada, created.id)
    plain = await ada.create(TEN + 5 * HOUR)
    assert ([], False) == said(plain)
    silent = await ada.create(TEN + 6 * HOUR, no_reminders=True)
    assert ([], True) == said(silent) == said(await read(ada, silent.id))


async def test_the_two_fields_are_one_setting(ada: Person) -> None:
    """Whichever is in the mask replaces both; each change is a new version, and saying the same again is none."""
    created = await ada.create(reminders=[10])
    changed = await update(ada, created.id, "reminders", reminders=[30, 5])
    assert ([30, 5], False) == said(changed)
    assert created.etag != changed.etag
    assert changed == await update(ada, created.id, "reminders", reminders=[30, 5])
    assert ([], True) == said(await update(ada, created.id, "no_reminders", no_reminders=True))
    assert ([15], False) == said(await update(ada, created.id, reminders=[15]))
    assert ([15], False) == said(await update(ada, created.id, title="Another title"))
    moved = await update(
        ada, created.id, "start_time", "end_time", start_time=timestamp(TEN + HOUR), end_time=timestamp(TEN + 2 * HOUR)
    )
    assert ([15], False) == said(moved)
    assert ([], False) == said(await update(ada, created.id, "reminders"))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await update(ada, created.id, "reminders", reminders=[1], etag=created.etag)
    assert Code.ABORTED == refused.value.code()


async def test_a_retry_knows_its_reminders(ada: Person) -> None:
    """The same id with other reminders is another body."""
    request = pb.CreateAppointmentRequest(appointment=appointment(reminders=[10]), request_id=str(uuid4()))
    first = await ada.appointments.CreateAppointment(request, metadata=ada.metadata)
    assert first == await ada.appointments.CreateAppointment(request, metadata=ada.metadata)
    for reminders in ([20], []):
        del request.appointment.reminders[:]
        request.appointment.reminders.extend(reminders)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ada.appointments.CreateAppointment(request, metadata=ada.metadata)
        assert ["request_id"] == [field for field, _ in violations(refused.value)]


@pytest.mark.parametrize(
    ("reminders", "field", "why"),
    [
        ([1, 2, 3, 4, 5, 6], "", "must be at most 5, are 6"),
        ([-1], "[0]", "must be from 0 to 40,320 minutes (28 days)"),
        ([5, 40_321], "[1]", "must be from 0 to 40,320 minutes (28 days)"),
        ([5, 10, 5], "[2]", "is there already; each may be given once"),
        ([2**31 - 1], "[0]", "must be from 0 to 40,320 minutes (28 days)"),
    ],
)
async def test_wrong_reminders_are_named(ada: Person, reminders: list[int], field: str, why: str) -> None:
    """Of an appointment, of a series, and of the account."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ada.create(reminders=reminders)
    assert [(f"appointment.reminders{field}", why)] == violations(refused.value)
    series = series_pb2.Series(
        title="Daily",
        start_time=timestamp(TEN),
        end_time=timestamp(TEN + HOUR),
        time_zone="UTC",
        recurrence_rule="FREQ=DAILY;COUNT=2",
        reminders=reminders,
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await series_of(ada).CreateSeries(series_pb2.CreateSeriesRequest(series=series), metadata=ada.metadata)
    assert [(f"series.reminders{field}", why)] == violations(refused.value)
    account = account_pb2.UpdateCurrentUserRequest(user=account_pb2.User(default_reminders=reminders))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ada.account.UpdateCurrentUser(account, metadata=ada.metadata)
    assert [(f"user.default_reminders{field}", why)] == violations(refused.value)


async def test_reminders_and_none_are_a_contradiction(ada: Person) -> None:
    """Both fields at once say nothing."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ada.create(reminders=[10], no_reminders=True)
    assert [("appointment.no_reminders", "does not go with reminders")] == violations(refused.value)


async def test_the_account_has_a_default(ada: Person) -> None:
    """None at first; it stays while other fields change, and can be taken back."""

    async def change(*paths: str, **fields: object) -> list[int]:
        request = account_pb2.UpdateCurrentUserRequest(
            user=account_pb2.User(**fields),  # type: ignore[arg-type]
            update_mask=FieldMask(paths=paths),
        )
        return list((await ada.account.UpdateCurrentUser(request, metadata=ada.metadata)).user.default_reminders)

    request = account_pb2.GetCurrentUserRequest()
    user = (await ada.account.GetCurrentUser(request, metadata=ada.metadata)).user
    assert [] == list(user.default_reminders)
    assert [30, 10] == await change(default_reminders=[30, 10])
    assert [30, 10] == await change("display_name", display_name="Ada L.")
    assert [30, 10] == list((await ada.account.GetCurrentUser(request, metadata=ada.metadata)).user.default_reminders)
    assert [] == await change("default_reminders")


async def test_a_series_has_reminders(ada: Person) -> None:
    """Its occurrences have them, and an update reaches them."""
    series = series_pb2.Series(
        title="Daily",
        start_time=timestamp(TEN),
        end_time=timestamp(TEN + HOUR),
        time_zone="UTC",
        recurrence_rule="FREQ=DAILY;COUNT=3",
        reminders=[10],
    )
    created = (
        await series_of(ada).CreateSeries(series_pb2.CreateSeriesRequest(series=series), metadata=ada.metadata)
    ).series
    assert ([10], False) == said(created)

    async def occurrences() -> list[tuple[list[int], bool]]:
        request = pb.ListAppointmentsRequest(series_id=created.id)
        found = await ada.appointments.ListAppointments(request, metadata=ada.metadata)
        return [said(each) for each in found.appointments]

    assert 3 * [([10], False)] == await occurrences()
    request = series_pb2.UpdateSeriesRequest(
        series=series_pb2.Series(id=created.id, no_reminders=True), update_mask=FieldMask(paths=["no_reminders"])
    )
    changed = (await series_of(ada).UpdateSeries(request, metadata=ada.metadata)).series
    assert ([], True) == said(changed)
    assert 3 * [([], True)] == await occurrences()


async def test_reminders_are_the_owners_alone(ada: Person, bob: Person) -> None:
    """Whoever manages a resource that the appointment takes sees it, but not when its owner is reminded."""
    room = resources_pb2.Resource(
        kind=resources_pb2.RESOURCE_KIND_ROOM,
        display_name="Room",
        time_zone="UTC",
        default_role=resources_pb2.RESOURCE_ROLE_BOOKER,
    )
    request = resources_pb2.CreateResourceRequest(resource=room)
    room_id = (await bob.resources.CreateResource(request, metadata=bob.metadata)).resource.id
    created = await ada.create(reminders=[10], resource_ids=[room_id])
    assert [10] == list(created.reminders)
    seen = await read(bob, created.id)
    listed = await bob.appointments.ListAppointments(
        pb.ListAppointmentsRequest(
            resource_id=room_id,
            start_time=timestamp(TEN - timedelta(days=1)),
            end_time=timestamp(TEN + timedelta(days=1)),
        ),
        metadata=bob.metadata,
    )
    assert [([], False)] * 2 == [said(seen), said(listed.appointments[0])]
    assert created.title == seen.title == listed.appointments[0].title

"""Invitations between accounts through the service: list, answer, log and link show one and the same."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import grpc
import psycopg
import pytest

from appointments.v1 import appointments_pb2 as pb
from appointments.v1 import (
    changes_pb2,
    changes_pb2_grpc,
    invitations_pb2,
    invitations_pb2_grpc,
    series_pb2,
    series_pb2_grpc,
)
from tests.clients import HOUR, TEN, Person, details, person
from tests.service import Server

Code = grpc.StatusCode
ACCEPTED, DECLINED = pb.ATTENDEE_RESPONSE_ACCEPTED, pb.ATTENDEE_RESPONSE_DECLINED


class Guest:
    """Somebody with a confirmed address, and what they call."""

    def __init__(self, who: Person, channel: grpc.aio.Channel) -> None:
        self.who, self.email, self.metadata = who, who.email, who.metadata
        self.invitations = invitations_pb2_grpc.InvitationServiceStub(channel)
        self.changes = changes_pb2_grpc.ChangeServiceStub(channel)

    async def answer(self, id_: str, response: Any, **fields: Any) -> pb.Appointment:
        """Answer an invitation."""
        request = invitations_pb2.RespondToInvitationRequest(appointment_id=id_, response=response, **fields)
        return (await self.invitations.RespondToInvitation(request, metadata=self.metadata)).appointment

    async def listed(self) -> list[tuple[str, Any]]:
        """The ids and the roles of what is in their calendar."""
        response = await self.who.appointments.ListAppointments(pb.ListAppointmentsRequest(), metadata=self.metadata)
        return [(each.id, each.role) for each in response.appointments]

    async def open(self) -> invitations_pb2.ListOpenInvitationsResponse:
        """What they have not answered."""
        request = invitations_pb2.ListOpenInvitationsRequest()
        return await self.invitations.ListOpenInvitations(request, metadata=self.metadata)

    async def told(self, cursor: str = "") -> tuple[list[tuple[str, Any]], str]:
        """What has changed since, and the cursor of now."""
        request = changes_pb2.ListChangesRequest(cursor=cursor)
        response = await self.changes.ListChanges(request, metadata=self.metadata)
        return [(each.id, each.kind) for each in response.changes], response.next_cursor


@pytest.fixture
async def people(server: Server, postgres_dsn: str) -> AsyncIterator[list[Guest]]:
    """An organizer and a guest, both with confirmed addresses, and somebody else."""
    async with AsyncExitStack() as stack:
        found = []
        for number in range(3):
            who = await stack.enter_async_context(person(server.grpc))
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.grpc))
            if number < 2:
                with psycopg.connect(str(server.dsn)) as connection:
                    connection.execute("UPDATE users SET email_verified_at = now() WHERE email = %s", [who.email])
            found.append(Guest(who, channel))
        yield found


async def test_an_invitation_from_booking_to_answer(people: list[Guest]) -> None:
    """The guest finds it, answers, and cannot change it; the organizer sees the answer; a stranger sees nothing."""
    ada, bob, eve = people
    _, cursor = await bob.told()
    booked = await ada.who.create(attendees=[pb.Attendee(email=bob.email.upper(), response=DECLINED)])
    assert booked.role == pb.ROLE_ORGANIZER
    assert [each.response for each in booked.attendees] == [pb.ATTENDEE_RESPONSE_NEEDS_ACTION]
    assert await bob.listed() == [(booked.id, pb.ROLE_ATTENDEE)]
    changes, cursor = await bob.told(cursor)
    assert changes == [(booked.id, changes_pb2.CHANGE_KIND_CREATED)]
    answered = await bob.answer(booked.id, ACCEPTED, comment="With cake")
    assert (answered.role, answered.own_response) == (pb.ROLE_ATTENDEE, ACCEPTED)
    seen = await ada.who.appointments.GetAppointment(pb.GetAppointmentRequest(id=booked.id), metadata=ada.metadata)
    assert (seen.appointment.attendees[0].response, seen.appointment.attendees[0].comment) == (ACCEPTED, "With cake")
    assert (await bob.told(cursor))[0] == [(booked.id, changes_pb2.CHANGE_KIND_RESPONDED)]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await bob.who.create(TEN + HOUR / 2)
    assert refused.value.code() == Code.ALREADY_EXISTS
    assert [each.id for each in details(refused.value)["ConflictInfo"].appointments] == [booked.id]
    codes = {}
    for name, guest in (("guest", bob), ("stranger", eve)):
        attempts: list[tuple[Any, Any]] = [
            (guest.who.appointments.UpdateAppointment, pb.UpdateAppointmentRequest(appointment=booked)),
            (guest.who.appointments.DeleteAppointment, pb.DeleteAppointmentRequest(id=booked.id)),
        ]
        for call, request in attempts:
            with pytest.raises(grpc.aio.AioRpcError) as denied:
                await call(request, metadata=guest.metadata)
            codes[name] = denied.value.code()
    assert codes == {"guest": Code.PERMISSION_DENIED, "stranger": Code.NOT_FOUND}
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await eve.answer(booked.id, ACCEPTED)
    assert unknown.value.code() == Code.NOT_FOUND
    await ada.who.appointments.DeleteAppointment(pb.DeleteAppointmentRequest(id=booked.id), metadata=ada.metadata)
    assert await bob.listed() == []
    await bob.who.create(TEN + HOUR / 2)


async def test_an_address_that_is_confirmed_later_finds_its_invitations(people: list[Guest], server: Server) -> None:
    """Until then nobody sees them; from then on they are in the calendar, and in the log."""
    ada, _, eve = people
    booked = await ada.who.create(attendees=[pb.Attendee(email=eve.email)])
    _, cursor = await eve.told()
    assert await eve.listed() == []
    with psycopg.connect(str(server.dsn)) as connection:
        connection.execute("UPDATE users SET email_verified_at = now() WHERE email = %s", [eve.email])
    assert await eve.listed() == [(booked.id, pb.ROLE_ATTENDEE)]
    assert (await eve.told(cursor))[0] == [(booked.id, changes_pb2.CHANGE_KIND_CREATED)]


async def test_one_answer_for_a_whole_series(people: list[Guest], server: Server) -> None:
    """All occurrences are in the guest's calendar, and accepted at once unless something is in the way of one."""
    ada, bob, eve = people
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        series = series_pb2.Series(
            title="Chess", time_zone="Europe/Zurich", recurrence_rule="FREQ=WEEKLY;COUNT=3",
            attendees=[pb.Attendee(email=bob.email)],
        )  # fmt: skip
        series.start_time.FromDatetime(TEN)
        series.end_time.FromDatetime(TEN + HOUR)
        stub = series_pb2_grpc.SeriesServiceStub(channel)
        created = await stub.CreateSeries(series_pb2.CreateSeriesRequest(series=series), metadata=ada.metadata)
    (entry,) = (await bob.open()).invitations
    listed = await bob.listed()
    assert (listed[0][0], True, 3) == (entry.appointment.id, entry.whole_series, entry.occurrence_count)
    assert ada.email == entry.appointment.organizer.email
    assert [pb.ROLE_ATTENDEE] * 3 == [role for _, role in listed]
    busy = await bob.who.create(TEN + timedelta(weeks=1))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await bob.answer(listed[0][0], ACCEPTED, whole_series=True)
    assert Code.ALREADY_EXISTS == refused.value.code()
    conflict = details(refused.value)["SeriesConflictInfo"]
    assert (1, [busy.id]) == (conflict.total, [each.id for each in conflict.occurrences[0].appointments])
    await bob.who.appointments.DeleteAppointment(pb.DeleteAppointmentRequest(id=busy.id), metadata=bob.metadata)
    answered = await bob.answer(listed[0][0], ACCEPTED, whole_series=True)
    assert (created.series.id, ACCEPTED) == (answered.series_id, answered.own_response)
    assert [] == (await bob.open()).invitations
    with pytest.raises(grpc.aio.AioRpcError) as taken:
        await bob.who.create(TEN + timedelta(weeks=2))
    assert [listed[2][0]] == [each.id for each in details(taken.value)["ConflictInfo"].appointments]
    single = await ada.who.create(TEN + 3 * HOUR, attendees=[pb.Attendee(email=bob.email)])
    attempts = ((bob, single.id, Code.INVALID_ARGUMENT), (eve, listed[0][0], Code.NOT_FOUND))
    for guest, id_, code in (*attempts, (ada, listed[0][0], Code.FAILED_PRECONDITION)):
        with pytest.raises(grpc.aio.AioRpcError) as wrong:
            await guest.answer(id_, ACCEPTED, whole_series=True)
        assert code == wrong.value.code()

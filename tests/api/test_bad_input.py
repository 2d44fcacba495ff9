"""What programs get wrong about rooms and keys: each fault is named at both doors, and nothing is changed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from appointments.v1 import account_pb2, appointments_pb2, keys_pb2, resources_pb2
from tests.api.calling import Reason, answer, call, fields, reason
from tests.api.doors import Call
from tests.clients import HOUR, TEN, Person, appointment, timestamp

NOBODYS = str(uuid4())


@dataclass
class Place:
    """A room of Ada's with an appointment in it, a room of Bob's, and the doors."""

    doors: list[Call]
    ada: Person
    room: resources_pb2.Resource
    booked: appointments_pb2.Appointment
    foreign: str
    seen: str

    async def all_of_it(self) -> list[Any]:
        """Everything that could be changed."""
        requests: list[Message] = [
            appointments_pb2.ListAppointmentsRequest(show_deleted=True),
            resources_pb2.GetResourceRequest(id=self.room.id),
            resources_pb2.ListResourceAccessRequest(id=self.room.id),
            appointments_pb2.ListAppointmentsRequest(resource_id=self.room.id),
            keys_pb2.ListKeysRequest(),
            account_pb2.GetCurrentUserRequest(),
        ]
        return [await answer(self.doors[0], self.ada.tokens.access_token, request) for request in requests]

    @asynccontextmanager
    async def unchanged(self) -> AsyncIterator[None]:
        """See that nothing is changed meanwhile."""
        before = await self.all_of_it()
        yield
        assert before == await self.all_of_it()


@pytest.fixture
async def place(doors: list[Call], ada: Person, bob: Person) -> Place:
    """The place."""

    async def add(person: Person, **decided: Any) -> resources_pb2.Resource:
        wanted = resources_pb2.Resource(
            display_name="Room", kind=resources_pb2.RESOURCE_KIND_ROOM, time_zone="UTC", **decided
        )
        request = resources_pb2.CreateResourceRequest(resource=wanted)
        added: resources_pb2.Resource = (await answer(doors[0], person.tokens.access_token, request)).resource
        return added

    room, foreign, seen = await add(ada, units=2), await add(bob), await add(bob)
    grant = resources_pb2.SetResourceAccessRequest(id=seen.id, email=ada.email, role=resources_pb2.RESOURCE_ROLE_VIEWER)
    await answer(doors[0], bob.tokens.access_token, grant)
    booked = await ada.create(resource_ids=[room.id])
    for person in (bob,):
        access = resources_pb2.SetResourceAccessRequest(
            id=room.id, email=person.email, role=resources_pb2.RESOURCE_ROLE_BOOKER
        )
        await answer(doors[0], ada.tokens.access_token, access)
        await person.create(resource_ids=[room.id])  # both units are taken at ten
    return Place(doors, ada, room, booked, foreign.id, seen.id)


TOO_MANY = [str(uuid4()) for _ in range(21)]

APPOINTMENTS: list[tuple[dict[str, Any], list[str]]] = [
    ({"resource_ids": TOO_MANY}, ["resource_ids"]),
    ({"resource_ids": [TOO_MANY[0], TOO_MANY[1], TOO_MANY[0]]}, ["resource_ids[2]"]),
    ({"resource_ids": [TOO_MANY[0], TOO_MANY[0].upper()]}, ["resource_ids[1]"]),
    ({"resource_ids": ["größer", ""]}, ["resource_ids[0]", "resource_ids[1]"]),
    ({"buffer_before": Duration(seconds=25 * 3600)}, ["buffer_before"]),
    ({"buffer_after": Duration(seconds=25 * 3600), "time_zone": "Moon/Base"}, ["time_zone", "buffer_after"]),
    ({"buffer_after": Duration(seconds=-1)}, ["buffer_after"]),
    ({"buffer_after": Duration(seconds=2**62)}, ["buffer_after"]),
    ({"buffer_after": Duration(nanos=1)}, ["buffer_after"]),
    ({"time_zone": ""}, ["time_zone"]),
    ({"all_day": True}, ["start_time", "end_time"]),
    (
        {
            "transparency": appointments_pb2.TRANSPARENCY_TRANSPARENT,
            "resource_ids": [NOBODYS],
            "buffer_before": Duration(seconds=1),
        },
        ["resource_ids", "buffer_before"],
    ),
    ({"transparency": 9}, ["transparency"]),
]


@pytest.mark.parametrize(("wrong", "bad"), APPOINTMENTS, ids=lambda each: str(each)[:40])
async def test_a_bad_appointment_is_named(place: Place, wrong: dict[str, Any], bad: list[str]) -> None:
    """In a create and in an update."""
    expected = [f"appointment.{field}" for field in bad]
    changed = appointments_pb2.Appointment(**({"id": place.booked.id} | wrong))
    requests: list[Message] = [
        appointments_pb2.CreateAppointmentRequest(appointment=appointment(TEN + 9 * HOUR, **wrong)),
        appointments_pb2.UpdateAppointmentRequest(appointment=changed, update_mask=FieldMask(paths=list(wrong))),
    ]
    async with place.unchanged():
        for door in place.doors:
            for request in requests:
                refused = await call(door, place.ada.tokens.access_token, request)
                assert ("INVALID_ARGUMENT", expected) == (refused.code.name, fields(refused))


@pytest.mark.parametrize("which", ["nobody’s", "somebody else’s", "one that may only be seen"])
async def test_a_room_that_is_not_ones_own_to_book(place: Place, which: str) -> None:
    """What is nobody's and what is somebody else's cannot be told apart; the rest is denied."""
    cases: dict[str, tuple[str, Reason]] = {
        "nobody’s": (NOBODYS, ("NOT_FOUND", "RESOURCE_NOT_FOUND", {})),
        "somebody else’s": (place.foreign, ("NOT_FOUND", "RESOURCE_NOT_FOUND", {})),
        "one that may only be seen": (place.seen, ("PERMISSION_DENIED", "RESOURCE_NOT_BOOKABLE", {})),
    }
    room, expected = cases[which]
    rooms = [place.room.id, room]
    requests: list[Message] = [
        appointments_pb2.CreateAppointmentRequest(appointment=appointment(TEN + 9 * HOUR, resource_ids=rooms)),
        appointments_pb2.UpdateAppointmentRequest(
            appointment=appointments_pb2.Appointment(id=place.booked.id, resource_ids=rooms)
        ),
    ]
    async with place.unchanged():
        for door in place.doors:
            for request in requests:
                refused = await call(door, place.ada.tokens.access_token, request)
                assert expected == reason(refused)
                assert refused.message.count(room) == 1


RESOURCES: list[tuple[dict[str, Any], list[str]]] = [
    ({"units": 101}, ["units"]),
    ({"units": -1, "seats": -1}, ["seats", "units"]),
    ({"time_zone": "Moon/Base"}, ["time_zone"]),
    ({"buffer_before": Duration(seconds=25 * 3600)}, ["buffer_before"]),
    ({"display_name": "n" * 201, "kind": 9}, ["kind", "display_name"]),
    ({"default_role": 9}, ["default_role"]),
]


@pytest.mark.parametrize(("wrong", "bad"), RESOURCES, ids=lambda each: str(each)[:40])
async def test_a_bad_resource_is_named(place: Place, wrong: dict[str, Any], bad: list[str]) -> None:
    """In a create and in an update."""
    good: dict[str, Any] = {"display_name": "Room", "kind": resources_pb2.RESOURCE_KIND_ROOM, "time_zone": "UTC"}
    changed = resources_pb2.Resource(**({"id": place.room.id} | wrong))
    requests: list[Message] = [
        resources_pb2.CreateResourceRequest(resource=resources_pb2.Resource(**(good | wrong))),
        resources_pb2.UpdateResourceRequest(resource=changed, update_mask=FieldMask(paths=list(wrong))),
    ]
    async with place.unchanged():
        for door in place.doors:
            for request in requests:
                refused = await call(door, place.ada.tokens.access_token, request)
                expected = [f"resource.{field}" for field in bad]
                assert ("INVALID_ARGUMENT", expected) == (refused.code.name, fields(refused))


async def test_units_do_not_go_below_what_is_booked(place: Place) -> None:
    """And a resource that is in use is not deleted."""
    lowered = resources_pb2.UpdateResourceRequest(resource=resources_pb2.Resource(id=place.room.id, units=1))
    async with place.unchanged():
        for door in place.doors:
            refused = await call(door, place.ada.tokens.access_token, lowered)
            assert ("FAILED_PRECONDITION", "UNITS_IN_USE", {}) == reason(refused)
            delete = resources_pb2.DeleteResourceRequest(id=place.room.id)
            refused = await call(door, place.ada.tokens.access_token, delete)
            assert ("FAILED_PRECONDITION", "RESOURCE_IN_USE", {}) == reason(refused)


async def test_an_expired_key_is_named(place: Place) -> None:
    """From that instant on, although it worked just before."""
    expires_at = datetime.now(UTC) + timedelta(seconds=3)
    key = keys_pb2.Key(display_name="Short", scopes=["appointments.write"], expire_time=timestamp(expires_at))
    made = await answer(place.doors[0], place.ada.tokens.access_token, keys_pb2.CreateKeyRequest(key=key))
    for door in place.doors:
        await answer(door, made.secret, account_pb2.GetCurrentUserRequest())
    await asyncio.sleep((expires_at - datetime.now(UTC)).total_seconds() + 0.01)
    create = appointments_pb2.CreateAppointmentRequest(appointment=appointment(TEN + 9 * HOUR))
    async with place.unchanged():
        for door in place.doors:
            assert ("UNAUTHENTICATED", "KEY_EXPIRED", {}) == reason(await call(door, made.secret, create))

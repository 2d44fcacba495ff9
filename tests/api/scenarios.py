"""For every RPC of both ports: what people do with it, well and badly, and the status that each step has to have."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from appointments.v1 import account_pb2 as account
from appointments.v1 import appointments_pb2 as pb
from appointments.v1 import auth_pb2
from tests.api.doors import Raw, Recorder
from tests.clients import HOUR, PASSWORD, TEN, Person, appointment, new_address, timestamp

Code = grpc.StatusCode
OK, INVALID, NOT_FOUND = Code.OK, Code.INVALID_ARGUMENT, Code.NOT_FOUND

METHODS: dict[str, MethodDescriptor] = {
    method.name: method
    for file in (pb.DESCRIPTOR, account.DESCRIPTOR)
    for service in file.services_by_name.values()
    for method in service.methods
}
GARBAGE = b"\x0a\xff"
"""A field that is longer than the message: no message of any type."""
NOBODYS = str(UUID(int=7, version=4))
MALFORMED = ("", "x", NOBODYS.replace("-", ""), "größer")
NIGHT = timestamp(TEN + timedelta(days=10**5))


class Scene:
    """Ada, who acts, and Bob, behind one door."""

    def __init__(self, recorder: Recorder, ada: Person, bob: Person) -> None:
        self.ada = ada
        self.bob = bob
        self._recorder = recorder

    async def send(self, method: MethodDescriptor, data: bytes, *, expect: Code, token: str | None = "") -> Raw:
        """Send bytes; ``token`` is ada's unless it is given."""
        raw = await self._recorder.call(method, data, self.ada.tokens.access_token if token == "" else token)
        assert expect == raw.code, f"{method.name}: {raw.message}"
        return raw

    async def do(self, request: Message, expect: Code = OK) -> Any:
        """Make the call that a request belongs to; returns the response, if there is one."""
        method = METHODS[request.DESCRIPTOR.name.removesuffix("Request")]
        raw = await self.send(method, request.SerializeToString(), expect=expect)
        return raw.body is not None and GetMessageClass(method.output_type).FromString(raw.body)

    async def book(self, *arguments: Any, **fields: Any) -> pb.Appointment:
        """Ada books a time."""
        request = pb.CreateAppointmentRequest(appointment=appointment(*arguments, **fields))
        booked: pb.Appointment = (await self.do(request)).appointment
        return booked

    async def others(self) -> pb.Appointment:
        """An appointment of Bob's."""
        return await self.bob.create()

    async def elsewhere(self) -> str:
        """Ada signs in on another device; returns the token that she has there."""
        request = auth_pb2.LoginRequest(email=self.ada.email, password=PASSWORD)
        answer = await self.ada.auth.Login(request, metadata=new_address())
        return str(answer.tokens.access_token)


async def create(scene: Scene) -> None:
    """Book; what is in the way is named; a retry is no second booking."""
    guests = [pb.Attendee(email="eve@example.com", response=pb.ATTENDEE_RESPONSE_TENTATIVE)]
    first = await scene.book(description="約束", location="Zürich", attendees=guests)
    await scene.book(TEN + HOUR)
    await scene.others()
    conflicting = pb.CreateAppointmentRequest(appointment=appointment(TEN + HOUR / 2))
    await scene.do(conflicting, Code.ALREADY_EXISTS)
    retried = pb.CreateAppointmentRequest(appointment=appointment(TEN + 4 * HOUR), request_id=NOBODYS)
    assert await scene.do(retried) == await scene.do(retried)
    retried.appointment.title = "Another"
    await scene.do(retried, INVALID)
    bad: dict[str, Any]
    for bad in (
        {"title": " "},
        {"title": "größer" * 100, "time_zone": "Moon/Base", "location": "l" * 501},
        {"start_time": Timestamp(seconds=2**62), "end_time": Timestamp(nanos=-1)},
        {"start_time": first.end_time, "end_time": first.start_time},
        {"attendees": [pb.Attendee(email="x"), *guests, *guests]},
    ):
        await scene.do(pb.CreateAppointmentRequest(appointment=appointment(**bad)), INVALID)
    await scene.do(pb.CreateAppointmentRequest(appointment=first, request_id="größer"), INVALID)


async def get(scene: Scene) -> None:
    """Read what is one's own, deleted or not."""
    mine, others = await scene.book(), await scene.others()
    await scene.do(pb.GetAppointmentRequest(id=mine.id))
    await scene.do(pb.GetAppointmentRequest(id=mine.id.upper()))
    await scene.do(pb.DeleteAppointmentRequest(id=mine.id))
    await scene.do(pb.GetAppointmentRequest(id=mine.id))
    await _not_mine(scene, lambda id_: pb.GetAppointmentRequest(id=id_), others.id)


async def list_(scene: Scene) -> None:
    """Windows, pages, and tokens that are none."""
    await scene.others()
    booked = [await scene.book(TEN + index * HOUR) for index in range(3)]
    window: dict[str, Any] = {"start_time": timestamp(TEN), "end_time": timestamp(TEN + 2 * HOUR)}
    page = await scene.do(pb.ListAppointmentsRequest(page_size=1, **window))
    await scene.do(pb.ListAppointmentsRequest(page_size=1, page_token=page.next_page_token, **window))
    await scene.do(pb.ListAppointmentsRequest(page_size=1, page_token=page.next_page_token), INVALID)
    await scene.do(pb.DeleteAppointmentRequest(id=booked[0].id))
    await scene.do(pb.ListAppointmentsRequest())
    await scene.do(pb.ListAppointmentsRequest(show_deleted=True))
    await scene.do(pb.ListAppointmentsRequest(start_time=NIGHT))
    await scene.do(pb.ListAppointmentsRequest(page_token="größer"), INVALID)
    await scene.do(pb.ListAppointmentsRequest(page_size=-1), INVALID)
    await scene.do(pb.ListAppointmentsRequest(start_time=window["end_time"], end_time=window["start_time"]), INVALID)
    await scene.do(pb.ListAppointmentsRequest(start_time=Timestamp(nanos=-1), end_time=Timestamp(nanos=-1)), INVALID)


async def update(scene: Scene) -> None:
    """Masks, etags, and times that are taken."""
    mine, taken, others = await scene.book(), await scene.book(TEN + HOUR), await scene.others()

    async def change(expect: Code, *paths: str, **fields: Any) -> None:
        message = pb.Appointment(**{"id": mine.id, **fields})
        await scene.do(pb.UpdateAppointmentRequest(appointment=message, update_mask=FieldMask(paths=paths)), expect)

    await change(OK, "title", title="Größer", location="not in the mask")
    await change(OK, location="populated")
    await change(OK)
    await change(Code.ABORTED, "title", title="Stale", etag=mine.etag)
    await change(Code.ABORTED, "title", title="Stale", etag="größer")
    await change(Code.ALREADY_EXISTS, "end_time", end_time=taken.end_time)
    await change(INVALID, "*", title="x")
    await change(INVALID, "größer", "id", "attendees.email")
    await change(INVALID, "title", "time_zone", time_zone="Moon/Base")

    def to(id_: str) -> pb.UpdateAppointmentRequest:
        return pb.UpdateAppointmentRequest(appointment=pb.Appointment(id=id_, title="Mine now"))

    await _not_mine(scene, to, others.id)
    await scene.do(pb.DeleteAppointmentRequest(id=mine.id))
    await change(NOT_FOUND, title="Deleted")


async def delete(scene: Scene) -> None:
    """Once, and with the current etag if with one."""
    mine, others = await scene.book(), await scene.others()
    await scene.do(pb.DeleteAppointmentRequest(id=mine.id, etag="stale"), Code.ABORTED)
    await scene.do(pb.DeleteAppointmentRequest(id=mine.id, etag=mine.etag))
    await scene.do(pb.DeleteAppointmentRequest(id=mine.id), NOT_FOUND)
    await _not_mine(scene, lambda id_: pb.DeleteAppointmentRequest(id=id_), others.id)


async def undelete(scene: Scene) -> None:
    """If it is deleted, and if its time is still free."""
    mine, others = await scene.book(), await scene.others()
    await scene.do(pb.UndeleteAppointmentRequest(id=mine.id), Code.ALREADY_EXISTS)
    await scene.do(pb.DeleteAppointmentRequest(id=mine.id))
    taking = await scene.book(TEN + HOUR / 2)
    await scene.do(pb.UndeleteAppointmentRequest(id=mine.id), Code.ALREADY_EXISTS)
    await scene.do(pb.DeleteAppointmentRequest(id=taking.id))
    await scene.do(pb.UndeleteAppointmentRequest(id=mine.id))
    await _not_mine(scene, lambda id_: pb.UndeleteAppointmentRequest(id=id_), others.id)


async def get_user(scene: Scene) -> None:
    """Who am I?"""
    await scene.do(account.GetCurrentUserRequest())


async def update_user(scene: Scene) -> None:
    """Name and time zone, and nothing else."""

    async def change(expect: Code, *paths: str, **fields: Any) -> None:
        mask = FieldMask(paths=paths)
        await scene.do(account.UpdateCurrentUserRequest(user=account.User(**fields), update_mask=mask), expect)

    await change(OK, display_name="Größer", time_zone="Europe/Zurich")
    await change(OK, "display_name", display_name="", time_zone="not in the mask")
    await change(INVALID, time_zone="Moon/Base", display_name="n" * 201)
    await change(INVALID, "email", "größer", email="x@example.com")


async def list_sessions(scene: Scene) -> None:
    """One's own, of all devices."""
    await scene.do(account.ListSessionsRequest())
    await scene.elsewhere()
    assert 2 == len((await scene.do(account.ListSessionsRequest())).sessions)


async def revoke_session(scene: Scene) -> None:
    """One's own, another's, and one's last."""
    await scene.elsewhere()
    sessions = (await scene.do(account.ListSessionsRequest())).sessions
    other = next(session for session in sessions if not session.current)
    await scene.do(account.RevokeSessionRequest(id=other.id))
    await scene.do(account.RevokeSessionRequest(id=other.id), NOT_FOUND)
    request = account.ListSessionsRequest()
    bobs = (await scene.bob.account.ListSessions(request, metadata=scene.bob.metadata)).sessions
    await _not_mine(scene, lambda id_: account.RevokeSessionRequest(id=id_), bobs[0].id)


async def change_password(scene: Scene) -> None:
    """Only who knows the old one, and to one that is within bounds."""
    new = "another correct horse"
    await scene.do(account.ChangePasswordRequest(current_password="größer", new_password=new), INVALID)
    await scene.do(account.ChangePasswordRequest(current_password=PASSWORD, new_password="short"), INVALID)
    await scene.do(account.ChangePasswordRequest(current_password=PASSWORD, new_password="ö" * 37), INVALID)
    await scene.elsewhere()
    await scene.do(account.ChangePasswordRequest(current_password=PASSWORD, new_password=new))
    assert 1 == len((await scene.do(account.ListSessionsRequest())).sessions)
    await scene.do(account.ChangePasswordRequest(current_password=PASSWORD, new_password=new), INVALID)


async def delete_account(scene: Scene) -> None:
    """Only who knows the password; after that there is nobody."""
    await scene.book()
    await scene.do(account.DeleteAccountRequest(password="größer"), INVALID)
    await scene.do(account.DeleteAccountRequest(password=PASSWORD))
    await scene.do(account.DeleteAccountRequest(password=PASSWORD), Code.UNAUTHENTICATED)
    await scene.do(pb.ListAppointmentsRequest(), Code.UNAUTHENTICATED)


async def _not_mine(scene: Scene, request: Callable[[str], Message], others: str) -> None:
    """Somebody else's is like nobody's, and what is no id is never looked up."""
    for id_ in (others, NOBODYS):
        await scene.do(request(id_), NOT_FOUND)
    for id_ in MALFORMED:
        await scene.do(request(id_), INVALID)


SCENARIOS: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "CreateAppointment": create,
    "GetAppointment": get,
    "ListAppointments": list_,
    "UpdateAppointment": update,
    "DeleteAppointment": delete,
    "UndeleteAppointment": undelete,
    "GetCurrentUser": get_user,
    "UpdateCurrentUser": update_user,
    "ListSessions": list_sessions,
    "RevokeSession": revoke_session,
    "ChangePassword": change_password,
    "DeleteAccount": delete_account,
}

"""For every RPC of both ports: good and bad calls, and the status that each of them must have."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from appointments.v1 import account_pb2 as account
from appointments.v1 import appointments_pb2 as pb
from appointments.v1 import auth_pb2, webhooks_pb2_grpc
from appointments.v1 import availability_pb2 as times
from appointments.v1 import changes_pb2 as log
from appointments.v1 import feeds_pb2 as feeds
from appointments.v1 import invitations_pb2 as invitations
from appointments.v1 import keys_pb2 as keys
from appointments.v1 import resources_pb2 as rooms
from appointments.v1 import series_pb2 as series
from appointments.v1 import webhooks_pb2 as hooks
from tests.api.doors import Raw, Recorder
from tests.clients import HOUR, PASSWORD, TEN, Person, appointment, new_address, new_email, timestamp

Code = grpc.StatusCode
OK, INVALID, NOT_FOUND = Code.OK, Code.INVALID_ARGUMENT, Code.NOT_FOUND

BOTH_PORTS: tuple[Any, ...] = (
    pb.DESCRIPTOR, account.DESCRIPTOR, feeds.DESCRIPTOR, keys.DESCRIPTOR, rooms.DESCRIPTOR, series.DESCRIPTOR,
    times.DESCRIPTOR, log.DESCRIPTOR, hooks.DESCRIPTOR, invitations.DESCRIPTOR,
)  # fmt: skip
METHODS: dict[str, MethodDescriptor] = {
    method.name: method
    for file in BOTH_PORTS
    for service in file.services_by_name.values()
    for method in service.methods
    if not method.server_streaming
}
"""Those with one answer: what a stream is on each port stands in test_changes and test_events."""
GARBAGE = b"\x0a\xff"
"""A field that is longer than the message, so that it is not a message of any type."""
NOBODYS = str(UUID(int=7, version=4))
MALFORMED = ("", "x", NOBODYS.replace("-", ""), "größer")
NIGHT = timestamp(TEN + timedelta(days=10**5))
OFFICE = rooms.Hours(week=[rooms.DayHours(weekday=3, start_minute=0, end_minute=1200)])
"""Opening hours on Wednesdays, in Zurich."""


class Scene:
    """Ada, who makes the calls, and Bob, behind one door."""

    def __init__(self, recorder: Recorder, ada: Person, bob: Person) -> None:
        self.ada = ada
        self.bob = bob
        self._recorder = recorder

    async def send(self, method: MethodDescriptor, data: bytes, *, expect: Code, token: str | None = "") -> Raw:
        """Send bytes. Ada's token is used unless another is given."""
        raw = await self._recorder.call(method, data, self.ada.tokens.access_token if token == "" else token)
        assert expect == raw.code, f"{method.name}: {raw.message}"
        return raw

    async def do(self, request: Message, expect: Code = OK) -> Any:
        """Make the call that a request belongs to. Returns the response, if there is one."""
        method = METHODS[request.DESCRIPTOR.name.removesuffix("Request")]
        raw = await self.send(method, request.SerializeToString(), expect=expect)
        return raw.body is not None and GetMessageClass(method.output_type).FromString(raw.body)

    async def book(self, *arguments: Any, **fields: Any) -> pb.Appointment:
        """Create an appointment of Ada's."""
        request = pb.CreateAppointmentRequest(appointment=appointment(*arguments, **fields))
        booked: pb.Appointment = (await self.do(request)).appointment
        return booked

    async def room(self, expect: Code = OK, **fields: Any) -> rooms.Resource:
        """Create a room of Ada's."""
        response = await self.do(rooms.CreateResourceRequest(resource=room(**fields)), expect)
        added: rooms.Resource = response and response.resource
        return added

    async def others_room(self, role: int = 0) -> str:
        """Create a room of Bob's on which Ada has this role."""
        service = self.bob.resources
        request = rooms.CreateResourceRequest(resource=room())
        added = (await service.CreateResource(request, metadata=self.bob.metadata)).resource
        if role:
            grant = rooms.SetResourceAccessRequest(id=added.id, email=self.ada.email, role=role)  # type: ignore[arg-type]
            await service.SetResourceAccess(grant, metadata=self.bob.metadata)
        return str(added.id)

    async def others(self) -> pb.Appointment:
        """Create an appointment of Bob's."""
        return await self.bob.create()

    async def elsewhere(self) -> str:
        """Sign Ada in on another device. Returns the token that she has there."""
        request = auth_pb2.LoginRequest(email=self.ada.email, password=PASSWORD)
        answer = await self.ada.auth.Login(request, metadata=new_address())
        return str(answer.tokens.access_token)


def room(**fields: Any) -> rooms.Resource:
    """A room that breaks no rule."""
    good: dict[str, Any] = {"display_name": "Größer", "kind": rooms.RESOURCE_KIND_ROOM, "time_zone": "Europe/Zurich"}
    return rooms.Resource(**(good | fields))


async def create(scene: Scene) -> None:
    """An appointment is booked. A collision is named. A retry does not book again."""
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
        {"resource_ids": ["größer", NOBODYS, NOBODYS]},
        {"resource_ids": [str(UUID(int=number)) for number in range(21)]},
        {"buffer_before": Duration(seconds=90_000), "buffer_after": Duration(nanos=1)},
        {"all_day": True},
        {"transparency": pb.TRANSPARENCY_TRANSPARENT, "buffer_after": Duration(seconds=60)},
        {"transparency": 9},
    ):
        await scene.do(pb.CreateAppointmentRequest(appointment=appointment(**bad)), INVALID)
    await scene.do(pb.CreateAppointmentRequest(appointment=first, request_id="größer"), INVALID)
    await _rooms(scene)


async def _rooms(scene: Scene) -> None:
    """Appointments take free rooms; rooms may be taken, somebody else's, or nobody's."""
    mine = await scene.room()
    asked: dict[str, Any] = {"resource_ids": [mine.id.upper()], "buffer_before": Duration(seconds=60)}
    await scene.book(TEN + 9 * HOUR, **asked)
    taken = pb.CreateAppointmentRequest(appointment=appointment(TEN + 10 * HOUR, **asked))
    await scene.do(taken, Code.ALREADY_EXISTS)
    for role, expect in (
        (rooms.RESOURCE_ROLE_UNSPECIFIED, NOT_FOUND),
        (rooms.RESOURCE_ROLE_VIEWER, Code.PERMISSION_DENIED),
        (rooms.RESOURCE_ROLE_BOOKER, OK),
    ):
        asked = {"resource_ids": [mine.id, await scene.others_room(role)]}
        await scene.do(pb.CreateAppointmentRequest(appointment=appointment(TEN + 19 * HOUR, **asked)), expect)
    await scene.do(pb.CreateAppointmentRequest(appointment=appointment(resource_ids=[NOBODYS])), NOT_FOUND)
    day = appointment(TEN - 12 * HOUR, 24 * HOUR, all_day=True, transparency=pb.TRANSPARENCY_TRANSPARENT)
    await scene.do(pb.CreateAppointmentRequest(appointment=day))


async def confirm(scene: Scene) -> None:
    """A hold is prolonged and confirmed, also twice, but not after it has gone, nor with a stale etag."""
    held, others = await scene.book(ttl=Duration(seconds=600)), await scene.others()
    await scene.do(pb.ConfirmAppointmentRequest(id=held.id, etag="stale"), Code.ABORTED)

    def prolong(paths: Sequence[str] = ("ttl",), **fields: Any) -> pb.UpdateAppointmentRequest:
        return pb.UpdateAppointmentRequest(
            appointment=pb.Appointment(id=held.id, **fields), update_mask=FieldMask(paths=paths)
        )

    for seconds in (0, -1, 3601):
        await scene.do(prolong(ttl=Duration(seconds=seconds)), INVALID)
    await scene.do(prolong(), INVALID)
    await scene.do(prolong(ttl=Duration(seconds=900)))
    await scene.do(prolong((), ttl=Duration(seconds=900)))
    held = (await scene.do(prolong(["title", "ttl"], title="Longer", ttl=Duration(seconds=3600)))).appointment
    await scene.do(pb.ConfirmAppointmentRequest(id=held.id, etag=held.etag))
    await scene.do(pb.ConfirmAppointmentRequest(id=held.id))
    await scene.do(prolong(ttl=Duration(seconds=900)), INVALID)
    await scene.do(pb.DeleteAppointmentRequest(id=held.id))
    await scene.do(pb.ConfirmAppointmentRequest(id=held.id), NOT_FOUND)
    await _not_mine(scene, lambda id_: pb.ConfirmAppointmentRequest(id=id_), others.id)
    for ttl in (Duration(), Duration(seconds=-1), Duration(seconds=3601), Duration(seconds=2**62)):
        await scene.do(pb.CreateAppointmentRequest(appointment=appointment(ttl=ttl)), INVALID)


async def get(scene: Scene) -> None:
    """Ada reads her own appointments, deleted ones too."""
    mine, others = await scene.book(), await scene.others()
    await scene.do(pb.GetAppointmentRequest(id=mine.id))
    await scene.do(pb.GetAppointmentRequest(id=mine.id.upper()))
    await scene.do(pb.DeleteAppointmentRequest(id=mine.id))
    await scene.do(pb.GetAppointmentRequest(id=mine.id))
    await _not_mine(scene, lambda id_: pb.GetAppointmentRequest(id=id_), others.id)


async def respond(scene: Scene) -> None:
    """Nobody answers what they are not invited to: an address that is not confirmed is nobody's."""
    mine, others = await scene.book(), await scene.others()
    answer: dict[str, Any] = {"response": pb.ATTENDEE_RESPONSE_ACCEPTED, "comment": "größer"}

    def to(id_: str, **fields: Any) -> invitations.RespondToInvitationRequest:
        return invitations.RespondToInvitationRequest(appointment_id=id_, **(answer | fields))

    await scene.do(to(mine.id), Code.FAILED_PRECONDITION)
    for bad in (pb.ATTENDEE_RESPONSE_UNSPECIFIED, pb.ATTENDEE_RESPONSE_NEEDS_ACTION, 9):
        await scene.do(to(mine.id, response=bad), INVALID)
    await scene.do(to("x", comment="x" * 1001), INVALID)
    await scene.do(to(others.id, follow=True), NOT_FOUND)
    await _not_mine(scene, to, others.id)


async def list_open(scene: Scene) -> None:
    """Whoever is invited to nothing has nothing to answer, and others' appointments are not told."""
    await scene.book()
    await scene.others()
    await scene.do(invitations.ListOpenInvitationsRequest())


async def list_(scene: Scene) -> None:
    """A list has a window and pages. Bad tokens are refused."""
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
    """An update has a mask and an etag. A taken time is refused."""
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
    """An appointment is deleted once. An etag, if given, must be the current one."""
    mine, others = await scene.book(), await scene.others()
    await scene.do(pb.DeleteAppointmentRequest(id=mine.id, etag="stale"), Code.ABORTED)
    await scene.do(pb.DeleteAppointmentRequest(id=mine.id, etag=mine.etag))
    await scene.do(pb.DeleteAppointmentRequest(id=mine.id), NOT_FOUND)
    await _not_mine(scene, lambda id_: pb.DeleteAppointmentRequest(id=id_), others.id)


async def undelete(scene: Scene) -> None:
    """A deleted appointment is restored if its time is still free."""
    mine, others = await scene.book(), await scene.others()
    await scene.do(pb.UndeleteAppointmentRequest(id=mine.id), Code.ALREADY_EXISTS)
    await scene.do(pb.DeleteAppointmentRequest(id=mine.id))
    taking = await scene.book(TEN + HOUR / 2)
    await scene.do(pb.UndeleteAppointmentRequest(id=mine.id), Code.ALREADY_EXISTS)
    await scene.do(pb.DeleteAppointmentRequest(id=taking.id))
    await scene.do(pb.UndeleteAppointmentRequest(id=mine.id))
    await _not_mine(scene, lambda id_: pb.UndeleteAppointmentRequest(id=id_), others.id)


async def import_(scene: Scene) -> None:
    """A file is looked at, imported, and refused where it collides or is no calendar."""

    def file(start: datetime, title: str = "Imported") -> bytes:
        event = f"UID:1\nSUMMARY:{title}\nDTSTART:{start:%Y%m%dT%H%M%SZ}\nDURATION:PT1H"
        return f"BEGIN:VCALENDAR\nBEGIN:VEVENT\n{event}\nEND:VEVENT\nEND:VCALENDAR\n".encode()

    await scene.book(TEN)
    free = TEN + 3 * HOUR
    await scene.do(pb.ImportAppointmentsRequest(ics=file(free), validate_only=True))
    await scene.do(pb.ImportAppointmentsRequest(ics=file(free)))
    await scene.do(pb.ImportAppointmentsRequest(ics=file(free, "Another title")))
    await scene.do(pb.ImportAppointmentsRequest(ics=file(TEN)), Code.ALREADY_EXISTS)
    await scene.do(pb.ImportAppointmentsRequest(ics=file(TEN), on_conflict=pb.ON_IMPORT_CONFLICT_SKIP))
    await scene.do(pb.ImportAppointmentsRequest(ics=b"\xff\x00"), Code.INVALID_ARGUMENT)
    await scene.do(pb.ImportAppointmentsRequest(ics=file(free), on_conflict=7), Code.INVALID_ARGUMENT)  # type: ignore[arg-type]


async def get_user(scene: Scene) -> None:
    """Ada reads her own account."""
    await scene.do(account.GetCurrentUserRequest())


async def update_user(scene: Scene) -> None:
    """Name and time zone can be changed, and nothing else."""

    async def change(expect: Code, *paths: str, **fields: Any) -> None:
        mask = FieldMask(paths=paths)
        await scene.do(account.UpdateCurrentUserRequest(user=account.User(**fields), update_mask=mask), expect)

    await change(OK, display_name="Größer", time_zone="Europe/Zurich")
    await change(OK, "display_name", display_name="", time_zone="not in the mask")
    await change(INVALID, time_zone="Moon/Base", display_name="n" * 201)
    await change(INVALID, "email", "größer", email="x@example.com")


async def list_sessions(scene: Scene) -> None:
    """Ada lists her own sessions, of all devices."""
    await scene.do(account.ListSessionsRequest())
    await scene.elsewhere()
    assert 2 == len((await scene.do(account.ListSessionsRequest())).sessions)


async def revoke_session(scene: Scene) -> None:
    """Ada ends her own sessions, also the one that she uses, but nobody else's."""
    await scene.elsewhere()
    sessions = (await scene.do(account.ListSessionsRequest())).sessions
    other = next(session for session in sessions if not session.current)
    await scene.do(account.RevokeSessionRequest(id=other.id))
    await scene.do(account.RevokeSessionRequest(id=other.id), NOT_FOUND)
    request = account.ListSessionsRequest()
    bobs = (await scene.bob.account.ListSessions(request, metadata=scene.bob.metadata)).sessions
    await _not_mine(scene, lambda id_: account.RevokeSessionRequest(id=id_), bobs[0].id)


async def change_password(scene: Scene) -> None:
    """The old password is needed, and the new one must be within bounds."""
    new = "another correct horse"
    await scene.do(account.ChangePasswordRequest(current_password="größer", new_password=new), INVALID)
    await scene.do(account.ChangePasswordRequest(current_password=PASSWORD, new_password="short"), INVALID)
    await scene.do(account.ChangePasswordRequest(current_password=PASSWORD, new_password="ö" * 37), INVALID)
    await scene.elsewhere()
    await scene.do(account.ChangePasswordRequest(current_password=PASSWORD, new_password=new))
    assert 1 == len((await scene.do(account.ListSessionsRequest())).sessions)
    await scene.do(account.ChangePasswordRequest(current_password=PASSWORD, new_password=new), INVALID)


async def request_verification(scene: Scene) -> None:
    """It can be asked for repeatedly, within limits."""
    for _ in range(2):
        await scene.do(account.RequestEmailVerificationRequest())


async def change_email(scene: Scene) -> None:
    """The password is needed. The new address must be valid, another one, and nobody else's."""
    email = new_email()
    for bad in (
        {"email": "x", "password": PASSWORD},
        {"email": email, "password": "größer"},
        {"email": email},
        {"email": scene.ada.email, "password": PASSWORD},
    ):
        await scene.do(account.ChangeEmailRequest(**bad), INVALID)
    await scene.do(account.ChangeEmailRequest(email=scene.bob.email, password=PASSWORD), Code.ALREADY_EXISTS)
    await scene.do(account.ChangeEmailRequest(email=email, password=PASSWORD))


async def delete_account(scene: Scene) -> None:
    """The password is needed. After that the account is gone."""
    await scene.book()
    await scene.do(account.DeleteAccountRequest(password="größer"), INVALID)
    await scene.do(account.DeleteAccountRequest(password=PASSWORD))
    await scene.do(account.DeleteAccountRequest(password=PASSWORD), Code.UNAUTHENTICATED)
    await scene.do(pb.ListAppointmentsRequest(), Code.UNAUTHENTICATED)


async def create_resource(scene: Scene) -> None:
    """A resource is created if it is within bounds. A retry does not create another."""
    decided: dict[str, Any] = {"description": "約束", "location": "Zürich", "seats": 9, "units": 3, "default_role": 2}
    await scene.room(**decided, buffer_before=Duration(seconds=60), buffer_after=Duration(seconds=86_400))
    retried = rooms.CreateResourceRequest(resource=room(), request_id=NOBODYS)
    assert await scene.do(retried) == await scene.do(retried)
    retried.resource.display_name = "Another"
    await scene.do(retried, INVALID)
    bad: dict[str, Any]
    for bad in (
        {"display_name": " ", "kind": 9, "time_zone": "Moon/Base", "seats": -1, "units": 101, "default_role": 9},
        {"description": "d" * 10_001, "location": "l" * 501, "units": -1},
        {"buffer_before": Duration(seconds=90_000), "buffer_after": Duration(seconds=-1)},
        {"buffer_before": Duration(seconds=2**62), "buffer_after": Duration(nanos=1)},
    ):
        await scene.room(INVALID, **bad)
    await scene.do(rooms.CreateResourceRequest(resource=room(time_zone=""), request_id="größer"), INVALID)


async def get_resource(scene: Scene) -> None:
    """Ada reads her own resources, deleted ones too, and those that she has a role on."""
    mine = await scene.room()
    await scene.do(rooms.GetResourceRequest(id=mine.id.upper()))
    await scene.do(rooms.DeleteResourceRequest(id=mine.id))
    await scene.do(rooms.GetResourceRequest(id=mine.id))
    await scene.do(rooms.GetResourceRequest(id=await scene.others_room(rooms.RESOURCE_ROLE_VIEWER)))
    await _not_mine(scene, lambda id_: rooms.GetResourceRequest(id=id_), await scene.others_room())


async def list_resources(scene: Scene) -> None:
    """Resources are listed by name, in pages, and filtered."""
    await scene.others_room()
    large: dict[str, Any] = {"seats": 99_000}  # what everybody may see of other scenes is smaller
    for name in "bac":
        kind = rooms.RESOURCE_KIND_EQUIPMENT if name == "c" else rooms.RESOURCE_KIND_ROOM
        await scene.room(display_name=name, kind=kind, **large)
    which: dict[str, Any] = {"min_seats": 99_000}
    listed = await scene.do(rooms.ListResourcesRequest(**which))
    assert ["a", "b", "c"] == [each.display_name for each in listed.resources]
    page = await scene.do(rooms.ListResourcesRequest(page_size=2, **which))
    await scene.do(rooms.ListResourcesRequest(page_size=2, page_token=page.next_page_token, **which))
    await scene.do(rooms.ListResourcesRequest(kind=rooms.RESOURCE_KIND_EQUIPMENT, **which))
    await scene.do(rooms.ListResourcesRequest(page_size=2, page_token=page.next_page_token), INVALID)
    await scene.do(rooms.ListResourcesRequest(page_token="größer", page_size=-1, min_seats=-1), INVALID)
    await scene.do(rooms.ListResourcesRequest(kind=9), INVALID)  # type: ignore[arg-type]


async def update_resource(scene: Scene) -> None:
    """An update has a mask and an etag. Units that are in use stay."""
    mine = await scene.room(units=2)
    await scene.book(resource_ids=[mine.id])

    async def change(expect: Code, *paths: str, **fields: Any) -> None:
        message = rooms.Resource(**{"id": mine.id, **fields})
        await scene.do(rooms.UpdateResourceRequest(resource=message, update_mask=FieldMask(paths=paths)), expect)

    await change(OK, "display_name", display_name="Größer", location="not in the mask")
    await change(OK, seats=4)
    await change(OK, units=1)
    await change(Code.ABORTED, "seats", seats=5, etag=mine.etag)
    await change(INVALID, "*", display_name="x")
    await change(INVALID, "größer", "id", "role")
    await change(INVALID, "units", "time_zone", units=101, time_zone="Moon/Base")
    await change(INVALID, "buffer_after", buffer_after=Duration(nanos=1))
    seen = await scene.others_room(rooms.RESOURCE_ROLE_BOOKER)
    await scene.do(rooms.UpdateResourceRequest(resource=rooms.Resource(id=seen, seats=1)), Code.PERMISSION_DENIED)

    def to(id_: str) -> rooms.UpdateResourceRequest:
        return rooms.UpdateResourceRequest(resource=rooms.Resource(id=id_, seats=1))

    await _not_mine(scene, to, await scene.others_room())


async def delete_resource(scene: Scene) -> None:
    """A resource is deleted once. An etag, if given, must be current. One in use needs force."""
    mine = await scene.room()
    booked = await scene.book(resource_ids=[mine.id])
    await scene.do(rooms.DeleteResourceRequest(id=mine.id, etag="stale"), Code.ABORTED)
    await scene.do(rooms.DeleteResourceRequest(id=mine.id, etag=mine.etag), Code.FAILED_PRECONDITION)
    await scene.do(rooms.DeleteResourceRequest(id=mine.id, force=True))
    await scene.do(pb.GetAppointmentRequest(id=booked.id))
    await scene.do(rooms.DeleteResourceRequest(id=mine.id), NOT_FOUND)
    seen = await scene.others_room(rooms.RESOURCE_ROLE_BOOKER)
    await scene.do(rooms.DeleteResourceRequest(id=seen, force=True), Code.PERMISSION_DENIED)
    await _not_mine(scene, lambda id_: rooms.DeleteResourceRequest(id=id_), await scene.others_room())


async def undelete_resource(scene: Scene) -> None:
    """A deleted resource is restored by its manager."""
    mine = await scene.room()
    await scene.do(rooms.UndeleteResourceRequest(id=mine.id), Code.ALREADY_EXISTS)
    await scene.do(rooms.DeleteResourceRequest(id=mine.id))
    await scene.do(rooms.UndeleteResourceRequest(id=mine.id))
    await scene.book(resource_ids=[mine.id])
    await _not_mine(scene, lambda id_: rooms.UndeleteResourceRequest(id=id_), await scene.others_room())


async def set_access(scene: Scene) -> None:
    """Managers give and take roles. One manager must stay."""
    mine = await scene.room()

    async def grant(email: str, role: int, expect: Code = OK) -> None:
        await scene.do(rooms.SetResourceAccessRequest(id=mine.id, email=email, role=role), expect)  # type: ignore[arg-type]

    await grant(scene.bob.email.upper(), rooms.RESOURCE_ROLE_MANAGER)
    await grant(scene.ada.email, rooms.RESOURCE_ROLE_VIEWER)
    await grant(scene.bob.email, rooms.RESOURCE_ROLE_UNSPECIFIED, Code.PERMISSION_DENIED)
    mine = await scene.room()
    await grant(scene.ada.email, rooms.RESOURCE_ROLE_UNSPECIFIED, Code.FAILED_PRECONDITION)
    await grant("größer", rooms.RESOURCE_ROLE_VIEWER, INVALID)
    await grant("nobody-at-all@example.com", rooms.RESOURCE_ROLE_VIEWER, INVALID)
    await grant(scene.bob.email, 9, INVALID)

    def to(id_: str) -> rooms.SetResourceAccessRequest:
        return rooms.SetResourceAccessRequest(id=id_, email=scene.bob.email, role=rooms.RESOURCE_ROLE_VIEWER)

    await _not_mine(scene, to, await scene.others_room())


async def list_access(scene: Scene) -> None:
    """Managers see all roles, and others see none."""
    mine = await scene.room()
    await scene.do(rooms.SetResourceAccessRequest(id=mine.id, email=scene.bob.email, role=rooms.RESOURCE_ROLE_VIEWER))
    everybody = (await scene.do(rooms.ListResourceAccessRequest(id=mine.id))).access
    assert {scene.ada.email, scene.bob.email} == {each.email for each in everybody}
    first = await scene.do(rooms.ListResourceAccessRequest(id=mine.id, page_size=1))
    token = first.next_page_token
    rest = await scene.do(rooms.ListResourceAccessRequest(id=mine.id, page_size=1, page_token=token))
    assert (list(everybody), "") == ([*first.access, *rest.access], rest.next_page_token)
    other = await scene.room()
    await scene.do(rooms.ListResourceAccessRequest(id=other.id, page_token=token), INVALID)
    await scene.do(rooms.ListResourceAccessRequest(id=mine.id, page_token="größer", page_size=-1), INVALID)
    seen = await scene.others_room(rooms.RESOURCE_ROLE_BOOKER)
    await scene.do(rooms.ListResourceAccessRequest(id=seen), Code.PERMISSION_DENIED)
    await _not_mine(scene, lambda id_: rooms.ListResourceAccessRequest(id=id_), await scene.others_room())


async def query_free_busy(scene: Scene) -> None:
    """The time of others is read by id and by address, with closed hours. Bad requests are refused."""
    await scene.book()
    await scene.others()
    mine = await scene.room(hours=OFFICE)
    window: dict[str, Any] = {"start_time": timestamp(TEN), "end_time": timestamp(TEN + 24 * HOUR)}
    ids, emails = [scene.ada.user_id.upper(), mine.id], [scene.bob.email]
    asked = times.QueryFreeBusyRequest(subject_ids=ids, emails=emails, include_closed=True, **window)
    answer = await scene.do(asked)
    assert [1, 0, 1] == [len(subject.busy) for subject in answer.subjects]
    assert [0, 1, 0] == [len(subject.closed) for subject in answer.subjects]
    await _not_mine(
        scene, lambda id_: times.QueryFreeBusyRequest(subject_ids=[id_], **window), await scene.others_room()
    )
    await scene.do(times.QueryFreeBusyRequest(emails=["nobody@example.com"], **window), NOT_FOUND)
    await scene.do(times.QueryFreeBusyRequest(), INVALID)
    await scene.do(times.QueryFreeBusyRequest(subject_ids=[mine.id] * 51, emails=["größer"], **window), INVALID)
    late = {**window, "end_time": NIGHT}
    await scene.do(times.QueryFreeBusyRequest(subject_ids=[mine.id], **late), INVALID)


async def search_slots(scene: Scene) -> None:
    """Slots come in pages. An empty answer says why. Bad searches are refused."""
    mine = await scene.room(hours=OFFICE, units=2)
    requirements = [
        times.SlotRequirement(any_of_subject_ids=[scene.ada.user_id], any_of_emails=[scene.bob.email]),
        times.SlotRequirement(any_of_subject_ids=[mine.id]),
    ]
    good: dict[str, Any] = {
        "requirements": requirements,
        "duration": Duration(seconds=3600),
        "start_time": timestamp(TEN),
        "end_time": timestamp(TEN + 24 * HOUR),
    }
    asked = times.SearchSlotsRequest(**good, page_size=3, step=Duration(seconds=1800))
    first = await scene.do(asked)
    assert [scene.ada.user_id, mine.id] == list(first.slots[0].subject_ids)
    asked.page_token = first.next_page_token
    assert 3 == len((await scene.do(asked)).slots)
    asked.duration.seconds = 60
    await scene.do(asked, INVALID)
    await scene.book()
    await scene.others()
    none = await scene.do(times.SearchSlotsRequest(**{**good, "end_time": timestamp(TEN + HOUR)}))
    assert (1, 1) == (none.why.starts, none.why.busy)
    await scene.do(times.SearchSlotsRequest(), INVALID)
    wrong = [*requirements, times.SlotRequirement(any_of_subject_ids=["größer"], count=-1)]
    bad = {"requirements": wrong, "duration": Duration(seconds=-1), "step": Duration(nanos=1), "page_size": -1}
    await scene.do(times.SearchSlotsRequest(**{**good, **bad}), INVALID)
    await scene.do(times.SearchSlotsRequest(**{**good, "requirements": requirements[:1] * 2}), INVALID)
    others = times.SlotRequirement(any_of_subject_ids=[await scene.others_room()])
    await scene.do(times.SearchSlotsRequest(**{**good, "requirements": [others]}), NOT_FOUND)


async def create_key(scene: Scene) -> None:
    """Ada creates a key for herself. Its secret is shown once."""
    good = keys.Key(display_name="Größer", scopes=["appointments.read", "resources.write"], expire_time=NIGHT)
    made = await scene.do(keys.CreateKeyRequest(key=good))
    assert made.secret.startswith("apt_")
    bad = keys.Key(scopes=["root"], expire_time=Timestamp(nanos=-1))
    await scene.do(keys.CreateKeyRequest(key=bad), INVALID)
    await scene.do(keys.CreateKeyRequest(key=keys.Key(display_name="x", scopes=["admin"])), Code.PERMISSION_DENIED)
    await scene.do(keys.CreateKeyRequest(key=good, service_account_id=NOBODYS), Code.PERMISSION_DENIED)
    await scene.do(keys.CreateKeyRequest(key=good, service_account_id="größer"), INVALID)


async def list_keys(scene: Scene) -> None:
    """Ada lists her own keys, without their secrets."""
    await scene.do(keys.ListKeysRequest())
    for name in ("first", "second"):
        key = keys.Key(display_name=name, scopes=["appointments.write"])
        await scene.do(keys.CreateKeyRequest(key=key))
    listed = (await scene.do(keys.ListKeysRequest())).keys
    assert ["second", "first"] == [key.display_name for key in listed]
    await scene.do(keys.ListKeysRequest(service_account_id=NOBODYS), Code.PERMISSION_DENIED)
    await scene.do(keys.ListKeysRequest(service_account_id="x"), INVALID)


async def revoke_key(scene: Scene) -> None:
    """Ada revokes her own key, once."""
    made = await scene.do(keys.CreateKeyRequest(key=keys.Key(display_name="x", scopes=["appointments.read"])))
    await scene.do(keys.RevokeKeyRequest(id=made.key.id))
    await scene.do(keys.RevokeKeyRequest(id=made.key.id), NOT_FOUND)
    await _not_mine(scene, lambda id_: keys.RevokeKeyRequest(id=id_), NOBODYS)


def _weekly(**fields: Any) -> series.Series:
    """Hours on Wednesdays."""
    what: dict[str, Any] = {
        "title": "Stand-up",
        "start_time": timestamp(TEN),
        "end_time": timestamp(TEN + HOUR),
        "time_zone": "Europe/Zurich",
        "recurrence_rule": "FREQ=WEEKLY;COUNT=4",
    }
    return series.Series(**{**what, **fields})


async def _book_series(scene: Scene, **fields: Any) -> series.Series:
    return (await scene.do(series.CreateSeriesRequest(series=_weekly(**fields)))).series  # type: ignore[no-any-return]


async def create_series(scene: Scene) -> None:
    """With and without an end, a room, and things in its way; looked at first; bad fields; twice by one id."""
    room = await scene.others_room(rooms.RESOURCE_ROLE_BOOKER)
    full = _weekly(
        resource_ids=[room], buffer_before=Duration(seconds=600), recurrence_rule="FREQ=WEEKLY;BYDAY=WE",
        excluded_times=[timestamp(TEN + timedelta(days=7))], added_times=[timestamp(TEN + timedelta(days=1))],
    )  # fmt: skip
    request = series.CreateSeriesRequest(series=full, validate_only=True)
    assert "" == (await scene.do(request)).series.id
    request.validate_only, request.request_id = False, str(UUID(int=9, version=4))
    first, again = await scene.do(request), await scene.do(request)
    assert (first.series.id, True) == (again.series.id, first.series.HasField("expanded_until_time"))
    request.series.title = "Another"
    await scene.do(request, INVALID)
    await scene.do(series.CreateSeriesRequest(series=full), Code.ALREADY_EXISTS)
    skipped = await scene.do(series.CreateSeriesRequest(series=_weekly(), on_conflict=series.ON_CONFLICT_SKIP))
    assert 3 == skipped.conflicts.total
    await scene.do(series.CreateSeriesRequest(), INVALID)
    bad = _weekly(recurrence_rule="FREQ=HOURLY", title="", excluded_times=[Timestamp(nanos=-1)])
    await scene.do(series.CreateSeriesRequest(series=bad), INVALID)
    await scene.do(series.CreateSeriesRequest(series=_weekly(recurrence_rule="FREQ=HOURLY", title="")), INVALID)
    await scene.do(series.CreateSeriesRequest(series=_weekly(), on_conflict=9), INVALID)  # type: ignore[arg-type]
    await scene.do(series.CreateSeriesRequest(series=_weekly(resource_ids=[NOBODYS])), NOT_FOUND)
    await scene.do(series.CreateSeriesRequest(series=_weekly(resource_ids=[await scene.others_room()])), NOT_FOUND)


async def get_series(scene: Scene) -> None:
    """One's own, by its id."""
    booked = await _book_series(scene)
    assert booked == (await scene.do(series.GetSeriesRequest(id=booked.id))).series
    await _not_mine(scene, lambda id_: series.GetSeriesRequest(id=id_), NOBODYS)


async def list_series(scene: Scene) -> None:
    """Page by page, the newest first, deleted ones if asked for."""
    for day in range(3):
        start = TEN + timedelta(days=day)
        await _book_series(scene, start_time=timestamp(start), end_time=timestamp(start + HOUR))
    first = await scene.do(series.ListSeriesRequest(page_size=2))
    rest = await scene.do(series.ListSeriesRequest(page_size=2, page_token=first.next_page_token))
    assert (2, 1, "") == (len(first.series), len(rest.series), rest.next_page_token)
    await scene.do(series.DeleteSeriesRequest(id=first.series[0].id))
    assert 2 == len((await scene.do(series.ListSeriesRequest())).series)
    assert 3 == len((await scene.do(series.ListSeriesRequest(show_deleted=True))).series)
    await scene.do(series.ListSeriesRequest(page_size=-1, page_token="x"), INVALID)


async def update_series(scene: Scene) -> None:
    """All occurrences, and one and all that follow; bad fields; what is stale; what collides."""
    booked = await _book_series(scene)
    change = series.Series(id=booked.id, title="Größer", etag=booked.etag)
    renamed = (await scene.do(series.UpdateSeriesRequest(series=change))).series
    await scene.do(series.UpdateSeriesRequest(series=change), Code.ABORTED)
    later = series.Series(id=booked.id, start_time=timestamp(TEN + HOUR), etag=renamed.etag)
    moved = (await scene.do(series.UpdateSeriesRequest(series=later))).series
    assert timestamp(TEN + 2 * HOUR) == moved.end_time
    listed = await scene.do(pb.ListAppointmentsRequest(series_id=booked.id))
    assert ({booked.id}, 4) == ({each.series_id for each in listed.appointments}, len(listed.appointments))
    third = listed.appointments[2]
    split = series.Series(id=booked.id, start_time=third.start_time)
    split.start_time.seconds += 3600
    following = await scene.do(series.UpdateSeriesRequest(series=split, from_appointment_id=third.id))
    assert (booked.id, "FREQ=WEEKLY;COUNT=2") == (following.series.previous_series_id, following.series.recurrence_rule)
    await scene.do(series.UpdateSeriesRequest(series=split, from_appointment_id=third.id), INVALID)
    await scene.book(start=TEN + 5 * HOUR)
    clash = series.Series(id=booked.id, start_time=timestamp(TEN + 5 * HOUR))
    await scene.do(series.UpdateSeriesRequest(series=clash), Code.ALREADY_EXISTS)
    await scene.do(series.UpdateSeriesRequest(series=clash, validate_only=True, on_conflict=series.ON_CONFLICT_SKIP))
    bad = series.UpdateSeriesRequest(series=clash, update_mask=FieldMask(paths=["id", "größer"]))
    await scene.do(bad, INVALID)
    await scene.do(series.UpdateSeriesRequest(series=series.Series(id=booked.id, recurrence_rule="x")), INVALID)
    await _not_mine(scene, lambda id_: series.UpdateSeriesRequest(series=series.Series(id=id_, title="x")), NOBODYS)


async def delete_series(scene: Scene) -> None:
    """From one on, whole, and once."""
    booked = await _book_series(scene)
    listed = (await scene.do(pb.ListAppointmentsRequest(series_id=booked.id))).appointments
    await scene.do(series.DeleteSeriesRequest(id=booked.id, etag='"9"'), Code.ABORTED)
    ended = (await scene.do(series.DeleteSeriesRequest(id=booked.id, from_appointment_id=listed[2].id))).series
    assert "FREQ=WEEKLY;COUNT=2" == ended.recurrence_rule
    assert 2 == len((await scene.do(pb.ListAppointmentsRequest(series_id=booked.id))).appointments)
    await scene.do(series.DeleteSeriesRequest(id=booked.id, from_appointment_id=NOBODYS), INVALID)
    await scene.do(series.DeleteSeriesRequest(id=booked.id))
    await scene.do(series.DeleteSeriesRequest(id=booked.id), NOT_FOUND)
    await _not_mine(scene, lambda id_: series.DeleteSeriesRequest(id=id_), NOBODYS)


async def undelete_series(scene: Scene) -> None:
    """If its time is still free, or what collides is skipped."""
    booked = await _book_series(scene)
    await scene.do(series.UndeleteSeriesRequest(id=booked.id), Code.ALREADY_EXISTS)
    await scene.do(series.DeleteSeriesRequest(id=booked.id))
    await scene.book()
    await scene.do(series.UndeleteSeriesRequest(id=booked.id), Code.ALREADY_EXISTS)
    restored = await scene.do(series.UndeleteSeriesRequest(id=booked.id, on_conflict=series.ON_CONFLICT_SKIP))
    assert (1, False) == (restored.conflicts.total, restored.series.HasField("delete_time"))
    await _not_mine(scene, lambda id_: series.UndeleteSeriesRequest(id=id_), NOBODYS)


async def create_feed(scene: Scene) -> None:
    """With a name; its address is told once."""
    made = await scene.do(feeds.CreateFeedRequest(feed=feeds.Feed(display_name="Größer", busy_only=True)))
    assert made.url.endswith(".ics")
    for bad in ("", " ", "x" * 201, "\x00"):
        await scene.do(feeds.CreateFeedRequest(feed=feeds.Feed(display_name=bad)), INVALID)


async def list_feeds(scene: Scene) -> None:
    """One's own, without their addresses."""
    await scene.do(feeds.ListFeedsRequest())
    for name in ("first", "second"):
        await scene.do(feeds.CreateFeedRequest(feed=feeds.Feed(display_name=name)))
    listed = (await scene.do(feeds.ListFeedsRequest())).feeds
    assert ["second", "first"] == [feed.display_name for feed in listed]


async def delete_feed(scene: Scene) -> None:
    """One's own, once."""
    made = await scene.do(feeds.CreateFeedRequest(feed=feeds.Feed(display_name="x")))
    await scene.do(feeds.DeleteFeedRequest(id=made.feed.id))
    await scene.do(feeds.DeleteFeedRequest(id=made.feed.id), NOT_FOUND)
    await _not_mine(scene, lambda id_: feeds.DeleteFeedRequest(id=id_), NOBODYS)


async def list_changes(scene: Scene) -> None:
    """One's own from a cursor on, page by page, or those of a resource; a cursor is good for what it was made for."""
    start = (await scene.do(log.ListChangesRequest())).next_cursor
    booked, hall = await scene.book(), await scene.room()
    await scene.others()
    await scene.do(pb.DeleteAppointmentRequest(id=booked.id))
    first = await scene.do(log.ListChangesRequest(cursor=start, page_size=1))
    assert first.more
    await scene.do(log.ListChangesRequest(cursor=first.next_cursor, page_size=1001))
    of_hall = (await scene.do(log.ListChangesRequest(resource_id=hall.id))).next_cursor
    await scene.do(rooms.UpdateResourceRequest(resource=rooms.Resource(id=hall.id, display_name="Hall")))
    await scene.do(log.ListChangesRequest(cursor=of_hall, resource_id=hall.id))
    await scene.do(log.ListChangesRequest(cursor=start, resource_ids=[hall.id]))
    for role, expect in ((rooms.RESOURCE_ROLE_UNSPECIFIED, NOT_FOUND), (rooms.RESOURCE_ROLE_VIEWER, OK)):
        others = await scene.others_room(role)
        await scene.do(log.ListChangesRequest(resource_id=others), expect)
        await scene.do(log.ListChangesRequest(resource_ids=[hall.id, others]), expect)
    await scene.do(log.ListChangesRequest(resource_id=NOBODYS), NOT_FOUND)
    bad: dict[str, Any]
    for bad in (
        {"cursor": "größer"}, {"cursor": of_hall}, {"page_size": -1}, {"resource_id": "größer"},
        {"resource_ids": [hall.id, "größer", hall.id.upper()]}, {"resource_id": hall.id, "resource_ids": [hall.id]},
    ):  # fmt: skip
        await scene.do(log.ListChangesRequest(**bad), INVALID)


async def _hook(scene: Scene, **fields: Any) -> hooks.Webhook:
    """A webhook that leads to where nothing can be reached."""
    wanted = hooks.Webhook(**({"url": "https://hooks.invalid/hook", "kinds": ["series.created"]} | fields))
    made: hooks.Webhook = (await scene.do(hooks.CreateWebhookRequest(webhook=wanted))).webhook
    return made


async def _others_hook(scene: Scene) -> str:
    """A webhook of Bob's."""
    stub = webhooks_pb2_grpc.WebhookServiceStub(scene.bob.channel)
    request = hooks.CreateWebhookRequest(webhook=hooks.Webhook(url="https://hooks.invalid/"))
    return str((await stub.CreateWebhook(request, metadata=scene.bob.metadata)).webhook.id)


async def create_webhook(scene: Scene) -> None:
    """For some kinds or all, on or off; its secret is told once."""
    made = await scene.do(hooks.CreateWebhookRequest(webhook=hooks.Webhook(url="https://hooks.invalid/")))
    assert made.secret.startswith("whsec_")
    await _hook(scene, disabled=True)
    bad: dict[str, Any]
    for bad in (
        {"url": ""},
        {"url": "größer"},
        {"url": "ftp://hooks.invalid/"},
        {"url": "https://127.0.0.1/"},
        {"kinds": ["größer"]},
        {"kinds": ["series.created"] * 2},
    ):
        wanted = hooks.Webhook(**({"url": "https://hooks.invalid/"} | bad))
        await scene.do(hooks.CreateWebhookRequest(webhook=wanted), INVALID)
    for _ in range(18):
        await _hook(scene, disabled=True)
    full = hooks.CreateWebhookRequest(webhook=hooks.Webhook(url="https://hooks.invalid/"))
    await scene.do(full, Code.FAILED_PRECONDITION)


async def list_webhooks(scene: Scene) -> None:
    """One's own, without their secrets."""
    await scene.do(hooks.ListWebhooksRequest())
    await _others_hook(scene)
    await _hook(scene)
    assert 1 == len((await scene.do(hooks.ListWebhooksRequest())).webhooks)


async def get_webhook(scene: Scene) -> None:
    """One's own."""
    made = await _hook(scene)
    assert made == (await scene.do(hooks.GetWebhookRequest(id=made.id))).webhook
    await _not_mine(scene, lambda id_: hooks.GetWebhookRequest(id=id_), await _others_hook(scene))


async def update_webhook(scene: Scene) -> None:
    """Some of its fields, by a mask or without."""
    made = await _hook(scene)
    await scene.do(hooks.UpdateWebhookRequest(webhook=hooks.Webhook(id=made.id, disabled=True)))
    mask = FieldMask(paths=["kinds", "disabled"])
    await scene.do(hooks.UpdateWebhookRequest(webhook=hooks.Webhook(id=made.id), update_mask=mask))
    for bad, paths in (
        (hooks.Webhook(id=made.id, url="größer"), ["url"]),
        (hooks.Webhook(id=made.id, kinds=["größer"]), []),
        (hooks.Webhook(id=made.id), ["größer"]),
    ):
        await scene.do(hooks.UpdateWebhookRequest(webhook=bad, update_mask=FieldMask(paths=paths)), INVALID)
    others = await _others_hook(scene)
    await _not_mine(scene, lambda id_: hooks.UpdateWebhookRequest(webhook=hooks.Webhook(id=id_, disabled=True)), others)


async def delete_webhook(scene: Scene) -> None:
    """One's own, once."""
    made = await _hook(scene)
    await scene.do(hooks.DeleteWebhookRequest(id=made.id))
    await scene.do(hooks.DeleteWebhookRequest(id=made.id), NOT_FOUND)
    await _not_mine(scene, lambda id_: hooks.DeleteWebhookRequest(id=id_), await _others_hook(scene))


async def rotate_secret(scene: Scene) -> None:
    """Another one each time."""
    made = await _hook(scene)
    assert await scene.do(hooks.RotateSecretRequest(id=made.id)) != await scene.do(
        hooks.RotateSecretRequest(id=made.id)
    )
    await _not_mine(scene, lambda id_: hooks.RotateSecretRequest(id=id_), await _others_hook(scene))


async def ping(scene: Scene) -> None:
    """One that is enabled."""
    made, off = await _hook(scene), await _hook(scene, disabled=True)
    await scene.do(hooks.PingRequest(id=made.id))
    await scene.do(hooks.PingRequest(id=off.id), Code.FAILED_PRECONDITION)
    await _not_mine(scene, lambda id_: hooks.PingRequest(id=id_), await _others_hook(scene))


async def list_deliveries(scene: Scene) -> None:
    """Those of one webhook, the newest first, page by page."""
    made, another = await _hook(scene), await _hook(scene)
    await scene.do(hooks.ListDeliveriesRequest(webhook_id=made.id))
    for _ in range(2):
        await scene.do(hooks.PingRequest(id=made.id))
    page = await scene.do(hooks.ListDeliveriesRequest(webhook_id=made.id, page_size=1))
    await scene.do(hooks.ListDeliveriesRequest(webhook_id=made.id, page_token=page.next_page_token))
    bad: dict[str, Any]
    for bad in (
        {"webhook_id": made.id, "page_size": -1},
        {"webhook_id": made.id, "page_token": "größer"},
        {"webhook_id": another.id, "page_token": page.next_page_token},
    ):
        await scene.do(hooks.ListDeliveriesRequest(**bad), INVALID)
    await _not_mine(scene, lambda id_: hooks.ListDeliveriesRequest(webhook_id=id_), await _others_hook(scene))


async def redeliver(scene: Scene) -> None:
    """One of a webhook that is enabled."""
    made = await _hook(scene)
    sent = (await scene.do(hooks.PingRequest(id=made.id))).delivery
    await scene.do(hooks.RedeliverRequest(id=sent.id))
    await scene.do(hooks.UpdateWebhookRequest(webhook=hooks.Webhook(id=made.id, disabled=True)))
    await scene.do(hooks.RedeliverRequest(id=sent.id), Code.FAILED_PRECONDITION)
    stub = webhooks_pb2_grpc.WebhookServiceStub(scene.bob.channel)
    request = hooks.PingRequest(id=await _others_hook(scene))
    others = (await stub.Ping(request, metadata=scene.bob.metadata)).delivery
    await _not_mine(scene, lambda id_: hooks.RedeliverRequest(id=id_), others.id)


async def _not_mine(scene: Scene, request: Callable[[str], Message], others: str) -> None:
    """What is somebody else's is NOT_FOUND, and so is what does not exist. A bad id is never looked up."""
    for id_ in (others, NOBODYS):
        await scene.do(request(id_), NOT_FOUND)
    for id_ in MALFORMED:
        await scene.do(request(id_), INVALID)


SCENARIOS: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "CreateAppointment": create,
    "ConfirmAppointment": confirm,
    "GetAppointment": get,
    "ListAppointments": list_,
    "RespondToInvitation": respond,
    "ListOpenInvitations": list_open,
    "UpdateAppointment": update,
    "DeleteAppointment": delete,
    "UndeleteAppointment": undelete,
    "ImportAppointments": import_,
    "CreateSeries": create_series,
    "GetSeries": get_series,
    "ListSeries": list_series,
    "UpdateSeries": update_series,
    "DeleteSeries": delete_series,
    "UndeleteSeries": undelete_series,
    "GetCurrentUser": get_user,
    "UpdateCurrentUser": update_user,
    "ListSessions": list_sessions,
    "RevokeSession": revoke_session,
    "ChangePassword": change_password,
    "RequestEmailVerification": request_verification,
    "ChangeEmail": change_email,
    "DeleteAccount": delete_account,
    "CreateResource": create_resource,
    "GetResource": get_resource,
    "ListResources": list_resources,
    "UpdateResource": update_resource,
    "DeleteResource": delete_resource,
    "UndeleteResource": undelete_resource,
    "SetResourceAccess": set_access,
    "ListResourceAccess": list_access,
    "QueryFreeBusy": query_free_busy,
    "SearchSlots": search_slots,
    "CreateKey": create_key,
    "ListKeys": list_keys,
    "RevokeKey": revoke_key,
    "CreateFeed": create_feed,
    "ListFeeds": list_feeds,
    "DeleteFeed": delete_feed,
    "ListChanges": list_changes,
    "CreateWebhook": create_webhook,
    "ListWebhooks": list_webhooks,
    "GetWebhook": get_webhook,
    "UpdateWebhook": update_webhook,
    "DeleteWebhook": delete_webhook,
    "RotateSecret": rotate_secret,
    "Ping": ping,
    "ListDeliveries": list_deliveries,
    "Redeliver": redeliver,
}

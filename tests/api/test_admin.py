"""AdminService and acting for users, as programs see them at the doors."""

from typing import Any
from uuid import uuid4

import grpc
import httpx
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from appointments.v1 import account_pb2, admin_pb2, appointments_pb2, keys_pb2, resources_pb2
from tests.api.calling import Reason, answer, call, reason
from tests.api.doors import Call
from tests.clients import HOUR, TEN, Person, Program, appointment, program
from tests.service import Target

Code = grpc.StatusCode


async def manage(door: Call, secret: str, **fields: Any) -> account_pb2.User:
    """A managed user."""
    made: account_pb2.User = (
        await answer(door, secret, admin_pb2.CreateUserRequest(user=account_pb2.User(**fields)))
    ).user
    return made


async def test_a_backend_sees_to_its_users(doors: list[Call], backend: Program) -> None:
    """Makes, finds, lists, changes and deletes them, with its key."""
    door = doors[0]
    external_id = str(uuid4())
    given = account_pb2.User(
        display_name="Ada",
        time_zone="Europe/Zurich",
        external_id=external_id,
        role=account_pb2.USER_ROLE_ADMIN,
        disabled=True,
    )
    made = (await answer(door, backend.secret, admin_pb2.CreateUserRequest(user=given))).user
    assert ("Ada", "Europe/Zurich", external_id, "") == (
        made.display_name,
        made.time_zone,
        made.external_id,
        made.email,
    )
    assert (account_pb2.USER_ROLE_USER, account_pb2.USER_KIND_PERSON, False) == (made.role, made.kind, made.disabled)
    for one in ({"id": made.id}, {"external_id": external_id}):
        assert made == (await answer(door, backend.secret, admin_pb2.GetUserRequest(**one))).user
    listed = await answer(door, backend.secret, admin_pb2.ListUsersRequest(page_size=1000))
    assert made in listed.users
    user = account_pb2.User(id=made.id, display_name="Ada L.", role=account_pb2.USER_ROLE_ADMIN)
    request = admin_pb2.UpdateUserRequest(user=user, update_mask=FieldMask(paths=["display_name"]))
    changed = (await answer(door, backend.secret, request)).user
    assert ("Ada L.", account_pb2.USER_ROLE_USER) == (changed.display_name, changed.role)
    await answer(door, backend.secret, admin_pb2.DeleteUserRequest(id=made.id))
    gone = await call(door, backend.secret, admin_pb2.GetUserRequest(id=made.id))
    assert ("NOT_FOUND", "NOT_FOUND", {}) == reason(gone)


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (admin_pb2.GetUserRequest(), ["id", "external_id"]),
        (admin_pb2.GetUserRequest(id="x", external_id="y"), ["id", "external_id"]),
        (admin_pb2.GetUserRequest(id="x"), ["id"]),
        (admin_pb2.DeleteUserRequest(id="größer"), ["id"]),
        (admin_pb2.UpdateUserRequest(), ["user.id"]),
        (
            admin_pb2.UpdateUserRequest(
                user=account_pb2.User(id=str(uuid4())), update_mask=FieldMask(paths=["email", "nonsense"])
            ),
            ["update_mask", "update_mask"],
        ),
        (admin_pb2.ListUsersRequest(page_token="x", page_size=-1), ["page_size", "page_token"]),
        (
            admin_pb2.CreateUserRequest(user=account_pb2.User(time_zone="Moon/Base", email="x")),
            ["user.time_zone", "user.email"],
        ),
    ],
)
async def test_bad_input_is_named(doors: list[Call], backend: Program, request_: Message, fields: list[str]) -> None:
    """Every field."""
    refused = await call(doors[0], backend.secret, request_)
    assert Code.INVALID_ARGUMENT is refused.code
    assert fields == [part.partition(": ")[0] for part in refused.message.split("; ")]


async def test_only_admins_are_let_in(doors: list[Call], ada: Person, admin: Person, backend: Program) -> None:
    """A person who is none, a key without the scope, a program that acts for an admin; a key makes no keys."""
    door = doors[0]
    request = admin_pb2.ListUsersRequest()
    assert ("PERMISSION_DENIED", "NOT_AN_ADMIN", {}) == reason(await call(door, ada.tokens.access_token, request))
    assert Code.OK is (await call(door, admin.tokens.access_token, request)).code
    plain = await program(admin, "appointments.write", "resources.write")
    expected = ("PERMISSION_DENIED", "MISSING_SCOPE", {"scope": "admin"})
    assert expected == reason(await call(door, plain.secret, request))
    acting = await call(door, backend.secret, request, admin.user_id)
    assert ("PERMISSION_DENIED", "ACT_AS_DENIED", {}) == reason(acting)
    more = admin_pb2.CreateServiceAccountRequest(
        display_name="Another", key=keys_pb2.Key(display_name="x", scopes=["admin"])
    )
    for secret in (backend.secret, plain.secret):
        assert ("PERMISSION_DENIED", "KEY_NOT_ALLOWED", {}) == reason(await call(door, secret, more))
    assert ("PERMISSION_DENIED", "NOT_AN_ADMIN", {}) == reason(await call(door, ada.tokens.access_token, more))


async def test_a_backend_acts_for_a_user(doors: list[Call], server: Target, backend: Program) -> None:
    """At both doors the call is the user's; the appointment and the log name who really wrote it."""
    user = await manage(doors[0], backend.secret, display_name="Ada")
    for number, door in enumerate(doors):
        create = appointments_pb2.CreateAppointmentRequest(appointment=appointment(TEN + number * HOUR))
        booked = (await answer(door, backend.secret, create, user.id)).appointment
        assert (user.id, backend.user_id) == (booked.owner_id, booked.actor_id)
        get = appointments_pb2.GetAppointmentRequest(id=booked.id)
        assert booked == (await answer(door, backend.secret, get, user.id.upper())).appointment
        assert Code.NOT_FOUND is (await call(door, backend.secret, get)).code
        update = appointments_pb2.UpdateAppointmentRequest(
            appointment=appointments_pb2.Appointment(id=booked.id, title="Moved")
        )
        assert backend.user_id == (await answer(door, backend.secret, update, user.id)).appointment.actor_id
        delete = appointments_pb2.DeleteAppointmentRequest(id=booked.id)
        assert backend.user_id == (await answer(door, backend.secret, delete, user.id)).appointment.actor_id
        undelete = appointments_pb2.UndeleteAppointmentRequest(id=booked.id)
        assert backend.user_id == (await answer(door, backend.secret, undelete, user.id)).appointment.actor_id
        me = (await answer(door, backend.secret, account_pb2.GetCurrentUserRequest(), user.id)).user
        assert (user.id, "Ada") == (me.id, me.display_name)
        me = (await answer(door, backend.secret, account_pb2.GetCurrentUserRequest())).user
        assert (backend.user_id, account_pb2.USER_KIND_SERVICE_ACCOUNT) == (me.id, me.kind)
    if log := server.log():
        lines = [line for line in log.splitlines() if f"user_id={user.id}" in line and "CreateAppointment" in line]
        assert 2 == len(lines)
        assert all(f"actor_id={backend.user_id}" in line for line in lines)


async def test_who_acts_has_the_users_rights_and_no_more(doors: list[Call], admin: Person, backend: Program) -> None:
    """A room of somebody else's is not there, although the service account itself manages every room."""
    room = resources_pb2.Resource(display_name="Room", kind=resources_pb2.RESOURCE_KIND_ROOM, time_zone="UTC")
    request = resources_pb2.CreateResourceRequest(resource=room)
    added = (await answer(doors[0], admin.tokens.access_token, request)).resource
    user = await manage(doors[0], backend.secret)
    for door in doors:
        get = resources_pb2.GetResourceRequest(id=added.id)
        assert resources_pb2.RESOURCE_ROLE_MANAGER == (await answer(door, backend.secret, get)).resource.role
        assert Code.NOT_FOUND is (await call(door, backend.secret, get, user.id)).code
        create = appointments_pb2.CreateAppointmentRequest(appointment=appointment(resource_ids=[added.id]))
        assert Code.NOT_FOUND is (await call(door, backend.secret, create, user.id)).code
        listed = await answer(door, backend.secret, resources_pb2.ListResourcesRequest(page_size=1000), user.id)
        assert added.id not in {each.id for each in listed.resources}


async def test_acting_is_refused_by_name(doors: list[Call], ada: Person, admin: Person, backend: Program) -> None:
    """For nobody, for what is no id, for two, for a service account, for who is disabled; and to anybody else."""
    disabled = await manage(doors[0], backend.secret)
    request = admin_pb2.UpdateUserRequest(user=account_pb2.User(id=disabled.id, disabled=True))
    assert (await answer(doors[0], backend.secret, request)).user.disabled
    plain = await program(admin, "appointments.write")
    create = appointments_pb2.CreateAppointmentRequest(appointment=appointment())
    cases: list[tuple[str, str, Reason]] = [
        (backend.secret, str(uuid4()), ("NOT_FOUND", "USER_NOT_FOUND", {})),
        (backend.secret, backend.user_id, ("NOT_FOUND", "USER_NOT_FOUND", {})),
        (backend.secret, disabled.id, ("FAILED_PRECONDITION", "USER_DISABLED", {})),
        (backend.secret, "x", ("INVALID_ARGUMENT", "INVALID_FIELD", {})),
        (backend.secret, "", ("INVALID_ARGUMENT", "INVALID_FIELD", {})),
        (backend.secret, f"{ada.user_id}, {ada.user_id}", ("INVALID_ARGUMENT", "INVALID_FIELD", {})),
        (plain.secret, ada.user_id, ("PERMISSION_DENIED", "ACT_AS_DENIED", {})),
        (ada.tokens.access_token, ada.user_id, ("PERMISSION_DENIED", "ACT_AS_DENIED", {})),
        (admin.tokens.access_token, ada.user_id, ("PERMISSION_DENIED", "ACT_AS_DENIED", {})),
    ]
    for door in doors:
        for secret, act_as, expected in cases:
            assert expected == reason(await call(door, secret, create, act_as))
    listed = await answer(doors[0], ada.tokens.access_token, appointments_pb2.ListAppointmentsRequest())
    assert [] == list(listed.appointments)


async def test_acting_needs_the_scope_of_the_call_too(doors: list[Call], admin: Person, ada: Person) -> None:
    """A key does what its scopes say, whoever it is for."""
    overseer = await program(admin, "admin")
    create = appointments_pb2.CreateAppointmentRequest(appointment=appointment())
    expected = ("PERMISSION_DENIED", "MISSING_SCOPE", {"scope": "appointments.write"})
    for door in doors:
        assert expected == reason(await call(door, overseer.secret, create, ada.user_id))
        assert Code.OK is (await call(door, overseer.secret, account_pb2.GetCurrentUserRequest(), ada.user_id)).code


async def test_admins_see_to_the_keys_of_programs(doors: list[Call], admin: Person, ada: Person) -> None:
    """Rotation: another key, then the end of the first; a person who is no admin is told so."""
    rotating = await program(admin, "appointments.read")
    key = keys_pb2.Key(display_name="Second", scopes=["appointments.read", "admin"])
    create = keys_pb2.CreateKeyRequest(key=key, service_account_id=rotating.user_id)
    list_ = keys_pb2.ListKeysRequest(service_account_id=rotating.user_id)
    for door in doors:
        assert Code.PERMISSION_DENIED is (await call(door, ada.tokens.access_token, create)).code
        assert Code.PERMISSION_DENIED is (await call(door, ada.tokens.access_token, list_)).code
    second = await answer(doors[1], admin.tokens.access_token, create)
    listed = (await answer(doors[0], admin.tokens.access_token, list_)).keys
    assert ["Second", "First"] == [each.display_name for each in listed]
    await answer(doors[0], admin.tokens.access_token, keys_pb2.RevokeKeyRequest(id=listed[1].id))
    who = account_pb2.GetCurrentUserRequest()
    assert Code.UNAUTHENTICATED is (await call(doors[0], rotating.secret, who)).code
    assert Code.OK is (await call(doors[0], second.secret, who)).code
    nobodys = keys_pb2.CreateKeyRequest(key=key, service_account_id=ada.user_id)
    assert Code.NOT_FOUND is (await call(doors[0], admin.tokens.access_token, nobodys)).code


async def test_a_backend_gives_roles_to_users_without_an_address(
    doors: list[Call], backend: Program, ada: Person
) -> None:
    """By id, which is for admins alone: whoever is given a role is listed with their name and address."""
    room = resources_pb2.Resource(display_name="Ward", kind=resources_pb2.RESOURCE_KIND_ROOM, time_zone="UTC")
    added = (await answer(doors[0], backend.secret, resources_pb2.CreateResourceRequest(resource=room))).resource
    user = await manage(doors[0], backend.secret, display_name="Patient")
    get, booker = resources_pb2.GetResourceRequest(id=added.id), resources_pb2.RESOURCE_ROLE_BOOKER
    assert Code.NOT_FOUND is (await call(doors[1], backend.secret, get, user.id)).code
    grant = resources_pb2.SetResourceAccessRequest(id=added.id, user_id=user.id, role=booker)
    await answer(doors[1], backend.secret, grant)
    assert booker == (await answer(doors[1], backend.secret, get, user.id)).resource.role
    create = appointments_pb2.CreateAppointmentRequest(appointment=appointment(resource_ids=[added.id]))
    await answer(doors[1], backend.secret, create, user.id)
    listed = await answer(doors[1], backend.secret, resources_pb2.ListResourceAccessRequest(id=added.id))
    assert ("", "Patient", booker) in {(each.email, each.display_name, each.role) for each in listed.access}
    own = resources_pb2.CreateResourceRequest(resource=room)
    adas = (await answer(doors[0], ada.tokens.access_token, own)).resource
    by_id = resources_pb2.SetResourceAccessRequest(id=adas.id, user_id=user.id, role=booker)
    refused = await call(doors[0], ada.tokens.access_token, by_id)
    assert ("PERMISSION_DENIED", "NOT_AN_ADMIN", {}) == reason(refused)
    for bad in ({"user_id": str(uuid4())}, {"user_id": user.id, "email": ada.email}, {"user_id": "x"}, {}):
        wrong = resources_pb2.SetResourceAccessRequest(id=added.id, role=booker, **bad)
        assert Code.INVALID_ARGUMENT is (await call(doors[0], backend.secret, wrong)).code


async def test_a_backend_exports_a_users_calendar(
    server: Target, doors: list[Call], backend: Program, ada: Person
) -> None:
    """Over HTTP the key acts for a user as well, and nobody else does."""
    user = await manage(doors[0], backend.secret)
    create = appointments_pb2.CreateAppointmentRequest(appointment=appointment(title="Of the user"))
    await answer(doors[0], backend.secret, create, user.id)

    async def export(credential: str, act_as: str | None = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {credential}"} | ({"x-act-as": act_as} if act_as is not None else {})
        async with httpx.AsyncClient(base_url=server.url) as client:
            return await client.get("/calendar.json", headers=headers)

    assert ["Of the user"] == [each["title"] for each in (await export(backend.secret, user.id)).json()["appointments"]]
    assert [] == (await export(backend.secret)).json()["appointments"]
    for credential, act_as, expected in (
        (ada.tokens.access_token, user.id, (403, "ACT_AS_DENIED")),
        (backend.secret, str(uuid4()), (404, "USER_NOT_FOUND")),
        (backend.secret, "x", (400, "INVALID_FIELD")),
    ):
        refused = await export(credential, act_as)
        assert expected == (refused.status_code, refused.json()["reason"])

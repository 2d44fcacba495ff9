"""Keys at both doors: what a program can do with one, and what it is told when it cannot."""

import asyncio
from collections import Counter
from typing import Any
from uuid import uuid4

import grpc
from google.protobuf.message import Message

from appointments.auth import secret
from appointments.v1 import account_pb2, appointments_pb2, keys_pb2, keys_pb2_grpc, resources_pb2
from tests.api.calling import call, reason
from tests.api.doors import Call
from tests.clients import Person, appointment, new_address
from tests.service import Target

Code = grpc.StatusCode
GET_CURRENT_USER = "/appointments.v1.AccountService/GetCurrentUser"


async def new_key(person: Person, *scopes: str) -> keys_pb2.CreateKeyResponse:
    """A key of a person's own."""
    request = keys_pb2.CreateKeyRequest(key=keys_pb2.Key(display_name="Backend", scopes=scopes))
    service = keys_pb2_grpc.KeyServiceStub(person.channel)
    answer: keys_pb2.CreateKeyResponse = await service.CreateKey(request, metadata=person.metadata)
    return answer


async def test_a_key_goes_where_the_token_goes(doors: list[Call], ada: Person) -> None:
    """It books for its owner, who sees it, and the owner is the actor."""
    made = await new_key(ada, "appointments.write")
    for number, door in enumerate(doors):
        request = appointments_pb2.CreateAppointmentRequest(
            appointment=appointment(title=f"door {number}", transparency=appointments_pb2.TRANSPARENCY_TRANSPARENT)
        )
        answer = await call(door, made.secret, request)
        assert Code.OK is answer.code, answer.message
        booked = appointments_pb2.CreateAppointmentResponse.FromString(answer.body or b"").appointment
        assert (ada.user_id, ada.user_id) == (booked.owner_id, booked.actor_id)
    listed = await ada.appointments.ListAppointments(appointments_pb2.ListAppointmentsRequest(), metadata=ada.metadata)
    assert {"door 0", "door 1"} == {each.title for each in listed.appointments}


async def test_a_scope_that_is_missing_is_named(doors: list[Call], ada: Person) -> None:
    """With the metadata that a program acts on; nothing is done."""
    made = await new_key(ada, "appointments.read")
    room = resources_pb2.Resource(display_name="Room", kind=resources_pb2.RESOURCE_KIND_ROOM, time_zone="UTC")
    refused: list[tuple[Message, str]] = [
        (appointments_pb2.CreateAppointmentRequest(appointment=appointment()), "appointments.write"),
        (resources_pb2.CreateResourceRequest(resource=room), "resources.write"),
        (account_pb2.UpdateCurrentUserRequest(user=account_pb2.User(display_name="x")), "appointments.write"),
    ]
    for door in doors:
        for request, scope in refused:
            expected = ("PERMISSION_DENIED", "MISSING_SCOPE", {"scope": scope})
            assert expected == reason(await call(door, made.secret, request))
        answer = await call(door, made.secret, appointments_pb2.ListAppointmentsRequest())
        assert (Code.OK, b"") == (answer.code, answer.body)
        assert Code.OK is (await call(door, made.secret, resources_pb2.ListResourcesRequest())).code
        assert Code.OK is (await call(door, made.secret, account_pb2.GetCurrentUserRequest())).code


async def test_a_key_cannot_do_what_outlives_it(doors: list[Call], ada: Person) -> None:
    """No keys, no sessions, no password, no end of the account; whatever its scopes."""
    made = await new_key(ada, "appointments.write", "resources.write")
    forbidden: list[Message] = [
        keys_pb2.CreateKeyRequest(key=keys_pb2.Key(display_name="x", scopes=["appointments.read"])),
        keys_pb2.ListKeysRequest(),
        keys_pb2.RevokeKeyRequest(id=made.key.id),
        account_pb2.ListSessionsRequest(),
        account_pb2.RevokeSessionRequest(id=str(uuid4())),
        account_pb2.ChangePasswordRequest(current_password="x", new_password="y"),
        account_pb2.DeleteAccountRequest(password="x"),
    ]
    for door in doors:
        for request in forbidden:
            assert ("PERMISSION_DENIED", "KEY_NOT_ALLOWED", {}) == reason(await call(door, made.secret, request))
        assert Code.OK is (await call(door, made.secret, account_pb2.GetCurrentUserRequest())).code


async def test_a_key_that_is_none_says_why(doors: list[Call], ada: Person) -> None:
    """Of the wrong length, with a typo, of another deployment; two identities; an act-as that is nobody's to use."""
    made = await new_key(ada, "appointments.write")
    typo = made.secret[:-1] + ("a" if made.secret[-1] != "a" else "b")
    who = account_pb2.GetCurrentUserRequest()
    cases = [
        (made.secret[:-1], "INVALID_KEY"),
        (made.secret + "0", "INVALID_KEY"),
        (typo, "INVALID_KEY"),
        ("apt_", "INVALID_KEY"),
        (secret.new(), "UNKNOWN_KEY"),
        (f"{made.secret}, Bearer {made.secret}", "SEVERAL_IDENTITIES"),
        (f"{made.secret}, Bearer {ada.tokens.access_token}", "SEVERAL_IDENTITIES"),
    ]
    for door in doors:
        for key, expected in cases:
            answered = await door(GET_CURRENT_USER, b"", key, new_address())
            assert ("UNAUTHENTICATED", expected, {}) == reason(answered)
        for credential in (made.secret, ada.tokens.access_token):
            acting = await call(door, credential, who, ada.user_id)
            assert ("PERMISSION_DENIED", "ACT_AS_DENIED", {}) == reason(acting)
    twice = (("authorization", f"Bearer {ada.tokens.access_token}"),)
    answered = await doors[0](GET_CURRENT_USER, b"", made.secret, twice)
    assert ("UNAUTHENTICATED", "SEVERAL_IDENTITIES", {}) == reason(answered)


async def test_keys_are_not_tried_out_at_will(doors: list[Call], ada: Person) -> None:
    """Of bad keys from one network ten at once are told why, and few after that; its good keys are none the worse."""
    made = await new_key(ada, "appointments.read")
    for door in doors:
        here = new_address()
        answers = await asyncio.gather(*(door(GET_CURRENT_USER, b"", secret.new(), here) for _ in range(100)))
        counts = Counter(reason(each)[:2] for each in answers)
        assert {("UNAUTHENTICATED", "UNKNOWN_KEY"), ("RESOURCE_EXHAUSTED", "RATE_LIMITED")} == set(counts)
        assert counts["UNAUTHENTICATED", "UNKNOWN_KEY"] >= 10
        assert Code.OK is (await door(GET_CURRENT_USER, b"", made.secret, here)).code
        elsewhere = await door(GET_CURRENT_USER, b"", secret.new(), new_address())
        assert ("UNAUTHENTICATED", "UNKNOWN_KEY", {}) == reason(elsewhere)


async def test_a_revoked_key_is_refused_at_both_doors(doors: list[Call], ada: Person) -> None:
    """Within five seconds."""
    made = await new_key(ada, "appointments.read")
    who = account_pb2.GetCurrentUserRequest()
    for door in doors:
        assert Code.OK is (await call(door, made.secret, who)).code
    service: Any = keys_pb2_grpc.KeyServiceStub(ada.channel)
    await service.RevokeKey(keys_pb2.RevokeKeyRequest(id=made.key.id), metadata=ada.metadata)
    async with asyncio.timeout(5):
        for door in doors:
            while (answer := await call(door, made.secret, who)).code is Code.OK:  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # a key is looked up again within 5 seconds
            assert ("UNAUTHENTICATED", "UNKNOWN_KEY", {}) == reason(answer)


async def test_the_log_has_the_key_and_never_its_secret(server: Target, doors: list[Call], ada: Person) -> None:
    """Who called with what, by its id."""
    made = await new_key(ada, "appointments.read")
    for door in doors:
        await call(door, made.secret, account_pb2.GetCurrentUserRequest())
    log = server.log()
    assert made.secret not in log
    if log:
        assert 2 == log.count(f"key_id={made.key.id}")

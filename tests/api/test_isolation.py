"""What two people see of each other and of a room that they share, of a room that is neither's, and of a stranger.

Every RPC of the contract is called with the ids of what there is: a new one is walked by itself. Nothing may come back
that holds a word of what the caller may not see, and an id of somebody else's must read exactly like one of nobody's.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from appointments.v1 import account_pb2, appointments_pb2, keys_pb2, keys_pb2_grpc, resources_pb2
from tests.api.calling import answer
from tests.api.doors import Call
from tests.clients import HOUR, TEN, Person, person, timestamp
from tests.contract import METHODS
from tests.service import Target

NOBODYS = str(uuid4())
MANAGER, BOOKER = resources_pb2.RESOURCE_ROLE_MANAGER, resources_pb2.RESOURCE_ROLE_BOOKER
KINDS = ("name", "title", "place", "room", "meeting", "key")


@dataclass
class Somebody:
    """A person, and the words that nobody else may read."""

    who: Person
    name: str
    appointment: str = ""
    shared: str = ""
    room: str = ""
    key: str = ""
    session: str = ""
    secrets: set[str] = field(default_factory=set)

    @property
    def ids(self) -> dict[str, str]:
        """What somebody else could ask for."""
        return {
            "their appointment": self.appointment,
            "their key": self.key,
            "their session": self.session,
            "their room": self.room,
            "themselves": self.who.user_id,
        }


@dataclass
class Neighbours:
    """Ada books a room that Bob manages; Carol has nothing to do with them."""

    ada: Somebody
    bob: Somebody
    carol: Somebody
    shared_room: str
    doors: list[Call]


async def settle(name: str, who: Person, door: Call) -> Somebody:
    """Somebody with an appointment, a room, a key and a name, all of which tell whose they are."""
    somebody = Somebody(who, name)
    token = who.tokens.access_token
    user = account_pb2.User(display_name=f"secret name of {name}")
    await answer(door, token, account_pb2.UpdateCurrentUserRequest(user=user))
    booked = await who.create(TEN, title=f"secret title of {name}", location=f"secret place of {name}")
    room = resources_pb2.Resource(
        display_name=f"secret room of {name}", kind=resources_pb2.RESOURCE_KIND_ROOM, time_zone="UTC"
    )
    added = (await answer(door, token, resources_pb2.CreateResourceRequest(resource=room))).resource
    await who.create(TEN + HOUR, title=f"secret meeting of {name}", resource_ids=[added.id])
    key = keys_pb2.Key(display_name=f"secret key of {name}", scopes=["appointments.read"])
    made = await keys_pb2_grpc.KeyServiceStub(who.channel).CreateKey(
        keys_pb2.CreateKeyRequest(key=key), metadata=who.metadata
    )
    sessions = (await answer(door, token, account_pb2.ListSessionsRequest())).sessions
    somebody.appointment, somebody.room, somebody.key = booked.id, added.id, made.key.id
    somebody.session = sessions[0].id
    somebody.secrets = {f"of {name}", who.email, made.secret, booked.id, added.id, made.key.id, sessions[0].id}
    return somebody


@pytest.fixture
async def neighbours(server: Target, doors: list[Call]) -> AsyncIterator[Neighbours]:
    """The three, and the room that two of them share."""
    async with AsyncExitStack() as stack:
        people = [await stack.enter_async_context(person(server.grpc)) for _ in range(3)]
        ada, bob, carol = [
            await settle(name, who, doors[0]) for name, who in zip(("ada", "bob", "carol"), people, strict=True)
        ]
        room = resources_pb2.Resource(
            display_name="The shared room", kind=resources_pb2.RESOURCE_KIND_ROOM, time_zone="UTC"
        )
        token = bob.who.tokens.access_token
        shared = (await answer(doors[0], token, resources_pb2.CreateResourceRequest(resource=room))).resource
        grant = resources_pb2.SetResourceAccessRequest(id=shared.id, email=ada.who.email, role=BOOKER)
        await answer(doors[0], token, grant)
        for number, each in enumerate((ada, bob)):
            booked = await each.who.create(
                TEN + (number + 2) * HOUR, title=f"Meeting of {each.name}", resource_ids=[shared.id]
            )
            each.shared = booked.id
            each.secrets |= {booked.id}
        yield Neighbours(ada, bob, carol, shared.id, doors)


def requests(method: MethodDescriptor, id_: str) -> Iterator[Message]:
    """A request of a method with an id wherever it takes one; nothing else is given but a wide window."""
    make = GetMessageClass(method.input_type)
    yield _filled(make(), id_)
    for name in ("resource_id", "resource_ids"):  # not given together by whoever follows changes
        if name in method.input_type.fields_by_name:
            yield _filled(make(), id_, but=name)


def _filled(message: Message, id_: str, *, but: str = "", depth: int = 0) -> Message:
    for each in message.DESCRIPTOR.fields:
        if each.name == but or each.name in {"etag", "request_id", "page_token", "cursor"}:
            continue
        if each.type == FieldDescriptor.TYPE_STRING and _is_id(each.name):
            if each.is_repeated:
                getattr(message, each.name).append(id_)
            else:
                setattr(message, each.name, id_)
        elif each.type == FieldDescriptor.TYPE_MESSAGE and not each.is_repeated and depth < 2:
            kind: Any = each.message_type
            if kind.full_name.startswith("appointments.v1."):
                inner = _filled(GetMessageClass(kind)(), id_, depth=depth + 1)
                if inner.ByteSize():
                    getattr(message, each.name).CopyFrom(inner)
            elif each.name == "start_time" and not depth:
                message.start_time.CopyFrom(timestamp(TEN - HOUR))  # type: ignore[attr-defined]
            elif each.name == "end_time" and not depth:
                message.end_time.CopyFrom(timestamp(TEN + timedelta(days=1)))  # type: ignore[attr-defined]
    return message


def _is_id(name: str) -> bool:
    return name == "id" or (name.endswith(("_id", "_ids")) and name != "external_id")


async def seen(caller: Person, method: MethodDescriptor, request: Message) -> str:
    """Everything that comes back: status, message, metadata and bodies."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    parse: Any = GetMessageClass(method.output_type).FromString
    metadata = (*caller.metadata, ("x-request-id", "walk"))
    channel: Any = caller.channel
    bodies: list[str] = []
    if method.server_streaming:
        stub = channel.unary_stream(path, response_deserializer=parse)
        call = stub(request.SerializeToString(), metadata=metadata, timeout=0.7)
        with suppress(grpc.aio.AioRpcError):
            async for each in call:
                bodies.append(str(each))  # noqa: PERF401 - what came before an error counts too
    else:
        stub = channel.unary_unary(path, response_deserializer=parse)
        call = stub(request.SerializeToString(), metadata=metadata, timeout=30)
        with suppress(grpc.aio.AioRpcError):
            bodies.append(str(await call))
    return "\n".join([str(await call.code()), str(await call.details()), str(await call.trailing_metadata()), *bodies])


async def walk(caller: Person, ids: dict[str, str]) -> dict[str, str]:
    """Call every RPC with each id, or once if it takes none; what was seen, by RPC and what was asked for."""
    answers = {}
    for method in METHODS:
        for what, id_ in ids.items():
            for number, request in enumerate(requests(method, id_)):
                answers[f"{method.name} {number} {what}"] = await seen(caller, method, request)
            if id_ not in str(request):
                break
    return answers


@pytest.mark.parametrize("eyes", ["ada", "bob", "carol"])
async def test_nobody_sees_what_is_not_theirs(neighbours: Neighbours, eyes: str) -> None:
    """Whatever is asked for, and with whatever id: no word of it, and no other answer than for an id of nobody's."""
    everybody = {"ada": neighbours.ada, "bob": neighbours.bob, "carol": neighbours.carol}
    caller = everybody.pop(eyes)
    for other in everybody.values():
        others = await walk(caller.who, {"nobody’s": NOBODYS} | other.ids)
        hidden = set(other.secrets)
        if (eyes, other.name) == ("bob", "ada"):
            # Bob manages the room that she has booked, and has given her the role.
            hidden -= {other.shared, other.who.email, "of ada"}
            hidden |= {f"secret {what} of ada" for what in KINDS}
        for asked, answered in others.items():
            name, number, what = asked.split(maxsplit=2)
            told = {word for word in hidden if word in answered} - {other.ids.get(what, "")}
            assert not told, f"{asked}: {answered}"
            if what != "themselves":
                expected = others[f"{name} {number} nobody’s"].replace(NOBODYS, "<id>")
                assert expected == answered.replace(other.ids.get(what, NOBODYS), "<id>"), asked


async def test_a_booker_sees_that_the_room_is_taken(neighbours: Neighbours) -> None:
    """By what, its manager sees; the booker sees their own, and of the others only when; a stranger sees no room."""
    request = appointments_pb2.ListAppointmentsRequest(resource_id=neighbours.shared_room)
    listed = {}
    for each in (neighbours.ada, neighbours.bob):
        found = await answer(neighbours.doors[0], each.who.tokens.access_token, request)
        listed[each.name] = [(one.id, one.title, one.owner_id) for one in found.appointments]
    adas = (neighbours.ada.shared, "Meeting of ada", neighbours.ada.who.user_id)
    bobs = (neighbours.bob.shared, "Meeting of bob", neighbours.bob.who.user_id)
    assert {"ada": [adas, ("", "", "")], "bob": [adas, bobs]} == listed
    for room, caller in ((neighbours.shared_room, neighbours.carol), (neighbours.carol.room, neighbours.bob)):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await caller.who.appointments.ListAppointments(
                appointments_pb2.ListAppointmentsRequest(resource_id=room), metadata=caller.who.metadata
            )
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_conflict_does_not_say_with_whom(neighbours: Neighbours) -> None:
    """The room is taken: that it is, and nothing else."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await neighbours.ada.who.create(TEN + 3 * HOUR, resource_ids=[neighbours.shared_room])
    told = f"{refused.value.details()} {refused.value.trailing_metadata()}"
    assert refused.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert neighbours.shared_room in told
    assert not {word for word in neighbours.bob.secrets | {neighbours.bob.who.user_id} if word in told}


async def test_a_walk_changes_nothing_of_others(neighbours: Neighbours) -> None:
    """After every RPC was called with their ids by somebody else."""
    bob = neighbours.bob

    async def all_of_it() -> list[Any]:
        return await asyncio.gather(
            *(
                answer(neighbours.doors[0], bob.who.tokens.access_token, request)
                for request in (
                    appointments_pb2.ListAppointmentsRequest(show_deleted=True),
                    resources_pb2.ListResourcesRequest(),
                    resources_pb2.ListResourceAccessRequest(id=neighbours.shared_room),
                    keys_pb2.ListKeysRequest(),
                    account_pb2.ListSessionsRequest(),
                )
            )
        )

    before = await all_of_it()
    ids = bob.ids | {"the shared appointment": bob.shared, "the shared room": neighbours.shared_room}
    await walk(neighbours.ada.who, ids)
    await walk(neighbours.carol.who, ids)
    assert before == await all_of_it()

"""Changes through the ports: lists, streams behind both doors, and what ends a stream."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TypeAlias
from uuid import uuid4

import grpc
import pytest

from appointments.v1 import account_pb2, auth_pb2, changes_pb2_grpc, resources_pb2, resources_pb2_grpc
from appointments.v1 import appointments_pb2 as appointments
from appointments.v1 import changes_pb2 as pb
from tests import service
from tests.api.watching import WATCHES, Watch, changes, until_ended
from tests.clients import HOUR, PASSWORD, TEN, Person, details, new_address, person
from tests.service import Server, Target

Code = grpc.StatusCode
Role: TypeAlias = resources_pb2.ResourceRole.ValueType
NOBODYS = "00000000-0000-4000-8000-000000000000"
MANY = [str(uuid4()) for _ in range(51)]


@pytest.fixture(params=list(WATCHES))
def watch(request: pytest.FixtureRequest) -> Watch:
    """Each door."""
    return WATCHES[request.param]


async def listed(target: Target, who: Person, cursor: str = "", **fields: object) -> pb.ListChangesResponse:
    """What ListChanges answers."""
    async with grpc.aio.insecure_channel(target.grpc) as channel:
        request = pb.ListChangesRequest(cursor=cursor, **fields)  # type: ignore[arg-type]
        answer = await changes_pb2_grpc.ChangeServiceStub(channel).ListChanges(request, metadata=who.metadata)
        assert isinstance(answer, pb.ListChangesResponse)
        return answer


async def room_of(manager: Person, role: Role = resources_pb2.RESOURCE_ROLE_BOOKER) -> str:
    """A room on which everybody else has this role."""
    wanted = resources_pb2.Resource(
        kind=resources_pb2.RESOURCE_KIND_ROOM, display_name="Room", time_zone="Europe/Zurich", default_role=role
    )
    stub = resources_pb2_grpc.ResourceServiceStub(manager.channel)
    request = resources_pb2.CreateResourceRequest(resource=wanted)
    return str((await stub.CreateResource(request, metadata=manager.metadata)).resource.id)


async def give(manager: Person, room: str, whom: Person, role: Role) -> None:
    """Grant a role."""
    stub = resources_pb2_grpc.ResourceServiceStub(manager.channel)
    request = resources_pb2.SetResourceAccessRequest(id=room, email=whom.email, role=role)
    await stub.SetResourceAccess(request, metadata=manager.metadata)


async def test_what_was_answered_is_in_the_list(server: Target, ada: Person) -> None:
    """Created, changed, deleted: right after the answer, with who did it, by which request and what it changed."""
    start = await listed(server, ada)
    assert ([], False) == (list(start.changes), start.more)
    created = await ada.create()
    wanted = appointments.Appointment(id=created.id, title="Shave", start_time=created.start_time)
    request = appointments.UpdateAppointmentRequest(appointment=wanted)
    await ada.appointments.UpdateAppointment(request, metadata=(*ada.metadata, ("x-request-id", "my-request")))
    await ada.appointments.DeleteAppointment(
        appointments.DeleteAppointmentRequest(id=created.id), metadata=ada.metadata
    )
    first = await listed(server, ada, start.next_cursor, page_size=2)
    rest = await listed(server, ada, first.next_cursor)
    assert (2, True, 1, False) == (len(first.changes), first.more, len(rest.changes), rest.more)
    seen = [*first.changes, *rest.changes]
    assert [pb.CHANGE_KIND_CREATED, pb.CHANGE_KIND_UPDATED, pb.CHANGE_KIND_DELETED] == [each.kind for each in seen]
    assert [(created.id, version, ada.user_id) for version in (1, 2, 3)] == [
        (each.id, each.version, each.actor_id) for each in seen
    ]
    assert ("my-request", ["title"]) == (seen[1].request_id, list(seen[1].changed_fields.paths))
    assert "Shave" == seen[2].appointment.title
    assert seen[2].appointment.HasField("delete_time")
    again = await listed(server, ada, rest.next_cursor)
    assert [] == list(again.changes)


async def test_a_stream_follows_from_a_cursor(server: Target, ada: Person, bob: Person, watch: Watch) -> None:
    """What was before it opened, then what happens; nothing of anybody else's."""
    start = await listed(server, ada)
    before = await ada.create()
    await bob.create()
    async with watch(server, ada, pb.WatchChangesRequest(cursor=start.next_cursor)) as answers:
        assert [before.id] == [each.id for each in await changes(answers, 1)]
        after = await ada.create(TEN + HOUR)
        (change,) = await changes(answers, 1)
        assert after == change.appointment


async def test_a_stream_without_a_cursor_begins_now(server: Target, ada: Person, watch: Watch) -> None:
    """Its first answer comes at once and has a cursor, with which a list goes on."""
    await ada.create()
    async with watch(server, ada, pb.WatchChangesRequest()) as answers:
        first = await anext(answers)
        assert [] == list(first.changes)
        created = await ada.create(TEN + HOUR)
        assert [created.id] == [each.id for each in await changes(answers, 1)]
    rest = await listed(server, ada, first.next_cursor)
    assert [created.id] == [each.id for each in rest.changes]


async def test_somebody_elses_appointment_on_a_resource_stays_theirs(server: Target, ada: Person, bob: Person) -> None:
    """A manager sees it. Whoever may only book the room learns that something has changed."""
    resource_id = await room_of(ada)
    managers, bookers = [await listed(server, each, resource_id=resource_id) for each in (ada, bob)]
    created = await ada.create(resource_ids=[resource_id])
    (seen,) = (await listed(server, ada, managers.next_cursor, resource_id=resource_id)).changes
    assert created == seen.appointment
    (hidden,) = (await listed(server, bob, bookers.next_cursor, resource_id=resource_id)).changes
    expected_change = pb.Change(kind=pb.CHANGE_KIND_UPDATED, change_time=hidden.change_time, resource_id=resource_id)
    assert expected_change == hidden
    cancelled = appointments.DeleteAppointmentRequest(id=created.id)
    await ada.appointments.DeleteAppointment(cancelled, metadata=ada.metadata)
    gone = (await listed(server, ada, managers.next_cursor, resource_id=resource_id)).changes[-1]
    expected = appointments.Appointment(id=created.id, delete_time=gone.appointment.delete_time)
    assert (pb.CHANGE_KIND_DELETED, expected) == (gone.kind, gone.appointment)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await listed(server, bob, managers.next_cursor, resource_id=resource_id)
    assert Code.INVALID_ARGUMENT == refused.value.code()


@pytest.mark.parametrize(
    ("request_", "code", "bad"),
    [
        (pb.WatchChangesRequest(cursor="nonsense"), Code.INVALID_ARGUMENT, ["cursor"]),
        (pb.WatchChangesRequest(resource_id="nonsense"), Code.INVALID_ARGUMENT, ["resource_id"]),
        (pb.WatchChangesRequest(resource_id=NOBODYS), Code.NOT_FOUND, []),
        (pb.WatchChangesRequest(resource_ids=[NOBODYS]), Code.NOT_FOUND, []),
        (pb.WatchChangesRequest(resource_ids=MANY), Code.INVALID_ARGUMENT, ["resource_ids"]),
        (pb.WatchChangesRequest(resource_ids=[""]), Code.INVALID_ARGUMENT, ["resource_ids[0]"]),
        (
            pb.WatchChangesRequest(resource_ids=["größer", MANY[0], MANY[0].upper()]),
            Code.INVALID_ARGUMENT,
            ["resource_ids[0]", "resource_ids[2]"],
        ),
        (
            pb.WatchChangesRequest(resource_id=NOBODYS, resource_ids=[NOBODYS]),
            Code.INVALID_ARGUMENT,
            ["resource_ids"],
        ),
    ],
    ids=lambda each: str(each)[:60] if isinstance(each, pb.WatchChangesRequest) else None,
)
async def test_a_stream_refuses_what_a_call_refuses(
    server: Target, ada: Person, watch: Watch, request_: pb.WatchChangesRequest, code: Code, bad: list[str]
) -> None:
    """With the same status, on both doors, and in ListChanges."""
    async with watch(server, ada, request_) as answers:
        assert code == (await until_ended(answers)).code
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await listed(server, ada, request_.cursor, resource_id=request_.resource_id, resource_ids=request_.resource_ids)
    assert code == refused.value.code()
    if bad:
        assert bad == [each.field for each in details(refused.value)["BadRequest"].field_violations]


async def test_one_stream_follows_ones_own_calendar_and_rooms(
    server: Target, ada: Person, bob: Person, watch: Watch
) -> None:
    """Ada manages one room, and only sees the other: there she learns that something has changed, and nothing of it."""
    managed, seen = await room_of(ada), await room_of(bob, resources_pb2.RESOURCE_ROLE_VIEWER)
    hidden = await room_of(bob, resources_pb2.RESOURCE_ROLE_UNSPECIFIED)
    start = (await listed(server, ada)).next_cursor
    request = pb.WatchChangesRequest(cursor=start, resource_ids=[managed, seen])
    async with watch(server, ada, request) as answers:
        await anext(answers)
        own = await ada.create(resource_ids=[managed])
        first = await changes(answers, 2)
        assert [("", own), (managed, own)] == [(each.resource_id, each.appointment) for each in first]
        theirs = await bob.create(TEN + HOUR, resource_ids=[managed, seen, hidden])
        second = {each.resource_id: each for each in await changes(answers, 2)}
        assert {managed, seen} == second.keys()
        assert (theirs.id, theirs.title) == (second[managed].id, second[managed].appointment.title)
        assert second[seen] == pb.Change(
            kind=pb.CHANGE_KIND_UPDATED, change_time=second[seen].change_time, resource_id=seen
        )
    page = await listed(server, ada, start, resource_ids=[managed, seen])
    assert [*first, *second.values()] == list(page.changes)
    assert [("", own.id)] == [(each.resource_id, each.id) for each in (await listed(server, ada, start)).changes]


async def test_a_stream_outlives_one_of_its_rooms(server: Target, ada: Person, bob: Person, watch: Watch) -> None:
    """Whoever loses sight of one is told that it is gone; the rest goes on, and coming back with it is refused."""
    lost, kept = [await room_of(bob, resources_pb2.RESOURCE_ROLE_UNSPECIFIED) for _ in range(2)]
    for room in (lost, kept):
        await give(bob, room, ada, resources_pb2.RESOURCE_ROLE_VIEWER)
    async with watch(server, ada, pb.WatchChangesRequest(resource_ids=[lost, kept])) as answers:
        cursor = (await anext(answers)).next_cursor
        await give(bob, lost, ada, resources_pb2.RESOURCE_ROLE_UNSPECIFIED)
        # In the room's calendar and in her own.
        told = {each.resource_id: each for each in await changes(answers, 2)}
        assert {lost, ""} == told.keys()
        for each in told.values():
            assert each.resource == resources_pb2.Resource(id=lost, delete_time=each.resource.delete_time)
            assert (pb.CHANGE_KIND_REMOVED, True) == (each.kind, each.resource.HasField("delete_time"))
        await bob.create(resource_ids=[lost])
        await bob.create(TEN + HOUR, resource_ids=[kept])
        assert [kept] == [each.resource_id for each in await changes(answers, 1)]
    async with watch(server, ada, pb.WatchChangesRequest(cursor=cursor, resource_ids=[kept, lost])) as answers:
        ended = await until_ended(answers)
    assert (Code.NOT_FOUND, "RESOURCE_NOT_FOUND") == (ended.code, ended.reason)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await listed(server, ada, cursor, resource_ids=[kept, lost])
    assert f"No such resource: {lost}." == refused.value.details()
    assert {"resource_id": lost} == details(refused.value)["ErrorInfo"].metadata
    async with watch(server, ada, pb.WatchChangesRequest(cursor=cursor, resource_ids=[kept])) as answers:
        assert [kept] == [each.resource_id for each in (await changes(answers, 2)) if each.resource_id]


async def test_a_cursor_is_good_for_other_rooms(server: Target, ada: Person, bob: Person, watch: Watch) -> None:
    """Rooms come and go with the next call; what a room that is added had since the cursor comes too."""
    first, second = [await room_of(bob) for _ in range(2)]
    async with watch(server, ada, pb.WatchChangesRequest(resource_ids=[first])) as answers:
        cursor = (await anext(answers)).next_cursor
    await bob.create(resource_ids=[second])
    await bob.create(TEN + HOUR, resource_ids=[first])
    own = await ada.create()
    async with watch(server, ada, pb.WatchChangesRequest(cursor=cursor, resource_ids=[second, first])) as answers:
        both = await changes(answers, 3)
    assert [second, first, ""] == [each.resource_id for each in both]
    async with watch(server, ada, pb.WatchChangesRequest(cursor=cursor)) as answers:
        assert [own.id] == [each.id for each in await changes(answers, 1)]
    async with watch(server, ada, pb.WatchChangesRequest(cursor=cursor, resource_id=first)) as answers:
        assert Code.INVALID_ARGUMENT == (await until_ended(answers)).code


async def test_fifty_rooms_are_one_stream(server: Target, ada: Person) -> None:
    """It counts once."""
    rooms = [await room_of(ada) for _ in range(50)]
    request = pb.WatchChangesRequest(resource_ids=rooms)
    native, web = WATCHES["native"], WATCHES["web"]
    async with AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context((native, web)[number % 2](server, ada, request)) for number in range(20)
        ]
        for each in streams:
            await anext(each)
        created = await ada.create(resource_ids=rooms[-3:])
        for each in streams:
            found = await changes(each, 4)
            assert {"", *rooms[-3:]} == {change.resource_id for change in found}
            assert {created.id} == {change.id for change in found}


async def test_a_stream_needs_an_identity(server: Target, ada: Person, watch: Watch) -> None:
    """As every RPC does."""
    ada.tokens.access_token = "nonsense"
    async with watch(server, ada, pb.WatchChangesRequest()) as answers:
        ended = await until_ended(answers)
    assert (Code.UNAUTHENTICATED, "INVALID_ACCESS_TOKEN") == (ended.code, ended.reason)


async def test_a_stream_ends_within_five_seconds_of_its_session(server: Target, ada: Person, watch: Watch) -> None:
    """Revoked in another session; the other session's stream goes on."""
    other = await ada.auth.Login(auth_pb2.LoginRequest(email=ada.email, password=PASSWORD), metadata=new_address())
    sessions = await ada.account.ListSessions(account_pb2.ListSessionsRequest(), metadata=ada.metadata)
    theirs = next(each for each in sessions.sessions if not each.current)
    ours = replace(ada, tokens=other.tokens)
    async with (
        watch(server, ours, pb.WatchChangesRequest()) as answers,
        watch(server, ada, pb.WatchChangesRequest()) as mine,
    ):
        await anext(answers)
        await anext(mine)
        await ada.account.RevokeSession(account_pb2.RevokeSessionRequest(id=theirs.id), metadata=ada.metadata)
        revoked = time.monotonic()
        ended = await until_ended(answers)
        assert (Code.UNAUTHENTICATED, "SESSION_ENDED") == (ended.code, ended.reason)
        assert time.monotonic() - revoked < 5
        created = await ada.create()
        assert [created.id] == [each.id for each in await changes(mine, 1)]


async def test_a_person_has_twenty_streams_at_most(server: Target, ada: Person, bob: Person, watch: Watch) -> None:
    """The next one is refused until one of them ends; others' are not counted."""
    async with asyncio.timeout(60):
        contexts = [watch(server, ada, pb.WatchChangesRequest()) for _ in range(20)]
        streams = [await each.__aenter__() for each in contexts]
        for each in streams:
            await anext(each)
        async with watch(server, ada, pb.WatchChangesRequest()) as answers:
            ended = await until_ended(answers)
        assert (Code.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS") == (ended.code, ended.reason)
        async with watch(server, bob, pb.WatchChangesRequest()) as answers:
            await anext(answers)
        await contexts.pop().__aexit__(None, None, None)
        while True:
            async with watch(server, ada, pb.WatchChangesRequest()) as answers:
                try:
                    await anext(answers)
                except Exception:  # noqa: BLE001 - it takes a moment until the server knows
                    await asyncio.sleep(0.05)
                else:
                    break
        for context in contexts:
            await context.__aexit__(None, None, None)


@pytest.fixture
def leaving(dsn: str) -> Iterator[Server]:
    """A server that a test may stop."""
    with service.start(dsn, {"TRUSTED_PROXY_HOPS": "1", "DRAIN_SECONDS": "5"}) as running:
        yield running


async def test_streams_go_on_elsewhere_when_the_server_stops(leaving: Server, dsn: str, watch: Watch) -> None:
    """UNAVAILABLE with a cursor in hand, at once; with it the next server misses nothing. The server ends in time."""
    async with person(leaving.grpc) as somebody:
        async with watch(leaving, somebody, pb.WatchChangesRequest()) as answers:
            cursor = (await anext(answers)).next_cursor
            created = await somebody.create()
            stopping = asyncio.create_task(asyncio.to_thread(leaving.stop))
            assert Code.UNAVAILABLE == (await until_ended(answers)).code
        assert 0 == await stopping
        with service.start(dsn) as successor:
            (change,) = (await listed(successor, somebody, cursor)).changes
            assert created == change.appointment

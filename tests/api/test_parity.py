"""Every RPC of the contract behaves the same on both ports: status, message, details, metadata and body.

The scenarios are in ``scenarios``; an RPC without one fails here.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from appointments.v1 import account_pb2, admin_pb2, auth_pb2
from tests.api.doors import DOORS, Call, Raw, Recorder, native, web
from tests.api.scenarios import BOTH_PORTS, GARBAGE, METHODS, SCENARIOS, Scene
from tests.clients import Person, register
from tests.service import Target

Code = grpc.StatusCode

TAKES_NOTHING = {"GetCurrentUser", "ListAppointments", "ListKeys", "ListResources", "ListSeries", "ListSessions"} | {
    "ListChanges",
    "ListFeeds",
    "ListOpenInvitations",
    "ListWebhooks",
    "RequestEmailVerification",
    "UpdateCurrentUser",
}
TOO_LARGE = bytes(6 * 1024 * 1024 + 1)
NATIVE_ONLY: tuple[Any, ...] = (
    *(auth_pb2.DESCRIPTOR, admin_pb2.DESCRIPTOR),
    *(health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR),
)


def methods(*files: FileDescriptor) -> list[MethodDescriptor]:
    """All RPCs of these files that have one answer."""
    services = [service for file in files for service in file.services_by_name.values()]
    return [method for service in services for method in service.methods if not method.server_streaming]


def path(method: MethodDescriptor) -> str:
    """Where it is called."""
    return f"/{method.containing_service.full_name}/{method.name}"


def on_both_ports(test: Callable[..., Any]) -> Any:
    """Run a test for each RPC that both ports have."""
    both = methods(*BOTH_PORTS)
    return pytest.mark.parametrize("method", both, ids=lambda method: method.name)(test)


def test_every_method_of_the_contract_has_its_scenario() -> None:
    """A new RPC is walked through both ports too, and no scenario is of an RPC that is gone."""
    both = methods(*BOTH_PORTS)
    assert {method.name for method in both} == SCENARIOS.keys()
    assert {method.name: method for method in both} == METHODS


@on_both_ports
async def test_method_is_the_same_behind_every_door(server: Target, method: MethodDescriptor) -> None:
    """People of the same kind, one pair a door, do the same things and see the same."""
    seen = await behind_every_door(server, SCENARIOS[method.name])
    expected = seen.pop("native")
    assert method.name in {each["call"] for each in expected}
    for actual in seen.values():
        assert expected == actual


@on_both_ports
async def test_method_refuses_the_same_behind_every_door(server: Target, method: MethodDescriptor) -> None:
    """Signed out, with a token that is none, with bytes that are no message, and with nothing at all."""

    async def scene(scene: Scene) -> None:
        for data in (b"", GARBAGE):
            await scene.send(method, data, expect=Code.UNAUTHENTICATED, token=None)
            await scene.send(method, data, expect=Code.UNAUTHENTICATED, token="no.such.token")
        await scene.send(method, GARBAGE, expect=Code.INVALID_ARGUMENT)
        await scene.send(method, b"", expect=Code.OK if method.name in TAKES_NOTHING else Code.INVALID_ARGUMENT)

    seen = await behind_every_door(server, scene)
    expected = seen.pop("native")
    for actual in seen.values():
        assert expected == actual


async def behind_every_door(server: Target, play: Callable[[Scene], Awaitable[None]]) -> dict[str, list[Any]]:
    """Play a scene behind each door, with an ada and a bob of its own; returns what was seen there."""
    seen = {}
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.grpc))
        for name, door in DOORS.items():
            recorder = Recorder(await stack.enter_async_context(door(server)))
            await play(Scene(recorder, await register(channel), await register(channel)))
            seen[name] = recorder.seen
    return seen


@on_both_ports
async def test_a_message_over_the_limit_is_refused_on_both_ports(
    server: Target, ada: Person, method: MethodDescriptor
) -> None:
    """With the transport's own words; the next call is served."""
    async with native(server) as one, web(server) as other:
        answers = [await door(path(method), TOO_LARGE, ada.tokens.access_token, ()) for door in (one, other)]
        after = [await door(path(method), GARBAGE, ada.tokens.access_token, ()) for door in (one, other)]
    assert [Code.RESOURCE_EXHAUSTED] * 2 == [answer.code for answer in answers]
    assert [Code.INVALID_ARGUMENT] * 2 == [answer.code for answer in after]


@on_both_ports
async def test_a_deadline_passes_on_both_ports(server: Target, ada: Person, method: MethodDescriptor) -> None:
    """A call whose time is over before it begins is DEADLINE_EXCEEDED, and nothing is done."""
    async with grpc.aio.insecure_channel(server.grpc) as channel, web(server) as door:
        call: Any = channel.unary_unary(path(method))
        late = call(b"", metadata=ada.metadata, timeout=-1)  # 0 is now, and now lasts a millisecond
        answer = await door(path(method), b"", ada.tokens.access_token, (("grpc-timeout", "0n"),))
        assert [Code.DEADLINE_EXCEEDED] * 2 == [await late.code(), answer.code]


@pytest.mark.parametrize("method", methods(*NATIVE_ONLY), ids=lambda method: method.full_name)
async def test_native_service_is_unknown_to_the_web_port(server: Target, ada: Person, method: MethodDescriptor) -> None:
    """A page signs in by REST, so that no script sees a token; health and reflection are for operators."""
    async with web(server) as one, web(server, cookie=True) as other:
        for door, token in ((one, None), (one, ada.tokens.access_token), (other, ada.tokens.access_token)):
            assert Code.UNIMPLEMENTED == (await door(path(method), b"", token, ())).code


async def test_unknown_methods_are_unknown_to_both_ports(server: Target, ada: Person) -> None:
    """Of a service that exists, and of one that does not."""
    async with native(server) as one, web(server) as other:
        for unknown in ("/appointments.v1.AppointmentService/Explode", "/appointments.v1.Nobody/Get", "/a/b"):
            codes = [(await door(unknown, b"", ada.tokens.access_token, ())).code for door in (one, other)]
            assert [Code.UNIMPLEMENTED] * 2 == codes


async def test_the_limiter_reads_the_same_on_both_ports(server: Target, ada: Person, bob: Person) -> None:
    """RESOURCE_EXHAUSTED, with the delay after which a retry helps."""
    request = account_pb2.ChangePasswordRequest(current_password="wrong", new_password="x").SerializeToString()

    async def refused(door: Call, person: Person) -> list[dict[str, Any]]:
        recorder = Recorder(door)
        await asyncio.gather(
            *(recorder.call(METHODS["ChangePassword"], request, person.tokens.access_token) for _ in range(30))
        )
        seen = [each for each in recorder.seen if each["code"] == Code.RESOURCE_EXHAUSTED.name]
        assert seen
        return [{**each, "metadata": None, "status": each["status"][0]["details"][:-1]} for each in seen[:1]]

    async with native(server) as one, web(server, cookie=True) as other:
        expected, actual = await refused(one, ada), await refused(other, bob)
    assert "google.rpc.RetryInfo" in str(expected)
    assert expected == actual


async def test_a_revoked_session_is_refused_on_both_ports(server: Target, ada: Person) -> None:
    """Whichever of them it was ended on."""
    sessions = await ada.account.ListSessions(account_pb2.ListSessionsRequest(), metadata=ada.metadata)
    request = account_pb2.RevokeSessionRequest(id=sessions.sessions[0].id).SerializeToString()
    token = ada.tokens.access_token

    async def refusal(door: Call) -> Raw:
        async with asyncio.timeout(30):
            while True:
                answer = await door(path(METHODS["GetCurrentUser"]), b"", token, ())
                if answer.code is not Code.OK:
                    return answer
                await asyncio.sleep(0.1)  # a session is looked up again within 5 seconds

    async with native(server) as one, web(server, cookie=True) as other:
        assert Code.OK == (await other(path(METHODS["RevokeSession"]), request, token, ())).code
        answers = [await refusal(one), await refusal(other)]
    assert [Code.UNAUTHENTICATED] * 2 == [answer.code for answer in answers]
    assert answers[0].message == answers[1].message

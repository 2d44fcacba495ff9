"""AuthService and AccountService on the native port: the same rules as at the REST door, told by gRPC."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import grpc
import pytest

from appointments.v1 import account_pb2 as pb
from appointments.v1 import auth_pb2, auth_pb2_grpc
from tests.clients import PASSWORD, Person, details, new_address, new_email, person
from tests.service import Server

Code = grpc.StatusCode
ME = pb.GetCurrentUserRequest()
NEW = "a new password"


async def failure(call: Awaitable[Any]) -> tuple[Code, str, list[str]]:
    """Code, reason and bad fields of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    found = details(caught.value)
    bad = found["BadRequest"].field_violations if "BadRequest" in found else []
    return caught.value.code(), found["ErrorInfo"].reason, [violation.field for violation in bad]


async def login(who: Person, password: str = PASSWORD) -> auth_pb2.LoginResponse:
    """Sign in again, on another device and from another address."""
    request = auth_pb2.LoginRequest(email=who.email, password=password)
    answer: auth_pb2.LoginResponse = await who.auth.Login(request, metadata=new_address())
    return answer


def bearer(tokens: auth_pb2.Tokens) -> tuple[tuple[str, str], ...]:
    """What proves who calls."""
    return (("authorization", f"Bearer {tokens.access_token}"),)


async def test_who_am_i(ada: Person) -> None:
    """The user that registration told of."""
    user = (await ada.account.GetCurrentUser(ME, metadata=ada.metadata)).user
    assert (user.id, user.email, user.display_name, user.time_zone) == (ada.user_id, ada.email, "Ada", "UTC")
    assert user.HasField("create_time")


async def test_a_profile_follows_its_mask(ada: Person) -> None:
    """AIP-134: an empty mask takes what is populated, a path what it names, and only two can be named."""

    async def update(user: pb.User, *paths: str) -> tuple[str, str]:
        request = pb.UpdateCurrentUserRequest(user=user)
        request.update_mask.paths.extend(paths)
        changed = (await ada.account.UpdateCurrentUser(request, metadata=ada.metadata)).user
        return changed.display_name, changed.time_zone

    assert await update(pb.User(time_zone="Europe/Vienna")) == ("Ada", "Europe/Vienna")
    assert await update(pb.User(display_name="A", time_zone="Asia/Tokyo"), "display_name") == ("A", "Europe/Vienna")
    assert await update(pb.User(), "display_name") == ("", "Europe/Vienna")
    assert await update(pb.User(display_name="Ada"), "*") == ("Ada", "UTC")
    for path in ("email", "id", "unknown", "user.display_name"):
        assert await failure(update(pb.User(), path)) == (Code.INVALID_ARGUMENT, "INVALID_FIELD", ["update_mask"])
    bad = pb.User(display_name="x" * 201, time_zone="Mars/Olympus")
    assert (await failure(update(bad)))[2] == ["display_name", "time_zone"]


async def test_sessions_are_listed_and_ended(ada: Person, bob: Person) -> None:
    """One is the caller's own; another can be ended, by its owner only, and is out at once."""
    other = (await login(ada)).tokens
    sessions = (await ada.account.ListSessions(pb.ListSessionsRequest(), metadata=ada.metadata)).sessions
    assert sorted(session.current for session in sessions) == [False, True]
    assert all(session.user_agent.startswith("grpc-python-asyncio/") for session in sessions)
    (doomed,) = (session.id for session in sessions if not session.current)
    request = pb.RevokeSessionRequest(id=doomed)
    unknown: tuple[Code, str, list[str]] = (Code.NOT_FOUND, "NOT_FOUND", [])
    assert await failure(bob.account.RevokeSession(request, metadata=bob.metadata)) == unknown
    await ada.account.RevokeSession(request, metadata=ada.metadata)
    assert (await failure(ada.account.GetCurrentUser(ME, metadata=bearer(other))))[0] == Code.UNAUTHENTICATED
    assert await failure(ada.account.RevokeSession(request, metadata=ada.metadata)) == unknown
    malformed = pb.RevokeSessionRequest(id="not a uuid")
    assert (await failure(ada.account.RevokeSession(malformed, metadata=ada.metadata)))[2] == ["id"]


async def test_a_password_is_changed_and_ends_the_other_sessions(ada: Person) -> None:
    """Only with the current one."""
    other = (await login(ada)).tokens

    async def change(current: str, new: str) -> None:
        request = pb.ChangePasswordRequest(current_password=current, new_password=new)
        await ada.account.ChangePassword(request, metadata=ada.metadata)

    wrong = (Code.INVALID_ARGUMENT, "WRONG_PASSWORD", ["current_password"])
    assert await failure(change("wrong horse", NEW)) == wrong
    assert (await failure(change("", "x" * 73)))[2] == ["current_password", "new_password"]
    await change(PASSWORD, NEW)
    await ada.account.GetCurrentUser(ME, metadata=ada.metadata)
    assert (await failure(ada.account.GetCurrentUser(ME, metadata=bearer(other))))[0] == Code.UNAUTHENTICATED
    assert await failure(login(ada)) == (Code.UNAUTHENTICATED, "WRONG_CREDENTIALS", [])
    await login(ada, NEW)


async def test_guessing_the_password_of_a_stolen_session_is_limited(ada: Person) -> None:
    """By account, not by address."""
    calls = [
        ada.account.DeleteAccount(pb.DeleteAccountRequest(password="x"), metadata=(*ada.metadata, *new_address()))
        for _ in range(20)
    ]
    codes = [code for code, _, _ in await asyncio.gather(*map(failure, calls))]
    assert codes.count(Code.RESOURCE_EXHAUSTED) >= 5


async def test_a_deleted_account_is_gone(server: Server) -> None:
    """Its tokens stop, its address is free."""
    async with person(server.grpc) as somebody:
        await somebody.create()
        request = pb.DeleteAccountRequest(password=PASSWORD)
        await somebody.account.DeleteAccount(request, metadata=somebody.metadata)
        call = somebody.account.GetCurrentUser(ME, metadata=somebody.metadata)
        assert (await failure(call))[0] == Code.UNAUTHENTICATED
        assert (await failure(login(somebody)))[0] == Code.UNAUTHENTICATED
        again = auth_pb2.RegisterRequest(email=somebody.email, password=PASSWORD)
        assert (await somebody.auth.Register(again, metadata=new_address())).user.id != somebody.user_id


async def test_twenty_rapid_logins_ten_pass(server: Server) -> None:
    """RESOURCE_EXHAUSTED with a RetryInfo; registration has a bucket of its own."""
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        stub = auth_pb2_grpc.AuthServiceStub(channel)
        await channel.channel_ready()
        address = new_address()
        request = auth_pb2.LoginRequest(email=new_email(), password="wrong horse")
        results = await asyncio.gather(
            *(stub.Login(request, metadata=address) for _ in range(20)), return_exceptions=True
        )
        refused = [
            result
            for result in results
            if isinstance(result, grpc.aio.AioRpcError) and result.code() == Code.RESOURCE_EXHAUSTED
        ]
        # One more passes for every 200 ms that the machine takes over it.
        assert 5 <= len(refused) <= 10
        delays = [details(error)["RetryInfo"].retry_delay.ToTimedelta().total_seconds() for error in refused]
        assert all(0 < delay <= 0.2 for delay in delays)
        await stub.Register(auth_pb2.RegisterRequest(email=new_email(), password=PASSWORD), metadata=address)


async def test_a_refresh_rotates_and_a_replay_ends_everything(ada: Person) -> None:
    """As at the REST door."""
    other = (await login(ada)).tokens
    request = auth_pb2.RefreshRequest(refresh_token=ada.tokens.refresh_token)
    refreshed = await asyncio.gather(*(ada.auth.Refresh(request) for _ in range(8)))
    (successor,) = {answer.tokens.refresh_token for answer in refreshed}
    assert await failure(ada.auth.Refresh(request)) == (Code.UNAUTHENTICATED, "REFRESH_TOKEN_REUSED", [])
    for token in (successor, other.refresh_token):
        call = ada.auth.Refresh(auth_pb2.RefreshRequest(refresh_token=token))
        assert await failure(call) == (Code.UNAUTHENTICATED, "INVALID_REFRESH_TOKEN", [])
    assert (await failure(ada.account.GetCurrentUser(ME, metadata=ada.metadata)))[0] == Code.UNAUTHENTICATED


async def test_a_logout_ends_the_session(ada: Person) -> None:
    """Twice is fine, without a token is not."""
    request = auth_pb2.LogoutRequest(refresh_token=ada.tokens.refresh_token)
    await ada.auth.Logout(request)
    await ada.auth.Logout(request)
    assert (await failure(ada.account.GetCurrentUser(ME, metadata=ada.metadata)))[0] == Code.UNAUTHENTICATED
    for missing in (ada.auth.Logout(auth_pb2.LogoutRequest()), ada.auth.Refresh(auth_pb2.RefreshRequest())):
        assert await failure(missing) == (Code.INVALID_ARGUMENT, "INVALID_FIELD", ["refresh_token"])


async def test_every_bad_field_of_a_registration_is_named(ada: Person) -> None:
    """And a taken address is told apart."""

    async def register(email: str, password: str, display_name: str) -> None:
        request = auth_pb2.RegisterRequest(email=email, password=password, display_name=display_name)
        await ada.auth.Register(request, metadata=new_address())

    fields = ["email", "password", "display_name"]
    assert (await failure(register("", "", "\0")))[2] == fields
    assert (await failure(register("a\0@b.example", "x" * 73, "x" * 201)))[2] == fields
    taken = await failure(register(ada.email.upper(), PASSWORD, ""))
    assert taken == (Code.ALREADY_EXISTS, "EMAIL_TAKEN", [])


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", "Bearer x", "Basic x", "Bearer a.b.c", "Bearer " + "x" * 4000, "x"]
)
async def test_what_is_no_token_is_unauthenticated(ada: Person, value: str) -> None:
    """Whatever stands in the header."""
    call = ada.account.GetCurrentUser(ME, metadata=(("authorization", value),))
    assert (await failure(call))[0] == Code.UNAUTHENTICATED

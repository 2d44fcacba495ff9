"""/auth on a real port: the life of a cookie session, and what attackers and unlucky clients do to it."""

import asyncio
from http.cookies import SimpleCookie

import grpc
import httpx
import pytest

from appointments.v1 import account_pb2, account_pb2_grpc, auth_pb2, auth_pb2_grpc
from tests.api.rest import browser, problem, sign_up
from tests.clients import PASSWORD, new_email
from tests.service import Server


async def is_signed_in(server: Server, access_token: str) -> bool:
    """Whether an access token works on the native port."""
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        stub = account_pb2_grpc.AccountServiceStub(channel)
        call = stub.GetCurrentUser(
            account_pb2.GetCurrentUserRequest(), metadata=(("authorization", f"Bearer {access_token}"),)
        )
        code = await call.code()
    assert code in {grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED}
    return code == grpc.StatusCode.OK


async def test_the_life_of_a_session(server: Server) -> None:
    """Register, refresh, log out, log in; tokens never show in a body."""
    async with browser(server.url) as client:
        email = new_email()
        account = {"email": email.upper(), "password": PASSWORD, "display_name": "Ada"}
        registered = await client.post("/auth/register", json=account)
        assert registered.status_code == 201
        content = registered.json()
        assert content.keys() == {"user", "access_token_expire_time"}
        assert content["user"] == {"id": content["user"]["id"], "email": email, "display_name": "Ada"}
        assert content["access_token_expire_time"].endswith("Z")
        first = client.cookies["access_token"]
        assert await is_signed_in(server, first)

        refreshed = await client.post("/auth/refresh")
        assert (refreshed.status_code, refreshed.json()["user"]) == (200, content["user"])
        second = client.cookies["access_token"]
        assert second != first
        assert await is_signed_in(server, second)

        logged_out = await client.post("/auth/logout")
        assert (logged_out.status_code, logged_out.content) == (204, b"")
        assert not client.cookies
        assert not await is_signed_in(server, second)

        logged_in = await client.post("/auth/login", json={"email": email, "password": PASSWORD})
        assert (logged_in.status_code, logged_in.json()["user"]) == (200, content["user"])
        assert await is_signed_in(server, client.cookies["access_token"])


async def test_cookies_are_out_of_reach(server: Server) -> None:
    """No script reads them, no other site sends them, the refresh token goes to /auth only."""
    async with browser(server.url) as client:
        response = await client.post(
            "/auth/register", json={"email": new_email(), "password": PASSWORD, "display_name": ""}
        )
        jar = SimpleCookie()
        for line in response.headers.get_list("set-cookie"):
            jar.load(line)
        access, refresh = jar["access_token"], jar["refresh_token"]
        assert (access["path"], refresh["path"]) == ("/", "/auth")
        for cookie, lifetime in ((access, 900), (refresh, 7 * 86400)):
            assert (cookie["httponly"], cookie["samesite"], cookie["secure"], cookie["domain"]) == (
                True,
                "strict",
                "",
                "",
            )
            assert lifetime - 5 <= int(cookie["max-age"]) <= lifetime
        assert response.headers["cache-control"] == "no-store"


async def test_wrong_password_and_unknown_address_read_the_same(server: Server) -> None:
    """But for the request id."""
    async with browser(server.url) as client:
        email = await sign_up(client)
        answers = []
        for address, password in ((email, "wrong horse"), (new_email(), PASSWORD), (email, "x" * 73)):
            response = await client.post("/auth/login", json={"email": address, "password": password})
            assert problem(response) == (401, "WRONG_CREDENTIALS")
            answers.append({**response.json(), "request_id": ""})
        assert answers[0] == answers[1] == answers[2]


async def test_a_taken_address_is_a_conflict(server: Server) -> None:
    """409, with the reason that the native port gives."""
    async with browser(server.url) as client:
        email = await sign_up(client)
        response = await client.post("/auth/register", json={"email": email, "password": PASSWORD})
        assert problem(response) == (409, "EMAIL_TAKEN")


async def refresh(server: Server, token: str, attempt: str | None = None) -> httpx.Response:
    """Refresh on a connection of its own."""
    headers = {"X-Refresh-Id": attempt} if attempt else {}
    async with browser(server.url, Cookie=f"refresh_token={token}", **headers) as client:
        return await client.post("/auth/refresh")


async def test_eight_tabs_refresh_at_once_and_a_replay_afterwards_ends_everything(server: Server) -> None:
    """All in flight together succeed with one successor; then a thief replays the token."""
    async with browser(server.url) as client, browser(server.url) as elsewhere:
        email = await sign_up(client)
        await elsewhere.post("/auth/login", json={"email": email, "password": PASSWORD})
        token = client.cookies["refresh_token"]
        responses = await asyncio.gather(*(refresh(server, token) for _ in range(8)))
        assert [response.status_code for response in responses] == [200] * 8
        assert len({response.cookies["refresh_token"] for response in responses}) == 1

        assert problem(await refresh(server, token)) == (401, "REFRESH_TOKEN_REUSED")
        for access_token in (responses[0].cookies["access_token"], elsewhere.cookies["access_token"]):
            assert not await is_signed_in(server, access_token)
        assert problem(await elsewhere.post("/auth/refresh")) == (401, "INVALID_REFRESH_TOKEN")


async def test_eight_requests_of_one_attempt_succeed_though_one_comes_after_the_answer(server: Server) -> None:
    """The attempt's id tells a retry from a replay, on either door."""
    async with browser(server.url) as client:
        await sign_up(client)
        token = client.cookies["refresh_token"]
        first = await refresh(server, token, "attempt-1")
        others = await asyncio.gather(*(refresh(server, token, "attempt-1") for _ in range(7)))
        assert {response.cookies["refresh_token"] for response in others} == {first.cookies["refresh_token"]}
        async with grpc.aio.insecure_channel(server.grpc) as channel:
            answer = await auth_pb2_grpc.AuthServiceStub(channel).Refresh(
                auth_pb2.RefreshRequest(refresh_token=token), metadata=(("x-refresh-id", "attempt-1"),)
            )
        assert answer.tokens.refresh_token == first.cookies["refresh_token"]


async def test_both_doors_share_what_is_in_flight(server: Server) -> None:
    """A program and a browser with the same token, at once."""
    async with browser(server.url) as client, grpc.aio.insecure_channel(server.grpc) as channel:
        await sign_up(client)
        token = client.cookies["refresh_token"]
        stub = auth_pb2_grpc.AuthServiceStub(channel)
        response, answer = await asyncio.gather(
            refresh(server, token), stub.Refresh(auth_pb2.RefreshRequest(refresh_token=token), wait_for_ready=True)
        )
        assert response.cookies["refresh_token"] == answer.tokens.refresh_token


async def test_a_losing_tab_keeps_its_cookies(server: Server) -> None:
    """A refused refresh sets nothing: another tab may just have put newer ones."""
    response = await refresh(server, "unknown")
    assert problem(response) == (401, "INVALID_REFRESH_TOKEN")
    assert "set-cookie" not in response.headers
    async with browser(server.url) as client:
        assert problem(await client.post("/auth/refresh")) == (401, "INVALID_REFRESH_TOKEN")


async def test_a_logout_without_a_session_clears_the_cookies(server: Server) -> None:
    """Whatever is left over from an ended session goes."""
    for cookie in ("", "refresh_token=unknown; access_token=expired"):
        async with browser(server.url, Cookie=cookie) as client:
            response = await client.post("/auth/logout")
            assert response.status_code == 204
            assert len(response.headers.get_list("set-cookie")) == 2
            assert all("Max-Age=0" in line for line in response.headers.get_list("set-cookie"))


async def test_twenty_rapid_logins_ten_pass(server: Server) -> None:
    """The limiter lets ten through to a 401, and tells the others when to come back; another address is free."""
    async with browser(server.url) as client, browser(server.url) as other:
        wrong = {"email": new_email(), "password": "wrong horse"}
        responses = await asyncio.gather(*(client.post("/auth/login", json=wrong) for _ in range(20)))
        refused = [response for response in responses if response.status_code == 429]
        # One more passes for every 200 ms that the machine takes over it.
        assert 5 <= len(refused) <= 10
        assert {problem(response) for response in refused} == {(429, "RATE_LIMITED")}
        assert {response.headers["retry-after"] for response in refused} == {"1"}
        assert (await other.post("/auth/login", json=wrong)).status_code == 401
        # Registration has a bucket of its own.
        await sign_up(client)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("action", ["register", "login", "refresh", "logout"])
async def test_another_site_cannot_ride_the_session(server: Server, action: str, headers: dict[str, str]) -> None:
    """403, and nothing has happened: the session lives, its token is not spent."""
    async with browser(server.url) as client:
        email = await sign_up(client)
        body = {"email": email, "password": PASSWORD} if action in {"register", "login"} else None
        response = await client.post(f"/auth/{action}", json=body, headers=headers)
        assert problem(response) == (403, "ORIGIN_NOT_ALLOWED")
        assert "set-cookie" not in response.headers
        assert await is_signed_in(server, client.cookies["access_token"])
        assert (await client.post("/auth/refresh", headers={"Origin": server.url})).status_code == 200


async def test_health_tells_alive_and_ready(server: Server) -> None:
    """For GET and HEAD; nothing else is allowed there."""
    async with browser(server.url) as client:
        for path, status in (("/healthz", "alive"), ("/readyz", "ready")):
            response = await client.get(path)
            assert (response.status_code, response.json()["status"]) == (200, status)
            assert (await client.head(path)).status_code == 200
            refused = await client.post(path)
            assert problem(refused) == (405, "METHOD_NOT_ALLOWED")
            assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD"}

"""What no well-meaning client sends to /auth: each a 4xx in the one shape, and nothing changed."""

from typing import Any

import httpx
import pytest

from tests.api.rest import browser, fields, problem, sign_up
from tests.clients import PASSWORD, new_email
from tests.service import Server

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"7",
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b'{"email": NaN}',
        b'{"email": Infinity}',
        b'{"email": "a@b.example", "email": "c@d.example"}',
        b'{"email": ' + b"9" * 5000 + b"}",
        b"\xff\xfe{}",
        '{"email": "a"}'.encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b'{"email": "\xff"}',
        b"\0",
    ],
)
async def test_what_is_not_a_json_object_is_malformed(server: Server, body: bytes) -> None:
    """Arrays, NaN, nesting, names that are there twice, other encodings."""
    async with browser(server.url) as client:
        for action in ("register", "login"):
            response = await client.post(f"/auth/{action}", content=body, headers=JSON)
            assert problem(response) == (400, "MALFORMED_JSON")


async def test_a_hundred_thousand_brackets_are_too_large(server: Server) -> None:
    """Over 64 KiB nothing is parsed; the answer comes after the body, on a connection that still works."""
    async with browser(server.url) as client:
        for body in (b"[" * 100_000, b'{"email": "' + b"x" * 5_000_000 + b'"}'):
            response = await client.post("/auth/login", content=body, headers=JSON)
            assert problem(response) == (413, "REQUEST_TOO_LARGE")
        await sign_up(client)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_a_form_of_another_site_is_not_json(server: Server, content_type: str) -> None:
    """What a page can post without asking the browser first is not accepted, whatever it says inside."""
    async with browser(server.url) as client:
        for action in ("register", "login", "refresh", "logout"):
            response = await client.post(
                f"/auth/{action}", content=b'{"email": "a@b.example"}', headers={"Content-Type": content_type}
            )
            assert problem(response) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_a_media_type_may_have_parameters_and_any_case(server: Server) -> None:
    """As RFC 9110 §8.3.1 has it."""
    async with browser(server.url) as client:
        response = await client.post(
            "/auth/login", content=b"{}", headers={"Content-Type": "Application/JSON; charset=utf-8"}
        )
        assert problem(response) == (400, "INVALID_FIELD")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ["email", "password"]),
        ({"email": 7, "password": ["x"], "display_name": None}, ["email", "password", "display_name"]),
        ({"email": {}, "password": "short", "display_name": "x" * 201}, ["email", "password", "display_name"]),
        ({"email": "a@b.example", "password": "x" * 73}, ["password"]),
        (
            {"email": "a\0@b.example", "password": "nul\0nul\0", "display_name": "\0"},
            ["email", "password", "display_name"],
        ),
    ],
)
async def test_every_bad_field_of_a_registration_is_named(
    server: Server, body: dict[str, Any], expected: list[str]
) -> None:
    """Types and bounds at once."""
    async with browser(server.url) as client:
        response = await client.post("/auth/register", json=body)
        assert problem(response) == (400, "INVALID_FIELD")
        assert fields(response) == expected


async def test_a_lone_surrogate_is_named(server: Server) -> None:
    """JSON can spell what UTF-8 cannot."""
    body = rb'{"email": "\ud800@b.example", "password": "correct\ud800horse", "display_name": "\udfff"}'
    async with browser(server.url) as client:
        response = await client.post("/auth/register", content=body, headers=JSON)
        assert problem(response) == (400, "INVALID_FIELD")
        assert fields(response) == ["email", "password", "display_name"]
        response = await client.post("/auth/login", content=body, headers=JSON)
        assert problem(response) == (401, "WRONG_CREDENTIALS")


async def test_unknown_fields_are_ignored(server: Server) -> None:
    """So that a newer client can talk to an older server."""
    async with browser(server.url) as client:
        await sign_up(client, role="admin", newsletter={"weekly": True})


async def test_a_cookie_that_is_there_twice_is_refused(server: Server) -> None:
    """Whoever planted the other one must not choose the session."""
    async with browser(server.url) as client:
        await sign_up(client)
        token = client.cookies["refresh_token"]
    for cookie in (f"refresh_token={token}; refresh_token=planted", f"refresh_token=planted; refresh_token={token}"):
        async with browser(server.url, Cookie=cookie) as client:
            for action in ("refresh", "logout"):
                assert problem(await client.post(f"/auth/{action}")) == (400, "DUPLICATE_COOKIE")
    async with browser(server.url, Cookie=f"refresh_token={token}") as client:
        assert (await client.post("/auth/refresh")).status_code == 200


@pytest.mark.parametrize("attempt", ["x" * 101, "\xe9"])
async def test_a_bad_attempt_id_is_named(server: Server, attempt: str) -> None:
    """It never reaches the database."""
    async with browser(server.url, Cookie="refresh_token=unknown") as client:
        response = await client.post("/auth/refresh", headers=[(b"x-refresh-id", attempt.encode("latin-1"))])
        assert problem(response) == (400, "INVALID_FIELD")
        assert fields(response) == ["x-refresh-id"]


async def test_unknown_paths_and_methods_are_problems(server: Server) -> None:
    """In the shape of everything else."""
    async with browser(server.url) as client:
        for path in ("/auth/unknown", "/auth/login/", "/auth/", "/auth", "/unknown"):
            assert problem(await client.get(path)) == (404, "NOT_FOUND")
        for method in ("GET", "PUT", "DELETE", "OPTIONS"):
            response = await client.request(method, "/auth/login")
            assert problem(response) == (405, "METHOD_NOT_ALLOWED")
            assert response.headers["allow"] == "POST"


async def test_a_sane_request_id_is_echoed_and_another_replaced(server: Server) -> None:
    """What goes into logs is not for clients to write."""
    async with browser(server.url) as client:
        answers: list[httpx.Response] = [
            await client.get("/healthz", headers={"X-Request-Id": given})
            for given in ("my-request.1_A", "x" * 65, "a b", "<script>", "")
        ]
        echoed = [response.headers["x-request-id"] for response in answers]
        assert echoed[0] == "my-request.1_A"
        assert all(len(request_id) == 36 for request_id in echoed[1:])


async def test_nothing_of_this_is_a_defect(server: Server) -> None:
    """The log of the server that took all of the above has no unexpected error, no password and no token."""
    async with browser(server.url) as client:
        await sign_up(client, email=new_email(), password="a very secret password")
        secrets = ["a very secret password", PASSWORD, client.cookies["access_token"], client.cookies["refresh_token"]]
    log = server.log()
    assert "unexpected" not in log
    assert "Traceback" not in log
    assert [secret for secret in secrets if secret in log] == []

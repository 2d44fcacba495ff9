"""Who may use a browser's session: the rule alone, and the front that applies it."""

from collections.abc import AsyncIterator

import httpx
import pytest

from appointments.api.origin import Origins
from tests.grpcweb.echo.v1.echo_pb2 import EchoRequest
from tests.grpcweb.server import SERVICE, Doors, doors
from tests.grpcweb.wire import BINARY, framed, parse

FRIEND = "https://calendar.example"
ASKED = "content-type,x-grpc-web,x-echo"


@pytest.fixture
async def running() -> AsyncIterator[Doors]:
    """Both doors; one other origin is allowed."""
    async with doors(origins=[FRIEND]) as open_doors:
        yield open_doors


def permits(headers: dict[str, str], scheme: str = "http") -> bool:
    """Whether a request to book.example:8080 may use the session."""
    given = [(name.encode(), value.encode()) for name, value in {"host": "book.example:8080", **headers}.items()]
    return Origins([FRIEND]).permits({"scheme": scheme, "headers": given})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://book.example:8080"},
        {"origin": "http://BOOK.example:8080"},
        {"origin": FRIEND},
        {"origin": FRIEND, "sec-fetch-site": "cross-site"},
        {"origin": FRIEND, "sec-fetch-site": "same-site"},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"origin": "http://book.example:8080", "sec-fetch-site": "same-origin"},
        {"origin": "https://book.example:8080", "sec-fetch-site": "same-origin"},
        {"host": "book.example", "origin": "https://book.example", "sec-fetch-site": "same-origin"},
        {"host": "book.example:80", "origin": "http://book.example"},
        {"host": "[::1]:8080", "origin": "http://[::1]:8080"},
    ],
)
def test_own_and_configured_origins_are_permitted(headers: dict[str, str]) -> None:
    """And clients that are no browsers; and one's own page behind a proxy that ends TLS."""
    assert permits(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "null"},
        {"origin": ""},
        {"origin": "null", "sec-fetch-site": "same-origin"},
        {"origin": "https://evil.example"},
        {"origin": "https://evil.example", "sec-fetch-site": "same-origin"},
        {"origin": "http://book.example"},
        {"origin": "http://book.example:8081"},
        {"origin": "https://book.example:8080"},
        {"origin": "http://book.example:8080.evil.example"},
        {"origin": "http://book.example:8080@evil.example"},
        {"origin": "http://evil.example/book.example:8080"},
        {"origin": "ftp://book.example:8080"},
        {"origin": "http://calendar.example"},
        {"origin": "https://calendar.example.evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "nonsense"},
        {"origin": "http://book.example:8080", "sec-fetch-site": "cross-site"},
        {"origin": "http://book.example:8080", "sec-fetch-site": "same-site"},
    ],
)
def test_other_origins_are_refused(headers: dict[str, str]) -> None:
    """Another site, another port, another scheme, and whatever only looks like one's own."""
    assert not permits(headers)


def test_page_without_tls_cannot_use_a_session_with_it() -> None:
    """Whoever can forge the plain site must not reach the real one."""
    assert not permits({"origin": "http://book.example:8080", "sec-fetch-site": "same-origin"}, scheme="https")


def test_no_origin_may_be_sent_twice() -> None:
    """Two answers to one question are none."""
    headers = [(b"host", b"a"), (b"origin", b"http://a"), (b"origin", b"http://b")]
    assert not Origins().permits({"scheme": "http", "headers": headers})


def test_nothing_is_said_of_cors_unless_it_is_configured() -> None:
    """Same-origin by default."""
    scope = {"scheme": "http", "headers": [(b"host", b"a"), (b"origin", FRIEND.encode())]}
    assert ([], None) == (Origins().response_headers(scope), Origins().preflight(scope))


async def call(running: Doors, headers: dict[str, str]) -> httpx.Response:
    """Echo, whoever asks."""
    async with httpx.AsyncClient(base_url=running.url) as client:
        body = framed(EchoRequest())
        return await client.post(f"{SERVICE}/Unary", content=body, headers={"content-type": BINARY, **headers})


@pytest.mark.parametrize("origin", ["null", "https://evil.example"])
@pytest.mark.parametrize("more", [{}, {"authorization": "Bearer mine"}])
async def test_session_is_refused_to_other_origins(running: Doors, origin: str, more: dict[str, str]) -> None:
    """403, and the handler has not run; a bearer token beside the cookie changes nothing."""
    answer = await call(running, {"origin": origin, "cookie": "session=secret", **more})
    assert (403, "nosniff", 0) == (answer.status_code, answer.headers["x-content-type-options"], running.echo.calls)


async def test_session_becomes_authorization(running: Doors) -> None:
    """The cookie's token reaches the handler as a bearer token would."""
    answer = parse(await call(running, {"cookie": "a=b; session=secret"}))
    assert "Bearer secret" == answer.messages[0].authorization


async def test_bearer_token_wins_over_the_session(running: Doors) -> None:
    """Who sends both means the explicit one."""
    answer = parse(await call(running, {"cookie": "session=secret", "authorization": "Bearer mine"}))
    assert "Bearer mine" == answer.messages[0].authorization


async def test_other_cookies_are_nobody(running: Doors) -> None:
    """Without the session there is nothing to protect, and no identity."""
    answer = parse(await call(running, {"cookie": "theme=dark", "origin": "https://evil.example"}))
    assert (0, "") == (answer.status, answer.messages[0].authorization)


async def test_configured_origin_may_read_the_answer(running: Doors) -> None:
    """With credentials; the origin by its name and never "*"."""
    headers = (await call(running, {"origin": FRIEND, "cookie": "session=secret"})).headers
    expected = (FRIEND, "true", "Origin")
    names = ("access-control-allow-origin", "access-control-allow-credentials", "vary")
    assert expected == tuple(headers[name] for name in names)
    assert {"grpc-status", "grpc-message", "grpc-status-details-bin"} <= set(
        headers["access-control-expose-headers"].split(", ")
    )


async def test_other_origins_may_not_read_the_answer(running: Doors) -> None:
    """No header says that they may."""
    headers = (await call(running, {"origin": "https://evil.example"})).headers
    assert "Origin" == headers["vary"]
    assert not [name for name in headers if name.startswith("access-control-")]


async def preflight(running: Doors, origin: str, path: str = f"{SERVICE}/Unary") -> httpx.Response:
    """What a browser asks before a call to another origin."""
    asked = {"access-control-request-method": "POST", "access-control-request-headers": ASKED}
    async with httpx.AsyncClient(base_url=running.url) as client:
        return await client.options(path, headers={"origin": origin, **asked})


@pytest.mark.parametrize("path", [f"{SERVICE}/Unary", f"{SERVICE}/Nothing"])
async def test_preflight_of_a_configured_origin_is_answered(running: Doors, path: str) -> None:
    """With the headers that were asked for, by name."""
    answer = await preflight(running, FRIEND, path)
    assert 204 == answer.status_code
    expected = {
        "access-control-allow-origin": FRIEND,
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "POST",
        "access-control-allow-headers": "content-type, x-grpc-web, x-echo",
    }
    assert expected == {name: answer.headers[name] for name in expected}
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize("origin", ["null", "https://evil.example", "*"])
async def test_preflight_of_other_origins_is_refused(running: Doors, origin: str) -> None:
    """Nothing is allowed."""
    answer = await preflight(running, origin)
    assert 403 == answer.status_code
    assert not [name for name in answer.headers if name.startswith("access-control-")]

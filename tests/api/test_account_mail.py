"""Account mail through the ports: what development keeps, and where its links lead."""

import asyncio
import random
import re
import statistics
import time
from collections.abc import AsyncIterator, Iterator

import grpc
import httpx
import psycopg
import pytest

from appointments.v1 import account_pb2
from tests import service
from tests.api.rest import browser, fields, problem, sign_up
from tests.clients import PASSWORD, Person, new_email, person
from tests.conftest import database_dsn
from tests.service import Server

NEW = "a new password"
_LINK = re.compile(r'href="(http://[^"]+/[\w-]{43})"')


@pytest.fixture(scope="module")
def postal(postgres_dsn: str, template: str) -> Iterator[Server]:
    """A server of development, which keeps its mail."""
    name = f"{template}_postal"
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        with service.start(database_dsn(postgres_dsn, name), {"TRUSTED_PROXY_HOPS": "1"}) as running:
            yield running
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def client(postal: Server) -> AsyncIterator[httpx.AsyncClient]:
    """A browser."""
    async with browser(postal.url) as opened:
        yield opened


async def mailed(client: httpx.AsyncClient, email: str, subject: str) -> str:
    """The path of the link in the newest message of that subject to somebody, as soon as it is there."""
    async with asyncio.timeout(20):
        while True:
            listed = (await client.get("/dev/mail")).text
            rows = re.findall(r'<td>([^<]+)</td><td><a href="([^"]+)">([^<]+)</a>', listed)
            if found := [path for to, path, what in rows if (to, what) == (email, subject)]:
                message = (await client.get(found[0])).text
                return "/" + str(_LINK.findall(message)[0].split("/", 3)[3])
            await asyncio.sleep(0.1)


async def test_who_signs_up_confirms_the_address_on_a_page(client: httpx.AsyncClient, postal: Server) -> None:
    """Following the link changes nothing, the button does; neither is for search engines, caches or referrers."""
    email = await sign_up(client)
    path = await mailed(client, email, "Confirm your e-mail address")
    for _ in range(2):
        page = await client.get(path, headers={"Host": "evil.example"})
        assert (200, True) == (page.status_code, email in page.text)
        assert "evil.example" not in page.text
    assert ("no-store", "no-referrer") == (page.headers["cache-control"], page.headers["referrer-policy"])
    assert "noindex" in page.headers["x-robots-tag"]
    assert 200 == (await client.head(path)).status_code
    assert 200 == (await client.post(path, headers={"Origin": "null"})).status_code
    gone = await client.get(path)
    assert (404, "text/html; charset=utf-8") == (gone.status_code, gone.headers["content-type"])
    assert 400 == (await client.post(path)).status_code
    token = path.rpartition("/")[2]
    assert ("/verify-email/…" in postal.log(), token in postal.log()) == (True, False)


async def test_a_password_is_reset_over_rest(client: httpx.AsyncClient) -> None:
    """202 for everybody; the token sets a password, once, and ends the session that asked."""
    email = await sign_up(client)
    asked = await client.post("/auth/password-reset", json={"email": email.upper()})
    assert (202, {}) == (asked.status_code, asked.json())
    nobody = await client.post("/auth/password-reset", json={"email": new_email()})
    assert (202, {}) == (nobody.status_code, nobody.json())
    token = (await mailed(client, email, "Set a new password")).rpartition("/")[2]
    confirm = {"token": token, "password": NEW}
    short = await client.post("/auth/password-reset/confirm", json=confirm | {"password": "short"})
    assert ((400, "INVALID_FIELD"), ["password"]) == (problem(short), fields(short))
    done = await client.post("/auth/password-reset/confirm", json=confirm)
    assert (204, b"") == (done.status_code, done.content)
    again = await client.post("/auth/password-reset/confirm", json=confirm)
    assert (400, "INVALID_TOKEN") == problem(again)
    assert 401 == (await client.post("/auth/refresh")).status_code
    assert 401 == (await client.post("/auth/login", json={"email": email, "password": PASSWORD})).status_code
    assert 200 == (await client.post("/auth/login", json={"email": email, "password": NEW})).status_code


async def test_a_password_is_reset_on_pages_without_script(client: httpx.AsyncClient) -> None:
    """Ask, follow, be told what is wrong, set it."""
    email = await sign_up(client)
    assert "<form" in (await client.get("/password-reset")).text
    assert 400 == (await client.post("/password-reset", data={"email": "<b>nobody"})).status_code
    assert 200 == (await client.post("/password-reset", data={"email": email})).status_code
    path = await mailed(client, email, "Set a new password")
    refused = await client.post(path, data={"password": "short"})
    assert (400, True) == (refused.status_code, "at least 8 characters" in refused.text)
    assert 200 == (await client.post(path, data={"password": NEW})).status_code
    assert 400 == (await client.post(path, data={"password": NEW})).status_code
    assert 200 == (await client.post("/auth/login", json={"email": email, "password": NEW})).status_code


@pytest.mark.parametrize("body", [{}, {"email": 7}, {"email": "x"}, {"email": "a@b\x00.example"}])
async def test_what_is_no_address_is_named(client: httpx.AsyncClient, body: dict[str, object]) -> None:
    """As everywhere."""
    answer = await client.post("/auth/password-reset", json=body)
    assert ((400, "INVALID_FIELD"), ["email"]) == (problem(answer), fields(answer))


async def test_asking_takes_as_long_for_unknown_addresses(postal: Server) -> None:
    """The medians of thirty each, side by side, are within ten percent of each other."""
    known = []
    for _ in range(30):
        async with browser(postal.url) as visitor:
            known.append(await sign_up(visitor))
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(8):  # on a busy machine thirty may be too few
        for email in known:
            # In no fixed order: what is sent because of the one is sent while the next is being answered.
            for is_known in random.sample([True, False], 2):
                times[is_known].append(await _time_to_ask(postal, email if is_known else f"x{email}"))
        ratio = statistics.median(times[True]) / statistics.median(times[False])
        if 0.9 < ratio < 1.1:
            return
    raise AssertionError(f"known addresses take {ratio:.2f} times as long")


async def _time_to_ask(postal: Server, email: str) -> float:
    async with browser(postal.url) as visitor:  # an address of its own: the limiter counts them
        await visitor.get("/healthz")
        started = time.perf_counter()
        answer = await visitor.post("/auth/password-reset", json={"email": email})
        taken = time.perf_counter() - started
    assert 202 == answer.status_code
    return taken


async def test_an_address_is_not_flooded(client: httpx.AsyncClient, postal: Server) -> None:
    """Whoever asks and from wherever: the answer stays the same, and after ten messages no more come for a while."""
    email = await sign_up(client)
    for _ in range(15):
        async with browser(postal.url) as visitor:
            assert 202 == (await visitor.post("/auth/password-reset", json={"email": email})).status_code
    await mailed(client, email, "Set a new password")
    await asyncio.sleep(1.5)  # what would come too much would have come
    assert (await client.get("/dev/mail")).text.count(email) <= 11


@pytest.fixture
async def ada(postal: Server) -> AsyncIterator[Person]:
    """Somebody with an account there."""
    async with person(postal.grpc) as somebody:
        yield somebody


async def test_an_address_is_changed_and_confirmed_again(client: httpx.AsyncClient, ada: Person) -> None:
    """By the account's own calls, on the native port."""
    await ada.account.RequestEmailVerification(account_pb2.RequestEmailVerificationRequest(), metadata=ada.metadata)
    await client.post(await mailed(client, ada.email, "Confirm your e-mail address"))
    me = await ada.account.GetCurrentUser(account_pb2.GetCurrentUserRequest(), metadata=ada.metadata)
    assert me.user.email_verified
    wanted = new_email()
    request = account_pb2.ChangeEmailRequest(email=wanted, password="wrong")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ada.account.ChangeEmail(request, metadata=ada.metadata)
    assert grpc.StatusCode.INVALID_ARGUMENT == refused.value.code()
    await ada.account.ChangeEmail(
        account_pb2.ChangeEmailRequest(email=wanted, password=PASSWORD), metadata=ada.metadata
    )
    path = await mailed(client, wanted, "Confirm your new e-mail address")
    assert wanted in (await client.get(path)).text
    await client.post(path)
    me = await ada.account.GetCurrentUser(account_pb2.GetCurrentUserRequest(), metadata=ada.metadata)
    assert (wanted, True) == (me.user.email, me.user.email_verified)


async def test_kept_mail_is_for_this_machine(client: httpx.AsyncClient) -> None:
    """Not for a page whose name was pointed here, and nothing but messages is shown."""
    email = await sign_up(client)
    await mailed(client, email, "Confirm your e-mail address")
    assert 404 == (await client.get("/dev/mail", headers={"Host": "evil.example"})).status_code
    (first, *_) = re.findall(r'href="(/dev/mail/[^"]+)"', (await client.get("/dev/mail")).text)
    for part, status in (("0", 200), ("1", 200), ("message.eml", 200), ("2", 404), ("..%2fx", 404), ("٣", 404)):
        assert status == (await client.get(f"{first}/{part}")).status_code, part
    assert "text/plain; charset=utf-8" == (await client.get(f"{first}/1")).headers["content-type"]
    for wrong in ("/dev/mail/x", "/dev/mail/..%2f..%2fpassword", "/dev/mail/01900000-0000-7000-8000-000000000001"):
        assert 404 == (await client.get(wrong)).status_code


async def test_production_without_a_mail_server_says_so_once(dsn: str) -> None:
    """It starts, and says so in the log and at /readyz; /dev/mail is not there, and a reset is refused openly."""
    environment = {"ENVIRONMENT": "production", "JWT_SECRET": "s" * 32, "BCRYPT_COST": "10"}
    with service.start(dsn, environment) as running:
        async with browser(running.url) as visitor:
            assert {"status": "ready", "mail": "off"} == (await visitor.get("/readyz")).json()
            assert 404 == (await visitor.get("/dev/mail")).status_code
            asked = await visitor.post("/auth/password-reset", json={"email": new_email()})
            assert (400, "MAIL_OFF") == problem(asked)
        async with person(running.grpc) as ada:
            me = await ada.account.GetCurrentUser(account_pb2.GetCurrentUserRequest(), metadata=ada.metadata)
            assert not me.sends_mail
        assert 1 == running.log().count("no mail is sent")

"""Every client on the appointment service itself, with nothing but the session's cookie: clients/visit.mjs."""

import asyncio
import json
import subprocess
from collections.abc import Iterator

import httpx
import psycopg
import pytest
from playwright.async_api import Browser

from appointments.v1 import appointments_pb2 as pb
from tests import service as services
from tests.clients import PASSWORD, TEN, appointment, new_email, person
from tests.conftest import database_dsn
from tests.grpcweb import toolchain
from tests.grpcweb.server import doors
from tests.grpcweb.test_clients import CLIENTS
from tests.grpcweb.wire import BINARY, framed
from tests.service import Server

CREATE = "/appointments.v1.AppointmentService/CreateAppointment"
SITES = ["same-site", "cross-site"]


@pytest.fixture(scope="module")
def service(postgres_dsn: str, template: str) -> Iterator[Server]:
    """The service, on a database of its own."""
    name = f"{template}_clients"
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        with services.start(database_dsn(postgres_dsn, name)) as running:
            yield running
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def new_account() -> dict[str, str]:
    """What somebody new signs up with."""
    return {"email": new_email(), "password": PASSWORD, "display_name": "Ada"}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.usefixtures("clients")
async def test_client_visits_the_service_under_node(client: str, service: Server) -> None:
    """Sign up, book, collide, list, delete and restore, with the cookie put in by hand."""
    command = (toolchain.NODE, toolchain.FOR_NODE, "visit", client, service.url, json.dumps(new_account()))
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.usefixtures("clients")
async def test_client_visits_the_service_in_a_browser(client: str, service: Server, browser: Browser) -> None:
    """The same in a document of the service's own origin, under its content security policy; no script sees a token."""
    context = await browser.new_context()
    await context.add_init_script(path=toolchain.FOR_BROWSER)
    page = await context.new_page()
    await page.goto(f"{service.url}/healthz")
    account = new_account()
    await page.evaluate("([name, account]) => visitService(name, account)", [client, account])
    signed_in = {key: account[key] for key in ("email", "password")}
    login = """account => fetch("/auth/login", {method: "POST", body: JSON.stringify(account),
        headers: {"content-type": "application/json"}}).then(() => document.cookie)"""
    assert "" == await page.evaluate(login, signed_in)
    assert {"access_token", "refresh_token"} == {cookie.get("name") for cookie in await context.cookies()}
    await context.close()


@pytest.mark.usefixtures("clients")
async def test_page_of_another_origin_books_nothing(service: Server, browser: Browser) -> None:
    """Another port of the same host is the same site: the browser sends even a strict cookie, the service refuses."""
    async with person(service.grpc) as ada, doors() as attacker:
        context = await browser.new_context()
        await context.add_init_script(path=toolchain.FOR_BROWSER)
        await context.add_cookies([{"name": "access_token", "value": ada.tokens.access_token, "url": service.url}])
        page = await context.new_page()
        await page.goto(attacker.url)
        outcomes = [await page.evaluate("([name, url]) => book(name, url)", [name, service.url]) for name in CLIENTS]
        simple = """target => fetch(target, {method: "POST", mode: "no-cors", credentials: "include",
            body: "\\0\\0\\0\\0\\0", headers: {"content-type": "text/plain"}}).then(() => "sent")"""
        assert "sent" == await page.evaluate(simple, service.url + CREATE)
        listed = await ada.appointments.ListAppointments(pb.ListAppointmentsRequest(), metadata=ada.metadata)
        await page.goto(f"{service.url}/healthz")
        at_home = await page.evaluate("name => book(name, location.origin)", CLIENTS[0])
        await context.close()
    assert not [outcome for outcome in outcomes if not outcome.startswith("status ")]
    assert ([], "booked") == (list(listed.appointments), at_home)


@pytest.mark.parametrize("site", SITES)
async def test_session_of_another_origin_is_refused(service: Server, site: str) -> None:
    """403, as soon as the cookie comes from a page elsewhere; also with a token beside it. Nothing is booked."""
    async with person(service.grpc) as ada, httpx.AsyncClient(base_url=service.url, verify=False) as client:
        body = framed(pb.CreateAppointmentRequest(appointment=appointment(TEN)))
        cookie = {"cookie": f"access_token={ada.tokens.access_token}", "content-type": BINARY}
        foreign = {"origin": "https://elsewhere.example", "sec-fetch-site": site}
        bearer = {"authorization": f"Bearer {ada.tokens.access_token}"}
        for headers in (foreign, foreign | bearer, {"origin": "null"}, {"sec-fetch-site": site}):
            answer = await client.post(CREATE, content=body, headers=cookie | headers)
            assert (403, "nosniff") == (answer.status_code, answer.headers["x-content-type-options"])
        asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,x-grpc-web"}
        preflight = await client.options(CREATE, headers=foreign | asked)
        assert (403, None) == (preflight.status_code, preflight.headers.get("access-control-allow-origin"))
        listed = await ada.appointments.ListAppointments(pb.ListAppointmentsRequest(), metadata=ada.metadata)
        assert [] == list(listed.appointments)
        answer = await client.post(CREATE, content=body, headers=cookie | {"sec-fetch-site": "same-origin"})
        assert "grpc-status: 0" in answer.text

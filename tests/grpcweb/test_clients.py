"""Every client that people use passes every case, under Node and in a browser; the cases are in clients/cases.mjs."""

import asyncio
import json

import pytest
from playwright.async_api import Browser

from appointments.api.http_exchange import App, Receive, Scope, Send
from tests.grpcweb import toolchain
from tests.grpcweb.server import doors

CLIENTS = ["connect-web", "grpc-web", "grpc-web-text", "protobuf-ts", "protobuf-ts-text"]


def page_with_clients() -> App:
    """A page whose script holds the clients."""
    answers = {
        "/": (b"text/html", b'<!doctype html><meta charset="utf-8"><script src="/browser.js"></script>'),
        "/browser.js": (b"text/javascript", toolchain.FOR_BROWSER.read_bytes()),
    }

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        kind, body = answers.get(scope["path"], (b"text/plain", b""))
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return page


def faults(outcomes: dict[str, str]) -> dict[str, str]:
    """The cases that did not pass; there have to be some that did."""
    assert len(outcomes) > 20
    return {case: outcome for case, outcome in outcomes.items() if outcome != "ok"}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.usefixtures("clients")
async def test_client_passes_every_case_under_node(client: str) -> None:
    """Unary calls, streams, metadata, errors, deadlines and cancellation, as this client sees them."""
    async with doors() as running:
        process = await asyncio.create_subprocess_exec(
            *(str(toolchain.NODE), str(toolchain.FOR_NODE), "echo", client, running.url), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
    assert {} == faults(json.loads(output))


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.usefixtures("clients")
async def test_client_passes_every_case_in_a_browser(client: str, browser: Browser) -> None:
    """The same, in a page that the same port serves."""
    async with doors(application=page_with_clients()) as running:
        page = await browser.new_page()
        await page.goto(running.url)
        outcomes = await page.evaluate("name => runClient(name)", client)
    assert {} == faults(outcomes)


@pytest.mark.usefixtures("clients")
async def test_page_uses_its_session(browser: Browser) -> None:
    """The cookie of the page's own origin becomes the handler's authorization; metadata of the caller's wins."""
    async with doors(application=page_with_clients()) as running:
        context = await browser.new_context()
        await context.add_cookies([{"name": "session", "value": "from-the-cookie", "url": running.url}])
        page = await context.new_page()
        await page.goto(running.url)
        with_cookie = await page.evaluate("() => echoAuthorization(location.origin)")
        with_both = await page.evaluate("() => echoAuthorization(location.origin, {authorization: 'Bearer given'})")
        await context.close()
    assert ("Bearer from-the-cookie", "Bearer given") == (with_cookie, with_both)


@pytest.mark.usefixtures("clients")
async def test_page_of_another_site_cannot_ride_a_session(browser: Browser) -> None:
    """A foreign page gets no answer, and nothing happens; not even where the browser sends the cookie."""
    async with doors(application=page_with_clients()) as attacker, doors() as running:
        context = await browser.new_context()
        await context.add_cookies([{"name": "session", "value": "secret", "url": running.url}])
        page = await context.new_page()
        await page.goto(attacker.url)
        answer = await page.evaluate("target => echoAuthorization(target)", running.url)
        simple = """target => fetch(target, {method: "POST", body: "\\0\\0\\0\\0\\0", credentials: "include",
            mode: "no-cors", headers: {"content-type": "text/plain"}}).then(() => "sent")"""
        sent = await page.evaluate(simple, f"{running.url}/echo.v1.EchoService/Unary")
        await context.close()
        calls = running.echo.calls
    assert answer.startswith("status ")
    assert ("sent", 0) == (sent, calls)


@pytest.mark.usefixtures("clients")
async def test_page_of_a_configured_origin_may_call(browser: Browser) -> None:
    """With its origin configured, a page elsewhere calls with the session, preflight and all."""
    async with (
        doors(application=page_with_clients()) as elsewhere,
        doors(origins=[f"http://127.0.0.1:{elsewhere.port}"]) as running,
    ):
        context = await browser.new_context()
        await context.add_cookies([{"name": "session", "value": "secret", "url": running.url}])
        page = await context.new_page()
        await page.goto(elsewhere.url)
        answer = await page.evaluate("target => echoAuthorization(target)", running.url)
        outcomes = await page.evaluate("target => runClient('connect-web', target)", running.url)
        await context.close()
    assert "Bearer secret" == answer
    assert {} == faults(outcomes)

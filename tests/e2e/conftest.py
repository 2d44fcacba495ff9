"""The built page, a server that serves it, and a real Chromium to open it in.

All of it lasts for the whole run, so these tests share one event loop; each has its own people and browser contexts.
"""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import psycopg
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, expect

from tests import clients, service
from tests.browser import launch
from tests.conftest import database_dsn
from tests.e2e.tab import NOW, Tab

# The tests are many people behind one address; the limiter counts by what their proxy says.
BEHIND_A_PROXY = {"TRUSTED_PROXY_HOPS": "1"}


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run these tests on asyncio's own loop: uvloop forks, and Python code between fork and exec can hang in gRPC."""
    return {"asyncio": asyncio.new_event_loop}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The browser belongs to one loop, so every test that uses it runs on that one."""
    for item in items:
        if "/tests/e2e/" in item.path.as_posix() and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session")
def built() -> None:
    """The page, built from the sources as they are."""
    build = subprocess.run(
        [sys.executable, "scripts/build_page.py"], cwd=service.ROOT, capture_output=True, text=True, check=False
    )
    assert build.returncode == 0, build.stdout + build.stderr


@pytest.fixture(scope="session")
def database(postgres_dsn: str, template: str) -> Iterator[str]:
    """A database for all of these tests."""
    name = f"{template}_e2e"
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield database_dsn(postgres_dsn, name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def running(built: None, database: str) -> Iterator[service.Server]:
    """A server with the page."""
    with service.start(database, BEHIND_A_PROXY) as started:
        yield started


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """A Chromium for all of these tests."""
    async with launch() as browser:
        yield browser


Opener = Callable[..., Awaitable[Tab]]


@pytest_asyncio.fixture(loop_scope="session")
async def open_tab(chromium: Browser, running: service.Server) -> AsyncIterator[Opener]:
    """Opens the page in a browser of its own; ``beside`` opens a further tab of another tab's browser instead.

    With ``email`` the browser has that person's session already.
    """
    contexts: list[BrowserContext] = []

    async def opener(
        beside: Tab | None = None, url: str = running.url, email: str | None = None, **options: object
    ) -> Tab:
        if beside:
            context = beside.page.context
        else:
            defaults = {
                "locale": "en-GB",
                "timezone_id": "Europe/Zurich",
                "viewport": {"width": 1280, "height": 900},
                "reduced_motion": "reduce",
                "extra_http_headers": dict(clients.new_address()),
            }
            context = await chromium.new_context(**(defaults | options))  # type: ignore[arg-type]
            context.set_default_timeout(20_000)
            contexts.append(context)
        if email:
            credentials = {"email": email, "password": clients.PASSWORD}
            assert (await context.request.post(f"{url}/auth/login", data=credentials)).ok
        page = await context.new_page()
        await page.clock.set_fixed_time(NOW)
        tab = Tab(page)
        await page.goto(url)
        return tab

    yield opener
    for context in contexts:
        await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def ada(running: service.Server) -> AsyncIterator[clients.Person]:
    """Somebody with an account, who also has the native port for arranging things."""
    async with clients.person(running.grpc) as person:
        yield person


@pytest_asyncio.fixture(loop_scope="session")
async def tab(open_tab: Opener, ada: clients.Person) -> Tab:
    """Ada's calendar, opened at the week of 13 May 2030."""
    opened = await open_tab(email=ada.email)
    await expect(opened.button("New appointment")).to_be_visible()
    await opened.settled()
    return opened

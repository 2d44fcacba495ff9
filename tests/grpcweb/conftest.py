"""What the gRPC-Web tests share: the JavaScript clients, a browser, and the page that it opens."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable

import pytest
from playwright.async_api import Browser, async_playwright

from tests.grpcweb import toolchain

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]] | None:
    """Run the tests that start programs on asyncio's own loop: uvloop's fork runs Python code beside gRPC's threads."""
    starts_programs = {"browser", "clients"} & set(getattr(item, "fixturenames", ()))
    return {"asyncio": asyncio.new_event_loop} if starts_programs else None


@pytest.fixture(scope="session")
def clients() -> None:
    """The clients, installed and built."""
    toolchain.prepare()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A headless Chromium: the system's, or the one that playwright brought. CI must have one."""
    async with async_playwright() as playwright:
        names = ("chromium", "chromium-browser", "google-chrome")
        found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
        path = found or playwright.chromium.executable_path
        if not await asyncio.to_thread(os.path.exists, path):
            message = "there is no Chromium here: install one, or name it in CHROMIUM"
            pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
        chromium = await playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        yield chromium
        await chromium.close()

"""What the gRPC-Web tests share: the JavaScript clients, a browser, and the page that it opens."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator

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

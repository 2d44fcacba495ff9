"""A headless Chromium: the system's, or the one that playwright brought. Continuous integration must have one."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@asynccontextmanager
async def launch() -> AsyncIterator[Browser]:
    """Run it while the block lasts; without one the test is skipped, or fails where ``CI`` is true."""
    async with async_playwright() as playwright:
        found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
        path = found or playwright.chromium.executable_path
        if not await asyncio.to_thread(os.path.exists, path):
            message = "there is no Chromium here: install one, or name it in CHROMIUM"
            pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        await browser.close()

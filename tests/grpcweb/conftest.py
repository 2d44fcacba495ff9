"""What the gRPC-Web tests share: the JavaScript clients, a browser, and the page that it opens."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from playwright.async_api import Browser

from tests.browser import launch
from tests.grpcweb import toolchain


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
    """A Chromium for one test."""
    async with launch() as chromium:
        yield chromium

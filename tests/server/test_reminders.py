"""Reminders from whole processes, through a real mail server."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests import service
from tests.clients import person
from tests.postbox import Postbox, postbox

MINUTE = timedelta(minutes=1)
MANY = 12


@pytest.fixture
def box() -> Iterator[Postbox]:
    """A mail server."""
    with postbox() as box:
        yield box


async def test_each_reminder_comes_once_though_a_process_is_killed(dsn: str, box: Postbox) -> None:
    """Two processes look; one of them is killed before the first reminder is due."""
    mail = {"SMTP_URL": box.url, "MAIL_FROM": "calendar@example.com", "PUBLIC_URL": "http://127.0.0.1"}
    with ExitStack() as stack:
        first, second = (stack.enter_context(service.start(dsn, mail)) for _ in range(2))
        async with person(second.grpc) as ada:
            with psycopg.connect(dsn) as connection:
                connection.execute("UPDATE users SET email_verified_at = now()")
            begun = datetime.now(UTC)
            for number in range(MANY):
                start = begun + MINUTE * (10 + number) + timedelta(seconds=2)
                await ada.create(start, MINUTE / 2, title=f"{number}", reminders=[10 + number])
            await ada.create(begun + timedelta(hours=1), title="Not yet", reminders=[30])
            first.process.kill()
            await happens(lambda: len(set(reminders(box))) == MANY)
            await asyncio.sleep(1)
    assert Counter({f"Reminder: {number}": 1 for number in range(MANY)}) == Counter(reminders(box))


async def happens(what: Callable[[], bool]) -> None:
    """Wait for it."""
    async with asyncio.timeout(180):
        while not what():  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def reminders(box: Postbox) -> list[str]:
    """The subjects of the reminders that have come."""
    found = {str(message["Message-ID"]): str(message["Subject"]) for _, message in box.taken}
    return [subject for subject in found.values() if subject.startswith("Reminder")]

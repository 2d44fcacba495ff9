"""Connections are lent: whoever waits for one gets the next that is free, wherever it comes from."""

import asyncio
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest

from appointments.calendar import booking
from appointments.db import Database, Statement
from appointments.shared.errors import Unavailable
from tests.people import HOUR, TEN, spec

WORK = Statement("SELECT pg_sleep(0.02)::text")
CALLERS = 8


@pytest.fixture
def three_connections(dsn: str) -> Iterator[str]:
    """The database, for a role that may have three connections."""
    role, place = f"role_{uuid4().hex}", urlsplit(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret' CONNECTION LIMIT 3")
        yield urlunsplit(place._replace(netloc=f"{role}:secret@{place.hostname}:{place.port}"))
        connection.execute(f"DROP ROLE {role}")


async def test_fewer_connections_than_hoped_for_serve_everybody(three_connections: str) -> None:
    """The server grants three of ten: whoever had asked for a fourth gets one that is given back."""
    async with Database(three_connections, size=10) as db:
        for _ in range(5):
            answers = await asyncio.gather(*(db.fetch(WORK, {}) for _ in range(CALLERS)), return_exceptions=True)
            assert [[("",)]] * CALLERS == answers


async def test_without_a_database_everybody_is_told_at_once() -> None:
    """Two hundred creates of one person: all learn it when the first does, and not one statement after the other."""
    owner = uuid4()
    async with Database("postgresql://nobody@127.0.0.1:1/nothing?connect_timeout=1") as db, asyncio.timeout(7):
        answers = await asyncio.gather(
            *(booking.create(db, owner, spec(TEN + index * HOUR)) for index in range(200)), return_exceptions=True
        )
    assert {Unavailable} == {type(answer) for answer in answers}

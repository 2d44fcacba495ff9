"""One throw-away PostgreSQL for the whole run; each test has a database of its own, cloned from a migrated template."""

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import psycopg
import pytest
import uvloop

from appointments.db import Database, embedded
from appointments.db.migrate import migrate
from tests.people import add_user

# A shell that starts the tests in its background has them ignore Ctrl-C, and what they start would ignore it, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TEMPLATE = f"appointments_template_{os.getpid()}"
_numbers = itertools.count(1)


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the tests on the loop that the server runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def postgres_dsn() -> Iterator[str]:
    """A PostgreSQL that may create databases: ``DATABASE_URL`` if it is set, else a server that ends with the run."""
    if dsn := os.environ.get("DATABASE_URL"):
        yield dsn
        return
    with embedded.scratch(settings={"max_connections": "300"}) as server:
        yield server.dsn


def database_dsn(server_dsn: str, name: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(server_dsn)._replace(path=f"/{name}"))


@pytest.fixture(scope="session")
def template(postgres_dsn: str) -> Iterator[str]:
    """The name of a migrated, empty database."""
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {TEMPLATE}")
        asyncio.run(migrate(database_dsn(postgres_dsn, TEMPLATE)))
        yield TEMPLATE
        connection.execute(f"DROP DATABASE {TEMPLATE} WITH (FORCE)")


@pytest.fixture
def dsn(postgres_dsn: str, template: str) -> Iterator[str]:
    """A migrated, empty database of the test's own."""
    name = f"{template}_{next(_numbers)}"
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield database_dsn(postgres_dsn, name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def db(dsn: str) -> AsyncIterator[Database]:
    """The features' view of that database."""
    async with Database(dsn, size=10) as database:
        yield database


@pytest.fixture
async def owner(db: Database) -> UUID:
    """Somebody."""
    return await add_user(db)


@pytest.fixture
async def stranger(db: Database) -> UUID:
    """Somebody else."""
    return await add_user(db)

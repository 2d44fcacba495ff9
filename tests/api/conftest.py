"""One real server for all tests of the ports; each test brings people of its own."""

from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from tests import server as servers
from tests.clients import Person, person
from tests.conftest import database_dsn
from tests.server import Server


@pytest.fixture(scope="session")
def server(postgres_dsn: str, template: str) -> Iterator[Server]:
    """A server on a database of its own, behind what it takes for one proxy."""
    name = f"{template}_ports"
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        with servers.start(database_dsn(postgres_dsn, name), {"TRUSTED_PROXY_HOPS": "1"}) as running:
            yield running
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def ada(server: Server) -> AsyncIterator[Person]:
    """Somebody."""
    async with person(server.grpc) as somebody:
        yield somebody


@pytest.fixture
async def bob(server: Server) -> AsyncIterator[Person]:
    """Somebody else."""
    async with person(server.grpc) as somebody:
        yield somebody

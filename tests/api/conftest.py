"""One real server for all tests of the ports; each test brings people of its own.

With ``APPOINTMENTS_TARGET_GRPC`` and ``APPOINTMENTS_TARGET_HTTP`` it is the one at those addresses, which must trust
one proxy, and the tests that need more of a server than its ports are left out.
"""

import os
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from appointments.auth.keys import SCOPES
from tests import service
from tests.api.doors import Call, native, web
from tests.clients import Person, Program, person, program
from tests.conftest import database_dsn
from tests.service import Server, Target

TARGET = os.environ.get("APPOINTMENTS_TARGET_GRPC"), os.environ.get("APPOINTMENTS_TARGET_HTTP")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not black-box, if the server is somebody else's."""
    if all(TARGET):
        kept = [item for item in items if _is_black_box(item)]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


def _is_black_box(item: pytest.Item) -> bool:
    fixtures = set(getattr(item, "fixturenames", ()))
    return "server" in fixtures and fixtures.isdisjoint({"dsn", "postgres_dsn"})


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A server on a database of its own, behind what it takes for one proxy; or the target."""
    grpc, http = TARGET
    if grpc and http:
        yield Target(grpc=grpc, http=http)
        return
    # Asked for here, so that a run against a target needs no PostgreSQL.
    postgres_dsn, name = request.getfixturevalue("postgres_dsn"), f"{request.getfixturevalue('template')}_ports"
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {name.removesuffix('_ports')}")
        with service.start(database_dsn(postgres_dsn, name), {"TRUSTED_PROXY_HOPS": "1"}) as running:
            yield running
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def doors(server: Target) -> AsyncIterator[list[Call]]:
    """Both ports, each with the access token or key as metadata."""
    async with native(server) as one, web(server) as other:
        yield [one, other]


@pytest.fixture
async def ada(server: Target) -> AsyncIterator[Person]:
    """Somebody."""
    async with person(server.grpc) as somebody:
        yield somebody


@pytest.fixture
async def admin(server: Server, postgres_dsn: str) -> AsyncIterator[Person]:
    """Somebody who administers the server, which is the tests' own."""
    async with person(server.grpc) as somebody:
        assert server.dsn
        async with await psycopg.AsyncConnection.connect(server.dsn, autocommit=True) as connection:
            await connection.execute("UPDATE users SET role = 'admin' WHERE id = %s", [somebody.user_id])
        yield somebody


@pytest.fixture
async def backend(admin: Person) -> Program:
    """A service account of the tests' own, with a key that may do everything."""
    return await program(admin, *SCOPES)


@pytest.fixture
async def bob(server: Target) -> AsyncIterator[Person]:
    """Somebody else."""
    async with person(server.grpc) as somebody:
        yield somebody

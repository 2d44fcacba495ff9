"""One real server for all tests of the ports; each test brings people of its own.

With ``APPOINTMENTS_TARGET_GRPC`` and ``APPOINTMENTS_TARGET_HTTP`` it is the one at those addresses, which must trust
one proxy, and the tests that need more of a server than its ports are left out.
"""

import os
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from tests import service
from tests.clients import Person, person
from tests.conftest import database_dsn
from tests.service import Target

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
async def ada(server: Target) -> AsyncIterator[Person]:
    """Somebody."""
    async with person(server.grpc) as somebody:
        yield somebody


@pytest.fixture
async def bob(server: Target) -> AsyncIterator[Person]:
    """Somebody else."""
    async with person(server.grpc) as somebody:
        yield somebody

"""The target of the black-box tests; without one, there is nothing to test here (see ``make integration``)."""

import os
from collections.abc import AsyncIterator

import pytest

from tests.clients import Person, person
from tests.service import Target


@pytest.fixture(scope="session")
def target() -> Target:
    """The service that ``make integration`` has brought up."""
    grpc, http = os.environ.get("APPOINTMENTS_TARGET_GRPC"), os.environ.get("APPOINTMENTS_TARGET_HTTP")
    if not (grpc and http):
        pytest.skip("make integration runs this against the composed system")
    return Target(grpc=grpc, http=http)


@pytest.fixture
async def ada(target: Target) -> AsyncIterator[Person]:
    """Somebody."""
    async with person(target.grpc) as somebody:
        yield somebody

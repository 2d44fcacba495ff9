"""Two people, for the tests of the features."""

from uuid import UUID

import pytest

from appointments.db import Database
from tests.db.people import add_user


@pytest.fixture
async def owner(db: Database) -> UUID:
    """Somebody."""
    return await add_user(db)


@pytest.fixture
async def stranger(db: Database) -> UUID:
    """Somebody else."""
    return await add_user(db)

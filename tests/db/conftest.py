"""What tests of migrations share."""

import itertools
import os
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

_numbers = itertools.count(1)


@pytest.fixture
def empty_dsn(postgres_dsn: str) -> Iterator[str]:
    """A database without a single table."""
    name = f"empty_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield make_conninfo(postgres_dsn, dbname=name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

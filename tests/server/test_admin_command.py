"""``appointments admin grant``: how a deployment gets its first admin."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from appointments.v1 import admin_pb2, admin_pb2_grpc
from tests import service
from tests.clients import Person, new_email, person
from tests.conftest import database_dsn
from tests.service import ROOT


def grant(address: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    env = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"} | dict(environment)
    command = [sys.executable, "-m", "appointments", "admin", "grant", address]
    return subprocess.run(command, check=False, env=env, cwd=ROOT, capture_output=True, text=True, timeout=120)


async def users_of(somebody: Person) -> int:
    """How many users an admin sees."""
    service = admin_pb2_grpc.AdminServiceStub(somebody.channel)
    listed = await service.ListUsers(admin_pb2.ListUsersRequest(), metadata=somebody.metadata)
    return len(listed.users)


async def test_the_first_admin_is_made_while_the_service_runs() -> None:
    """On the embedded database that the service has; whatever the case of the address."""
    with TemporaryDirectory(prefix="appointments-admin-") as folder:
        Path(folder).chmod(0o711)
        environment = {"APPOINTMENTS_DATA": folder}
        with service.start(None, environment) as server:
            async with person(server.grpc) as somebody:
                done = grant(somebody.email.upper(), environment)
                assert (0, "") == (done.returncode, done.stderr)
                assert 1 == await users_of(somebody)
            assert 0 == server.stop()
        done = grant(somebody.email, environment)  # and when it does not run
        assert (0, f"{somebody.email} is an admin now.\n") == (done.returncode, done.stdout)


def test_nobody_is_one_clear_line(dsn: str) -> None:
    """No stack trace, and nothing is changed."""
    address = new_email()
    done = grant(address, {"DATABASE_URL": dsn})
    assert (1, f"Error: nobody has the address {address}: register first\n") == (done.returncode, done.stderr)


def test_an_empty_database_is_one_clear_line(postgres_dsn: str) -> None:
    """It is for the service, or for ``migrate``, to make the tables."""
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute("CREATE DATABASE unmigrated_for_admin")
        done = grant(new_email(), {"DATABASE_URL": database_dsn(postgres_dsn, "unmigrated_for_admin")})
        connection.execute("DROP DATABASE unmigrated_for_admin WITH (FORCE)")
    expected = "appointments: the database lacks migrations: start the service, or run appointments migrate\n"
    assert (1, expected) == (done.returncode, done.stderr)

"""Behind a real pgbouncer in transaction mode, with fewer servers than clients: nothing leaks from one to the other."""

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import grpc
import psycopg
import pytest

from appointments.v1 import appointments_pb2 as pb
from tests import service
from tests.clients import HOUR, TEN, Person, person
from tests.programs import needed
from tests.service import ROOT, free_ports

SERVERS = 2


@pytest.fixture
def pooler(dsn: str) -> Iterator[str]:
    """The DSN of the test's database through a pgbouncer that has our deploy/pgbouncer.ini, but for its places."""
    program = needed("pgbouncer")
    parts, port = urlsplit(dsn), free_ports(1)[0]
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as name:
        folder = Path(name)
        users = folder / "userlist.txt"
        users.write_text(f'"{parts.username}" "{parts.password}"\n')
        settings = (ROOT / "deploy/pgbouncer.ini").read_text()
        database = parts.path.removeprefix("/")
        for theirs, ours in {
            "appointments = host=db port=5432 dbname=appointments": (
                f"{database} = host={parts.hostname} port={parts.port} dbname={database}"
            ),
            "listen_addr = *": "listen_addr = 127.0.0.1",
            "listen_port = 6432": f"listen_port = {port}",
            "auth_file = /etc/pgbouncer/userlist.txt": f"auth_file = {users}",
            "default_pool_size = 16": f"default_pool_size = {SERVERS}",
        }.items():
            assert settings.count(theirs) == 1
            settings = settings.replace(theirs, ours)
        (folder / "pgbouncer.ini").write_text(settings)
        with (folder / "log").open("wb") as log:
            command = [program, "-q", str(folder / "pgbouncer.ini")]
            if os.geteuid() == 0:  # it refuses to run as root
                for path in (folder, users, folder / "pgbouncer.ini"):
                    shutil.chown(path, "nobody")
                command = [program, "-q", "-u", "nobody", str(folder / "pgbouncer.ini")]
            process = subprocess.Popen(command, stdout=log, stderr=log)
            through = urlunsplit(parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}"))
            try:
                wait_until_up(through, folder / "log")
                yield through
            finally:
                process.kill()
                process.wait()


def wait_until_up(dsn: str, log: Path) -> None:
    """Return when a statement gets through."""
    until = time.monotonic() + 30
    while True:
        try:
            with psycopg.connect(dsn, prepare_threshold=None) as connection:
                connection.execute("SELECT 1")
                return
        except psycopg.OperationalError:
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)


def behind(pooler: str, **more: str) -> dict[str, str]:
    """The settings that docs/operations.md names."""
    return {"DATABASE_URL": pooler, "DATABASE_POOL_MODE": "transaction", "TRUSTED_PROXY_HOPS": "1", **more}


async def a_days_work(who: Person, number: int) -> None:
    """Every kind of statement, many times over: more often than any driver waits before it prepares one."""
    for step in range(8):
        booked = await who.create(TEN + HOUR * (100 * number + step))
        request = pb.GetAppointmentRequest(id=booked.id)
        await who.appointments.GetAppointment(request, metadata=who.metadata)
        await who.appointments.ListAppointments(pb.ListAppointmentsRequest(), metadata=who.metadata)
        booked.title = "Shave"
        update = pb.UpdateAppointmentRequest(appointment=booked)
        await who.appointments.UpdateAppointment(update, metadata=who.metadata)
        delete = pb.DeleteAppointmentRequest(id=booked.id)
        await who.appointments.DeleteAppointment(delete, metadata=who.metadata)


async def test_two_instances_work_over_two_servers(dsn: str, pooler: str) -> None:
    """Twenty clients at once, prepared statements off: no call fails, none gets another's answer."""
    with (
        service.start(dsn, behind(pooler, DATABASE_DIRECT_URL=dsn)) as one,
        service.start(dsn, behind(pooler, DATABASE_DIRECT_URL=dsn)) as other,
    ):
        async with person(one.grpc) as ada, person(other.grpc) as bob:
            people = [ada, bob] * 10
            async with asyncio.TaskGroup() as work:
                for number, who in enumerate(people):
                    work.create_task(a_days_work(who, number))
        for server in (one, other):
            assert "unexpected" not in server.log()
            assert "Traceback" not in server.log()
    with psycopg.connect(dsn) as connection:
        cursor = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        assert cursor.fetchone() == (SERVERS + 1,)  # and this one


async def test_races_are_fair_behind_it(dsn: str, pooler: str) -> None:
    """Row locks belong to transactions, so they hold through a pooler: one of fifty wins, nobody hangs."""
    with service.start(dsn, behind(pooler)) as server:
        async with person(server.grpc) as ada:

            async def attempt() -> grpc.StatusCode:
                try:
                    await ada.create()
                except grpc.aio.AioRpcError as error:
                    return error.code()
                return grpc.StatusCode.OK

            answers = Counter(await asyncio.gather(*(attempt() for _ in range(50))))
    assert {grpc.StatusCode.OK: 1, grpc.StatusCode.ALREADY_EXISTS: 49} == answers


async def test_an_empty_database_is_migrated_through_it(dsn: str, pooler: str) -> None:
    """Two at once, without a direct way: the migrations' lock belongs to a transaction too."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    with service.start(dsn, behind(pooler)) as one, service.start(dsn, behind(pooler)) as other:
        async with person(one.grpc) as ada, person(other.grpc) as bob:
            assert (await ada.create()).id != (await bob.create()).id


async def test_the_pooler_brings_the_time_limits(pooler: str) -> None:
    """Whatever server a transaction meets, a lost statement ends there."""
    async with await psycopg.AsyncConnection.connect(pooler, prepare_threshold=None, autocommit=True) as connection:
        cursor = await connection.execute(
            "SELECT current_setting('statement_timeout'), current_setting('lock_timeout')"
        )
        assert await cursor.fetchone() == ("10s", "5s")

"""Lose a database, and bring it back as it was at one moment: the drill for pgBackRest, on a scratch PostgreSQL.

    python scripts/point_in_time.py [--postgres /usr/lib/postgresql/15/bin] [--bookings 500]

It serves a PostgreSQL whose write-ahead log pgBackRest archives, takes a base backup while the service books, books on,
notes a moment and what every table has then, lets somebody empty the calendar, and removes the cluster. Then it
restores to the moment, compares every table by count and by checksum, begins a new epoch, has the doctor look, and
tries whether a session goes on and a cursor has expired. It exits with 1 if anything is not as it should be. It needs
Debian's ``pgbackrest`` and a PostgreSQL that this pgBackRest knows, and touches nothing but a temporary folder.
"""

import argparse
import asyncio
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import drill
import grpc
import psycopg
from google.protobuf.timestamp_pb2 import Timestamp

from appointments.db import embedded
from appointments.v1 import (
    account_pb2,
    account_pb2_grpc,
    appointments_pb2_grpc,
    auth_pb2,
    auth_pb2_grpc,
    changes_pb2,
    changes_pb2_grpc,
)
from appointments.v1 import appointments_pb2 as pb

HOUR = timedelta(hours=1)
FIRST = datetime(2031, 1, 1, tzinfo=UTC)
PEOPLE = 4
Metadata = tuple[tuple[str, str], ...]
MOST_SECONDS = 60.0

CONFIGURATION = """\
[global]
repo1-path={folder}/repo
repo1-retention-full=2
repo1-bundle=y
start-fast=y
process-max=2
log-level-console=warn
log-level-file=off
lock-path={folder}/lock
spool-path={folder}/spool

[main]
pg1-path={folder}/data/cluster
pg1-socket-path={folder}/socket
pg1-port={port}
pg1-user=appointments
pg1-database=appointments
"""


@dataclass(frozen=True)
class Archive:
    """A cluster and the repository of its backups, which pgBackRest looks after."""

    folder: Path
    user: pwd.struct_passwd

    @property
    def cluster(self) -> Path:
        """PostgreSQL's own folder, which the drill loses."""
        return self.folder / "data/cluster"

    @property
    def _configuration(self) -> Path:
        return self.folder / "pgbackrest.conf"

    @contextmanager
    def serve(self) -> Iterator[embedded.Server]:
        """Run PostgreSQL on the cluster, with its log archived, once it takes writes."""
        settings = {
            "archive_mode": "on",
            "archive_command": f"pgbackrest --config={self._configuration} --stanza=main archive-push %p",
            "unix_socket_directories": str(self.folder / "socket"),
        }
        with embedded.serve(self.folder / "data", settings=settings) as server:
            place = urlsplit(server.dsn)
            self._configuration.write_text(CONFIGURATION.format(folder=self.folder, port=place.port))
            wait_until(server.dsn, "SELECT NOT pg_is_in_recovery()")
            yield server

    def run(self, *command: str) -> None:
        """Run pgBackRest as PostgreSQL's user, who owns what it reads and writes."""
        password = self.folder / "data/password"
        environment = {"PATH": os.defpath, "LC_ALL": "C", "PGPASSWORD": password.read_text()}
        who = self.user.pw_name
        whose = (
            ["setpriv", f"--reuid={who}", f"--regid={self.user.pw_gid}", "--clear-groups"] if os.geteuid() == 0 else []
        )
        backrest = ["pgbackrest", f"--config={self._configuration}", "--stanza=main"]
        subprocess.run([*whose, *backrest, *command], env=environment, cwd="/", check=True)

    def flush(self, dsn: str) -> None:
        """Return when everything that was written so far is in the repository."""
        with psycopg.connect(dsn, autocommit=True) as connection:
            row = connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone()
        assert row
        wait_until(dsn, f"SELECT last_archived_wal >= '{row[0]}' FROM pg_stat_archiver")

    def lose(self) -> None:
        """The disk is gone."""
        shutil.rmtree(self.cluster)

    def restore(self, moment: datetime) -> None:
        """Bring the cluster back as it was then."""
        self.cluster.mkdir(mode=0o700)
        os.chown(self.cluster, self.user.pw_uid, self.user.pw_gid)
        target = f"--target={moment:%Y-%m-%d %H:%M:%S.%f+00}"
        self.run("--type=time", target, "--target-action=promote", "restore")


@contextmanager
def archive() -> Iterator[Archive]:
    """An empty place for a cluster and its backups."""
    user = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    # A socket's path may have 107 bytes, so it is not where temporary folders may be.
    with tempfile.TemporaryDirectory(prefix="appointments-pitr-", dir="/tmp") as place:
        folder = Path(place)
        folder.chmod(0o711)
        for name in ("repo", "lock", "spool", "socket"):
            (folder / name).mkdir(mode=0o700)
            os.chown(folder / name, user.pw_uid, user.pw_gid)
        yield Archive(folder, user)


def wait_until(dsn: str, question: str) -> None:
    """Return when PostgreSQL says yes."""
    until = time.monotonic() + MOST_SECONDS
    while time.monotonic() < until:
        with suppress(psycopg.OperationalError), psycopg.connect(dsn, autocommit=True) as connection:
            if connection.execute(question.encode()).fetchone() == (True,):
                return
        time.sleep(0.05)
    raise SystemExit(f"PostgreSQL does not come so far: {question}")


def now(dsn: str) -> datetime:
    """The time by PostgreSQL's clock, which is what a restore goes by."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row
    moment: datetime = row[0]
    return moment.astimezone(UTC)


def system_postgres() -> Path | None:
    """The newest PostgreSQL that Debian has put here; its pgBackRest knows it."""
    found = Path("/usr/lib/postgresql").glob("*/bin")
    return max(found, key=lambda folder: int(re.sub(r"\D", "", folder.parent.name) or 0), default=None)


@contextmanager
def service(dsn: str) -> Iterator[str]:
    """Serve the database; return the address of native gRPC."""
    addresses = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as found:
            addresses.append(f"127.0.0.1:{found.getsockname()[1]}")
    grpc_bind, http_bind = addresses
    env = {**os.environ, "DATABASE_URL": dsn, "ENVIRONMENT": "development", "GRPC_BIND": grpc_bind}
    env |= {"HTTP_BIND": http_bind, "BCRYPT_COST": "4", "LOG_LEVEL": "error"}
    process = subprocess.Popen([sys.executable, "-m", "appointments", "serve"], env=env, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + MOST_SECONDS
        while True:
            with suppress(OSError), urllib.request.urlopen(f"http://{http_bind}/readyz", timeout=5) as answer:
                if answer.status == 200:
                    break
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit("the service does not become ready")
            time.sleep(0.1)
        yield grpc_bind
    finally:
        process.terminate()
        process.wait(30)


@dataclass(frozen=True)
class Follower:
    """What a client of the service keeps: a token, and a cursor of the log of changes."""

    metadata: Metadata
    cursor: str


async def book(address: str, bookings: int, archive: Archive) -> Follower:
    """Let people book so many hours: before a base backup, while it is taken, and after it. Return one of them."""
    async with grpc.aio.insecure_channel(address) as channel:
        people = await asyncio.gather(*(someone(channel) for _ in range(PEOPLE)))
        third = bookings // PEOPLE // 3 + 1
        for part in range(3):
            which = range(part * third, (part + 1) * third)
            booking = asyncio.gather(*(hours(channel, who, which) for who in people))
            if part == 1:
                await asyncio.to_thread(archive.run, "--type=full", "backup")
            await booking
        changes: Any = changes_pb2_grpc.ChangeServiceStub(channel)
        answer = await changes.ListChanges(changes_pb2.ListChangesRequest(), metadata=people[0])
        return Follower(people[0], answer.next_cursor)


async def go_on(address: str, who: Follower) -> list[str]:
    """Try what a client has from before the restore; return what is wrong."""
    async with grpc.aio.insecure_channel(address) as channel:
        account: Any = account_pb2_grpc.AccountServiceStub(channel)
        changes: Any = changes_pb2_grpc.ChangeServiceStub(channel)
        await account.GetCurrentUser(account_pb2.GetCurrentUserRequest(), metadata=who.metadata)
        try:
            await changes.ListChanges(changes_pb2.ListChangesRequest(cursor=who.cursor), metadata=who.metadata)
        except grpc.aio.AioRpcError as error:
            return [] if error.code() == grpc.StatusCode.OUT_OF_RANGE else [f"the cursor is answered {error.code()}"]
        return ["the cursor is taken, though its positions are counted again"]


async def someone(channel: grpc.aio.Channel) -> Metadata:
    """Register; return what their calls bring along."""
    stub: Any = auth_pb2_grpc.AuthServiceStub(channel)
    request = auth_pb2.RegisterRequest(email=f"{uuid4()}@example.com", password=str(uuid4()), display_name="Drill")
    answer: auth_pb2.RegisterResponse = await stub.Register(request)
    return (("authorization", f"Bearer {answer.tokens.access_token}"),)


async def hours(channel: grpc.aio.Channel, who: Metadata, which: range) -> None:
    """Book one hour after the other."""
    stub: Any = appointments_pb2_grpc.AppointmentServiceStub(channel)
    for number in which:
        start, end = (Timestamp(seconds=int((FIRST + (number + more) * HOUR).timestamp())) for more in (0, 1))
        wanted = pb.Appointment(title=f"Drill {number}", time_zone="UTC", start_time=start, end_time=end)
        await stub.CreateAppointment(pb.CreateAppointmentRequest(appointment=wanted), metadata=who)


def main() -> int:
    """Do the drill."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres", type=Path, default=system_postgres(), help="the folder of its programs")
    parser.add_argument("--bookings", type=int, default=500)
    given = parser.parse_args()
    if shutil.which("pgbackrest") is None or given.postgres is None:
        parser.error("it takes pgbackrest and the system's PostgreSQL: apt-get install pgbackrest postgresql")
    os.environ["APPOINTMENTS_POSTGRES_BIN"] = str(given.postgres)
    with archive() as place:
        with place.serve() as postgres:
            place.run("stanza-create")
            place.run("check")
            with service(postgres.dsn) as address:
                follower = asyncio.run(book(address, given.bookings, place))
            with psycopg.connect(postgres.dsn) as connection:
                before = drill.look(connection)
            time.sleep(2)  # pgBackRest counts in whole seconds, and restores only what is later than the backup's end
            moment = now(postgres.dsn)
            with psycopg.connect(postgres.dsn) as connection:
                connection.execute("TRUNCATE appointments CASCADE")
            place.flush(postgres.dsn)
        place.lose()
        begun = time.monotonic()
        place.restore(moment)
        with place.serve() as postgres:
            took = time.monotonic() - begun
            with psycopg.connect(postgres.dsn) as connection:
                after = drill.look(connection)
            wrong = drill.compare(before, after)
            print(f"restored to {moment:%Y-%m-%d %H:%M:%S.%f} UTC in {took:.1f} s", flush=True)
            epoch = drill.appointments(postgres.dsn, "changes", "new-epoch")
            doctor = drill.appointments(postgres.dsn, "admin", "doctor")
            with service(postgres.dsn) as address:
                wrong += asyncio.run(go_on(address, follower))
    if wrong or epoch or doctor:
        print(f"The drill has failed. {'; '.join(wrong)}", file=sys.stderr)
        return 1
    print("The database is as it was at that moment.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

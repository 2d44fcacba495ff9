"""The embedded database lives exactly as long as its owner, however the owner ends; and it harms nobody."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from appointments.db import embedded
from appointments.db.embedded import DatabaseUnavailable, binaries
from appointments.db.embedded.binaries import Account, reachable

OWNER = """
import pathlib, signal, sys
import psycopg
from appointments.db import embedded
with embedded.serve(pathlib.Path(sys.argv[1])) as server:
    try:
        print(server.dsn, flush=True)
        signal.pause()
    except KeyboardInterrupt:
        with psycopg.connect(server.dsn) as connection:
            print(connection.execute("SELECT 'drained'").fetchone()[0], flush=True)
"""


@contextmanager
def owner(data: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that owns a server on ``data`` until it is told to end; the leader of a process group."""
    command = [sys.executable, "-c", OWNER, str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    """The next line that the process prints."""
    assert process.stdout
    return process.stdout.readline().strip()


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def processes_on(data: Path) -> list[int]:
    """The living processes whose working folder is in ``data``: all of PostgreSQL's are in their cluster."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink().is_relative_to(data):
                found.append(int(entry.name))
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
    return found


@contextmanager
def as_the_owner_of(cluster: Path, *command: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run something as the user to whom the cluster belongs."""
    status = cluster.stat()
    other = {"user": status.st_uid, "group": status.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd="/", stdout=quiet, stderr=quiet, **other) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)


def test_a_killed_owner_leaves_no_process_and_no_obstacle(data: Path) -> None:
    """kill -9 of the owner: every process of the database ends by itself, and what was committed is there."""
    with owner(data) as process:
        dsn = line(process)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
            assert len(processes_on(data)) > 3
            process.kill()
            process.wait()
            until(lambda: processes_on(data) == [])
    with embedded.serve(data) as server, psycopg.connect(server.dsn) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_the_next_owner_waits_for_the_end_of_the_last_one(data: Path) -> None:
    """A start right after a kill -9 meets the old server on its way out, and takes over."""
    with owner(data) as process:
        line(process)
        process.kill()
        process.wait()
        with embedded.serve(data) as server, psycopg.connect(server.dsn) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_second_owner_is_refused(data: Path) -> None:
    """Across processes too, and the first one's server goes on."""
    with owner(data) as process:
        dsn = line(process)
        with pytest.raises(DatabaseUnavailable, match="Another server"), embedded.serve(data):
            pass
        psycopg.connect(dsn).close()


def test_an_interrupted_creation_does_not_block_the_next(folder: Path) -> None:
    """kill -9 in the middle of initdb: the next start begins anew."""
    with owner(folder / "data") as process:
        until((folder / "data/cluster.new/base").exists)
        process.kill()
    assert not (folder / "data/cluster").exists()
    with embedded.serve(folder / "data") as server:
        psycopg.connect(server.dsn).close()


def test_a_ctrl_c_reaches_the_owner_only(data: Path) -> None:
    """The terminal interrupts the whole process group; the owner can still use the database while it drains."""
    with owner(data) as process:
        line(process)
        os.killpg(process.pid, signal.SIGINT)
        assert line(process) == "drained"
        assert process.wait() == 0
    assert processes_on(data) == []


def test_a_stale_number_is_neither_believed_nor_killed(data: Path) -> None:
    """After a crash the number in postmaster.pid can be anybody's: it does not block the start, and nobody is hurt."""
    cluster = data / "cluster"
    with embedded.serve(data) as server:
        os.kill(server.pid, signal.SIGKILL)
    with as_the_owner_of(cluster, "sleep", "600") as bystander:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
        (cluster / "postmaster.pid").write_text("\n".join([str(bystander.pid), *lines[1:], ""]))
        with embedded.serve(data) as server:
            psycopg.connect(server.dsn).close()
        assert bystander.poll() is None


def test_an_empty_pid_file_does_not_block(data: Path) -> None:
    """A crash can leave the file without its content, which PostgreSQL refuses to start on."""
    with embedded.serve(data):
        pass
    (data / "cluster/postmaster.pid").touch()
    with embedded.serve(data) as server:
        psycopg.connect(server.dsn).close()


def test_a_server_started_by_hand_is_respected(data: Path) -> None:
    """Somebody who runs PostgreSQL on the data without us is told apart from a stale number."""
    cluster = data / "cluster"
    with embedded.serve(data):
        pass
    status = cluster.stat()
    account = Account(status.st_uid, status.st_gid) if os.geteuid() == 0 else None
    postgres = reachable(binaries.find(), account) / "postgres"
    pid_file = cluster / "postmaster.pid"
    options = ["-c", "unix_socket_directories=.", "-c", "listen_addresses="]
    with as_the_owner_of(cluster, postgres, "-D", cluster, *options) as server:
        until(lambda: pid_file.exists() and "ready" in pid_file.read_text())
        with pytest.raises(DatabaseUnavailable, match=f"process {server.pid}"), embedded.serve(data):
            pass
        assert server.poll() is None

"""Several workers: they share both ports, are replaced when they die, roll without a failed call and end together."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests import service
from tests.clients import person
from tests.server import load
from tests.service import Server

SECONDS = 60.0


def children(process: int) -> list[int]:
    """The living children of a process."""
    return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def is_alive(process: int) -> bool:
    """Whether there is such a process, zombies aside."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def two_workers(dsn: str, **environment: str) -> Iterator[Server]:
    """A service of two workers."""
    with service.start(dsn, {"WORKERS": "2", "TRUSTED_PROXY_HOPS": "1", "LOG_LEVEL": "info", **environment}) as server:
        server.wait_for_line("workers=2")
        yield server


async def test_a_rolling_restart_under_load_fails_no_call(dsn: str) -> None:
    """SIGHUP replaces both workers, twice; neither native clients that retry nor kept HTTP connections notice."""
    with two_workers(dsn) as server:
        before = set(children(server.process.pid))
        async with (
            load.native(server.grpc, per_second=100) as calls,
            load.http(server.http, per_second=100) as requests,
        ):
            for rolls in (1, 2):
                await asyncio.sleep(0.5)
                server.process.send_signal(signal.SIGHUP)
                await asyncio.to_thread(server.wait_for_line, "rolled", rolls)
            await asyncio.sleep(0.5)
        after = set(children(server.process.pid))
    assert {"OK"} == set(calls)
    assert {"200", "close"} == set(requests)
    assert (2, 2, set()) == (len(before), len(after), before & after)


async def test_a_killed_worker_is_replaced(dsn: str) -> None:
    """kill -9: the other one serves on, what was in flight is UNAVAILABLE, and soon there are two again."""
    with two_workers(dsn) as server:
        victim, survivor = children(server.process.pid)
        async with load.native(server.grpc, per_second=100, careful=False) as calls:
            await asyncio.sleep(0.5)
            os.kill(victim, signal.SIGKILL)
            killed = time.monotonic()
            await asyncio.to_thread(server.wait_for_line, "worker ready", 3)
            seconds = time.monotonic() - killed
            await asyncio.sleep(0.5)
        now = children(server.process.pid)
    failed = {status: times for status, times in calls.items() if status != "OK"}
    assert all(status.startswith("UNAVAILABLE") for status in failed)
    assert sum(failed.values()) < calls["OK"] / 4
    assert (2, True, False) == (len(now), survivor in now, victim in now)
    assert seconds < 20  # a second where nobody else wants the processor


def test_sigterm_drains_every_worker(dsn: str) -> None:
    """Exit code 0 well within ten seconds, and nobody is left."""
    with two_workers(dsn) as server:
        workers = children(server.process.pid)
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 10
        assert not any(is_alive(worker) for worker in workers)
        assert "Traceback" not in server.log()


def test_nothing_outlives_a_killed_supervisor(dsn: str) -> None:
    """kill -9 of the parent: the kernel ends the workers."""
    with two_workers(dsn) as server:
        workers = children(server.process.pid)
        server.process.kill()
        server.process.wait()
        until = time.monotonic() + 10
        while any(is_alive(worker) for worker in workers):
            assert time.monotonic() < until
            time.sleep(0.02)


@pytest.mark.parametrize("setting", ["GRPC_BIND", "HTTP_BIND"])
def test_a_port_that_others_would_share_is_taken(dsn: str, setting: str) -> None:
    """SO_REUSEPORT must not mix our calls with a stranger's, though the kernel would."""
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        address = "127.0.0.1:{1}".format(*stranger.getsockname())
        with service.start(dsn, {"WORKERS": "2", setting: address}, wait=False) as server:
            assert server.process.wait(SECONDS) == 1
            assert f"appointments: {setting}: cannot listen on {address}: Address already in use\n" == server.log()


def test_two_services_that_start_at_once_do_not_share(dsn: str) -> None:
    """Before either listens, one of them has the port."""
    with (
        service.start(dsn, {"WORKERS": "2"}, wait=False) as one,
        service.start(dsn, {"WORKERS": "2", "GRPC_BIND": one.grpc, "HTTP_BIND": one.http}, wait=False) as other,
    ):
        until = time.monotonic() + SECONDS
        while one.process.poll() is None and other.process.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.05)
        loser, winner = (one, other) if one.process.poll() is not None else (other, one)
        assert loser.process.returncode == 1
        assert f"GRPC_BIND: cannot listen on {one.grpc}" in loser.log()
        winner.wait_until_ready()
        assert len(children(winner.process.pid)) == 2


async def test_a_roll_that_cannot_succeed_is_abandoned(dsn: str) -> None:
    """If the new worker does not get ready, the old one stays."""
    with two_workers(dsn) as server:
        before = children(server.process.pid)
        with psycopg.connect(dsn) as connection:
            connection.execute("UPDATE schema_migrations SET checksum = 'edited' WHERE version = 1")
        server.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(server.wait_for_line, "roll abandoned")
        assert before == children(server.process.pid)
        async with person(server.grpc) as ada:
            assert (await ada.create()).id


def test_a_worker_that_cannot_start_ends_the_service(dsn: str) -> None:
    """At the first start nothing is retried: the operator is told, exit code 1."""
    environment = {"GRPC_SERVER": "grpcio", "WORKERS": "2"}
    environment |= {"GRPC_TLS_CERT": "/nowhere/cert.pem", "GRPC_TLS_KEY": "/nowhere/key.pem"}
    with service.start(dsn, environment, wait=False) as server:
        assert server.process.wait(SECONDS) == 1
        assert "appointments: GRPC_TLS_CERT, GRPC_TLS_KEY: /nowhere/key.pem: No such file or directory" in server.log()
        assert "appointments: a worker could not start" in server.log()
        assert "Traceback" not in server.log()

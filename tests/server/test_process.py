"""The life of the process: start, second start, taken ports, signals, kill -9."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from appointments.v1 import appointments_pb2 as pb
from tests import service
from tests.clients import person
from tests.service import ROOT


def processes_below(folder: Path) -> list[int]:
    """The processes that name a folder in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(folder) in (entry / "cmdline").read_bytes().decode(errors="replace"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def wait_until_gone(folder: Path) -> None:
    """Return when no process names the folder any more."""
    until = time.monotonic() + 10
    while processes_below(folder):
        assert time.monotonic() < until, "the embedded PostgreSQL outlived its server"
        time.sleep(0.05)


@pytest.fixture
def embedded() -> Iterator[dict[str, str]]:
    """An environment in which the embedded database is one of its own."""
    # Not below pytest's own folder: that one is closed to the user that PostgreSQL runs as under root.
    with TemporaryDirectory(prefix="appointments-life-") as folder:
        Path(folder).chmod(0o711)
        yield {"APPOINTMENTS_DATA": folder}


def test_a_taken_port_is_one_clear_line(dsn: str) -> None:
    """Which setting, which address; exit code 1, no stack trace."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for setting in ("GRPC_BIND", "HTTP_BIND"):
            with service.start(dsn, {setting: address}, wait=False) as server:
                assert server.process.wait(30) == 1
                lines = server.log().strip().splitlines()
                assert [
                    line for line in lines if line.startswith(f"appointments: {setting}: cannot listen on {address}")
                ]
                assert "Traceback" not in server.log()


def test_a_faulty_environment_is_reported_whole() -> None:
    """Every fault, a line each, before anything starts."""
    env = {**os.environ, "ENVIRONMENT": "production", "JWT_SECRET": "short", "GRPC_BIND": "x", "DATABASE_URL": ""}
    result = subprocess.run(
        [sys.executable, "-m", "appointments", "serve"], env=env, capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert result.returncode == 1
    for name in ("DATABASE_URL", "JWT_SECRET", "GRPC_BIND"):
        assert f"{name}: " in result.stderr
    assert "Traceback" not in result.stderr


def test_a_database_that_is_not_there_is_one_clear_line() -> None:
    """No stack trace, no password, exit code 1."""
    port = service.free_ports(1)[0]
    with service.start(
        f"postgresql://user:hush@127.0.0.1:{port}/none", {"DATABASE_WAIT_SECONDS": "1"}, wait=False
    ) as server:
        assert server.process.wait(60) == 1
        assert "Traceback" not in server.log()
        assert "hush" not in server.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_zero(dsn: str, number: signal.Signals) -> None:
    """Drained and gone well within ten seconds."""
    with service.start(dsn) as server:
        started = time.monotonic()
        server.process.send_signal(number)
        assert server.process.wait(15) == 0
        assert time.monotonic() - started < 10
        assert "Traceback" not in server.log()


async def test_sigterm_with_streams_open_ends_within_ten_seconds(dsn: str) -> None:
    """Open health watches are told NOT_SERVING and ended; new calls go nowhere; the exit code is 0."""
    with service.start(dsn) as server:
        async with grpc.aio.insecure_channel(server.grpc) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            watches = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(20)]
            for watch in watches:
                assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            server.process.send_signal(signal.SIGTERM)
            assert (await watches[0].read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert await asyncio.to_thread(server.process.wait, 15) == 0


async def test_calls_in_flight_end_before_the_process(dsn: str) -> None:
    """What was accepted before SIGTERM is answered."""
    with service.start(dsn) as server:
        async with person(server.grpc) as ada:
            calls = [asyncio.ensure_future(ada.create(title=f"{index}")) for index in range(50)]
            await asyncio.sleep(0.02)
            server.process.send_signal(signal.SIGTERM)
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert await asyncio.to_thread(server.process.wait, 15) == 0
        codes = {each.code() for each in results if isinstance(each, grpc.aio.AioRpcError)}
        assert codes <= {grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.UNAVAILABLE}


async def test_readiness_and_health_agree(dsn: str) -> None:
    """For the whole server and for each service."""
    with service.start(dsn) as server:
        async with grpc.aio.insecure_channel(server.grpc) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            for name in ("", "appointments.v1.AppointmentService", "appointments.v1.AuthService"):
                answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert service.is_ready(server.url)


async def test_the_second_start_is_quick_and_the_data_is_kept(embedded: dict[str, str]) -> None:
    """The embedded database starts with what was booked; a run that is killed leaves no PostgreSQL behind."""
    folder = Path(embedded["APPOINTMENTS_DATA"])
    with service.start(None, embedded) as server:
        async with person(server.grpc) as ada:
            booked = await ada.create()
        assert processes_below(folder)
        server.process.kill()
        server.process.wait()
    await asyncio.to_thread(wait_until_gone, folder)
    with service.start(None, embedded) as server:
        async with grpc.aio.insecure_channel(server.grpc) as channel:
            ada.appointments = type(ada.appointments)(channel)
            found = await ada.appointments.GetAppointment(pb.GetAppointmentRequest(id=booked.id), metadata=ada.metadata)
        assert found.appointment == booked
        started = time.monotonic()
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(15) == 0
        assert time.monotonic() - started < 5
    assert processes_below(folder) == []

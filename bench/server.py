"""Servers under test: each a process of its own, in production's settings, its log written to a file."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from bench.data import SECRET

ROOT = Path(__file__).resolve().parent.parent
POOL = 10
START_SECONDS = 60.0


@dataclass(frozen=True)
class Server:
    """Addresses of its two ports, and its process."""

    pid: int
    grpc: str
    http: str


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def serve(
    dsn: str,
    *,
    program: str = "bench.service",
    wait: bool = True,
    workers: int = 1,
    engine: str = "grpcio",
    root: Path = ROOT,
    setting: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Serve ``dsn`` until the block ends, with the code of the checkout in ``root`` and by its own Python."""
    grpc, http = (f"127.0.0.1:{port}" for port in free_ports(2))
    env = {name: value for name, value in os.environ.items() if name.isupper() and not name.startswith("PG")}
    env |= {
        "DATABASE_URL": dsn, "JWT_SECRET": SECRET, "ENVIRONMENT": "production", "GRPC_BIND": grpc, "HTTP_BIND": http,
        "DATABASE_POOL_SIZE": str(POOL), "DRAIN_SECONDS": "1", "WORKERS": str(workers),
        "GRPC_SERVER": engine,
    } | dict(setting or {})  # fmt: skip
    python = sys.executable if root == ROOT else str(root / ".venv/bin/python")
    with TemporaryFile() as output:
        process = subprocess.Popen([python, "-m", program, "serve"], env=env, cwd=root, stdout=output, stderr=output)
        try:
            server = Server(process.pid, grpc, http)
            if wait:
                wait_until_ready(server)
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until_ready(server: Server) -> None:
    """Return when ``/readyz`` says yes."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"http://{server.http}/readyz", timeout=5) as response:
                if response.status == 200:
                    return
        except OSError:
            time.sleep(0.01)
    raise SystemExit(f"the server on {server.http} was not ready after {START_SECONDS} s")

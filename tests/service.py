"""A real server in a process of its own, for the tests that go through its ports."""

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
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0


@dataclass(kw_only=True)
class Target:
    """The ports of a running service, which may be somebody else's."""

    grpc: str
    http: str

    @property
    def url(self) -> str:
        """The base URL of the HTTP port."""
        return f"http://{self.http}"

    def log(self) -> str:
        """Its log, which cannot be read from here."""
        return ""


@dataclass(kw_only=True)
class Server(Target):
    """A running ``appointments serve`` of the test's own."""

    process: subprocess.Popen[bytes]
    output: IO[bytes]
    dsn: str | None = None

    def log(self) -> str:
        """Everything that it has printed; what it logs is a moment on its way."""
        time.sleep(0.05)
        # Not by seeking: the server writes where its own descriptor is, and that is this one's twin.
        file = self.output.fileno()
        return os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")

    def wait_for_line(self, text: str, times: int = 1) -> None:
        """Return when it has printed something so many times."""
        until = time.monotonic() + START_SECONDS
        while self.log().count(text) < times:
            assert time.monotonic() < until, self.log()
            assert self.process.poll() is None, self.log()
            time.sleep(0.02)

    def wait_until_ready(self) -> None:
        """Return when ``/readyz`` says yes."""
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log()}")
            if is_ready(self.url):
                return
            time.sleep(0.05)
        raise AssertionError(f"the server was not ready after {START_SECONDS} s:\n{self.log()}")

    def stop(self, seconds: float = 15.0) -> int:
        """Ask it to end, and wait for its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def is_ready(url: str) -> bool:
    """Whether ``/readyz`` says yes."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:  # refused, not ready (HTTPError) or too slow
        return False


@contextmanager
def start(dsn: str | None, environment: Mapping[str, str] | None = None, *, wait: bool = True) -> Iterator[Server]:
    """Serve ``dsn`` (None: the embedded database) on ports that are free, until the block ends."""
    grpc, http = (f"127.0.0.1:{port}" for port in free_ports(2))
    env = {key: value for key, value in os.environ.items() if key not in {"DATABASE_URL", "JWT_SECRET", "ENVIRONMENT"}}
    env |= {"GRPC_BIND": grpc, "HTTP_BIND": http, "BCRYPT_COST": "4", "PYTHONUNBUFFERED": "1"}
    env |= {"DATABASE_URL": dsn} if dsn else {}
    env |= environment or {}
    with TemporaryFile() as output, TemporaryDirectory() as folder:
        if dsn:
            env.setdefault("APPOINTMENTS_DATA", folder)  # where development keeps its mail
        process = subprocess.Popen(
            [sys.executable, "-m", "appointments", "serve"], env=env, stdout=output, stderr=output, cwd=ROOT
        )
        server = Server(process=process, output=output, grpc=env["GRPC_BIND"], http=env["HTTP_BIND"], dsn=dsn)
        try:
            if wait:
                server.wait_until_ready()
            yield server
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()

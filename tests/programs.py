"""A Redis of the test's own, which it can stop and start again."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.service import free_ports


class Redis:
    """A server on a port that stays the same, without anything on disk."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._port = free_ports(1)[0]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is, when it is there."""
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Run it, and return when it answers."""
        options = ["--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--dir", "/tmp"]
        self._process = subprocess.Popen([self._program, *options], stdout=subprocess.DEVNULL)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
                return
            time.sleep(0.02)
        raise AssertionError("redis-server did not start")

    def stop(self) -> None:
        """Kill it."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def running() -> Iterator[Redis]:
    """Run a Redis until the block ends; skip the test on a machine that has none."""
    program = needed("redis-server")
    redis = Redis(program)
    redis.start()
    try:
        yield redis
    finally:
        redis.stop()


def needed(program: str, *, package: str | None = None) -> str:
    """The path of a program that only tests need: without it they are skipped, but not in continuous integration."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if found is None:
        reason = f"{program} is not installed (on Debian: apt install {package or program})"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found

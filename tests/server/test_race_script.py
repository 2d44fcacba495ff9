"""The races that the README invites to."""

import subprocess
import sys

from tests import service
from tests.service import ROOT


def test_every_race_is_fair(dsn: str) -> None:
    """A few rounds of each, on a server of the test's own."""
    with service.start(dsn) as server:
        command = [sys.executable, "scripts/race.py", "--address", server.grpc, "--rounds", "3", "--clients", "48"]
        done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (0, "") == (done.returncode, done.stderr), done.stdout
    assert 6 == done.stdout.count("3 rounds")

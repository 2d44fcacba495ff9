"""The version before runs on the schema of this one."""

import os
import subprocess
import sys

import pytest

from tests.service import ROOT

TESTS = ["tests/integration/test_black_box.py", "tests/api/test_appointments.py", "tests/api/test_auth.py"]
"""What everybody does; ``python scripts/previous.py`` runs all that is black-box."""


NOTHING_OLDER = 3
"""What the script exits with where there is no history."""


@pytest.mark.timeout(600)
def test_the_version_before_serves_while_and_after_the_schema_is_migrated() -> None:
    """Its wheel, with its own black-box tests: a rolling upgrade, when it has come half way."""
    command = [sys.executable, "scripts/previous.py", "--tests", *TESTS]
    # The older tests are a run of their own: what this run was told is nothing to them.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=550)
    if done.returncode == NOTHING_OLDER:
        pytest.skip(done.stderr.strip())
    assert 0 == done.returncode, done.stdout + done.stderr
    assert "migrated under it: 00" in done.stdout
    assert " passed" in done.stdout

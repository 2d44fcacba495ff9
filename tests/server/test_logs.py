"""What an error leaves in the log."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys, structlog
from appointments.server import logs
logs.configure(json=sys.argv[1] == "json", level="info")
def fail(password):
    raise RuntimeError("broken")
try:
    fail("correct-" + "horse")
except RuntimeError as error:
    structlog.get_logger("appointments").error("unexpected", exc_info=error)
    import logging
    logging.getLogger("elsewhere").exception("also")
"""


@pytest.mark.parametrize("form", ["json", "readable"])
def test_a_traceback_shows_no_values(form: str) -> None:
    """Code and lines, but no local variables: among them are tokens and passwords."""
    result = subprocess.run([sys.executable, "-c", SCRIPT, form], capture_output=True, text=True, check=True)
    assert result.stdout.count("RuntimeError: broken") == 2
    assert "correct-horse" not in result.stdout + result.stderr

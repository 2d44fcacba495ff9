"""What an error leaves in the log."""

import io
import json
import subprocess
import sys
import threading

import pytest

from appointments.server import log_writer

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


def test_lines_are_written_in_order_and_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when the queue is full, not by several threads, and not at the end."""
    monkeypatch.setattr(log_writer, "MOST_LINES", 10)
    target = io.StringIO()
    writer = log_writer.Writer(target)

    def log(name: str) -> None:
        for number in range(1000):
            writer.write(f"{name} {number}\n")

    threads = [threading.Thread(target=log, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.drain()
    lines = target.getvalue().splitlines()
    for name in "abc":
        assert [f"{name} {number}" for number in range(1000)] == [line for line in lines if line.startswith(name)]
    assert len(lines) == 3000


@pytest.mark.parametrize("end", ["", "logs.drain(); os._exit(0)", "sys.exit(1)", "1 / 0"])
def test_the_last_line_is_written_before_the_end(end: str) -> None:
    """However the process ends by itself."""
    script = f"""
import os, sys, structlog
from appointments.server import logs
logs.configure(json=True, level="info")
structlog.get_logger("appointments").info("the last words")
{end}
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    (line,) = result.stdout.splitlines()
    assert json.loads(line)["event"] == "the last words"


def test_a_reader_that_has_gone_stops_nobody() -> None:
    """The pipe is closed, and the program goes on."""
    script = """
import sys, time, structlog
from appointments.server import logs
logs.configure(json=True, level="info")
sys.stdin.read()
for _ in range(20_000):
    structlog.get_logger("appointments").info("nobody reads this")
logs.drain()
print("done", file=sys.stderr)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    process.stdin.close()
    assert "done" in process.stderr.read().decode()
    process.stderr.close()
    process.wait()

"""Does the version before run on the schema of this one? That is what happens while instances are rolled.

    python scripts/previous.py COMMIT

It serves an older commit on a scratch PostgreSQL, applies this version's migrations while that runs, and then lets the
older commit's own black-box tests loose on it. Exits with what they exit with.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

from appointments.db import embedded

ROOT = Path(__file__).resolve().parent.parent
TESTS = [
    "tests/integration/test_black_box.py",
    "--deselect",
    "tests/integration/test_black_box.py::test_the_page_is_served",
]
START_SECONDS = 60.0


def unpack(commit: str, folder: Path) -> None:
    """Unpack the older tree. Generated code and migrations are in it, the built page is not."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "--extract", f"--directory={folder}"], input=archive, check=True)


def free_address() -> str:
    """A port of loopback that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return f"127.0.0.1:{found.getsockname()[1]}"


def wait(url: str, process: subprocess.Popen[bytes]) -> None:
    """Return when a service is ready."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    raise SystemExit("the older version does not become ready")


def main() -> int:
    """Try it."""
    (commit,) = sys.argv[1:]
    with tempfile.TemporaryDirectory() as place, embedded.scratch() as database:
        folder = Path(place)
        unpack(commit, folder)
        older = {**os.environ, "PYTHONPATH": str(folder / "src"), "DATABASE_URL": database.dsn, "BCRYPT_COST": "4"}
        older |= {"GRPC_BIND": free_address(), "HTTP_BIND": free_address(), "TRUSTED_PROXY_HOPS": "1"}
        process = subprocess.Popen([sys.executable, "-m", "appointments", "serve"], cwd=folder, env=older)
        try:
            wait(f"http://{older['HTTP_BIND']}", process)
            newer = {**os.environ, "DATABASE_URL": database.dsn}
            subprocess.run([sys.executable, "-m", "appointments", "migrate"], cwd=ROOT, env=newer, check=True)
            target = {"APPOINTMENTS_TARGET_GRPC": older["GRPC_BIND"], "APPOINTMENTS_TARGET_HTTP": older["HTTP_BIND"]}
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
            return subprocess.run(command, cwd=folder, env=older | target, check=False).returncode
        finally:
            process.terminate()
            process.wait(30)


if __name__ == "__main__":
    sys.exit(main())

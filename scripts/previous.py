"""Does the version before run on the schema of this one? That is what happens while instances are rolled.

    python scripts/previous.py [COMMIT] [--tests TESTS…]

It builds the wheel of an older commit, serves it on a scratch PostgreSQL, applies this version's migrations while that
runs, and then lets the older commit's own black-box tests loose on it. It exits with what they exit with. Without
COMMIT it takes the newest release, or, while there is none, the last commit that lacks a migration of this one. It
needs git and its history, and exits with 3 where they know of no older version. It needs no network: the older version
runs on what this one has installed.
"""

import argparse
import os
import shutil
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
MIGRATIONS = "migrations"
TESTS = ["tests/integration/test_black_box.py", "tests/api"]
NO_PAGE = "tests/integration/test_black_box.py::test_the_page_is_served"
"""The page is not built here: that takes Node's packages of the older commit."""

START_SECONDS = 60.0
NOTHING_OLDER = 3


def git(*arguments: str) -> str:
    """What git says, without the line's end; "" if it knows nothing, or is not there."""
    if not shutil.which("git"):
        return ""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def migrations(commit: str) -> list[str]:
    """The migrations of a commit in order, each as git lists it: with its contents' hash."""
    return git("ls-tree", commit, f"{MIGRATIONS}/").splitlines()


def before() -> str:
    """The newest release that is not this version, or the last commit that lacks a migration of this one."""
    if release := git("describe", "--tags", "--abbrev=0", "HEAD^"):
        return git("rev-parse", f"{release}^{{commit}}")
    ours = migrations("HEAD")
    for changed in git("log", "--format=%H", "--", MIGRATIONS).split():
        older = git("rev-parse", "--verify", f"{changed}^")
        # On its way here a migration may have had another number for a while: nobody can come from there.
        if (theirs := migrations(older)) and theirs == ours[: len(theirs)] and len(theirs) < len(ours):
            return older
    return ""


def unpack(commit: str, folder: Path) -> None:
    """Unpack the older tree: its tests, and what its wheel is built of."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "--extract", f"--directory={folder}"], input=archive, check=True)


def build(folder: Path) -> Path:
    """Build the wheel and install it, without what it depends on; return where it is."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
    only = ["--no-deps", "--no-build-isolation", "--no-index"]
    (folder / "src/appointments/page").mkdir(exist_ok=True)
    subprocess.run([*pip, "wheel", *only, "--wheel-dir", str(folder / "dist"), str(folder)], check=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    place = folder / "installed"
    subprocess.run([*pip, "install", *only, "--target", str(place), str(wheel)], check=True)
    return place


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", nargs="?", default=before())
    parser.add_argument("--tests", nargs="+", default=TESTS, help="of the older commit")
    given = parser.parse_args()
    if not given.commit:
        print("there is no older version in the history of this checkout", file=sys.stderr)
        return NOTHING_OLDER
    with tempfile.TemporaryDirectory() as place, embedded.scratch() as database:
        folder = Path(place)
        unpack(given.commit, folder)
        installed = build(folder)
        older = {**os.environ, "PYTHONPATH": str(installed), "DATABASE_URL": database.dsn, "BCRYPT_COST": "4"}
        older |= {"GRPC_BIND": free_address(), "HTTP_BIND": free_address(), "TRUSTED_PROXY_HOPS": "1"}
        older |= {"APPOINTMENTS_DATA": str(folder / "data"), "LOG_LEVEL": "error"}
        whence = "import appointments; print(appointments.__file__)"
        found = subprocess.check_output([sys.executable, "-c", whence], cwd=place, env=older, text=True)
        assert Path(found.strip()).is_relative_to(installed), f"{found} is not what was built"
        process = subprocess.Popen([sys.executable, "-m", "appointments", "serve"], cwd=place, env=older)
        try:
            wait(f"http://{older['HTTP_BIND']}", process)
            newer = {**os.environ, "DATABASE_URL": database.dsn, "DATABASE_DIRECT_URL": ""}
            done = subprocess.check_output(
                [sys.executable, "-m", "appointments", "migrate"], cwd=ROOT, env=newer, text=True
            )
            applied = ", ".join(done.split("\n")[:-1])
            print(f"{given.commit[:12]} serves a schema that is migrated under it: {applied}", flush=True)
            target = {"APPOINTMENTS_TARGET_GRPC": older["GRPC_BIND"], "APPOINTMENTS_TARGET_HTTP": older["HTTP_BIND"]}
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--deselect", NO_PAGE]
            return subprocess.run([*command, *given.tests], cwd=folder, env=older | target, check=False).returncode
        finally:
            process.terminate()
            process.wait(30)


if __name__ == "__main__":
    sys.exit(main())

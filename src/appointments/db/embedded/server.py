"""The embedded development database: a PostgreSQL that nobody has to install or administer.

It keeps its data between runs, and the data is as durable as PostgreSQL makes it. It listens on a free loopback port
with a password. It ends with the process that started it, however that ends. It never signals anybody else's process,
and never opens the permissions of an existing folder. If we are root, PostgreSQL runs as an unprivileged user.

It is not for production: one machine, one superuser, no backups. Linux only. The server ends with the *thread* that
called :func:`serve`, because that is what the kernel's PR_SET_PDEATHSIG means. So call it from the main thread.

A data folder holds ``cluster`` (PostgreSQL's own), ``password``, ``port`` and ``postgres.log``.
"""

import fcntl
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from appointments.db.embedded.binaries import Account, DatabaseUnavailable, find, is_reachable, major, reachable

NAME = "appointments"
"""The name of the superuser and of the database."""

STATE = Path("/var/lib/appointments")
"""Where root's data is. Root's home is closed to the user that PostgreSQL runs as."""

START_SECONDS = 120.0
"""How long a start may take. A recovery after a crash fits in."""

STOP_SECONDS = 5.0
ORPHAN_SECONDS = 10.0
"""How long a server may take to notice that its owner was killed, and to stop."""

LOG_BYTES = 10_000_000

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a socket's path may have 107 bytes, a home folder more
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@dataclass(frozen=True, slots=True)
class Server:
    """A running PostgreSQL that accepts connections. ``pid`` is its postmaster's."""

    dsn: str
    pid: int
    log: Path


def default_data() -> Path:
    """Return where the data is kept between runs: a folder for each user and major version of PostgreSQL.

    ``APPOINTMENTS_DATA`` names another place for it.
    """
    return data_folder() / f"postgres-{major(find())}"


def data_folder() -> Path:
    """Where everything is kept that development keeps."""
    if folder := os.environ.get("APPOINTMENTS_DATA"):
        return Path(folder).absolute()
    if os.geteuid() == 0:
        return STATE
    chosen = Path(os.environ.get("XDG_DATA_HOME", ""))
    # The XDG base directory specification: relative paths are to be ignored.
    return (chosen if chosen.is_absolute() else Path.home() / ".local/share") / NAME


@contextmanager
def serve(data: Path, *, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Run PostgreSQL on ``data``, which is created if need be, until the block ends.

    ``settings`` are PostgreSQL's own parameters. They win over ours.

    Raises:
        DatabaseUnavailable: it cannot run here, or another server has the data.
    """
    with ExitStack() as stack:
        try:
            cluster = stack.enter_context(_claimed(data.absolute()))
            cluster.create(durable=(settings or {}).get("fsync") != "off")
            process, port = cluster.start({**SETTINGS, **(settings or {})})
            stack.callback(_stop, process)
            cluster.wait_until_ready(process)
            dsn = _dsn(cluster.data, port)
        except (OSError, subprocess.SubprocessError) as error:
            raise DatabaseUnavailable(f"The embedded PostgreSQL cannot use {data}: {error}") from error
        yield Server(dsn, process.pid, cluster.log)


def running(data: Path) -> str | None:
    """The DSN of the server that another process runs on ``data`` just now; None if there is none."""
    try:
        folder_fd = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        return None if _lock(folder_fd, seconds=0) else _dsn(data, int((data / "port").read_text()))
    finally:
        os.close(folder_fd)  # and the lock is free again


def _dsn(data: Path, port: int) -> str:
    password = (data / "password").read_text()
    return f"postgresql://{NAME}:{password}@127.0.0.1:{port}/{NAME}"


@contextmanager
def scratch(*, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Run PostgreSQL on a temporary folder, for tests. Nothing is kept, so nothing has to reach the disk."""
    # Root's own temporary folder may be closed to the user that PostgreSQL runs as.
    place = "/tmp" if os.geteuid() == 0 else None  # noqa: S108 - mkdtemp makes an unguessable name in it
    with tempfile.TemporaryDirectory(prefix="appointments-", dir=place) as folder:
        Path(folder).chmod(0o711)
        hasty = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
        with serve(Path(folder) / "data", settings={**hasty, **(settings or {})}) as server:
            yield server


@dataclass(frozen=True)
class _Cluster:
    """A data folder that nobody else uses, and what it takes to run PostgreSQL on it."""

    data: Path
    account: Account | None
    binaries: Path
    log_fd: int
    log_start: int

    @property
    def log(self) -> Path:
        return self.data / "postgres.log"

    @property
    def folder(self) -> Path:
        return self.data / "cluster"

    def create(self, *, durable: bool) -> None:
        """Make the cluster and its database, under another name first, so that a half-made one never counts."""
        if self.folder.exists():
            return
        staging = self.data / "cluster.new"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        password = self.data / "password"
        password.unlink(missing_ok=True)
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(24))
        if self.account:
            os.chown(staging, *self.account)
            os.chown(password, *self.account)
        locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        self._run(
            "initdb", f"--pgdata={staging}", f"--username={NAME}", f"--pwfile={password}", "--auth=scram-sha-256",
            "--encoding=UTF8", *(locale if major(self.binaries) >= 17 else ["--locale=C.UTF-8"]),  # builtin: since 17
            "--lc-messages=C", *([] if durable else ["--no-sync"]),
        )  # fmt: skip
        self._run("postgres", "--single", "-D", str(staging), "postgres", text=f"CREATE DATABASE {NAME}\n")
        staging.rename(self.folder)

    def start(self, settings: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], int]:
        """Start the server, on the port of the last run if that is free."""
        self._forget_stale_pid()
        port = _free_port(self.data / "port")
        options = [f"--{name}={value}" for name, value in {**settings, "port": str(port)}.items()]
        # SIGINT is a fast shutdown: sessions are rolled back, and the next start needs no recovery.
        process = self._spawn(
            "postgres", "-D", str(self.folder), *options, death=signal.SIGINT, stdin=subprocess.DEVNULL
        )
        return process, port

    def wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the line in ``postmaster.pid`` that pg_ctl waits for too."""
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready(process.pid):
            if process.poll() is not None:
                raise self._failure("PostgreSQL did not start")
            if time.monotonic() > deadline:
                raise self._failure(f"PostgreSQL was not ready after {START_SECONDS:.0f} s")
            time.sleep(0.01)

    def _is_ready(self, pid: int) -> bool:
        try:
            lines = (self.folder / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _forget_stale_pid(self) -> None:
        # No server of ours is left, because all of them hold our lock. But a file left by a crash stops PostgreSQL if
        # some other process has its number by now, as soon happens in a container. A postmaster's working folder is its
        # cluster, so that tells whether it is one.
        file = self.folder / "postmaster.pid"
        if not file.exists():
            return
        if not file.read_text():  # left by a crash, or of a server that starts by hand at this moment
            time.sleep(1)
        first = file.read_text().partition("\n")[0]
        running = Path(f"/proc/{first.lstrip('-')}/cwd")
        try:
            in_use = first != "" and running.samefile(self.folder)
        except (FileNotFoundError, PermissionError):  # no such process, or one of a user who could not have the data
            in_use = False
        if in_use:
            raise DatabaseUnavailable(f"Another PostgreSQL (process {first}) is running on {self.folder}.")
        file.unlink()

    def _run(self, program: str, *arguments: str, text: str = "") -> None:
        with self._spawn(program, *arguments, death=signal.SIGKILL, stdin=subprocess.PIPE) as process:
            try:
                process.communicate(text.encode(), timeout=START_SECONDS)
            finally:
                process.kill()
        if process.returncode != 0:
            raise self._failure(f"{program} failed")

    def _spawn(self, program: str, *arguments: str, death: signal.Signals, stdin: int) -> subprocess.Popen[bytes]:
        launcher = str(Path(__file__).with_name("launch.py"))
        uid, gid = self.account or (-1, -1)
        # Little of the environment is passed on. PG* variables would change what PostgreSQL does, and it needs no
        # secrets.
        kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        return subprocess.Popen(  # noqa: S603 - no shell, and nothing of it comes from outside
            [sys.executable, "-I", "-S", launcher, *map(str, (os.getpid(), int(death), uid, gid)),
             str(self.binaries / program), *arguments],
            stdin=stdin, stdout=self.log_fd, stderr=self.log_fd, cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", **kept},
            start_new_session=True,  # a Ctrl-C in the terminal must not reach it: we drain first
        )  # fmt: skip

    def _failure(self, what: str) -> DatabaseUnavailable:
        with self.log.open("rb") as log:
            log.seek(self.log_start)
            tail = log.read().decode(errors="replace").splitlines()[-12:]
        return DatabaseUnavailable("\n  ".join([f"{what}. The end of {self.log}:", *tail]))


@contextmanager
def _claimed(data: Path) -> Iterator[_Cluster]:
    """Take two locks. The folder's says that somebody runs a server on it, the log's that a server is still alive.

    Every process of a server inherits the log as its stderr. So whoever gets the log's lock knows that none is left,
    even after the owner was killed.
    """
    account = _account(data) if os.geteuid() == 0 else None
    _make_folder(data, account)
    with ExitStack() as stack:
        folder_fd = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
        stack.callback(os.close, folder_fd)
        if not _lock(folder_fd, seconds=0):
            raise DatabaseUnavailable(f"Another server is running on {data}: stop that one first.")
        log_fd = os.open(data / "postgres.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        stack.callback(os.close, log_fd)
        if not _lock(log_fd, seconds=ORPHAN_SECONDS):
            raise DatabaseUnavailable(f"A PostgreSQL whose owner was killed is still running on {data}: try again.")
        if os.fstat(log_fd).st_size > LOG_BYTES:
            os.ftruncate(log_fd, 0)
        usable = reachable(find(), account)
        yield _Cluster(data, account, usable, log_fd, os.fstat(log_fd).st_size)


def _lock(fd: int, *, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask for a fast shutdown, then for an immediate one, then kill it. It may be gone already."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return


def _account(data: Path) -> Account:
    """Return the owner of existing data, or else an unprivileged user: PostgreSQL refuses to run as root."""
    cluster = data / "cluster"
    if cluster.exists() and (owner := cluster.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    users = {user.pw_name: user for user in pwd.getpwall() if user.pw_uid != 0}
    for user in (users.get("postgres"), users.get("nobody"), *users.values()):
        if user:
            return Account(user.pw_uid, user.pw_gid)
    raise DatabaseUnavailable("PostgreSQL refuses to run as root, and there is no other user: add one named postgres.")


def _make_folder(data: Path, account: Account | None) -> None:
    missing = [folder for folder in (data, *data.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir()
        # Independent of the umask. With an account root owns the folder, and the account only passes through it.
        folder.chmod(0o711 if account else 0o700)
    if account and not is_reachable(data, account):
        raise DatabaseUnavailable(
            f"{data} is closed to user {account.uid}, whom PostgreSQL runs as. Choose a folder outside of closed ones."
        )


def _free_port(memory: Path) -> int:
    """Return the port of the last run if it is free, or else any free one, and remember it."""
    remembered = memory.read_text() if memory.exists() else ""
    for wanted in (int(remembered) if remembered.isdecimal() else 0, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as PostgreSQL does
            with suppress(OSError):
                probe.bind(("127.0.0.1", wanted))
                port: int = probe.getsockname()[1]
                memory.write_text(str(port))
                return port
    raise DatabaseUnavailable("There is no free port on 127.0.0.1.")

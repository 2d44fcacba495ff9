"""A streaming pair for the tests: a primary, and a standby that can be held back, killed and promoted."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from appointments.db import embedded
from appointments.db.embedded import Server
from appointments.db.embedded.binaries import find

HASTY = {"fsync": "off", "full_page_writes": "off"}


@contextmanager
def copied(primary: Server) -> Iterator[Path]:
    """A data folder with a copy of the primary, which streams from it as soon as it is served."""
    owner = Path(f"/proc/{primary.pid}").stat()
    with tempfile.TemporaryDirectory(prefix="appointments-standby-", dir="/tmp") as folder:
        Path(folder).chmod(0o711)
        data = Path(folder) / "data"
        data.mkdir(mode=0o711)
        where = [f"--pgdata={data / 'cluster'}", f"--dbname={primary.dsn}"]
        how = ["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"]
        subprocess.run([find() / "pg_basebackup", *where, *how], check=True)
        (data / "password").write_text(str(urlsplit(primary.dsn).password))
        for path in (data / "cluster", *(data / "cluster").rglob("*"), data / "password"):
            shutil.chown(path, owner.st_uid, owner.st_gid)
        yield data


@contextmanager
def following(data: Path) -> Iterator[Server]:
    """Serve a copy while the block lasts, as far as the primary has come."""
    with embedded.serve(data, settings=HASTY) as standby:
        yield standby


def wait_until_equal(primary: str, standby: str, seconds: float = 30.0) -> None:
    """Return when the standby has replayed all that the primary has written."""
    until = time.monotonic() + seconds
    with psycopg.connect(primary, autocommit=True) as ahead, psycopg.connect(standby, autocommit=True) as behind:
        # Not the position of inserts: a copy has just had the log switched, and that stands behind what can be sent.
        row = ahead.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
        assert row
        while behind.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", row).fetchone() != (True,):
            assert time.monotonic() < until, "the standby does not catch up"
            time.sleep(0.02)

"""Restore a backup somewhere else, and see that it is all there: a drill, for a cron job or a person.

    DATABASE_URL=… python scripts/drill.py [--into DSN] [--keep FILE]

It dumps the database while it is in use, restores the dump into a scratch PostgreSQL (or the empty database that
``--into`` names), and compares the rows of every table, by count and by checksum, with what the dump's snapshot had.
Then it begins a new epoch, as after any restore, and has the doctor look. It exits with 1 if anything differs, and only
reads DATABASE_URL. ``--keep`` keeps the dump; whether that is the right place for it is up to you.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from appointments.db import embedded
from appointments.db.embedded.binaries import find

# The order of rows does not matter, so their hashes are added up. Both sides print values in the same way.
_SETTINGS = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET extra_float_digits = 3"
_TABLES = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname"
_SUM = "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text FROM {} AS t"


@dataclass(frozen=True)
class Table:
    """What is compared."""

    rows: int
    checksum: str


def look(connection: psycopg.Connection) -> dict[str, Table]:
    """Count and add up every table."""
    connection.execute(_SETTINGS)
    names = [str(row[0]) for row in connection.execute(_TABLES)]
    found = {}
    for name in names:
        row = connection.execute(sql.SQL(_SUM).format(sql.Identifier(name))).fetchone()
        found[name] = Table(*row) if row else Table(-1, "")
    return found


def dump(source: str, file: Path) -> dict[str, Table]:
    """Dump one moment of the database; return what it had in that moment."""
    with psycopg.connect(source) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        row = connection.execute("SELECT pg_export_snapshot()").fetchone()
        assert row
        how = ["--format=custom", "--no-owner", "--no-privileges", f"--snapshot={row[0]}", f"--file={file}"]
        subprocess.run([find() / "pg_dump", *how, f"--dbname={source}"], check=True)
        return look(connection)


def restore(target: str, file: Path) -> dict[str, Table]:
    """Restore a dump into an empty database; return what is there."""
    how = ["--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction"]
    subprocess.run([find() / "pg_restore", *how, f"--dbname={target}", file], check=True)
    with psycopg.connect(target) as connection:
        return look(connection)


def compare(before: dict[str, Table], after: dict[str, Table]) -> list[str]:
    """Print every table; return those that differ."""
    for name in sorted(before | after):
        rows = before[name].rows if name in before else 0
        print(f"{'same' if before.get(name) == after.get(name) else 'DIFFERS':8}{name:24}{rows:>12,} rows")
    return [name for name in sorted(before | after) if before.get(name) != after.get(name)]


def appointments(target: str, *arguments: str) -> int:
    """Run a command of the service's on the restored database."""
    env = {**os.environ, "DATABASE_URL": target, "ENVIRONMENT": "development", "DATABASE_DIRECT_URL": ""}
    env |= {"DATABASE_REPLICA_URL": "", "REDIS_URL": ""}
    return subprocess.run([sys.executable, "-m", "appointments", *arguments], env=env, check=False).returncode


def main() -> int:
    """Do the drill."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", help="an empty database; a scratch PostgreSQL if it is not given")
    parser.add_argument("--keep", type=Path, help="where the dump stays")
    given = parser.parse_args()
    source = os.environ.get("DATABASE_URL")
    if not source:
        parser.error("DATABASE_URL is not set")
    with ExitStack() as stack:
        file = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "appointments.dump"
        target = given.into or stack.enter_context(embedded.scratch()).dsn
        begun = time.monotonic()
        before = dump(source, file)
        dumped = time.monotonic()
        after = restore(target, file)
        restored = time.monotonic()
        wrong = compare(before, after)
        size = file.stat().st_size
        print(f"dumped {size:,} bytes in {dumped - begun:.1f} s, restored in {restored - dumped:.1f} s")
        epoch = appointments(target, "changes", "new-epoch")
        doctor = appointments(target, "admin", "doctor")
    if wrong or epoch or doctor:
        print("The drill has failed.", file=sys.stderr)
        return 1
    print("The backup is whole.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

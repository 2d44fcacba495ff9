"""Forward-only migrations: the files ``NNNN_name.sql``. Each is applied once, in order, and whole or not at all.

Any number of processes may start at once: each file runs in a transaction of its own that holds an advisory lock and
records the file in ``schema_migrations``. The lock belongs to the transaction, so it cannot outlive a killed process or
leak through pgbouncer. A database that does not fit the files is refused: if an applied file was edited, if there is a
gap, or if only newer code knows its version.

A file may hold any number of statements, but none that controls transactions or refuses to run in one.

What would lock a large table for long goes into a file whose first line says ``-- Outside a transaction.`` It may hold
``CREATE INDEX CONCURRENTLY IF NOT EXISTS``, ``DROP INDEX CONCURRENTLY IF EXISTS`` and ``VALIDATE CONSTRAINT``, all of
which can be run again after a crash. They run one after the other. tests/db/test_migration_locks.py refuses the rest.
"""

import asyncio
import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

Connection = psycopg.AsyncConnection[TupleRow]

PACKAGED = files("appointments.db") / "migrations"

LOCK_KEY = 0x6170706F696E74
"""The number of the advisory lock: "appoint" in ASCII. Advisory locks are per database."""

TURN_SECONDS = 1800.0
"""How long a process waits while another one migrates."""

LOCK_TIMEOUT = "5s"
"""How long a migration waits for a table. Every query of that table queues behind it meanwhile."""

PATIENT_LOCK_TIMEOUT = "5min"
"""The same outside a transaction. These locks let readers and writers pass, so waiting for them holds nobody up."""

STATEMENT_TIMEOUT = "30min"

TURN_PAUSE = 0.2
"""Seconds between two attempts to get the lock."""

OUTSIDE = "-- Outside a transaction."

_PASSING = ("08", "40", "55P03", "57P")
"""SQLSTATEs that another try may heal: connection, deadlock, lock timeout, the server's shutdown and start."""

_log = logging.getLogger(__name__)


class MigrationFault(Exception):
    """The database could not be migrated to this version of the code. The message is for the operator."""


class MigrationEdited(MigrationFault):
    """A file was edited after it had been applied."""


class MigrationsMisnumbered(MigrationFault):
    """The files are not numbered 0001, 0002 and so on without gaps, or one of them has no such name."""


class SchemaNewer(MigrationFault):
    """The database was migrated by newer code."""


class MigrationFailed(MigrationFault):
    """PostgreSQL refused a file. Nothing of it was kept."""


class DatabaseUnreachable(MigrationFault):
    """The database did not answer in time."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. Its ``checksum`` does not depend on the line ends of a checkout."""

    version: int
    name: str
    sql: str

    @property
    def outside(self) -> bool:
        """Whether it runs outside a transaction, statement by statement."""
        return self.sql.startswith(OUTSIDE)

    @property
    def statements(self) -> list[str]:
        """The statements of a file that runs outside a transaction: each ends with a semicolon at the end of a line."""
        code = re.sub(r"^--.*$", "", self.sql, flags=re.MULTILINE)
        return [statement for part in re.split(r";\s*$", code, flags=re.MULTILINE) if (statement := part.strip())]

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hex."""
        return sha256(self.sql.encode()).hexdigest()


def read(folder: Traversable = PACKAGED) -> list[Migration]:
    """Read the files in order.

    Raises:
        MigrationsMisnumbered: a number is missing or comes twice, or a name has another form.
    """
    migrations = []
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    for version, name in enumerate(names, start=1):
        if not re.fullmatch(rf"{version:04}_\w+\.sql", name, re.ASCII):
            raise MigrationsMisnumbered(f"{name} is where migration {version:04}_….sql should be.")
        migrations.append(Migration(version, name.removesuffix(".sql"), (folder / name).read_text(encoding="utf-8")))
    return migrations


async def migrate(dsn: str, *, folder: Traversable = PACKAGED, patience: float = 30.0) -> list[str]:
    """Apply the files that the database lacks; return the names of those that this process applied.

    Where another try may help, it goes on for ``patience`` seconds after the last success: if the database is not up
    yet, if the connection was lost, or if a table was in use for too long.

    Raises:
        MigrationFault: one of its kinds.
    """
    migrations = read(folder)
    applied: list[str] = []
    deadline = time.monotonic() + patience
    pause = 0.1
    while True:
        try:
            async with await _connect(dsn) as connection:
                while name := await _apply_next(connection, dsn, migrations):
                    _log.info("migration applied: %s", name)
                    applied.append(name)
                    deadline = time.monotonic() + patience
                return applied
        except psycopg.Error as error:
            if not _may_pass(error):
                raise MigrationFault(f"The database refuses: {error}") from error
            if time.monotonic() > deadline:
                raise DatabaseUnreachable(f"The database cannot be migrated at the moment: {error}") from error
            _log.warning("waiting for the database: %s", error)
        await asyncio.sleep(pause)
        pause = min(2 * pause, 2.0)


async def _connect(dsn: str) -> Connection:
    return await psycopg.AsyncConnection.connect(
        dsn,
        connect_timeout=5,
        autocommit=True,
        prepare_threshold=None,  # pgbouncer hands out another server in each transaction
        application_name="appointments migrate",
    )


async def pending(connection: Connection, *, folder: Traversable = PACKAGED) -> list[str]:
    """Return the names of the files that the database lacks. A database newer than the code lacks none."""
    versions = {version for version, _, _ in await _recorded(connection)}
    return [migration.name for migration in read(folder) if migration.version not in versions]


async def _apply_next(connection: Connection, dsn: str, migrations: Sequence[Migration]) -> str | None:
    deadline = time.monotonic() + TURN_SECONDS
    while True:
        async with connection.transaction():
            # We ask again and again. A process that waited inside PostgreSQL would hold a snapshot, and CREATE INDEX
            # CONCURRENTLY waits for every snapshot to end.
            cursor = await connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK_KEY])
            if await cursor.fetchone() == (True,):
                return await _apply_first(connection, dsn, migrations)
        if time.monotonic() > deadline:
            raise DatabaseUnreachable("Another process has been migrating the database for too long.")
        await asyncio.sleep(TURN_PAUSE)


async def _apply_first(connection: Connection, dsn: str, migrations: Sequence[Migration]) -> str | None:
    """Apply the first file that the database lacks, in the transaction that has the lock."""
    recorded = await _recorded(connection)
    _check(migrations, recorded)
    if len(recorded) == len(migrations):
        return None
    migration = migrations[len(recorded)]
    try:
        if migration.outside:
            await _apply_outside(dsn, migration)
        else:
            await _apply(connection, migration)
        await connection.execute(
            "INSERT INTO schema_migrations (version, name, checksum) VALUES (%s, %s, %s)",
            [migration.version, migration.name, migration.checksum],
        )
    except psycopg.Error as error:
        if _may_pass(error):
            raise
        raise MigrationFailed(f"{migration.name} failed: {error}") from error
    return migration.name


async def _apply_outside(dsn: str, migration: Migration) -> None:
    """Run a file's statements one by one, while the transaction of another connection has the lock."""
    async with await _connect(dsn) as connection:
        await _limit(connection, lock=PATIENT_LOCK_TIMEOUT, statement=STATEMENT_TIMEOUT, local=False)
        for statement in migration.statements:
            if match := _INDEX.match(statement):
                await _drop_invalid(connection, match["name"])
            await connection.execute(statement.encode())


_INDEX = re.compile(r"CREATE\s+(UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+IF\s+NOT\s+EXISTS\s+(?P<name>\w+)")


async def _drop_invalid(connection: Connection, index: str) -> None:
    # An interrupted build leaves an index that has the name and is kept up to date, but that no query uses.
    cursor = await connection.execute(
        "SELECT FROM pg_index WHERE indexrelid = to_regclass(%s) AND NOT indisvalid", [index]
    )
    if await cursor.fetchone() is not None:
        await connection.execute(f"DROP INDEX CONCURRENTLY {index}".encode())


async def _apply(connection: Connection, migration: Migration) -> None:
    await _limit(connection, lock=LOCK_TIMEOUT, statement=STATEMENT_TIMEOUT)
    if migration.version == 1:
        await connection.execute(
            "CREATE TABLE schema_migrations ("
            " version integer CONSTRAINT schema_migrations_pkey PRIMARY KEY, name text NOT NULL,"
            " checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
    await connection.execute(migration.sql.encode())
    if connection.info.transaction_status != TransactionStatus.INTRANS:
        raise MigrationFailed(f"{migration.name} ends the transaction that it runs in: take out its COMMIT.")


async def _limit(connection: Connection, *, lock: str, statement: str, local: bool = True) -> None:
    # The last setting: if the client of a long statement is killed, the statement and its locks soon end.
    await connection.execute(
        "SELECT set_config('lock_timeout', %s, %s), set_config('statement_timeout', %s, %s),"
        " set_config('client_connection_check_interval', '1s', %s)",
        [lock, local, statement, local, local],
    )


async def _recorded(connection: Connection) -> list[tuple[int, str, str]]:
    # A role that may only use the tables could not run CREATE TABLE IF NOT EXISTS, even where it does nothing.
    cursor = await connection.execute("SELECT to_regclass('schema_migrations') IS NOT NULL")
    if await cursor.fetchone() != (True,):
        return []
    cursor = await connection.execute("SELECT version, name, checksum FROM schema_migrations ORDER BY version")
    return [(version, name, checksum) async for version, name, checksum in cursor]


def _may_pass(error: psycopg.Error) -> bool:
    # Without an SQLSTATE there was no server to send one.
    return isinstance(error, psycopg.OperationalError) and (error.sqlstate or "08").startswith(_PASSING)


def _check(migrations: Sequence[Migration], recorded: Sequence[tuple[int, str, str]]) -> None:
    """See that the applied files are the first ones of those that there are."""
    for position, (version, name, checksum) in enumerate(recorded):
        if position == len(migrations):
            raise SchemaNewer(f"The database has migration {name}, which this version does not know: upgrade it first.")
        if version != migrations[position].version:
            raise MigrationFault(f"The database lacks {migrations[position].name} but has {name}, which comes later.")
        if checksum != migrations[position].checksum:
            raise MigrationEdited(f"{name} was edited after it had been applied: restore it and add a new migration.")

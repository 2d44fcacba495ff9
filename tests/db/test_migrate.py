"""Migrations: once each, in order, all or nothing, whoever else starts at the same moment."""

import asyncio
import itertools
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from appointments.db import migrate as migrate_module
from appointments.db.migrate import (
    PACKAGED,
    DatabaseUnreachable,
    MigrationEdited,
    MigrationFailed,
    MigrationFault,
    MigrationsMisnumbered,
    SchemaNewer,
    migrate,
    pending,
)

PROGRAM = """
import asyncio, pathlib, sys
from appointments.db.migrate import migrate
sys.stdin.read()
print(*asyncio.run(migrate(sys.argv[1], folder=pathlib.Path(sys.argv[2]))))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two migrations."""
    (tmp_path / "0001_rooms.sql").write_text("CREATE TABLE rooms (id integer);\nINSERT INTO rooms VALUES (1);\n")
    (tmp_path / "0002_names.sql").write_text("ALTER TABLE rooms ADD COLUMN name text DEFAULT '100%';\n")
    return tmp_path


def rows(dsn: str, query: str) -> list[tuple[object, ...]]:
    """Ask on a connection of its own."""
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


def start(dsn: str, folder: Path) -> subprocess.Popen[str]:
    """Start another process that migrates as soon as its stdin ends."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, dsn, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


async def test_files_are_applied_in_order_and_once(empty_dsn: str, folder: Path) -> None:
    """The first run applies all and records them; the second has nothing to do."""
    assert await migrate(empty_dsn, folder=folder) == ["0001_rooms", "0002_names"]
    assert await migrate(empty_dsn, folder=folder) == []
    assert rows(empty_dsn, "SELECT * FROM rooms") == [(1, "100%")]
    assert rows(empty_dsn, "SELECT version, name FROM schema_migrations ORDER BY version") == [
        (1, "0001_rooms"),
        (2, "0002_names"),
    ]


async def test_a_new_file_is_applied_to_an_old_database(empty_dsn: str, folder: Path) -> None:
    """What was added since the last run is applied, and only that."""
    await migrate(empty_dsn, folder=folder)
    (folder / "0003_more.sql").write_text("INSERT INTO rooms VALUES (2);")
    assert await migrate(empty_dsn, folder=folder) == ["0003_more"]


def test_ten_processes_at_once_apply_each_file_once(empty_dsn: str, folder: Path) -> None:
    """Ten instances start on an empty database: all succeed, and each file was applied by exactly one."""
    (folder / "0003_slow.sql").write_text("SELECT pg_sleep(0.2); INSERT INTO rooms VALUES (3);")
    processes = [start(empty_dsn, folder) for _ in range(10)]
    for process in processes:
        assert process.stdin
        process.stdin.close()
    outputs = []
    for process in processes:
        with process:
            assert process.stdout
            outputs.append(process.stdout.read().split())
    assert [process.returncode for process in processes] == [0] * 10
    assert sorted(itertools.chain(*outputs)) == ["0001_rooms", "0002_names", "0003_slow"]
    assert rows(empty_dsn, "SELECT id FROM rooms ORDER BY id") == [(1,), (3,)]


async def test_a_killed_process_leaves_neither_a_lock_nor_half_a_migration(empty_dsn: str, folder: Path) -> None:
    """kill -9 in the middle of a long statement: the next process goes on as if it had never been."""
    slow = folder / "0003_slow.sql"
    slow.write_text("INSERT INTO rooms VALUES (3); SELECT pg_sleep(600);")
    with start(empty_dsn, folder) as process:
        assert process.stdin
        process.stdin.close()
        asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
        while rows(empty_dsn, asleep) != [(1,)]:  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.05)
        process.kill()
    slow.write_text("INSERT INTO rooms VALUES (4);")
    assert await migrate(empty_dsn, folder=folder) == ["0003_slow"]
    assert rows(empty_dsn, "SELECT id FROM rooms ORDER BY id") == [(1,), (4,)]


async def test_an_edited_migration_is_refused_by_name(empty_dsn: str, folder: Path) -> None:
    """An applied file must stay as it was; nothing else is applied meanwhile."""
    await migrate(empty_dsn, folder=folder)
    (folder / "0001_rooms.sql").write_text("CREATE TABLE rooms (id bigint);")
    (folder / "0003_more.sql").write_text("INSERT INTO rooms VALUES (2);")
    with pytest.raises(MigrationEdited, match="0001_rooms"):
        await migrate(empty_dsn, folder=folder)
    assert rows(empty_dsn, "SELECT count(*) FROM rooms") == [(1,)]


async def test_line_ends_of_a_checkout_are_no_edit(empty_dsn: str, folder: Path) -> None:
    """A checkout with CRLF is the same migration."""
    await migrate(empty_dsn, folder=folder)
    file = folder / "0001_rooms.sql"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert await migrate(empty_dsn, folder=folder) == []


@pytest.mark.parametrize(
    "name", ["0004_gap.sql", "0002_again.sql", "0000_zero.sql", "3_short.sql", "0003.sql", "0003_with space.sql"]
)
async def test_a_number_out_of_order_is_refused(empty_dsn: str, folder: Path, name: str) -> None:
    """A gap, a number twice or another form of name is named, and nothing is applied."""
    (folder / name).write_text("SELECT 1;")
    with pytest.raises(MigrationsMisnumbered):
        await migrate(empty_dsn, folder=folder)
    assert rows(empty_dsn, "SELECT to_regclass('rooms')") == [(None,)]


async def test_other_files_in_the_folder_do_not_count(empty_dsn: str, folder: Path) -> None:
    """A README beside the migrations is no migration."""
    (folder / "README.md").write_text("How to add one.")
    assert await migrate(empty_dsn, folder=folder) == ["0001_rooms", "0002_names"]


async def test_a_database_of_newer_code_is_refused(empty_dsn: str, folder: Path) -> None:
    """Old code does not start on a newer schema; where it runs already it stays ready."""
    await migrate(empty_dsn, folder=folder)
    (folder / "0002_names.sql").unlink()
    with pytest.raises(SchemaNewer, match="0002_names"):
        await migrate(empty_dsn, folder=folder)
    async with await psycopg.AsyncConnection.connect(empty_dsn) as connection:
        assert await pending(connection, folder=folder) == []


async def test_a_lost_record_is_refused(empty_dsn: str, folder: Path) -> None:
    """A record that is missing before a later one is a fault for a person, not for a guess."""
    await migrate(empty_dsn, folder=folder)
    with psycopg.connect(empty_dsn) as connection:
        connection.execute("DELETE FROM schema_migrations WHERE version = 1")
    with pytest.raises(MigrationFault, match="lacks 0001_rooms but has 0002_names"):
        await migrate(empty_dsn, folder=folder)


async def test_a_failed_migration_leaves_nothing_of_itself(empty_dsn: str, folder: Path) -> None:
    """Its own statements are rolled back; the ones before it stay, and a corrected file goes on from there."""
    (folder / "0003_bad.sql").write_text("INSERT INTO rooms VALUES (2); SELECT 1/0;")
    with pytest.raises(MigrationFailed, match=r"0003_bad.*division by zero"):
        await migrate(empty_dsn, folder=folder)
    assert rows(empty_dsn, "SELECT id FROM rooms") == [(1,)]
    (folder / "0003_bad.sql").write_text("INSERT INTO rooms VALUES (2);")
    assert await migrate(empty_dsn, folder=folder) == ["0003_bad"]


async def test_a_failed_first_migration_leaves_an_empty_database(empty_dsn: str, folder: Path) -> None:
    """Not even the record of migrations is there."""
    (folder / "0001_rooms.sql").write_text("CREATE TABLE rooms (id nonsense);")
    with pytest.raises(MigrationFailed, match="0001_rooms"):
        await migrate(empty_dsn, folder=folder)
    assert rows(empty_dsn, "SELECT to_regclass('schema_migrations')") == [(None,)]


async def test_a_migration_that_commits_is_refused(empty_dsn: str, folder: Path) -> None:
    """A COMMIT in a file would break the promise of all or nothing, so it is named."""
    (folder / "0003_commits.sql").write_text("INSERT INTO rooms VALUES (2); COMMIT;")
    with pytest.raises(MigrationFailed, match=r"0003_commits.*COMMIT"):
        await migrate(empty_dsn, folder=folder)
    assert rows(empty_dsn, "SELECT count(*) FROM schema_migrations") == [(2,)]


async def test_a_table_in_use_is_waited_for_in_short_turns(
    empty_dsn: str, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A migration gives up its place in the table's queue, so that requests are served, and tries again."""
    monkeypatch.setattr(migrate_module, "LOCK_TIMEOUT", "50ms")
    await migrate(empty_dsn, folder=folder)
    (folder / "0003_more.sql").write_text("ALTER TABLE rooms ADD COLUMN size integer;")
    with psycopg.connect(empty_dsn) as reader:
        reader.execute("SELECT FROM rooms")
        task = asyncio.create_task(migrate(empty_dsn, folder=folder, patience=120))
        with caplog.at_level(logging.WARNING):
            while "lock timeout" not in caplog.text:  # noqa: ASYNC110 - it happens in the server
                await asyncio.sleep(0.02)
    assert await task == ["0003_more"]


async def test_patience_ends(folder: Path) -> None:
    """A database that never answers is a fault with a reason, after a bounded time."""
    with pytest.raises(DatabaseUnreachable, match=re.compile("refused", re.IGNORECASE)):
        await migrate("postgresql://nobody@127.0.0.1:1/none", folder=folder, patience=0.3)


async def test_an_unreadable_address_is_not_waited_for(folder: Path) -> None:
    """No patience helps against a DSN that is none."""
    with pytest.raises(MigrationFault):
        await migrate("nonsense", folder=folder, patience=3600)


async def test_a_role_that_owns_nothing_may_start_on_a_migrated_database(empty_dsn: str, folder: Path) -> None:
    """Who migrates and who serves can be two roles: nothing to apply needs no right to create."""
    await migrate(empty_dsn, folder=folder)
    role = f"reader_{os.getpid()}"
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'reader'")
        connection.execute(f"GRANT SELECT ON schema_migrations TO {role}")
        try:
            assert await migrate(make_conninfo(empty_dsn, user=role, password="reader"), folder=folder) == []
        finally:
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_pending_names_what_is_missing(empty_dsn: str, folder: Path) -> None:
    """Readiness: all on an empty database, none after the migration, and no failed transaction on the way."""
    async with await psycopg.AsyncConnection.connect(empty_dsn, autocommit=True) as connection:
        assert await pending(connection, folder=folder) == ["0001_rooms", "0002_names"]
        await migrate(empty_dsn, folder=folder)
        assert await pending(connection, folder=folder) == []
        (folder / "0003_more.sql").write_text("SELECT 1;")
        assert await pending(connection, folder=folder) == ["0003_more"]


async def test_the_packaged_migrations_apply_to_an_empty_database(empty_dsn: str) -> None:
    """What the wheel carries is complete and in order."""
    names = sorted(entry.name.removesuffix(".sql") for entry in PACKAGED.iterdir() if entry.name.endswith(".sql"))
    assert await migrate(empty_dsn) == names
    assert await migrate(empty_dsn) == []


OUTSIDE = """-- Outside a transaction.
-- An index, and what follows from it.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS rooms_id ON rooms (id);
ALTER TABLE rooms VALIDATE CONSTRAINT rooms_positive;
"""


async def test_a_file_may_run_outside_a_transaction(empty_dsn: str, folder: Path) -> None:
    """Once, whoever else starts at the same moment; an index that an interrupted build left behind is built anew."""
    (folder / "0003_check.sql").write_text("ALTER TABLE rooms ADD CONSTRAINT rooms_positive CHECK (id > 0) NOT VALID;")
    await migrate(empty_dsn, folder=folder)
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute("INSERT INTO rooms VALUES (1, 'twice')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("CREATE UNIQUE INDEX CONCURRENTLY rooms_id ON rooms (id)")
        connection.execute("DELETE FROM rooms WHERE name = 'twice'")
    (folder / "0004_outside.sql").write_text(OUTSIDE)
    processes = [start(empty_dsn, folder) for _ in range(3)]
    applied = [process.communicate("")[0].strip() for process in processes]
    assert ["", "", "0004_outside"] == sorted(applied)
    assert [(True,)] == rows(empty_dsn, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'rooms_id'::regclass")
    assert [(True,)] == rows(empty_dsn, "SELECT convalidated FROM pg_constraint WHERE conname = 'rooms_positive'")


async def test_an_index_is_built_while_a_writer_works(empty_dsn: str, folder: Path) -> None:
    """It waits for the transaction that is open, and lets others read and write meanwhile."""
    await migrate(empty_dsn, folder=folder)
    (folder / "0003_outside.sql").write_text(OUTSIDE.partition("ALTER")[0])
    with psycopg.connect(empty_dsn) as writer, psycopg.connect(empty_dsn, autocommit=True) as other:
        writer.execute("INSERT INTO rooms VALUES (2)")
        migrating = asyncio.create_task(migrate(empty_dsn, folder=folder))
        waiting = "SELECT FROM pg_stat_activity WHERE wait_event = 'virtualxid'"
        while not other.execute(waiting).fetchall():  # noqa: ASYNC110 - PostgreSQL tells nobody
            await asyncio.sleep(0.02)
        other.execute("INSERT INTO rooms VALUES (3)")
        writer.commit()
        assert ["0003_outside"] == await migrating


async def test_a_file_that_fails_outside_a_transaction_is_not_recorded(empty_dsn: str, folder: Path) -> None:
    """What it did stays, and the next start tries again."""
    (folder / "0003_outside.sql").write_text(OUTSIDE)
    with pytest.raises(MigrationFailed, match="0003_outside"):
        await migrate(empty_dsn, folder=folder)
    (folder / "0003_outside.sql").write_text(OUTSIDE.partition("ALTER")[0])
    assert ["0003_outside"] == await migrate(empty_dsn, folder=folder)

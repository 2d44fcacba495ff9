"""No migration keeps people waiting: none rewrites, reads or indexes a large table under an exclusive lock."""

import re
from typing import Any

import psycopg
import pytest

from appointments.db.migrate import Migration, read
from appointments.db.migration_locks import FIRST_STATED, stated

_ALLOWED_OUTSIDE = re.compile(
    r"CREATE (UNIQUE )?INDEX CONCURRENTLY IF NOT EXISTS |DROP INDEX CONCURRENTLY IF EXISTS "
    r"|ALTER TABLE \w+ VALIDATE CONSTRAINT "
)


def faults(migration: Migration) -> list[str]:
    """What a migration does that takes long on a large table, while nobody can use it."""
    # What a function does is done later, row by row.
    code = re.sub(r"--[^\n]*|\$\$.*?^\$\$", "", migration.sql, flags=re.MULTILINE | re.DOTALL)
    if migration.outside:
        return [part for part in migration.statements if not _ALLOWED_OUTSIDE.match(" ".join(part.split()))]
    new = set(re.findall(r"CREATE TABLE (\w+)", code))
    found = []
    for statement in map(str.strip, code.split(";")):
        text = " ".join(statement.split())
        index = re.match(r"CREATE (?:UNIQUE )?INDEX (?:IF NOT EXISTS )?\w+ ON (\w+)", text)
        if index and index[1] not in new:
            found.append(f"builds an index under a lock: {text}")
        table = re.match(r"ALTER TABLE (\w+) (.*)", text)
        if table and table[1] not in new:
            found += [f"{table[1]}: {fault}" for fault in _faults_of_alter(table[2])]
        update = re.match(r"(?:UPDATE|DELETE FROM) (\w+)", text)
        if update and update[1] not in new:
            found.append(f"writes every row in one transaction: {text}")
    return found


def _faults_of_alter(actions: str) -> list[str]:
    found = []
    for action in re.split(r", (?=(?:ADD|ALTER|DROP|RENAME|VALIDATE|SET) )", actions):
        if re.match(r"ADD CONSTRAINT \w+ (CHECK|FOREIGN KEY)", action) and not action.endswith("NOT VALID"):
            found.append(f"reads the table (NOT VALID is missing): {action}")
        if re.match(r"ADD CONSTRAINT \w+ (UNIQUE|PRIMARY KEY|EXCLUDE)", action) and "USING INDEX" not in action:
            found.append(f"builds an index under a lock: {action}")
        if action.startswith("ADD COLUMN"):
            if "REFERENCES" in action or "CHECK" in action or re.search(r"\b(UNIQUE|PRIMARY KEY)\b", action):
                found.append(f"a column with a constraint reads the table: {action}")
            if re.search(r"DEFAULT \w*\(|IDENTITY|serial|GENERATED", action, re.IGNORECASE):
                found.append(f"rewrites the table: {action}")
            if "NOT NULL" in action and "DEFAULT" not in action:
                found.append(f"fails on a table with rows: {action}")
        if re.match(r"ALTER COLUMN \w+ (TYPE|SET DATA TYPE)", action):
            found.append(f"rewrites the table: {action}")
        if re.match(r"ALTER COLUMN \w+ SET NOT NULL", action):
            found.append(f"reads the table: {action}")
        if action.startswith("VALIDATE"):
            found.append(f"reads the table in a transaction that has locks: {action}")
    return found


@pytest.mark.parametrize("migration", read()[FIRST_STATED - 1 :], ids=lambda migration: migration.name)
def test_a_migration_lets_people_work(migration: Migration) -> None:
    """Whatever takes long is done outside a transaction, under locks that readers and writers do not notice."""
    assert [] == faults(migration)


def test_each_migration_states_what_it_locks(empty_dsn: str) -> None:
    """What PostgreSQL has locked by the end of each file is what is stated of it, table by table."""
    found: dict[str, dict[str, str]] = {}
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        for migration in read():
            if migration.outside:
                for statement in migration.statements:
                    connection.execute(statement.encode())
                found[migration.name] = {}
                continue
            tables = connection.execute("SELECT oid FROM pg_class WHERE relkind = 'r'").fetchall()
            with connection.transaction():
                connection.execute(migration.sql.encode())
                found[migration.name] = _locked(connection, [table for (table,) in tables])
    assert {name: locks for name, locks in found.items() if int(name[:4]) >= FIRST_STATED} == {
        name: dict(effect.locks) for name, effect in stated().items()
    }


def test_what_takes_long_locks_nothing() -> None:
    """Whoever locks a table in use is done in a moment; work that grows with a table says how long it takes."""
    assert [] == [name for name, effect in stated().items() if effect.locks and effect.seconds]
    assert [] == [each.name for each in read() if each.outside and not stated()[each.name].seconds]


_MODES = {"ShareRowExclusiveLock": "SHARE ROW EXCLUSIVE", "AccessExclusiveLock": "ACCESS EXCLUSIVE"}
"""From the weaker to the stronger. Anything else that a migration takes lets readers and writers pass, or is new."""


def _locked(connection: psycopg.Connection[tuple[Any, ...]], tables: list[int]) -> dict[str, str]:
    """In which mode this transaction has locked each of these tables, as far as others notice."""
    rows = connection.execute(
        "SELECT relation::regclass::text, mode FROM pg_locks"
        " WHERE pid = pg_backend_pid() AND relation = ANY (%s) AND relation >= 16384"
        " AND mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')",
        [tables],
    ).fetchall()
    weakest_first = sorted(rows, key=lambda row: [*_MODES].index(row[1]))
    return {table: _MODES[mode] for table, mode in weakest_first}


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE INDEX a_b ON a (b);",
        "ALTER TABLE a ADD CONSTRAINT a_b CHECK (b > 0);",
        "ALTER TABLE a ADD COLUMN b integer, ADD CONSTRAINT a_b FOREIGN KEY (b) REFERENCES c (id);",
        "ALTER TABLE a ADD CONSTRAINT a_b UNIQUE (b);",
        "ALTER TABLE a ADD COLUMN b uuid DEFAULT gen_random_uuid();",
        "ALTER TABLE a ADD COLUMN b bigint GENERATED ALWAYS AS IDENTITY;",
        "ALTER TABLE a ADD COLUMN b integer NOT NULL;",
        "ALTER TABLE a ALTER COLUMN b TYPE bigint;",
        "ALTER TABLE a ALTER COLUMN b SET NOT NULL;",
        "ALTER TABLE a VALIDATE CONSTRAINT a_b;",
        "UPDATE a SET b = 1;",
        "-- Outside a transaction.\nCREATE INDEX CONCURRENTLY a_b ON a (b);",
        "-- Outside a transaction.\nALTER TABLE a ADD COLUMN b integer;",
    ],
)
def test_what_keeps_people_waiting_is_found(sql: str) -> None:
    """Each of the ways."""
    assert faults(Migration(9, "0009_bad", sql))

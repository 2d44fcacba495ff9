"""No migration keeps people waiting: none rewrites, reads or indexes a large table under an exclusive lock."""

import re

import pytest

from appointments.db.migrate import Migration, read

FIRST_JUDGED = 3
"""Those before made the tables."""

_ALLOWED_OUTSIDE = re.compile(
    r"CREATE (UNIQUE )?INDEX CONCURRENTLY IF NOT EXISTS |DROP INDEX CONCURRENTLY IF EXISTS "
    r"|ALTER TABLE \w+ VALIDATE CONSTRAINT "
)


def faults(migration: Migration) -> list[str]:
    """What a migration does that takes long on a large table, while nobody can use it."""
    code = re.sub(r"--.*$", "", migration.sql, flags=re.MULTILINE)
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


@pytest.mark.parametrize("migration", read()[FIRST_JUDGED - 1 :], ids=lambda migration: migration.name)
def test_a_migration_lets_people_work(migration: Migration) -> None:
    """Whatever takes long is done outside a transaction, under locks that readers and writers do not notice."""
    assert [] == faults(migration)


def test_each_migration_says_what_it_locks() -> None:
    """In a comment, where it locks a table that has rows."""
    silent = [
        migration.name
        for migration in read()[FIRST_JUDGED - 1 :]
        if not re.search(r"lock|go on|for a moment", " ".join(re.findall("--(.*)", migration.sql)), re.IGNORECASE)
        and re.search(r"^ALTER TABLE", migration.sql, re.MULTILINE)
    ]
    assert [] == silent


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

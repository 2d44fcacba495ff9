"""The schema fits what the code expects of it."""

import re
from pathlib import Path

import appointments
from appointments.db import Database
from appointments.db.migrate import pending

SOURCE = Path(appointments.__file__).parent
_SAID_BY_CODE = re.compile(r'ON CONSTRAINT (\w+)|constraint_name [!=]= "(\w+)"')


async def column(db: Database, query: str) -> list[str]:
    """The first column of a query."""
    async with db.connection() as connection:
        cursor = await connection.execute(query)
        return [str(row[0]) for row in await cursor.fetchall()]


async def test_nothing_is_pending_on_a_migrated_database(db: Database) -> None:
    """The template is what the migrations make."""
    async with db.connection() as connection:
        assert await pending(connection) == []


async def test_every_constraint_that_the_code_names_is_there(db: Database) -> None:
    """A rename in a migration would turn a conflict into an internal error."""
    there = set(await column(db, "SELECT conname FROM pg_constraint")) | set(
        await column(db, "SELECT indexname FROM pg_indexes")
    )
    said = {
        name
        for path in SOURCE.rglob("*.py")
        for match in _SAID_BY_CODE.findall(path.read_text())
        for name in match
        if name
    }
    assert {"bookings_no_overlap", "appointments_request_id", "users_email"} <= said
    assert said - there == set()


async def test_constraints_are_named_after_their_table(db: Database) -> None:
    """``<table>_<rule>``: whoever reads an error knows where to look."""
    misnamed = await column(
        db,
        """
        SELECT conname FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
        WHERE connamespace = 'public'::regnamespace AND contype <> 'n' AND conname NOT LIKE relname || '\\_%'
        """,
    )
    assert misnamed == []


async def test_every_instant_has_a_time_zone(db: Database) -> None:
    """No timestamp without one but wall times, which are called ``_wall``; and every instant is called ``_at``."""
    columns = """
        SELECT table_name || '.' || column_name FROM information_schema.columns
        WHERE table_schema = 'public' AND
    """
    walls = "data_type = 'timestamp without time zone' AND column_name NOT LIKE '%\\_wall'"
    assert await column(db, columns + walls) == []
    assert await column(db, columns + "data_type = 'timestamp with time zone' AND column_name NOT LIKE '%\\_at'") == []
    assert await column(db, columns + "column_name LIKE '%\\_at' AND data_type <> 'timestamp with time zone'") == []


async def test_every_foreign_key_has_an_index_behind_it(db: Database) -> None:
    """Deleting an account must not read whole tables."""
    without = await column(
        db,
        """
        SELECT conname FROM pg_constraint
        WHERE contype = 'f' AND connamespace = 'public'::regnamespace AND NOT EXISTS (
            SELECT FROM pg_index
            WHERE indrelid = conrelid AND indkey[0] = conkey[1]
              AND (indpred IS NULL OR pg_get_expr(indpred, indrelid) = (
                  SELECT '(' || attname || ' IS NOT NULL)' FROM pg_attribute
                  WHERE attrelid = conrelid AND attnum = conkey[1]
              ))
        )
        """,
    )
    assert without == []

"""People with appointments, for the tests of the features."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from appointments.calendar.appointment import Spec
from appointments.db import Database

TEN = datetime(2030, 5, 1, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)


def spec(start: datetime = TEN, length: timedelta = HOUR, title: str = "Haircut") -> Spec:
    """A spec that breaks no rule."""
    return Spec(title, start, start + length, "Europe/Zurich")


async def add_user(db: Database) -> UUID:
    """A user who can own appointments."""
    user_id = uuid4()
    async with db.connection() as connection:
        await connection.execute(
            """
            WITH subject AS (INSERT INTO subjects (id, kind) VALUES (%(id)s, 'user') RETURNING id)
            INSERT INTO users (id, email, display_name, time_zone, password_hash, created_at, updated_at)
            SELECT id, id || '@example.com', '', 'UTC', '', now(), now() FROM subject
            """,
            {"id": user_id},
        )
    return user_id

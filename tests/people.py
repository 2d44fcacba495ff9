"""People with appointments, for the tests of the features."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from appointments.calendar import resources
from appointments.calendar.appointment import Spec
from appointments.calendar.resource import ResourceSpec, Role
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


async def add_room(db: Database, manager: UUID, **decided: Any) -> UUID:
    """A room that everybody may book."""
    wanted = ResourceSpec("room", "Room", "Europe/Zurich", default_role=Role.BOOKER)
    return (await resources.create(db, manager, replace(wanted, **decided))).id


def shared(*resource_ids: UUID, start: datetime = TEN, **decided: Any) -> Spec:
    """A spec that takes resources too."""
    return replace(spec(start), resource_ids=tuple(map(str, resource_ids)), **decided)

"""A person with an account, as the database has it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import class_row

from appointments.db import Connection


@dataclass(frozen=True, slots=True)
class User:
    """A user. ``email`` is folded to lower case, ``time_zone`` is an IANA name."""

    id: UUID
    email: str
    display_name: str
    time_zone: str
    created_at: datetime
    updated_at: datetime
    hours: dict[str, Any] | None = None
    """When the person can be booked, as :meth:`Hours.to_json` has it."""


async def find(connection: Connection, user_id: UUID) -> User | None:
    """Look up a user by id."""
    cursor = await connection.cursor(row_factory=class_row(User)).execute(
        "SELECT id, email, display_name, time_zone, created_at, updated_at, hours FROM users WHERE id = %(id)s",
        {"id": user_id},
    )
    return await cursor.fetchone()

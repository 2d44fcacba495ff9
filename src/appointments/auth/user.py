"""A user, as the database has it: a person with an account, somebody whom a backend manages, or a service account."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, LiteralString
from uuid import UUID

from psycopg.rows import class_row

from appointments.db import Connection

Kind = Literal["person", "service_account"]
Role = Literal["user", "admin"]


@dataclass(frozen=True, slots=True)
class User:
    """A user. ``email`` is folded to lower case, ``time_zone`` is an IANA name.

    ``email`` and ``external_id``, which is what another system calls the user, are "" if there is none.
    """

    id: UUID
    email: str
    display_name: str
    time_zone: str
    created_at: datetime
    updated_at: datetime
    hours: dict[str, Any] | None = None
    """When the person can be booked, as :meth:`Hours.to_json` has it."""
    booking_rules: dict[str, Any] | None = None
    """What is asked of whoever acts for the person, as :meth:`BookingRules.to_json` has it."""
    external_id: str = ""
    role: Role = "user"
    disabled: bool = False
    kind: Kind = "person"
    email_verified: bool = False
    default_reminders: list[int] | None = None
    """Minutes before the start of an appointment that has no reminders of its own."""


COLUMNS: LiteralString = """
    id, coalesce(email, '') AS email, display_name, time_zone, created_at, updated_at,
    coalesce(external_id, '') AS external_id, role, disabled_at IS NOT NULL AS disabled, kind, hours,
    email_verified_at IS NOT NULL AS email_verified,
    booking_rules, default_reminders
"""


async def find(connection: Connection, user_id: UUID) -> User | None:
    """Look up a user by id."""
    cursor = await connection.cursor(row_factory=class_row(User)).execute(
        f"SELECT {COLUMNS} FROM users WHERE id = %(id)s", {"id": user_id}
    )
    return await cursor.fetchone()


async def find_by_email(connection: Connection, email: str) -> User | None:
    """Look up a user by their folded address."""
    cursor = await connection.cursor(row_factory=class_row(User)).execute(
        f"SELECT {COLUMNS} FROM users WHERE email = %(email)s", {"email": email}
    )
    return await cursor.fetchone()


async def insert(connection: Connection, newcomer: User, password_hash: str | None = None) -> None:
    """Add a user, who signs in if there is a password.

    Raises:
        psycopg.errors.UniqueViolation: the address (``users_email``) or the external id
            (``users_external_id``) is taken.
    """
    await connection.execute(
        """
        WITH subject AS (INSERT INTO subjects (id, kind) VALUES (%(id)s, 'user'))
        INSERT INTO users (
            id, email, display_name, time_zone, password_hash, created_at, updated_at, external_id, role, kind
        )
        VALUES (
            %(id)s, nullif(%(email)s, ''), %(display_name)s, %(time_zone)s, %(password_hash)s, %(now)s, %(now)s,
            nullif(%(external_id)s, ''), %(role)s, %(kind)s
        )
        """,
        {
            "id": newcomer.id,
            "email": newcomer.email,
            "display_name": newcomer.display_name,
            "time_zone": newcomer.time_zone,
            "password_hash": password_hash,
            "now": newcomer.created_at,
            "external_id": newcomer.external_id,
            "role": newcomer.role,
            "kind": newcomer.kind,
        },
    )

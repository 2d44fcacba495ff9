"""People and appointments for the benchmark, by COPY with every constraint on; and tokens for them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
from psycopg.types.json import Jsonb
from uuid_utils.compat import uuid7

from appointments.auth.tokens import AccessTokens

SECRET = "the benchmark's own secret, 32 bytes"  # noqa: S105
FIRST = datetime(2020, 1, 1, tzinfo=UTC)
EVERY = timedelta(hours=2)
"""From one appointment of a busy person to the next, so 12 a day and 360 in 30 days."""

BUSY = 10_000
"""Appointments of a busy person: more than two years, one after the other."""

SAMPLE = 200
"""How many of them are read and changed one at a time."""


@dataclass(frozen=True)
class Person:
    """Somebody signed in. ``appointments`` are some of theirs."""

    user_id: UUID
    session_id: UUID
    appointments: tuple[UUID, ...] = ()

    def token(self) -> str:
        """A fresh access token; the product's own code signs it."""
        return AccessTokens(SECRET).issue(self.user_id, self.session_id)[0]


def add_people(dsn: str, count: int) -> list[Person]:
    """People who are signed in and have no appointments."""
    people = [Person(uuid4(), uuid4()) for _ in range(count)]
    now = datetime.now(UTC)
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        _copy(cursor, "subjects (id, kind)", ((each.user_id, "user") for each in people))
        _copy(
            cursor,
            "users (id, email, display_name, time_zone, password_hash, created_at, updated_at)",
            ((each.user_id, f"{each.user_id}@example.com", "Ada", "UTC", "", now, now) for each in people),
        )
        _copy(
            cursor,
            "sessions (id, user_id, user_agent, ip_address, created_at, last_used_at, expires_at)",
            ((each.session_id, each.user_id, "", "", now, now, now + timedelta(days=7)) for each in people),
        )
    return people


def add_busy_people(dsn: str, count: int) -> list[Person]:
    """People with BUSY appointments each."""
    people = []
    for person in add_people(dsn, count):
        ids = [uuid7() for _ in range(BUSY)]
        with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
            _copy(
                cursor,
                "appointments (id, owner_id, title, description, location, start_at, end_at, time_zone, attendees,"
                " created_at, updated_at, version)",
                _appointments(person.user_id, ids),
            )
            cursor.execute(
                "INSERT INTO bookings SELECT id, owner_id, tstzrange(start_at, end_at) FROM appointments"
                " WHERE owner_id = %s ORDER BY start_at",
                [person.user_id],
            )
        people.append(Person(person.user_id, person.session_id, tuple(ids[:: BUSY // SAMPLE])))
    return people


def settle(dsn: str) -> None:
    """Give the planner its statistics and the visibility map, as time would."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")


def _appointments(owner_id: UUID, ids: list[UUID]) -> Iterator[tuple[object, ...]]:
    nobody, now = Jsonb([]), datetime.now(UTC)
    for index, appointment_id in enumerate(ids):
        start = FIRST + index * EVERY
        yield (
            appointment_id, owner_id, f"Appointment {index}", "As agreed on the phone", "Room 1", start,
            start + EVERY / 2, "Europe/Zurich", nobody, now, now, 1,
        )  # fmt: skip


def _copy(cursor: psycopg.Cursor[tuple[object, ...]], target: str, rows: Iterator[tuple[object, ...]]) -> None:
    with cursor.copy(f"COPY {target} FROM STDIN") as copy:  # type: ignore[call-overload]
        for row in rows:
            copy.write_row(row)

"""People and appointments for the benchmark, by COPY with every constraint on; and tokens for them."""

import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
from uuid_utils import uuid7

from appointments.auth import secret
from appointments.auth.tokens import AccessTokens

SECRET = "the benchmark's own secret, 32 bytes"
FIRST = datetime(2020, 1, 1, tzinfo=UTC)
EVERY = timedelta(hours=2)
"""From one appointment of a busy person to the next, so 12 a day and 360 in 30 days."""

BUSY = 10_000
"""Appointments of a busy person: more than two years, one after the other."""

ROOMS = 3
"""What an appointment with rooms takes beside its owner's time."""

SAMPLE = 200
"""How many of them are read and changed one at a time."""


_tokens: dict[UUID, tuple[str, float]] = {}


@dataclass(frozen=True)
class Person:
    """Somebody signed in. ``appointments`` are some of theirs; they book ``rooms``; ``key`` calls for them."""

    user_id: UUID
    session_id: UUID
    appointments: tuple[str, ...] = ()
    rooms: tuple[str, ...] = ()
    key: str = ""

    def token(self) -> str:
        """An access token, a new one every ten minutes as from a client; the product's own code signs it."""
        token, until = _tokens.get(self.session_id, ("", 0.0))
        if time.monotonic() > until:
            token = AccessTokens(SECRET).issue(self.user_id, self.session_id)[0]
            _tokens[self.session_id] = token, time.monotonic() + 600
        return token


def add_people(dsn: str, count: int, *, first_id: int | None = None) -> list[Person]:
    """People who are signed in and have no appointments, with ids from ``first_id`` on, else random ones."""
    ids = [uuid4() if first_id is None else UUID(int=first_id + index) for index in range(count)]
    people = [Person(user_id, uuid4()) for user_id in ids]
    now = datetime.now(UTC)
    later = now + timedelta(days=7)
    with psycopg.connect(dsn) as connection:
        _copy(connection, "subjects (id, kind)", (f"{each.user_id}\tuser\n" for each in people))
        _copy(
            connection,
            "users (id, email, display_name, time_zone, password_hash, created_at, updated_at)",
            (f"{each.user_id}\t{each.user_id}@example.com\tAda\tUTC\t\t{now}\t{now}\n" for each in people),
        )
        _copy(
            connection,
            "sessions (id, user_id, user_agent, ip_address, created_at, last_used_at, expires_at)",
            (f"{each.session_id}\t{each.user_id}\t\t\t{now}\t{now}\t{later}\n" for each in people),
        )
    return people


def add_busy_people(dsn: str, count: int) -> list[Person]:
    """People with BUSY appointments each, from FIRST on."""
    now = datetime.now(UTC)
    starts = [FIRST + index * EVERY for index in range(BUSY)]
    tails = [
        f"Appointment {index}\tAs agreed on the phone\tRoom 1\t{start}\t{start + EVERY / 2}\tEurope/Zurich\t[]"
        f"\t{now}\t{now}\t1\n"
        for index, start in enumerate(starts)
    ]
    ranges = [f'["{start}","{start + EVERY / 2}")\n' for start in starts]

    def fill(person: Person) -> Person:
        ids = [str(uuid7()) for _ in range(BUSY)]
        with psycopg.connect(dsn) as connection:
            _copy(
                connection,
                "appointments (id, owner_id, title, description, location, start_at, end_at, time_zone, attendees,"
                " created_at, updated_at, version)",
                (f"{each}\t{person.user_id}\t{tail}" for each, tail in zip(ids, tails, strict=True)),
            )
            _copy(
                connection,
                "bookings (appointment_id, subject_id, during)",
                (f"{each}\t{person.user_id}\t{during}" for each, during in zip(ids, ranges, strict=True)),
            )
        return Person(person.user_id, person.session_id, tuple(ids[:: BUSY // SAMPLE]))

    with ThreadPoolExecutor(os.cpu_count()) as threads:  # the work is PostgreSQL's
        return list(threads.map(fill, add_people(dsn, count)))


def add_rooms(dsn: str, people: Iterable[Person]) -> list[Person]:
    """The same people, each with ROOMS rooms of their own: nobody waits for anybody."""
    now = datetime.now(UTC)
    found = []
    with psycopg.connect(dsn) as connection:
        for person in people:
            rooms = [uuid4() for _ in range(ROOMS)]
            for room in rooms:
                unit = uuid4()
                connection.execute("INSERT INTO subjects (id, kind) VALUES (%s, 'resource')", [unit])
                connection.execute(
                    """
                    INSERT INTO resources (
                        id, kind, display_name, description, location, time_zone, seats, units, buffer_before,
                        buffer_after, default_role, created_at, updated_at, version
                    )
                    VALUES (%s, 'room', 'Room', '', '', 'UTC', 0, 1, 0, 0, 0, %s, %s, 1)
                    """,
                    [room, now, now],
                )
                connection.execute(
                    "INSERT INTO resource_units (subject_id, resource_id, unit) VALUES (%s, %s, 1)", [unit, room]
                )
                connection.execute(
                    "INSERT INTO resource_grants (resource_id, user_id, role) VALUES (%s, %s, 2)",
                    [room, person.user_id],
                )
            found.append(replace(person, rooms=tuple(map(str, rooms))))
    return found


def add_keys(dsn: str, people: Iterable[Person]) -> list[Person]:
    """The same people, each with a key."""
    found = [replace(person, key=secret.new()) for person in people]
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO keys (id, user_id, digest, display_name, scopes, created_at)
            VALUES (gen_random_uuid(), %s, %s, 'Benchmark', '{appointments.write}', now())
            """,
            [(each.user_id, secret.digest(each.key)) for each in found],
        )
    return found


def settle(dsn: str) -> None:
    """Give the planner its statistics and the visibility map, as time would."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")


def _copy(connection: psycopg.Connection, target: str, lines: Iterable[str]) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY {target} FROM STDIN") as copy:
        copy.write("".join(lines))

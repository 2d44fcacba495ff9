"""What every measurement needs: a database with people in it, servers on it, and something that calls them."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import psycopg

from appointments.db import embedded
from appointments.db.migrate import migrate
from bench import data
from bench.load import Generator, Job, Outcome
from bench.machine import Usage, usage
from bench.server import Server, serve

POSTGRES = {
    # As durable as a production server: a commit is on the disk before it is answered.
    "fsync": "on", "full_page_writes": "on", "synchronous_commit": "on",
    # And sized like one.
    "shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "15min", "max_connections": "300",
}  # fmt: skip
WRITERS = 16
READERS = 4


@dataclass
class Stage:
    """A database, the people in it, a server on it; perhaps one of the other engine, and one with several workers."""

    postgres: embedded.Server
    dsn: str
    server: Server
    generator: Generator
    writers: list[data.Person]
    readers: list[data.Person]
    rust: Server | None = None
    workers: Server | None = None
    minute: int = 10_000_000  # long after everything that COPY has put there

    def drive(self, kind: str, count: int, *, in_flight: int = 16, door: str = "native", rate: float = 0.0) -> Outcome:
        """Have the generator make ``count`` calls through a door; all of them have to succeed."""
        server, web = self.behind(door), door == "web"
        connections = 16 if door == "workers" else 8  # the kernel deals connections out to workers by chance
        people = self.writers if kind.startswith(("create", "empty")) else self.readers
        callers = tuple((person, person.key if kind.endswith("key") else person.token()) for person in people)
        outcome = self.generator.run(
            Job(
                server.http if web else server.grpc,
                kind,
                callers,
                count,
                in_flight,
                # Connections take the minutes in turns, and a fast one may run ahead of the others.
                self.minutes(count * (in_flight if web else connections)),
                web=web,
                rate=rate,
                connections=connections,
            )
        )
        if outcome.ok != count:
            raise SystemExit(f"{kind}, {in_flight} in flight, {door}: not every call succeeded: {dict(outcome.ended)}")
        return outcome

    def minutes(self, count: int) -> int:
        """The first of ``count`` minutes in which nobody has anything yet."""
        first, self.minute = self.minute, self.minute + count
        return first

    def behind(self, door: str) -> Server:
        """The server of a door: "native" and "web" are the first one's, "rust" and "workers" the others'."""
        server = {"rust": self.rust, "workers": self.workers}.get(door, self.server)
        assert server, f"this stage has no {door}"
        return server

    def usage(self, door: str = "native") -> tuple[Usage, Usage]:
        """What the server of a door and PostgreSQL have used."""
        return usage(self.behind(door).pid), usage(self.postgres.pid)


@contextmanager
def stage(
    postgres: embedded.Server, generator: Generator, name: str, *, busy: int = READERS, workers: int = 0
) -> Iterator[Stage]:
    """Set up a database of its own with ``busy`` busy people and a server on it.

    With ``workers``, there is also a server that has so many, and one of the native port's other engine.
    """
    dsn = new_database(postgres, name)
    asyncio.run(migrate(dsn))
    readers = data.add_busy_people(dsn, busy)
    writers = data.add_keys(dsn, data.add_rooms(dsn, data.add_people(dsn, WRITERS)))
    data.settle(dsn)
    with ExitStack() as stack:
        server = stack.enter_context(serve(dsn))
        several = stack.enter_context(serve(dsn, program="appointments", workers=workers)) if workers else None
        rust = stack.enter_context(serve(dsn, engine="native")) if workers else None
        yield Stage(postgres, dsn, server, generator, writers, readers[:READERS], rust, several)


def new_database(postgres: embedded.Server, name: str) -> str:
    """An empty database; the DSN."""
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return urlunsplit(urlsplit(postgres.dsn)._replace(path=f"/{name}"))

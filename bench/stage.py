"""What every measurement needs: a database with people in it, servers on it, and something that calls them."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import psycopg

from appointments import embedded
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
    """A database, the people in it, a server on it and perhaps another that has several workers."""

    postgres: embedded.Server
    dsn: str
    server: Server
    generator: Generator
    writers: list[data.Person]
    readers: list[data.Person]
    workers: Server | None = None
    minute: int = 10_000_000  # long after everything that COPY has put there

    def drive(
        self, kind: str, count: int, *, in_flight: int = 16, web: bool = False, rate: float = 0.0, workers: bool = False
    ) -> Outcome:
        """Have the generator make ``count`` calls; all of them have to succeed."""
        server = self.workers if workers else self.server
        assert server, "this stage has no workers"
        people = self.writers if kind.startswith(("create", "empty")) else self.readers
        callers = tuple((person, person.key if kind.endswith("key") else person.token()) for person in people)
        outcome = self.generator.run(
            Job(
                server.http if web else server.grpc,
                kind,
                callers,
                count,
                in_flight,
                self.minutes(count),
                web=web,
                rate=rate,
                connections=16 if workers else 8,  # the kernel deals connections out to workers by chance
            )
        )
        if outcome.ok != count:
            raise SystemExit(f"{kind}: not every call succeeded: {dict(outcome.ended)}")
        return outcome

    def minutes(self, count: int) -> int:
        """The first of ``count`` minutes in which nobody has anything yet."""
        first, self.minute = self.minute, self.minute + count
        return first

    def usage(self) -> tuple[Usage, Usage]:
        """What the first server and PostgreSQL have used."""
        return usage(self.server.pid), usage(self.postgres.pid)


@contextmanager
def stage(
    postgres: embedded.Server, generator: Generator, name: str, *, busy: int = READERS, workers: int = 0
) -> Iterator[Stage]:
    """Set up a database of its own with ``busy`` busy people, a server on it, and one with so many ``workers``."""
    dsn = new_database(postgres, name)
    asyncio.run(migrate(dsn))
    readers = data.add_busy_people(dsn, busy)
    writers = data.add_keys(dsn, data.add_rooms(dsn, data.add_people(dsn, WRITERS)))
    data.settle(dsn)
    with ExitStack() as stack:
        server = stack.enter_context(serve(dsn))
        several = stack.enter_context(serve(dsn, program="appointments", workers=workers)) if workers else None
        yield Stage(postgres, dsn, server, generator, writers, readers[:READERS], several)


def new_database(postgres: embedded.Server, name: str) -> str:
    """An empty database; the DSN."""
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return urlunsplit(urlsplit(postgres.dsn)._replace(path=f"/{name}"))

"""A storm of invitations: the mail server fails in every way, workers and PostgreSQL are killed, nothing is lost.

``make storm-mail`` makes it long (``INVITATIONS``).
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import icalendar
import pytest

from appointments.calendar import booking, updating
from appointments.calendar.appointment import Attendee, Spec, with_answers
from appointments.db import Database
from appointments.db.migrate import migrate
from appointments.shared.errors import Unavailable
from tests import power
from tests.people import HOUR, TEN, add_user, spec
from tests.postbox import Outcome, Postbox, postbox
from tests.power import Postgres
from tests.service import ROOT

INVITATIONS = int(os.environ.get("INVITATIONS", "40"))
"""How many people are invited; each hears twice. The issue's measure is 10,000."""

TABLE = 20
"""So many guests has each appointment."""

AT_ONCE = 8
WORKERS = 2
FAULTS: tuple[Outcome, ...] = ("4xx at RCPT", "4xx at DATA", "drop", "take and drop", "stall", "5xx at DATA")

WORKER = """
import asyncio, sys
from datetime import timedelta
from appointments.changes.sequencer import Sequencer
from appointments.db import Database
from appointments.icalendar.invitations import Answers, Follower, Letters, Telling
from appointments.jobs import Runner
from appointments.mail import Links, Outbox, Sender
from appointments.mail.postman import Postman
from appointments.mail.relay import Relay, Server

async def main():
    async with Database(sys.argv[1]) as db:
        sender = Sender.of("Calendar <calendar@example.com>", "https://calendar.example.com")
        letters = Letters(Answers(db, Links("s" * 32, public_url="https://calendar.example.com")), sender)
        carrier = Relay(Server.of(sys.argv[2]), step_seconds=1.0)
        kinds = Postman(db, carrier, sender, letters.writers(), pause=timedelta(milliseconds=50)).kinds()
        kinds += Telling(db, Outbox(), per_day=1_000_000).kinds()
        runner = Runner(db, kinds, lease=timedelta(seconds=5), poll_seconds=0.05)
        await asyncio.gather(runner.run(), Follower(db, gather_seconds=0).run(), Sequencer(db).run())

asyncio.run(main())
"""

T = TypeVar("T")


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of the test's own."""
    with power.running() as postgres:
        yield postgres


@pytest.fixture
async def db(postgres: Postgres) -> AsyncIterator[Database]:
    """Its database, with the schema."""
    await migrate(postgres.server.dsn)
    async with Database(postgres.server.dsn) as db:
        yield db


async def lasting(work: Callable[[], Awaitable[T]]) -> T:
    """What comes of some work, however often the database is away meanwhile."""
    while True:
        try:
            return await work()
        except Unavailable:
            await asyncio.sleep(0.2)


def decide(recipient: str, attempt: int) -> Outcome:
    """Three attempts in ten fail, in some way."""
    dice = random.Random(f"{recipient} {attempt}")
    return dice.choice(FAULTS) if dice.random() < 0.3 else "take"


class Storm:
    """Workers, of which one is killed again and again, and sometimes PostgreSQL with all that it does."""

    def __init__(self, postgres: Postgres, box: Postbox) -> None:
        self._postgres = postgres
        self._command = [sys.executable, "-c", WORKER, postgres.server.dsn, box.url]
        self._chance = random.Random(16)
        self.workers = [self._worker() for _ in range(WORKERS)]
        self.kills = self.outages = 0

    def _worker(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    async def strike(self) -> None:
        """Kill a worker, or the database."""
        await asyncio.sleep(self._chance.uniform(1.0, 3.0))
        if self._chance.random() < 0.25:
            dsn = self._postgres.server.dsn
            await asyncio.to_thread(self._postgres.kill)
            await asyncio.sleep(self._chance.uniform(0.1, 1.0))
            await asyncio.to_thread(self._postgres.start)
            assert dsn == self._postgres.server.dsn
            self.outages += 1
            return
        victim = self._chance.randrange(WORKERS)
        self.workers[victim].send_signal(signal.SIGKILL)
        self.workers[victim].wait()
        self.workers[victim] = self._worker()
        self.kills += 1

    def end(self) -> None:
        """End the workers."""
        for worker in self.workers:
            worker.kill()
            worker.wait()


OPEN = """
    SELECT (SELECT count(*) FROM outbox WHERE state IN ('queued', 'sending'))
         + (SELECT count(*) FROM jobs WHERE kind = 'invitations')
         + (SELECT count(*) FROM new_changes)
         + (SELECT change_head.last_position - invitation_cursor.position FROM change_head, invitation_cursor)
"""
LETTERS = "SELECT recipient, (about ->> 'sequence')::integer, state FROM outbox ORDER BY 1, 2"


async def asked(db: Database, query: Any) -> list[Any]:
    """The rows of a query, as soon as the database answers."""

    async def ask() -> list[Any]:
        async with db.connection() as connection:
            cursor = await connection.execute(query)
            return await cursor.fetchall()

    return await lasting(ask)


def said(message: Any) -> int:
    """The SEQUENCE of an invitation."""
    (part,) = [part for part in message.walk() if part.get_content_type() == "text/calendar"]
    calendar: Any = icalendar.Calendar.from_ical(part.get_payload(decode=True))
    (event,) = calendar.walk("VEVENT")
    return int(event["sequence"])


async def test_everybody_hears_once_of_each_time_or_has_bounced(postgres: Postgres, db: Database) -> None:
    """Each is invited, and told of another time, exactly once each, or the letter is marked as bounced.

    A second copy may be there only where the server took the first and nobody could learn of it: it dropped the
    connection, or the worker or the database was killed then.
    """
    started = time.monotonic()
    owner = await add_user(db)
    await asked(db, f"UPDATE users SET email_verified_at = now() WHERE id = '{owner}' RETURNING id")
    people = [f"guest-{number}@example.org" for number in range(INVITATIONS)]
    ids: list[UUID] = []
    with postbox(Postbox(decide=decide, stall_seconds=1.5)) as box:
        storm = Storm(postgres, box)
        try:
            async with asyncio.timeout(160 if INVITATIONS < 200 else 60 + INVITATIONS):
                for number in range(0, INVITATIONS, TABLE):
                    guests = tuple(map(Attendee, people[number : number + TABLE]))
                    wanted = replace(spec(TEN + number * HOUR, HOUR, f"Table {number}"), attendees=guests)
                    ids.append((await booking.create(db, owner, wanted)).id)
                await drained(db, storm)
                for each in ids:
                    await lasting(lambda each=each: updating.update(db, owner, each, later))  # type: ignore[misc]
                await drained(db, storm)
        finally:
            storm.end()
    letters = await asked(db, LETTERS)
    assert 2 * INVITATIONS == len(letters)
    copies = Counter((recipient, said(message)) for recipient, message in box.taken)
    for recipient, sequence, state in letters:
        assert state in {"sent", "bounced"}
        assert copies[recipient, sequence] >= (state == "sent"), (recipient, sequence)
    assert {0, 1} == {sequence for _, sequence, _ in letters} == {sequence for _, sequence in copies}
    again = sum(count - 1 for count in copies.values())
    unanswered = sum(box.unanswered.values())
    # Whoever is killed has at most so many conversations under way.
    assert again <= unanswered + AT_ONCE * storm.kills + AT_ONCE * WORKERS * storm.outages
    bounced = sum(state == "bounced" for *_, state in letters)
    print(  # noqa: T201 - the numbers of a long run are for a report
        f"{len(letters)} letters to {INVITATIONS} people in {time.monotonic() - started:.0f} s, {storm.kills} workers"
        f" and {storm.outages} databases killed, {sum(box.attempts.values())} attempts: {bounced} bounced,"
        f" {again} second copies, {unanswered} taken without an answer"
    )


async def drained(db: Database, storm: Storm) -> None:
    """Storm until there is nothing left to send."""
    most = max(2, INVITATIONS // 250)
    for _ in range(most):
        await storm.strike()
    while (await asked(db, OPEN))[0][0]:  # noqa: ASYNC110 - other processes empty it
        await asyncio.sleep(0.5)


def later(one: Spec) -> Spec:
    """Half an hour later."""
    by = timedelta(minutes=30)
    return with_answers(replace(one, start_at=one.start_at + by, end_at=one.end_at + by), one)

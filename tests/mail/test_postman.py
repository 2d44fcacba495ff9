"""From the outbox to a real server: nothing is lost, nothing is sent twice, and what cannot be sent is known."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from appointments.db import Connection, Database
from appointments.jobs import Runner
from appointments.mail import MAIL_OFF, Letter, Outbox, outbox
from appointments.mail.postman import PATIENCE, Postman
from appointments.mail.relay import Relay, Server
from tests.mail.writing import SENDER, WRITERS
from tests.postbox import Outcome, Postbox, postbox
from tests.service import ROOT

ADA = "ada@example.org"
LETTERS = int(os.environ.get("MAIL_LETTERS", "150"))
"""How many letters the storm has; the issue's measure is 10,000."""


class PostOffice:
    """Postmen who deliver to a server, with a clock that tests turn."""

    def __init__(self, db: Database, box: Postbox, **relay: Any) -> None:
        self.time = datetime.now(UTC) + timedelta(seconds=1)
        carrier = Relay(Server.of(box.url), **({"step_seconds": 5.0} | relay))
        self._runner = Runner(db, Postman(db, carrier, SENDER, WRITERS).kinds(), now=lambda: self.time, at_once=16)

    async def work(self, **wait: float) -> None:
        """Let time pass and send what is due."""
        self.time += timedelta(**wait)
        await self._runner.run_due()


async def put(db: Database, recipient: str = ADA, kind: str = "test", **decided: Any) -> Letter:
    """Put a letter into the outbox."""
    letter = Letter(kind, recipient, about={"subject": "Hello"} | decided.pop("about", {}), **decided)
    await db.transact(lambda connection: Outbox().put(connection, letter))
    return letter


async def state(db: Database, letter: Letter) -> tuple[str, str | None]:
    """What has become of a letter."""
    posted = await outbox.read(db, letter.id)
    assert posted is not None
    return posted.state, posted.response


async def test_a_letter_is_sent_once(db: Database) -> None:
    """However often somebody looks; and with mail off none is put."""
    with postbox() as box:
        office = PostOffice(db, box)
        letter = await put(db)
        await db.transact(lambda connection: MAIL_OFF.put(connection, Letter("test", "bob@example.org")))
        for _ in range(3):
            await office.work(hours=1)
        assert 1 == len(box.taken)
    assert "sent" == (await state(db, letter))[0]
    assert [("test", "sent", 1)] == await outbox.counts(db)


async def test_a_change_that_rolls_back_sends_nothing(db: Database) -> None:
    """No mail without its change."""

    async def work(connection: Connection) -> None:
        await Outbox().put(connection, Letter("test", ADA, about={"subject": "x"}))
        raise ZeroDivisionError

    with postbox() as box:
        with pytest.raises(ZeroDivisionError):
            await db.transact(work)
        await PostOffice(db, box).work()
        assert [] == box.taken


@pytest.mark.parametrize("outcome", ["4xx at RCPT", "4xx at DATA", "drop"])
async def test_what_is_refused_for_now_is_sent_later(db: Database, outcome: Outcome) -> None:
    """With pauses, until it is taken; it is the same message."""
    with postbox(Postbox(decide=lambda _, attempt: outcome if attempt < 5 else "take")) as box:
        office = PostOffice(db, box)
        letter = await put(db)
        for _ in range(6):
            await office.work(minutes=20)
        assert (5, 1) == (box.attempts[ADA], len(box.to(ADA)))
    assert "sent" == (await state(db, letter))[0]


async def test_what_is_refused_for_a_day_is_given_up(db: Database) -> None:
    """Marked as failed, with the server's words, and no job is left."""
    with postbox(Postbox(decide=lambda *_: "4xx at RCPT")) as box:
        office = PostOffice(db, box)
        letter = await put(db)
        for _ in range(60):
            await office.work(minutes=30)
        assert 20 < box.attempts[ADA] < 45
        assert [] == box.taken
    assert ("failed", "450 4.2.1 not now") == await state(db, letter)
    async with db.connection() as connection:
        cursor = await connection.execute("SELECT count(*) FROM jobs WHERE kind = 'mail'")
        assert (0,) == await cursor.fetchone()
    assert timedelta(hours=24) == PATIENCE


async def test_what_is_refused_for_good_bounces_once_and_three_bounces_end_it(db: Database) -> None:
    """Not even what is one's own is sent to an address that does not exist. One delivery and the count begins anew."""
    with postbox(Postbox(decide=lambda _, attempt: "take" if attempt == 2 else "5xx at RCPT")) as box:
        office = PostOffice(db, box)
        letters = []
        for _ in range(7):
            letters.append(await put(db, kind="own"))
            await office.work(hours=2)
        assert 5 == box.attempts[ADA]
    states = [await state(db, letter) for letter in letters]
    assert ["bounced", "sent", "bounced", "bounced", "bounced", "dropped", "dropped"] == [each[0] for each in states]
    assert ("550 5.1.1 no such user", "three messages to the address have bounced") == (states[0][1], states[-1][1])


async def test_a_refusal_of_the_content_is_no_fault_of_the_address(db: Database) -> None:
    """It bounces, and is not counted."""
    with postbox(Postbox(decide=lambda *_: "5xx at DATA")) as box:
        office = PostOffice(db, box)
        letters = [await put(db) for _ in range(4)]
        await office.work()
    assert {"bounced"} == {(await state(db, letter))[0] for letter in letters}


async def test_who_asked_not_to_be_written_to_is_not(db: Database) -> None:
    """Whatever the case of the address; but what is about their own account, which they asked for, is sent."""
    async with db.connection() as connection:
        await connection.execute("INSERT INTO mail_addresses (address, unsubscribed_at) VALUES (%s, now())", [ADA])
    with postbox() as box:
        office = PostOffice(db, box)
        letter, own = await put(db, ADA.upper()), await put(db, kind="own")
        await office.work()
        assert [ADA] == [recipient for recipient, _ in box.taken]
    assert ["dropped", "sent"] == [(await state(db, each))[0] for each in (letter, own)]


async def test_a_letter_with_nothing_to_say_any_more_is_dropped(db: Database) -> None:
    """What it would tell of has been overtaken."""
    with postbox() as box:
        letter = await put(db, about={"subject": ""})
        await PostOffice(db, box).work()
        assert [] == box.taken
    assert "dropped" == (await state(db, letter))[0]


async def test_of_one_appointment_and_sequence_there_is_one_letter(db: Database) -> None:
    """Two who tell of the same change at once put one."""
    one, other = uuid4(), uuid4()
    about = {"subject": "Hello"}
    letters = [Letter("test", ADA, appointment_id=one, sequence=1 + number % 2, about=about) for number in range(9)]
    letters.append(Letter("test", ADA, appointment_id=other, sequence=1, about=about))
    await asyncio.gather(*(db.transact(lambda c, each=each: Outbox().put(c, each)) for each in letters))  # type: ignore[misc]
    with postbox() as box:
        await PostOffice(db, box).work()
        assert 3 == len(box.taken)


MORTAL = """
import asyncio, sys
from datetime import timedelta
from appointments.db import Database
from appointments.jobs import Runner
from appointments.mail.postman import Postman
from appointments.mail.relay import Relay, Server
from tests.mail.writing import SENDER, WRITERS

async def main():
    async with Database(sys.argv[1]) as db:
        carrier = Relay(Server.of(sys.argv[2]), step_seconds=1.0)
        kinds = Postman(db, carrier, SENDER, WRITERS, pause=timedelta(milliseconds=50)).kinds()
        await Runner(db, kinds, lease=timedelta(seconds=3), poll_seconds=0.05).run()

asyncio.run(main())
"""


async def test_a_storm_of_failures_and_dead_workers_loses_nothing_and_repeats_nothing(db: Database, dsn: str) -> None:
    """A server that fails three times in ten in every way, and workers that are killed again and again.

    Each recipient gets the letter exactly once, or it is marked as bounced. A second copy may be there only where the
    server took the first and nobody could learn of it: it dropped the connection, or the worker was killed then.
    """
    chance = random.Random(16)
    faults: list[Outcome] = ["4xx at RCPT", "4xx at DATA", "drop", "take and drop", "stall", "5xx at RCPT"]

    def decide(recipient: str, attempt: int) -> Outcome:
        dice = random.Random(f"{recipient} {attempt}")
        return dice.choice(faults) if dice.random() < 0.3 else "take"

    kills = 0
    with postbox(Postbox(decide=decide, stall_seconds=1.5)) as box:
        letters = [await put(db, f"person-{number}@example.org") for number in range(LETTERS)]
        command = [sys.executable, "-c", MORTAL, dsn, box.url]
        workers = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
        try:
            async with asyncio.timeout(150 + LETTERS / 10):
                while await _open(db):
                    await asyncio.sleep(chance.uniform(0.5, 1.5))
                    if kills < max(6, LETTERS // 100):
                        victim = chance.randrange(2)
                        workers[victim].send_signal(signal.SIGKILL)
                        workers[victim].wait()
                        workers[victim] = subprocess.Popen(command, cwd=ROOT)
                        kills += 1
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
    copies = Counter(recipient for recipient, _ in box.taken)
    states = {letter.recipient: await state(db, letter) for letter in letters}
    assert {"sent", "bounced"} == {each[0] for each in states.values()}
    for recipient, (how, _) in states.items():
        assert copies[recipient] >= (how == "sent"), recipient
    again = {recipient: count for recipient, count in copies.items() if count > 1}
    unanswered = sum(box.unanswered.values())
    # A worker that is killed has at most eight conversations under way.
    assert sum(count - 1 for count in again.values()) <= unanswered + 8 * kills
    for recipient in again:
        assert 1 == len({message["Message-ID"] for message in box.to(recipient)})
    bounced = sum(how == "bounced" for how, _ in states.values())
    print(  # noqa: T201 - the numbers of a long run are for a report
        f"{LETTERS} letters, {kills} kills, {sum(box.attempts.values())} attempts: {bounced} bounced,"
        f" {len(again)} with a second copy, {unanswered} taken without an answer"
    )


async def _open(db: Database) -> int:
    return sum(count for _, state_, count in await outbox.counts(db) if state_ in {"queued", "sending"})

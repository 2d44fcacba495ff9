"""Storms of series: afterwards everything is as rules and exceptions say, whoever leaves and whatever is killed.

``SERIES_STORM_SECONDS`` makes them longer, ``SERIES_STORM_SEED`` other ones; ``make storm`` lets them rage for an hour.
"""

import asyncio
import os
import random
import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest

from appointments.db import Database
from appointments.db.migrate import migrate
from tests import power
from tests.audit import audit
from tests.calendar import storming
from tests.people import add_room

SECONDS = float(os.environ.get("SERIES_STORM_SECONDS", "6"))
SEED = int(os.environ.get("SERIES_STORM_SEED", "13"))

pytestmark = pytest.mark.timeout(180 + 2 * SECONDS)  # what a long storm leaves takes long to look at


async def test_after_a_storm_everything_is_as_it_was_said(db: Database) -> None:
    """No overlap, no booking too many or too few, and every occurrence to come is a row or lies in the tails."""
    people = [await storming.add_guest(db) for _ in range(5)]
    rooms = [await add_room(db, people[0]), await add_room(db, people[0], units=2)]
    storm = storming.Storm(db, people, rooms, random.Random(SEED), datetime.now(UTC))
    until = time.monotonic() + SECONDS
    await asyncio.gather(*(storming.rage(storm, until) for _ in range(6)))
    await storming.settle(storm)
    assert 0 == await audit(db), storm.done
    await storming.judge(storm)
    assert storm.done["create"], storm.done
    assert storm.done["respond"], storm.done
    print(sum(storm.done.values()), dict(storm.done.most_common()))  # noqa: T201 - what a long run is for


async def test_a_storm_goes_through_kills() -> None:
    """PostgreSQL and the programs that storm are killed by turns: nothing is left in halves."""
    chance, began = random.Random(SEED), time.time()
    with power.running() as postgres, ExitStack() as stack:
        await migrate(postgres.server.dsn)
        async with Database(postgres.server.dsn, size=2) as db:
            people = [await storming.add_guest(db) for _ in range(6)]
            for units in (1, 2):
                await add_room(db, people[0], units=units)
        until = time.monotonic() + SECONDS
        programs = [storms(postgres, chance, began) for _ in range(2)]
        stack.callback(end, programs)  # also if something is not as it should be
        killed = 0
        while time.monotonic() < until or killed < 2:
            await asyncio.sleep(chance.uniform(2, 4))
            assert [None, None] == [program.poll() for program in programs]  # none has ended by itself
            if killed % 3 == 1:
                await asyncio.to_thread(postgres.kill)
                await asyncio.to_thread(postgres.start)
            else:
                victim = programs.pop(0)
                victim.kill()
                await asyncio.to_thread(victim.wait)
                programs.append(storms(postgres, chance, began))
            killed += 1
        await asyncio.sleep(2)
        for program in programs:
            assert program.poll() is None
            program.kill()
            await asyncio.to_thread(program.wait)
        async with Database(postgres.server.dsn, size=2) as db:
            storm = await storming.meet(db, chance, began)
            storm.now += (time.time() - began) * timedelta(seconds=storming.SPEED)
            await storming.settle(storm)
            assert 0 == await audit(db)
            live = await storming.judge(storm)
        assert live
        print(killed, "kills,", len(storm.series), "series,", live, "of them live")  # noqa: T201 - as above


def end(programs: list[subprocess.Popen[bytes]]) -> None:
    """Kill what still storms."""
    for program in programs:
        program.kill()


def storms(postgres: power.Postgres, chance: random.Random, began: float) -> subprocess.Popen[bytes]:
    """Start a program that storms until it is killed."""
    arguments = [postgres.server.dsn, str(chance.randrange(1 << 30)), "1000000", str(began)]
    return subprocess.Popen([sys.executable, "-m", "tests.calendar.storming", *arguments])

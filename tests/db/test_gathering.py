"""Questions that are gathered: few statements, and everybody has the answer to their own question."""

import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest

from appointments.db import Database, Statement
from appointments.db.gathering import Gathering
from appointments.shared.errors import Unavailable

DIVIDED = Statement(
    """
    SELECT %(dividend)s::integer / %(divisor)s::integer FROM generate_series(1, %(dividend)s::integer %% 3)
    """
)
"""As many rows as the dividend leaves when it is divided by three."""

SLEEP = Statement("SELECT pg_sleep(%(seconds)s::integer)")


async def divide(db: Database, dividend: int, divisor: int = 1, *, together: bool = False) -> list[tuple[int]]:
    """Ask, with whoever asks too."""
    return await db.fetch_shared(DIVIDED, {"dividend": dividend, "divisor": divisor}, together=together)


@pytest.mark.parametrize("together", [False, True])
async def test_everybody_gets_the_rows_of_their_own_question(db: Database, together: bool) -> None:
    """None, one or two of them; some ask the same; more ask than one statement answers."""
    asked = [number % 100 for number in range(300)]
    answers = await asyncio.gather(*(divide(db, number, together=together) for number in asked))
    assert [[(number,)] * (number % 3) for number in asked] == answers


async def test_a_question_that_postgresql_refuses_is_the_error_of_who_asked_it(db: Database) -> None:
    """Those who came along have their answers, and so have the next ones."""
    answers = await asyncio.gather(
        *(divide(db, *numbers, together=True) for numbers in ((4,), (1, 0), (5,))), return_exceptions=True
    )
    assert [(4,)] == answers[0]
    assert "DivisionByZero" == type(answers[1]).__name__
    assert [(5,), (5,)] == answers[2]
    assert [(7,)] == await divide(db, 7)


async def test_a_statement_that_nobody_waits_for_any_more_is_cancelled(db: Database) -> None:
    """As long as one stays it goes on."""
    asking = [
        asyncio.ensure_future(db.fetch_shared(SLEEP, {"seconds": seconds}, together=True)) for seconds in (600, 601)
    ]
    await until(db, 1)
    asking[0].cancel()
    await asyncio.sleep(0.2)
    await until(db, 1)
    asking[1].cancel()
    await until(db, 0)
    assert [True, True] == [task.cancelled() for task in asking]


SLEEPING = Statement(
    """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND query LIKE '%%pg_sleep%%' AND pid <> pg_backend_pid()
    """
)


async def until(db: Database, sleeping: int) -> None:
    """Wait until so many statements sleep in this database."""
    async with asyncio.timeout(20):
        while [(sleeping,)] != await db.fetch(SLEEPING, {}):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


def test_a_statement_for_many_names_its_parameters_once() -> None:
    """Each is an array of the type that it has for one; an array of arrays there is none."""
    assert ["dividend", "divisor"] == list(DIVIDED.for_many.parameters)
    assert DIVIDED.for_many is DIVIDED.for_many
    with pytest.raises(ValueError, match="an array"):
        _ = Statement("SELECT %(ids)s::uuid[]").for_many


class Answers:
    """Something to ask, which notes what it was asked and answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[list[UUID]] = []
        self.go = asyncio.Event()

    async def __call__(self, keys: Sequence[UUID]) -> Sequence[str]:
        """Answer each key with its text."""
        self.asked.append(list(keys))
        await self.go.wait()
        return [str(key) for key in keys]


async def test_who_asks_while_others_are_answered_waits_for_the_next_statement() -> None:
    """A statement begins after everybody whom it answers has asked, and nobody is asked for twice."""
    answers = Answers()
    questions = Gathering[UUID, str](answers, most=3, at_once=1)
    keys = [uuid4() for _ in range(6)]
    first = [questions.answer(key) for key in keys[:2]]
    await asyncio.sleep(0.01)
    then = [questions.answer(key) for key in keys[2:]]
    await asyncio.sleep(0.01)
    assert [keys[:2]] == answers.asked
    answers.go.set()
    assert [str(key) for key in keys] == await asyncio.gather(*first, *then)
    assert [keys[:2], keys[2:5], keys[5:]] == answers.asked


async def test_those_who_come_one_after_the_other_share_statements() -> None:
    """Who comes alone is answered at once. Those after them share, though no statement is under way when they come."""
    answers = Answers()
    answers.go.set()
    questions = Gathering[UUID, str](answers, most=9, apart=1.0)
    keys = [uuid4() for _ in range(4)]
    assert str(keys[0]) == await asyncio.wait_for(questions.answer(keys[0]), 0.8)
    shared = []
    for key in keys[1:]:
        shared.append(questions.answer(key))
        await asyncio.sleep(0.01)
    assert [keys[:1]] == answers.asked
    assert [str(key) for key in keys[1:]] == await asyncio.gather(*shared)
    assert [keys[:1], keys[1:]] == answers.asked


async def test_those_who_run_their_own_statement_leave_no_room_for_others() -> None:
    """Once they are as many as may be, whoever comes waits. While statements are shared nobody goes alone."""
    answers = Answers()
    questions = Gathering[UUID, str](answers, most=3, most_alone=1, at_once=1)
    assert [True, False] == [questions.begin_alone(), questions.begin_alone()]
    keys = [uuid4(), uuid4()]
    answered = [questions.answer(key) for key in keys]
    await asyncio.sleep(0.01)
    assert [] == answers.asked
    questions.ended_alone()
    await asyncio.sleep(0.01)
    assert [keys] == answers.asked
    assert not questions.begin_alone()
    answers.go.set()
    assert [str(key) for key in keys] == await asyncio.gather(*answered)
    assert questions.begin_alone()


async def test_who_leaves_is_not_asked_for_and_takes_nobody_along() -> None:
    """Before the statement and during it."""
    answers = Answers()
    questions = Gathering[UUID, str](answers, most=3)
    keys = [uuid4() for _ in range(3)]
    early, late, stays = (questions.answer(key) for key in keys)
    early.cancel()
    await asyncio.sleep(0.01)
    late.cancel()
    answers.go.set()
    assert str(keys[2]) == await stays
    assert [keys[1:]] == answers.asked


async def test_a_loop_that_ends_tells_those_who_wait() -> None:
    """The statement is cancelled, and they are not left waiting."""
    answers = Answers()
    questions = Gathering[UUID, str](answers, most=3)
    waiting = questions.answer(uuid4())
    await asyncio.sleep(0.01)
    (task,) = (task for task in asyncio.all_tasks() if "Gathering" in repr(task))
    task.cancel()
    with pytest.raises(Unavailable):
        await waiting

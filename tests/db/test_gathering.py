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
    SELECT number, dividend / divisor FROM unnest(%(dividend)s::integer[], %(divisor)s::integer[]) WITH ORDINALITY
        AS asked (dividend, divisor, number)
    CROSS JOIN LATERAL (SELECT FROM generate_series(1, asked.dividend %% 3)) AS times
    ORDER BY number
    """
)
"""As many rows as the dividend leaves when it is divided by three."""


async def divide(db: Database, dividend: int, divisor: int = 1) -> list[tuple[int]]:
    """Ask, together with whoever asks too."""
    return await db.gather(DIVIDED, {"dividend": dividend, "divisor": divisor})


async def test_everybody_gets_the_rows_of_their_own_question(db: Database) -> None:
    """None, one or two of them; some ask the same; more ask than one statement answers."""
    asked = [number % 100 for number in range(300)]
    answers = await asyncio.gather(*(divide(db, number) for number in asked))
    assert [[(number,)] * (number % 3) for number in asked] == answers


async def test_a_question_that_postgresql_refuses_is_an_error_and_no_wait(db: Database) -> None:
    """Those who came along get it too, and the next ones have their answers."""
    answers = await asyncio.gather(divide(db, 4), divide(db, 1, 0), return_exceptions=True)
    assert ["DivisionByZero"] * 2 == [type(answer).__name__ for answer in answers]
    assert [(4,)] == await divide(db, 4)


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

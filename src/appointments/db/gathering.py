"""Questions that are gathered: many ask about different things at once, and a few statements answer all of them.

Who asks while so many statements are under way as may be waits for the next one. So thousands who come in one moment,
after a restart say, are a handful of statements. One who is alone does not wait.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from appointments.shared import tracing
from appointments.shared.errors import Unavailable

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

K = TypeVar("K")
V = TypeVar("V")

AT_ONCE = 4
"""Statements under way, so that one slow connection holds nobody up."""


@dataclass(eq=False, slots=True)
class _Question(Generic[K, V]):
    key: K
    answer: "asyncio.Future[V]"
    span: "SpanContext | None" = field(default_factory=tracing.current)


class Gathering(Generic[K, V]):
    """Answers keys, ``most`` of them at once. ``ask`` gets keys, each maybe several times, and answers each in turn.

    A statement begins after everybody whom it answers has asked, and is cancelled if all of them leave. At most
    ``at_once`` are under way, or ``most_alone`` that callers run by themselves. It begins no sooner than ``apart``
    seconds after the one before: who comes alone does not wait, and of those who come one after the other many share.
    """

    def __init__(
        self,
        ask: Callable[[Sequence[K]], Awaitable[Sequence[V]]],
        *,
        most: int,
        at_once: int = AT_ONCE,
        most_alone: int = 0,
        apart: float = 0.0,
    ) -> None:
        self._ask = ask
        self._most = most
        self._at_once = at_once
        self._most_alone = most_alone
        self._apart = apart
        self._next_at = 0.0
        self._waiting: deque[_Question[K, V]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._alone = 0
        self._is_due = False

    def begin_alone(self) -> bool:
        """Whether the caller may run a statement of their own, and then tell when it has ended.

        Not while others share statements. Whoever went alone then would leave less to share.
        """
        if self._waiting or self._running or self._alone >= self._most_alone:
            return False
        self._alone += 1
        return True

    def ended_alone(self) -> None:
        """Note that a statement has ended that its caller ran."""
        self._alone -= 1
        self._begin_soon(asyncio.get_running_loop())

    def answer(self, key: K) -> "asyncio.Future[V]":
        """The answer to be. Whatever a statement raises, each of those whom it was for gets."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[V] = loop.create_future()
        self._waiting.append(_Question(key, future))
        self._begin_soon(loop)
        return future

    def _has_room(self) -> bool:
        running = len(self._running)
        return running < self._at_once and running + self._alone < max(self._at_once, self._most_alone)

    def _begin_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        # Not at once: those who ask in the same turn of the loop come along.
        if self._waiting and not self._is_due and self._has_room():
            self._is_due = True
            if self._apart and loop.time() < self._next_at:
                loop.call_at(self._next_at, self._begin, loop)
            else:
                loop.call_soon(self._begin, loop)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_due = False
        self._next_at = loop.time() + self._apart
        chosen = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
        chosen = [question for question in chosen if not question.answer.done()]
        if chosen:
            # In a context of its own, because it is nobody's in particular.
            task = loop.create_task(self._serve(chosen), context=Context())
            self._running.add(task)
            task.add_done_callback(self._ended)
            leave = partial(self._leave, task, chosen)
            for question in chosen:
                question.answer.add_done_callback(leave)
        self._begin_soon(loop)

    @staticmethod
    def _leave(task: asyncio.Task[None], chosen: Sequence[_Question[K, V]], left: "asyncio.Future[V]") -> None:
        if left.cancelled() and all(question.answer.done() for question in chosen):
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._begin_soon(task.get_loop())

    async def _serve(self, chosen: Sequence[_Question[K, V]]) -> None:
        try:
            with tracing.share(question.span for question in chosen):
                answers = await self._ask([question.key for question in chosen])
        except asyncio.CancelledError:  # nobody waits for it any more, or the loop ends
            self._fail(chosen, Unavailable("The server is shutting down."))
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            self._fail(chosen, error)
        else:
            for question, answer in zip(chosen, answers, strict=True):
                if not question.answer.done():
                    question.answer.set_result(answer)

    @staticmethod
    def _fail(chosen: Sequence[_Question[K, V]], error: Exception) -> None:
        for question in chosen:
            if not question.answer.done():
                question.answer.set_exception(error)
                question.answer.exception()  # nobody may be waiting any more

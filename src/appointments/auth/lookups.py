"""Answers of the database that are believed for a few seconds, so that not every call has to ask again.

What changes in one process is seen in every process within :data:`FRESH_SECONDS` and the time that a question takes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from appointments.db.gathering import Gathering

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

FRESH_SECONDS = 4.0
MAX_REMEMBERED = 65_536

MOST = 2000
"""Keys in one question."""

APART_SECONDS = 0.005
"""Between two questions, so that thousands who come back one after the other share them."""


class Lookups(Generic[K, V]):
    """The answers to one question, by what it is asked about. Callers who ask the same at once share an answer.

    ``ask`` gets keys and returns what there is; what it leaves out has the answer ``missing``.
    """

    def __init__(self, ask: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]], *, missing: V) -> None:
        async def answers(keys: Sequence[K]) -> list[V]:
            found = await ask(keys)
            return [found.get(key, missing) for key in keys]

        self._questions: Gathering[K, V] = Gathering(answers, most=MOST, apart=APART_SECONDS)
        self._known: dict[K, _Lookup[V]] = {}

    def __contains__(self, key: K) -> bool:
        """Whether it was asked before, however long ago."""
        return key in self._known

    async def get(self, key: K) -> V:
        """The answer, which is at most :data:`FRESH_SECONDS` old. Whatever the question raises is raised here."""
        answer = self._answer(key, FRESH_SECONDS)
        if answer.done():
            return answer.result()
        # Callers share the answer: one that gives up must not cancel it for the others.
        return await asyncio.shield(answer)

    async def renew(self, keys: Iterable[K], *, older_than: float) -> None:
        """Ask anew about all of these whose answers are older than so many seconds. :meth:`get` tells the answers."""
        answers = {self._answer(key, older_than) for key in keys}
        if waiting := [answer for answer in answers if not answer.done()]:
            await asyncio.wait(waiting)

    def forget(self, keys: Iterable[K]) -> None:
        """Drop what is known about these: it has just changed."""
        for key in keys:
            self._known.pop(key, None)

    def _answer(self, key: K, fresh: float) -> "asyncio.Future[V]":
        now = asyncio.get_running_loop().time()
        lookup = self._known.get(key)
        # An answer may be as old as its question, so its age counts from when it was asked.
        if lookup is None or now - lookup.started > fresh or lookup.failed:
            self.forget([key])
            if len(self._known) >= MAX_REMEMBERED:
                self.forget([next(iter(self._known))])
            lookup = self._known[key] = _Lookup(now, self._questions.answer(key))
        return lookup.answer


class _Lookup(NamedTuple, Generic[V]):
    started: float
    answer: "asyncio.Future[V]"

    @property
    def failed(self) -> bool:
        return self.answer.done() and self.answer.exception() is not None

"""Answers of the database that are believed for a few seconds, so that not every call has to ask again.

What changes in one process is seen in every process within :data:`FRESH_SECONDS` and the time that a question takes.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

FRESH_SECONDS = 4.0
MAX_REMEMBERED = 65_536


class Lookups(Generic[K, V]):
    """The answers to one question, by what it is asked about. Callers who ask the same at once share an answer."""

    def __init__(self, ask: Callable[[K], Coroutine[Any, Any, V]]) -> None:
        self._ask = ask
        self._known: dict[K, _Lookup[V]] = {}

    def __contains__(self, key: K) -> bool:
        """Whether it was asked before, however long ago."""
        return key in self._known

    async def get(self, key: K) -> V:
        """The answer, which is at most :data:`FRESH_SECONDS` old. Whatever the question raises is raised here."""
        started = asyncio.get_running_loop().time()
        lookup = self._known.get(key)
        # An answer may be as old as its question, so its age counts from when it was asked.
        if lookup is None or started - lookup.started > FRESH_SECONDS or lookup.failed:
            self.forget([key])
            if len(self._known) >= MAX_REMEMBERED:
                self.forget([next(iter(self._known))])
            lookup = self._known[key] = _Lookup(started, asyncio.create_task(self._ask(key)))
        if lookup.task.done():
            return lookup.task.result()
        # Callers share the lookup: one that gives up must not cancel it for the others.
        return await asyncio.shield(lookup.task)

    def forget(self, keys: Iterable[K]) -> None:
        """Drop what is known about these: it has just changed."""
        for key in keys:
            self._known.pop(key, None)


@dataclass(frozen=True, slots=True)
class _Lookup(Generic[V]):
    started: float
    task: asyncio.Task[V]

    @property
    def failed(self) -> bool:
        return self.task.done() and (self.task.cancelled() or self.task.exception() is not None)

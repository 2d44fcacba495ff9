"""Passwords, hashed with bcrypt in threads of their own so that the event loop stays responsive.

bcrypt releases the interpreter lock while it works. Every check costs one bcrypt of the current cost: for an unknown
account, or a password that bcrypt would refuse, a dummy hash is checked that no password matches.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import bcrypt

from appointments.shared import metrics, validation
from appointments.shared.errors import Unavailable

P = ParamSpec("P")
R = TypeVar("R")

MIN_CHARACTERS = 8
MAX_BYTES = 72
"""bcrypt reads no further, and version 5 of the package raises rather than cut a password short."""

MAX_WAITING = 16
"""How many may queue. At about 0.2 s each, the last of them waits as long as a person would; more are refused."""

NICENESS = 10


def problem(password: str) -> str | None:
    """Say what is wrong with a new password, or None."""
    if found := validation.problem(password, least=MIN_CHARACTERS, most=MAX_BYTES):
        return found
    if len(password.encode()) > MAX_BYTES:
        return f"must be at most {MAX_BYTES} bytes of UTF-8"
    return None


class Passwords:
    """A bounded queue in front of the hashing threads."""

    def __init__(self, *, cost: int = 12, workers: int | None = None, waiting: int = MAX_WAITING) -> None:
        """``cost`` is the power of two of bcrypt's rounds; ``workers`` defaults to the cores but one."""
        workers = workers or max(1, (os.cpu_count() or 1) - 1)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="bcrypt", initializer=_lower_priority)
        self._hasher = Hasher(self._threads, cost)
        self._free_slots = slots = workers + waiting
        metrics.observed(metrics.PASSWORDS_QUEUED, lambda: slots - self._free_slots)

    def close(self) -> None:
        """Cancel what is queued; hashes that are being computed finish."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def slot(self) -> Iterator["Hasher"]:
        """Reserve a slot for one request, before anything else is spent on it.

        Raises:
            Unavailable: too many are waiting.
        """
        if self._free_slots <= 0:
            raise Unavailable("Too many passwords are waiting.", reason="PASSWORD_QUEUE_FULL", retry_after=3.0)
        self._free_slots -= 1
        try:
            yield self._hasher
        finally:
            self._free_slots += 1


class Hasher:
    """Hashes and checks passwords for requests that hold a slot."""

    def __init__(self, threads: ThreadPoolExecutor, cost: int) -> None:
        self._threads = threads
        self._cost = cost
        # The salt is valid, and the digest after it (all zero bits) is one that no password has.
        self._dummy_hash = bcrypt.gensalt(cost) + b"." * 31

    async def hash(self, password: str) -> str:
        """Hash a password that has no problem."""
        return (await self._run(bcrypt.hashpw, password.encode(), bcrypt.gensalt(self._cost))).decode()

    async def verify(self, password: str, hashed: str | None) -> bool:
        """Whether ``password`` matches ``hashed``; None stands for an account that does not exist."""
        usable = _is_usable(password)
        candidate = password.encode() if usable else b"unusable"
        matches = await self._run(bcrypt.checkpw, candidate, hashed.encode() if hashed else self._dummy_hash)
        return matches and usable and hashed is not None

    async def _run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.wrap_future(self._threads.submit(function, *args, **kwargs))


def _lower_priority() -> None:
    # On Linux each thread has its own niceness. The event loop preempts a hash when it needs the core.
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _is_usable(password: str) -> bool:
    return validation.problem(password, most=MAX_BYTES) is None and len(password.encode()) <= MAX_BYTES

"""Passwords under bcrypt, in a few threads of their own, so that the event loop keeps turning.

bcrypt releases the interpreter lock while it works. Whatever is asked, one check costs one bcrypt of the current cost:
an unknown account or a password that bcrypt would refuse is checked against a hash that nothing matches.
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

from appointments import validation
from appointments.errors import Unavailable

P = ParamSpec("P")
R = TypeVar("R")

MIN_CHARACTERS = 8
MAX_BYTES = 72
"""bcrypt reads no further, and version 5 of the package raises rather than cut a password short."""

MAX_WAITING = 16
"""At about 0.2 s each this is as long as a person waits; whoever comes later is told to come back."""

NICENESS = 10


def problem(password: str) -> str | None:
    """What is wrong with a new password; None if it is fine."""
    if found := validation.problem(password, least=MIN_CHARACTERS, most=MAX_BYTES):
        return found
    if len(password.encode()) > MAX_BYTES:
        return f"must be at most {MAX_BYTES} bytes of UTF-8"
    return None


class Passwords:
    """Lends places at the threads that hash, a bounded number at a time."""

    def __init__(self, *, cost: int = 12, workers: int | None = None, waiting: int = MAX_WAITING) -> None:
        """``cost`` is the power of two of bcrypt's rounds; ``workers`` defaults to the cores but one."""
        workers = workers or max(1, (os.cpu_count() or 1) - 1)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="bcrypt", initializer=_step_back)
        self._hasher = Hasher(self._threads, cost)
        self._room = workers + waiting

    def close(self) -> None:
        """Give up what waits; what is being worked on ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def place(self) -> Iterator["Hasher"]:
        """Take a place for one piece of work, before anything else is spent on it.

        Raises:
            Unavailable: too many are waiting.
        """
        if self._room <= 0:
            raise Unavailable("Too many passwords are waiting.", reason="PASSWORD_QUEUE_FULL", retry_after=3.0)
        self._room -= 1
        try:
            yield self._hasher
        finally:
            self._room += 1


class Hasher:
    """Hashes and checks passwords for whoever has a place."""

    def __init__(self, threads: ThreadPoolExecutor, cost: int) -> None:
        self._threads = threads
        self._cost = cost
        # Any salt will do, and no password has the digest of zeros that follows it.
        self._nobody = bcrypt.gensalt(cost) + b"." * 31

    async def hash(self, password: str) -> str:
        """Hash a password that has no problem."""
        return (await self._run(bcrypt.hashpw, password.encode(), bcrypt.gensalt(self._cost))).decode()

    async def verify(self, password: str, hashed: str | None) -> bool:
        """Whether it is the password behind ``hashed``; None stands for an account that is not there."""
        usable = _is_usable(password)
        candidate = password.encode() if usable else b"unusable"
        matches = await self._run(bcrypt.checkpw, candidate, hashed.encode() if hashed else self._nobody)
        return matches and usable and hashed is not None

    async def _run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.wrap_future(self._threads.submit(function, *args, **kwargs))


def _step_back() -> None:
    # On Linux each thread has a niceness of its own: when the event loop wants the core that a hash is on, it gets it.
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _is_usable(password: str) -> bool:
    return validation.problem(password, most=MAX_BYTES) is None and len(password.encode()) <= MAX_BYTES

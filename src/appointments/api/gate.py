"""Admission of calls during shutdown: counts the calls in flight, and refuses new ones once it is shut."""

import asyncio

from appointments.shared.errors import Unavailable

QUIET_MOMENT_SECONDS = 0.2
"""How long to wait for a moment without calls in flight before new calls are refused."""


class Gate:
    """A context manager around each call; all calls share one."""

    def __init__(self) -> None:
        self._inside = 0
        self._left = asyncio.Event()
        self._shut = False

    @property
    def inside(self) -> int:
        """How many calls are in flight."""
        return self._inside

    def __enter__(self) -> None:
        if self._shut:
            raise Unavailable("The server is shutting down.", retry_after=0.1)
        self._inside += 1

    def __exit__(self, *exc_info: object) -> None:
        self._inside -= 1
        self._left.set()

    async def shut(self, seconds: float) -> bool:
        """Refuse new calls, and return whether those in flight have ended within ``seconds``.

        The gate waits a little for a moment without calls in flight and shuts then, so that hardly any call is refused.
        """
        await self._wait_until_empty(min(QUIET_MOMENT_SECONDS, seconds))
        self._shut = True
        return await self._wait_until_empty(seconds)

    async def _wait_until_empty(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                while self._inside:
                    self._left.clear()
                    await self._left.wait()
        except TimeoutError:
            return self._inside == 0
        return True

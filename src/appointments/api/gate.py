"""The gate that calls pass on their way in: how many are inside, and whether more may come."""

import asyncio

from appointments.errors import Unavailable

CHANCE_SECONDS = 0.2
"""How long to wait for a moment in which nobody is inside, before newcomers are refused to bring one about."""


class Gate:
    """A context manager around each call; one object serves all of them."""

    def __init__(self) -> None:
        self._inside = 0
        self._left = asyncio.Event()
        self._shut = False

    def __enter__(self) -> None:
        if self._shut:
            raise Unavailable("The server is shutting down.", retry_after=0.1)
        self._inside += 1

    def __exit__(self, *exc_info: object) -> None:
        self._inside -= 1
        self._left.set()

    async def shut(self, seconds: float) -> bool:
        """Refuse whoever comes from now on, and return whether the last one has left within so many seconds.

        If it can be had soon, the gate is shut in a moment when nobody is inside: then hardly anybody is refused.
        """
        await self._empty(min(CHANCE_SECONDS, seconds))
        self._shut = True
        return await self._empty(seconds)

    async def _empty(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                while self._inside:
                    self._left.clear()
                    await self._left.wait()
        except TimeoutError:
            return self._inside == 0
        return True

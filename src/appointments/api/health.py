"""Whether calls should be sent here: the truth behind ``/readyz`` and ``grpc.health.v1``."""

import asyncio
from collections.abc import Iterable

from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio

from appointments.db import Database
from appointments.db.migrate import pending
from appointments.shared.errors import Unavailable

SECONDS = 1.0
"""How long the database may take to answer, and how often the health service checks."""


class Readiness:
    """Whether the database answers and is migrated, and the server is not draining."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.draining = False

    async def __call__(self) -> bool:
        """Check now."""
        if self.draining:
            return False
        try:
            async with asyncio.timeout(SECONDS), self._db.connection() as connection:
                return not await pending(connection) and not self.draining
        except (Unavailable, TimeoutError):
            return False


class Health:
    """``grpc.health.v1`` for the whole server ("") and for each service by name."""

    def __init__(self, readiness: Readiness, services: Iterable[str]) -> None:
        self.servicer = health_aio.HealthServicer()
        self._readiness = readiness
        self._names = ("", *services)

    async def report(self) -> None:
        """Report readiness now."""
        ready = await self._readiness()
        status = health_pb2.HealthCheckResponse
        for name in self._names:
            await self.servicer.set(name, status.SERVING if ready else status.NOT_SERVING)

    async def keep_reporting(self) -> None:
        """Report readiness until cancelled."""
        while True:
            await self.report()
            await asyncio.sleep(SECONDS)

    async def drain(self) -> None:
        """Report NOT_SERVING from now on, whatever the readiness."""
        await self.servicer.enter_graceful_shutdown()

"""The primary dies under load and the standby takes over: writes go on, and what was acknowledged is there.

``FAILOVERS=10 pytest tests/server/test_failover.py --log-cli-level=INFO`` does it ten times and tells
how long each took.
"""

import asyncio
import logging
import os
import signal
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import grpc
import psycopg
import pytest

from appointments.db import embedded
from appointments.db.embedded import Server
from appointments.v1 import appointments_pb2 as pb
from appointments.v1 import auth_pb2, changes_pb2, changes_pb2_grpc
from tests import service, standby
from tests.audit import audit_at
from tests.clients import HOUR, TEN, Person, appointment, person

FAILOVERS = int(os.environ.get("FAILOVERS", "1"))
WRITERS = 8
MOST_SECONDS = 5.0
"""From the promotion to the first write."""

EXCUSED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


_log = logging.getLogger(__name__)


@dataclass
class Load:
    """People's programs that book one hour after the other, and remember what they were told."""

    who: Person
    acknowledged: dict[str, str] = field(default_factory=dict)
    """Request ids and the appointments that they made."""
    doubtful: list[pb.CreateAppointmentRequest] = field(default_factory=list)
    last: float = 0.0
    """When the last write was acknowledged that was asked for after the promotion."""
    promoted: float = float("inf")
    hours: int = 0
    stopping: bool = False

    async def book(self) -> None:
        """Book until told to stop."""
        while not self.stopping:
            self.hours += 1
            wanted = appointment(TEN + timedelta(hours=self.hours), HOUR)
            request = pb.CreateAppointmentRequest(appointment=wanted, request_id=str(uuid4()))
            asked = time.monotonic()
            try:
                made = await self.send(request)
            except grpc.aio.AioRpcError as error:
                if error.code() not in EXCUSED:
                    raise
                self.doubtful.append(request)
                await asyncio.sleep(0.05)
            else:
                self.acknowledged[request.request_id] = made.id
                if asked > self.promoted and not self.last:
                    self.last = time.monotonic()

    async def send(self, request: pb.CreateAppointmentRequest) -> pb.Appointment:
        """Ask once."""
        answer = await self.who.appointments.CreateAppointment(request, metadata=self.who.metadata, timeout=4)
        return answer.appointment

    async def until(self, count: int) -> None:
        """Return when so many more are acknowledged."""
        wanted = len(self.acknowledged) + count
        async with asyncio.timeout(30):
            while len(self.acknowledged) < wanted:  # noqa: ASYNC110 - writers only count
                await asyncio.sleep(0.01)


def kill(server: Server) -> None:
    """End a PostgreSQL as a power cut would, all backends with it."""
    backends = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    for each in (server.pid, *map(int, backends)):
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def both(primary: Server, replica: Server) -> str:
    """One DSN with both hosts."""
    who, _, where = primary.dsn.rpartition("@")
    host, _, name = where.partition("/")
    other = replica.dsn.rpartition("@")[2].partition("/")[0]
    return f"{who}@{host},{other}/{name}?target_session_attrs=read-write"


@pytest.mark.parametrize("number", range(FAILOVERS))
async def test_the_standby_takes_over(number: int) -> None:
    """Within five seconds of its promotion; sessions, cursors and request ids go on where they were."""
    with ExitStack() as stack:
        primary = stack.enter_context(embedded.scratch(settings={"synchronous_commit": "on"}))
        replica = stack.enter_context(standby.following(stack.enter_context(standby.copied(primary))))
        with psycopg.connect(primary.dsn, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            connection.execute("SELECT pg_reload_conf()")
        server = stack.enter_context(service.start(both(primary, replica), {"TRUSTED_PROXY_HOPS": "1"}))
        async with person(server.grpc) as ada:
            changes = changes_pb2_grpc.ChangeServiceStub(ada.channel)
            listing = await changes.ListChanges(changes_pb2.ListChangesRequest(), metadata=ada.metadata)
            load = Load(ada)
            writers = [asyncio.create_task(load.book()) for _ in range(WRITERS)]
            await load.until(100)
            kill(primary)
            before = len(load.acknowledged)
            with psycopg.connect(replica.dsn, autocommit=True) as connection:
                connection.execute("SELECT pg_promote()")
            load.promoted = time.monotonic()
            await load.until(100)
            load.stopping = True
            await asyncio.gather(*writers)
            took = load.last - load.promoted
            doubtful = len(load.doubtful)

            # A retry with the same request id gets the same answer, whether or not the first was carried out.
            for request in load.doubtful:
                made, again = await load.send(request), await load.send(request)
                assert made.id == again.id
                load.acknowledged[request.request_id] = made.id
            async with asyncio.timeout(30):
                told: set[str] = set()
                cursor = listing.next_cursor
                while told != set(load.acknowledged.values()):
                    page = await changes.ListChanges(
                        changes_pb2.ListChangesRequest(cursor=cursor, page_size=1000), metadata=ada.metadata
                    )
                    told |= {each.id for each in page.changes}
                    cursor = page.next_cursor
                    await asyncio.sleep(0.02)
            await ada.auth.Refresh(auth_pb2.RefreshRequest(refresh_token=ada.tokens.refresh_token))
        with psycopg.connect(replica.dsn) as connection:
            there = {str(row[0]) for row in connection.execute("SELECT id FROM appointments")}
        assert there == set(load.acknowledged.values())
        assert audit_at(replica.dsn) == 0
        text = "failover %d: %d acknowledged before, %d in doubt, first write %.2f s after the promotion"
        _log.info(text, number, before, doubtful, took)
        assert took < MOST_SECONDS

"""The load generator: processes of their own that keep calls in flight, or send them at a steady rate."""

import asyncio
import multiprocessing
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import cycle
from multiprocessing.connection import Connection as Pipe
from time import perf_counter

import uvloop
from google.protobuf.timestamp_pb2 import Timestamp

from appointments.v1 import appointments_pb2 as pb
from bench.data import BUSY, EVERY, FIRST, Person
from bench.wire import Native, Web

SERVICE = "/appointments.v1.AppointmentService"
MINUTE = timedelta(minutes=1)

PATHS = {
    "empty": "/bench.v1.Floor/Empty",
    "empty with a key": "/bench.v1.Floor/Empty",
    "get": f"{SERVICE}/GetAppointment",
    "create": f"{SERVICE}/CreateAppointment",
    "create with 3 rooms": f"{SERVICE}/CreateAppointment",
    "update": f"{SERVICE}/UpdateAppointment",
    "move": f"{SERVICE}/UpdateAppointment",
    "list 20": f"{SERVICE}/ListAppointments",
    "list 200": f"{SERVICE}/ListAppointments",
    "list day": f"{SERVICE}/ListAppointments",
    "list week": f"{SERVICE}/ListAppointments",
    "list month": f"{SERVICE}/ListAppointments",
}
_WINDOWS = {"list day": timedelta(days=1), "list week": timedelta(days=7), "list month": timedelta(days=30)}


@dataclass(frozen=True)
class Job:
    """What to call, how often and how.

    ``callers``: each with a token. ``first_minute``: creates book minute after minute from here on, so that no two of
    them are in each other's way; with ``slots`` the first so many minutes are all that there is.
    ``rate``: calls per second, whatever the answers; else ``in_flight`` are kept going.
    """

    address: str
    kind: str
    callers: tuple[tuple[Person, str], ...]
    count: int
    in_flight: int
    first_minute: int = 0
    slots: int = 0
    rate: float = 0.0
    web: bool = False
    connections: int = 8
    statuses: bool = False


@dataclass
class Outcome:
    """How it went. ``latencies`` are seconds, from when the call was due."""

    seconds: float = 0.0
    ended: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    @property
    def ok(self) -> int:
        """How many succeeded."""
        return self.ended["OK"]

    def percentile(self, share: float) -> float:
        """A latency that this share of the calls kept."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Generator:
    """A process that works jobs off."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    def run(self, job: Job) -> Outcome:
        """Do a job, to its end."""
        self._pipe.send(job)
        outcome = self._pipe.recv()
        assert isinstance(outcome, Outcome)
        return outcome


@contextmanager
def generator() -> Iterator[Generator]:
    """Start a generator; it ends with the block."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()  # so that its death is noticed here
    try:
        yield Generator(ours)
    finally:
        ours.send(None)
        process.join(5)


def _serve(pipe: Pipe) -> None:
    while (job := pipe.recv()) is not None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            pipe.send(runner.run(_Drive(job).run()))


class _Drive:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._outcome = Outcome()
        self._sent = 0
        self._over = asyncio.Event()
        self._connections: list[tuple[Native | Web, Callable[[], bytes]]] = []

    async def run(self) -> Outcome:
        job, loop = self._job, asyncio.get_running_loop()
        count = job.in_flight if job.web else min(job.connections, job.in_flight)
        for index in range(count):
            person, token = job.callers[index % len(job.callers)]
            host, _, port = job.address.rpartition(":")
            path = PATHS[job.kind]
            connection = Web(path, token) if job.web else Native(path, token, statuses=job.statuses)
            await loop.create_connection(lambda connection=connection: connection, host, int(port))  # type: ignore[misc]
            lane = (index // len(job.callers), -(-count // len(job.callers)))
            self._connections.append((connection, _messages(job, person, lane)))
        started = perf_counter()
        if job.rate:
            await self._send_at_rate()
        else:
            for index in range(min(job.in_flight, job.count)):
                self._send(index % count)
        await self._over.wait()
        self._outcome.seconds = perf_counter() - started
        for connection, _ in self._connections:
            connection.close()
        return self._outcome

    def _send(self, index: int, due: float | None = None) -> None:
        connection, message = self._connections[index]
        started = due or perf_counter()
        self._sent += 1

        def done(status: str) -> None:
            outcome = self._outcome
            outcome.latencies.append(perf_counter() - started)
            outcome.ended[status] += 1
            if len(outcome.latencies) == self._job.count:
                self._over.set()
            elif not self._job.rate and self._sent < self._job.count:
                self._send(index)

        connection.call(message(), done)

    async def _send_at_rate(self) -> None:
        # A call that is late is sent at once, and its latency counts from when it was due.
        started = perf_counter()
        while self._sent < self._job.count:
            due = started + self._sent / self._job.rate
            if (wait := due - perf_counter()) > 0:
                await asyncio.sleep(wait)
            self._send(self._sent % len(self._connections), due)


def _messages(job: Job, person: Person, lane: tuple[int, int]) -> Callable[[], bytes]:
    """What makes the requests of one connection; lanes keep those of one person apart."""
    chance = random.Random(f"{person.user_id} {lane}")
    index, step = lane
    minutes = iter(range(job.first_minute + index, 10**9, step))
    if job.slots:
        minutes = iter(lambda: job.first_minute + chance.randrange(job.slots), -1)

    def create() -> bytes:
        start = _timestamp(FIRST + next(minutes) * MINUTE)
        end = Timestamp(seconds=start.seconds + 60)
        wanted = pb.Appointment(
            title="Haircut", description="As agreed on the phone", location="Room 1", time_zone="Europe/Zurich",
            start_time=start, end_time=end, resource_ids=person.rooms if "rooms" in job.kind else (),
        )  # fmt: skip
        return pb.CreateAppointmentRequest(appointment=wanted).SerializeToString()

    def get() -> bytes:
        return pb.GetAppointmentRequest(id=str(chance.choice(person.appointments))).SerializeToString()

    def update() -> bytes:
        wanted = pb.Appointment(id=str(chance.choice(person.appointments)), title=f"Haircut {chance.random()}")
        return pb.UpdateAppointmentRequest(appointment=wanted).SerializeToString()

    moved = cycle(person.appointments[index::step])

    def move() -> bytes:
        start = _timestamp(FIRST + next(minutes) * MINUTE)
        wanted = pb.Appointment(id=str(next(moved)), start_time=start, end_time=Timestamp(seconds=start.seconds + 60))
        return pb.UpdateAppointmentRequest(appointment=wanted).SerializeToString()

    def page() -> bytes:
        since = FIRST + chance.randrange(BUSY - 500) * EVERY
        request = pb.ListAppointmentsRequest(start_time=_timestamp(since))
        if job.kind in _WINDOWS:
            request.end_time.CopyFrom(_timestamp(since + _WINDOWS[job.kind]))
            request.page_size = 1000
        else:
            request.page_size = int(job.kind.split()[1])
        return request.SerializeToString()

    makers = {"empty": bytes, "get": get, "create": create, "update": update, "move": move}
    return makers.get(job.kind.partition(" with ")[0], page)


def _timestamp(value: datetime) -> Timestamp:
    return Timestamp(seconds=int(value.timestamp()))

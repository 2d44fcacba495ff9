"""``python -m bench.streams [--engine native] [--streams 10000]``: what streams of changes cost, how soon they tell.

- Memory of idle streams: native, gRPC-Web and server-sent events; and of a bare one that no code of ours has ever seen,
  so that the engine's own share is known.
- What one change costs with thousands of idle streams beside it.
- How long after its answer a create is seen in a stream of another process.
- Thousands that come back at once with their cursors: whether somebody is refused, and what the database sees of it.

One client process does all of it, with hand-made frames: a client library would be what is measured.
"""

import argparse
import asyncio
import struct
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import psycopg
import uvloop

from appointments.db import embedded
from appointments.db.migrate import migrate
from appointments.v1 import appointments_pb2 as appointments
from appointments.v1 import changes_pb2 as pb
from bench import data
from bench.load import MINUTE, PATHS, _timestamp
from bench.machine import usage
from bench.server import Server, serve
from bench.stage import POSTGRES, new_database
from bench.wire import DATA, END_STREAM, HEADERS, RST_STREAM, Native, _frame

WATCH = "/appointments.v1.ChangeService/WatchChanges"
LIST = "/appointments.v1.ChangeService/ListChanges"
BARE = "/bench.v1.Bare/Idle"
PER_CONNECTION = 100
OPENED_AT_ONCE = 100
IDLE_SECONDS = 15.0
"""Nearly as long as it takes for each idle stream to be told once that nothing has changed."""


class Streaming(Native):
    """Calls of any method for anybody on one connection, each with a callback for its messages."""

    def __init__(self) -> None:
        super().__init__("", "", statuses=True)
        self._told: dict[int, tuple[Callable[[bytes], None], Callable[[str], None]]] = {}
        self._parts: dict[int, bytes] = {}

    def open(
        self, path: str, token: str, message: bytes, told: Callable[[bytes], None], ended: Callable[[str], None]
    ) -> None:
        """Begin a call."""
        self._stream += 2
        self._told[self._stream] = told, ended
        headers = [
            (name, {":path": path, "authorization": f"Bearer {token}"}.get(name, value))
            for name, value in self._headers
        ]
        block = self._encoder.encode(headers)
        body = struct.pack(">BI", 0, len(message)) + message
        self._transport.write(_frame(HEADERS, 0x4, self._stream, block) + _frame(DATA, END_STREAM, self._stream, body))

    def _frame_received(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA:
            content = self._parts.pop(stream, b"") + payload
            while len(content) >= 5 and len(content) >= 5 + int.from_bytes(content[1:5]):
                length = int.from_bytes(content[1:5])
                if stream in self._told:
                    self._told[stream][0](content[5 : 5 + length])
                content = content[5 + length :]
            if content:
                self._parts[stream] = content
        elif kind == HEADERS:
            status = self._status(payload)
            if flags & END_STREAM and stream in self._told:
                self._told.pop(stream)[1](status or "?")
        elif kind == RST_STREAM:
            if stream in self._told:
                self._told.pop(stream)[1]("RESET")
        else:
            super()._frame_received(kind, flags, stream, payload)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        told, self._told = self._told, {}
        for _, ended in told.values():
            ended("LOST")


class Events(asyncio.Protocol):
    """One stream over HTTP/1.1: server-sent events, or gRPC-Web."""

    def __init__(self, head: bytes, told: Callable[[], None]) -> None:
        self._head = head
        self._told = told

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._head)

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    def data_received(self, data: bytes) -> None:  # noqa: ARG002
        self._told()


@dataclass
class Seen:
    """What became of streams."""

    begun: int = 0
    ended: list[str] = field(default_factory=list)
    connections: list[Any] = field(default_factory=list)


async def connected(address: str, make: Callable[[], Any]) -> Any:
    """A connection."""
    host, _, port = address.rpartition(":")
    return (await asyncio.get_running_loop().create_connection(make, host, int(port)))[1]


async def open_native(
    server: Server, people: Sequence[data.Person], path: str, messages: Sequence[bytes], *, at_once: int
) -> Seen:
    """Open a stream for each of these people, so many at once, and wait until each has had its first message."""
    seen = Seen()
    connections = [await connected(server.grpc, Streaming) for _ in range(-(-len(people) // PER_CONNECTION))]
    seen.connections = connections
    for start in range(0, len(people), at_once):
        for index in range(start, min(start + at_once, len(people))):
            first = [True]

            def told(_: bytes, first: list[bool] = first) -> None:
                seen.begun += first[0]
                first[0] = False

            connections[index // PER_CONNECTION].open(
                path, people[index].token(), messages[index], told, seen.ended.append
            )
        await until(lambda start=start: seen.begun + len(seen.ended) >= min(start + at_once, len(people)))  # type: ignore[misc]
    return seen


async def open_web(server: Server, people: Sequence[data.Person], head: Callable[[data.Person], bytes]) -> Seen:
    """The same over HTTP, a connection for each."""
    seen = Seen()
    for start in range(0, len(people), OPENED_AT_ONCE):
        for person in people[start : start + OPENED_AT_ONCE]:
            first = [True]

            def told(first: list[bool] = first) -> None:
                seen.begun += first[0]
                first[0] = False

            make = partial(Events, head(person), told)
            seen.connections.append(await connected(server.http, make))
        await until(lambda: seen.begun == len(seen.connections))
    return seen


async def close(seen: Seen) -> None:
    """Hang up, and wait until the server has noticed."""
    for connection in seen.connections:
        connection.close()
    await asyncio.sleep(3)


async def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait for something."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it takes too long"
        await asyncio.sleep(0.005)


def resident(server: Server) -> float:
    """KiB."""
    return usage(server.pid).resident_bytes / 1024


def sse(person: data.Person) -> bytes:
    """A browser's request for events."""
    return (
        f"GET /events HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\nsec-fetch-site: same-origin\r\n"
        f"cookie: __Host-access_token={person.token()}\r\n\r\n"
    ).encode()


def grpc_web(person: data.Person) -> bytes:
    """A page's call of WatchChanges."""
    return (
        f"POST {WATCH} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/grpc-web+proto\r\nx-grpc-web: 1\r\n"
        f"sec-fetch-site: same-origin\r\ncookie: __Host-access_token={person.token()}\r\ncontent-length: 5\r\n\r\n"
    ).encode() + bytes(5)


async def memory(dsn: str, people: Sequence[data.Person], engine: str) -> None:
    """Print what idle streams hold."""
    empty = [b""] * len(people)
    doors: dict[str, Callable[[Server], Any]] = {
        "bare": lambda server: open_native(server, people, BARE, empty, at_once=OPENED_AT_ONCE),
        "WatchChanges": lambda server: open_native(server, people, WATCH, empty, at_once=OPENED_AT_ONCE),
    }
    if engine == "grpcio":
        doors["/events"] = lambda server: open_web(server, people[:2000], sse)
        doors["WatchChanges on the web port"] = lambda server: open_web(server, people[:2000], grpc_web)
    for name, opened in doors.items():
        with serve(dsn, engine=engine) as server:
            # What the first streams need once is not theirs.
            warm = await open_native(server, people[:100], WATCH, empty, at_once=OPENED_AT_ONCE)
            await close(warm)
            before = resident(server)
            seen = await opened(server)
            assert not seen.ended, seen.ended[:3]
            await asyncio.sleep(6)
            each = (resident(server) - before) / seen.begun
            idle = usage(server.pid).cpu_seconds
            await asyncio.sleep(10)
            cpu = (usage(server.pid).cpu_seconds - idle) / 10
            print(
                f"{engine}: {name}: {each:.1f} KiB each, of {seen.begun:,}; idle {100 * cpu:.1f}% of a core", flush=True
            )
            await close(seen)


async def one_change(dsn: str, people: Sequence[data.Person], engine: str) -> None:
    """Print what a create of one person costs the process that holds idle streams of many."""
    # The process has room for 10,000, and the one that is told counts as well.
    for beside in (0, len(people) - 1):
        with serve(dsn, engine=engine) as writing, serve(dsn, engine=engine) as watching:
            idle_ones = people[1 : 1 + beside]
            seen = await open_native(watching, idle_ones, WATCH, [b""] * beside, at_once=OPENED_AT_ONCE)
            assert not seen.ended, seen.ended[:3]
            await asyncio.sleep(5)
            before = usage(watching.pid).cpu_seconds
            await asyncio.sleep(IDLE_SECONDS)
            idle = (usage(watching.pid).cpu_seconds - before) / IDLE_SECONDS
            before, began = usage(watching.pid).cpu_seconds, time.perf_counter()
            delays = await delays_of(writing, watching, people[:1], 50, IDLE_SECONDS)
            cpu = usage(watching.pid).cpu_seconds - before - idle * (time.perf_counter() - began)
            p50 = 1000 * delays[len(delays) // 2]
            print(
                f"{engine}: one change beside {beside:,} idle streams: {1e6 * cpu / len(delays):.0f} µs of the process,"
                f" told after {p50:.0f} ms (p50)",
                flush=True,
            )
            await close(seen)


_minutes = iter(range(20_000_000, 10**9))


async def delays_of(
    writing: Server, watching: Server, people: Sequence[data.Person], rate: float, seconds: float
) -> list[float]:
    """Seconds from a create's answer of one process to its change in a stream of the other."""
    answered: dict[str, float] = {}
    told: dict[str, float] = {}

    begun: set[int] = set()

    def news(message: bytes, index: int) -> None:
        begun.add(index)
        for change in pb.WatchChangesResponse.FromString(message).changes:
            told.setdefault(change.id, time.perf_counter())

    def booked(message: bytes) -> None:
        answer = appointments.CreateAppointmentResponse.FromString(message)
        answered[answer.appointment.id] = time.perf_counter()

    streams, creates = await connected(watching.grpc, Streaming), await connected(writing.grpc, Streaming)
    failed: list[str] = []
    statuses: list[str] = []
    for index, person in enumerate(people):
        streams.open(WATCH, person.token(), b"", partial(news, index=index), failed.append)
    await until(lambda: bool(failed) or len(begun) == len(people))  # what is booked before is not told
    count, began = int(rate * seconds), time.perf_counter()
    for index in range(count):
        if (wait := began + index / rate - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        person = people[index % len(people)]
        start = _timestamp(data.FIRST + next(_minutes) * MINUTE)
        wanted = appointments.Appointment(title="Haircut", time_zone="Europe/Zurich", start_time=start)
        wanted.end_time.seconds = start.seconds + 60
        request = appointments.CreateAppointmentRequest(appointment=wanted).SerializeToString()
        creates.open(PATHS["create"], person.token(), request, booked, statuses.append)
    await until(lambda: bool(failed) or (len(statuses) == count and len(told) >= len(answered)), 60)
    assert (not failed, {"OK"}) == (True, set(statuses)), (failed, Counter(statuses))
    streams.close()
    creates.close()
    return sorted(told[each] - answered[each] for each in answered)


async def delay(dsn: str, people: Sequence[data.Person], engine: str) -> None:
    """Print how soon another process's stream tells."""
    with serve(dsn, engine=engine) as writing, serve(dsn, engine=engine) as watching:
        for rate in (20, 100, 500, 500):
            delays = await delays_of(writing, watching, people[:20], rate, 10.0)
            p50, p99 = (1000 * delays[int(share * len(delays))] for share in (0.5, 0.99))
            print(
                f"{engine}: answer to stream of another process, {rate}/s: p50 {p50:.0f} ms, p99 {p99:.0f} ms",
                flush=True,
            )


async def storm(dsn: str, people: Sequence[data.Person], engine: str, count: int = 2000) -> None:
    """Print how it goes when many come back at once, half of whom have missed something."""
    people = people[:count]
    with serve(dsn, engine=engine) as server:
        cursors: dict[int, str] = {}
        connections = [await connected(server.grpc, Streaming) for _ in range(20)]
        for index, person in enumerate(people):
            request = pb.ListChangesRequest().SerializeToString()

            def told(message: bytes, index: int = index) -> None:
                cursors[index] = pb.ListChangesResponse.FromString(message).next_cursor

            connections[index % 20].open(LIST, person.token(), request, told, lambda _: None)
        await until(lambda: len(cursors) == count)
        await delays_of(server, server, people[:20], 500, 2.0)
        booked: list[str] = []
        for index, person in enumerate(people[: count // 2]):
            start = _timestamp(data.FIRST + next(_minutes) * MINUTE)
            wanted = appointments.Appointment(title="Haircut", time_zone="Europe/Zurich", start_time=start)
            wanted.end_time.seconds = start.seconds + 60
            create = appointments.CreateAppointmentRequest(appointment=wanted).SerializeToString()
            connections[index % 20].open(PATHS["create"], person.token(), create, lambda _: None, booked.append)
        await until(lambda: len(booked) == count // 2)
        await asyncio.sleep(1)
        for connection in connections:
            connection.close()
    with serve(dsn, engine=engine) as server:
        await asyncio.sleep(2)
        messages = [pb.WatchChangesRequest(cursor=cursors[index]).SerializeToString() for index in range(count)]
        quiet = transactions(dsn)
        await asyncio.sleep(2)
        idle = (transactions(dsn) - quiet) / 2
        before, began = transactions(dsn), time.perf_counter()
        seen = await open_native(server, people, WATCH, messages, at_once=count)
        seconds = time.perf_counter() - began
        await asyncio.sleep(1.2)
        queries = transactions(dsn) - before
        print(
            f"{engine}: {count:,} at once: {seen.begun:,} begun, {len(seen.ended)} refused {set(seen.ended)},"
            f" all within {seconds:.1f} s; {queries} transactions of the database, idle {idle:.0f}/s",
            flush=True,
        )


def transactions(dsn: str) -> int:
    """How many the database has seen. It counts with a second's delay."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
        assert row
        return int(row[0])


PARTS = {"memory": memory, "change": one_change, "delay": delay, "storm": storm}


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    parser.add_argument("--engine", default="grpcio")
    parser.add_argument("--streams", type=int, default=10_000)
    asked = parser.parse_args()
    with embedded.scratch(settings=POSTGRES) as postgres:
        dsn = new_database(postgres, "bench_streams")
        asyncio.run(migrate(dsn))
        people = data.add_people(dsn, asked.streams)
        data.settle(dsn)
        for part in asked.parts:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(PARTS[part](dsn, people, asked.engine))


if __name__ == "__main__":
    main()

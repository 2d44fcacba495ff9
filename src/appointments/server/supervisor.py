"""Several workers behind the same two ports, and a parent that keeps them there (docs/adr/0007).

Workers are spawned, never forked: gRPC does not survive a fork. Each is a whole server of its own. One that dies is
replaced, at once the first time and ever more slowly if it keeps dying. :meth:`Supervisor.run` ends them all on SIGTERM
or SIGINT, and replaces them one by one on SIGHUP, the new one ready before the old one drains: with new code, if that
was installed meanwhile. None of them outlives the parent, however that ends.

HTTP connections are not lost between two workers: the parent keeps each place's listening socket, and with it whoever
waits in its queue. gRPC brings its own socket, so there a client that is just connecting may have to connect again.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Collection, Coroutine
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from appointments.embedded import launch
from appointments.server import exposition, ports
from appointments.server.ports import StartFault
from appointments.server.settings import Settings

START_SECONDS = 60.0
"""How long a worker may take to be ready, beyond the wait for the database."""

STEADY_SECONDS = 10.0
"""A worker that lived for less has failed. After one failure the next is tried at once, after more ever later."""

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 10.0

STOP_SECONDS = 3.0
"""What a worker gets to end beyond the drain: the last HTTP clients' second, and its own shutdown."""

Announce = Callable[[Settings, str, str], None]

_log = structlog.get_logger("appointments.supervisor")


@dataclass(eq=False)
class _Worker:
    process: asyncio.subprocess.Process
    ready: asyncio.Future[bool]  # False: it ended before it was
    born: float
    writer: int  # of metrics


@dataclass(eq=False)
class _Place:
    """Where one worker stands, and its successors after it."""

    listening: socket.socket
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    worker: _Worker | None = None
    failures: int = 0


class Supervisor:
    """``count`` workers that serve the database at ``dsn``, which is migrated already."""

    def __init__(self, settings: Settings, dsn: str, count: int) -> None:
        self._settings = settings
        self._dsn = dsn
        self._count = count
        self._places: list[_Place] = []
        self._living: set[_Worker] = set()
        self._metrics = exposition.Workers(settings.metrics_bind)
        self._grpc = ""
        self._http = ""

    async def run(self, announce: Announce) -> None:
        """Serve until SIGTERM or SIGINT. ``announce`` is told both addresses once every worker is ready.

        Raises:
            StartFault: a port is taken, or a worker could not start.
        """
        stop, roll = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, roll.set)
        with ExitStack() as stack:
            stack.enter_context(self._metrics.served())
            self._grpc = stack.enter_context(ports.reserve("GRPC_BIND", self._settings.grpc_bind))
            self._http = stack.enter_context(ports.reserve("HTTP_BIND", self._settings.http_bind))
            self._places = [_Place(ports.share("HTTP_BIND", self._http)) for _ in range(self._count)]
            stack.callback(self._close)
            try:
                await _unless(stop, self._serve(announce, roll))
            finally:
                await self._end(self._living)
        _log.info("stopped")

    def _close(self) -> None:
        for place in self._places:
            place.listening.close()

    async def _serve(self, announce: Announce, roll: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as starting:
            started = [starting.create_task(self._install(place)) for place in self._places]
        if not all(task.result() for task in started):
            raise StartFault("a worker could not start; what it said is above")
        announce(self._settings, self._grpc, self._http)
        _log.info("serving", grpc=self._grpc, http=self._http, workers=self._count)
        async with asyncio.TaskGroup() as keeping:
            for place in self._places:
                keeping.create_task(self._keep(place))
            while True:
                await roll.wait()
                roll.clear()
                await self._roll()

    async def _keep(self, place: _Place) -> None:
        """Replace the place's worker whenever it dies."""
        while (worker := place.worker) is not None:
            code = await worker.process.wait()
            async with place.changing:
                if place.worker is not worker:
                    continue  # it was told to go
                self._forget(worker)
                _log.error("worker died", pid=worker.process.pid, code=code)
                await asyncio.sleep(self._pause(place, worker))
                await self._install(place)

    def _pause(self, place: _Place, worker: _Worker) -> float:
        lived = asyncio.get_running_loop().time() - worker.born
        place.failures = 0 if lived >= STEADY_SECONDS else place.failures + 1
        if not (worker.ready.done() and worker.ready.result()):
            # Nobody serves the queue soon: a new socket, which has none until somebody does, sends clients elsewhere.
            place.listening.close()
            place.listening = ports.share("HTTP_BIND", self._http)
        return min(FIRST_PAUSE * 2 ** (place.failures - 2), LONGEST_PAUSE) if place.failures > 1 else 0.0

    async def _roll(self) -> None:
        """Replace every worker, one after the other; stop at the first successor that does not get ready."""
        for place in self._places:
            async with place.changing:
                former = place.worker
                if not await self._install(place):
                    _log.error("roll abandoned: the new worker did not get ready")
                    return
                if former is not None:
                    await self._end([former], signal.SIGUSR1)
        _log.info("rolled", workers=self._count)

    async def _install(self, place: _Place) -> bool:
        """Put a new worker in the place once it is ready; a dead one makes room even for one that failed to start."""
        worker = await self._spawn(place.listening)
        patience = START_SECONDS + self._settings.database_wait_seconds
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(worker.ready), patience)
        ready = worker.ready.done() and worker.ready.result()
        if not ready:
            await self._end([worker], signal.SIGKILL)
        if ready or place.worker is None or place.worker.process.returncode is not None:
            place.worker = worker
        if ready:
            _log.info("worker ready", pid=worker.process.pid)
        return ready

    async def _spawn(self, listening: socket.socket) -> _Worker:
        loop = asyncio.get_running_loop()
        reading, writing = os.pipe()
        writer, counting = self._metrics.enter()
        try:
            process = await asyncio.create_subprocess_exec(
                *_command(listening.fileno(), writing),
                env={
                    **os.environ,
                    **counting,
                    "DATABASE_URL": self._dsn,
                    "GRPC_BIND": self._grpc,
                    "HTTP_BIND": self._http,
                },
                pass_fds=(listening.fileno(), writing),
            )
        except BaseException:
            os.close(reading)
            self._metrics.leave(writer)
            raise
        finally:
            os.close(writing)
        worker = _Worker(process, loop.create_future(), loop.time(), writer)
        self._living.add(worker)
        loop.add_reader(reading, partial(_hear, reading, worker.ready))
        return worker

    async def _end(self, workers: Collection[_Worker], number: int = signal.SIGTERM) -> None:
        """Ask workers to end, and make those end that do not."""
        settings, leaving = self._settings, list(workers)
        for worker in leaving:
            with suppress(ProcessLookupError):
                worker.process.send_signal(number)
        waiting = [asyncio.ensure_future(worker.process.wait()) for worker in leaving]
        if waiting:
            await asyncio.wait(waiting, timeout=settings.lame_duck_seconds + 2 * settings.drain_seconds + STOP_SECONDS)
        for worker, ended in zip(leaving, waiting, strict=True):
            if not ended.done():
                _log.warning("worker killed: it did not end in time", pid=worker.process.pid)
                with suppress(ProcessLookupError):
                    worker.process.kill()
            await ended
            self._forget(worker)

    def _forget(self, worker: _Worker) -> None:
        if worker in self._living:
            self._living.discard(worker)
            self._metrics.leave(worker.writer)


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Work until it ends or ``stop`` is set."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working


def _hear(reading: int, ready: asyncio.Future[bool]) -> None:
    """A worker writes a byte when it is ready; the end of the pipe without one is its own end."""
    asyncio.get_running_loop().remove_reader(reading)
    ready.set_result(bool(os.read(reading, 1)))
    os.close(reading)


def _command(http: int, ready: int) -> list[str]:
    # Through the launcher: the kernel kills the worker when this thread, the main one, ends.
    launcher = str(Path(launch.__file__))
    until_we_end = [sys.executable, "-I", "-S", launcher, str(os.getpid()), str(int(signal.SIGKILL)), "-1", "-1"]
    return [*until_we_end, sys.executable, "-m", "appointments", "worker", str(http), str(ready)]

"""Several workers behind the same two ports, and a parent that keeps them there (docs/adr/0007).

Each worker is a whole server. Workers are spawned, never forked, because gRPC does not survive a fork. A worker that
dies is replaced, at once the first time and more and more slowly if it keeps dying. On SIGTERM or SIGINT all of them
end. On SIGHUP they are replaced one by one, and the new one is ready before the old one drains. The new ones run the
code that is installed by then. No worker outlives the parent, however the parent ends.

HTTP connections are not lost between two workers, because the parent keeps the listening socket of each slot, and with
it the connections in its queue. gRPC makes its own sockets, so a client that is just connecting may have to try again.
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

from appointments.db.embedded import launch
from appointments.server import metrics_endpoint, ports
from appointments.server.ports import StartFault
from appointments.server.settings import Settings

START_SECONDS = 60.0
"""How long a worker may take to be ready, besides the wait for the database."""

STEADY_SECONDS = 10.0
"""A worker that lived for less has failed. After one failure its successor starts at once, after more ones later."""

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 10.0

STOP_SECONDS = 3.0
"""How long a worker may take to end, besides the drain: the last HTTP clients' second, and its own shutdown."""

Announce = Callable[[Settings, str, str], None]

_log = structlog.get_logger("appointments.supervisor")


@dataclass(eq=False)
class _Worker:
    process: asyncio.subprocess.Process
    ready: asyncio.Future[bool]  # False: it ended without getting ready
    born: float
    writer: int  # the name of its metrics' files


@dataclass(eq=False)
class _Slot:
    """The place of one worker, and of its successors after it."""

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
        self._slots: list[_Slot] = []
        self._living: set[_Worker] = set()
        self._metrics = metrics_endpoint.Workers(settings.metrics_bind)
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
            self._slots = [_Slot(ports.share("HTTP_BIND", self._http)) for _ in range(self._count)]
            stack.callback(self._close)
            try:
                await _unless(stop, self._serve(announce, roll))
            finally:
                await self._end(self._living)
        _log.info("stopped")

    def _close(self) -> None:
        for slot in self._slots:
            slot.listening.close()

    async def _serve(self, announce: Announce, roll: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as starting:
            started = [starting.create_task(self._install(slot)) for slot in self._slots]
        if not all(task.result() for task in started):
            raise StartFault("a worker could not start; its message is above")
        announce(self._settings, self._grpc, self._http)
        _log.info("serving", grpc=self._grpc, http=self._http, workers=self._count)
        async with asyncio.TaskGroup() as keeping:
            for slot in self._slots:
                keeping.create_task(self._keep(slot))
            while True:
                await roll.wait()
                roll.clear()
                await self._roll()

    async def _keep(self, slot: _Slot) -> None:
        """Replace the slot's worker whenever it dies."""
        while (worker := slot.worker) is not None:
            code = await worker.process.wait()
            async with slot.changing:
                if slot.worker is not worker:
                    continue  # it was replaced
                self._forget(worker)
                _log.error("worker died", pid=worker.process.pid, code=code)
                await asyncio.sleep(self._pause(slot, worker))
                await self._install(slot)

    def _pause(self, slot: _Slot, worker: _Worker) -> float:
        lived = asyncio.get_running_loop().time() - worker.born
        slot.failures = 0 if lived >= STEADY_SECONDS else slot.failures + 1
        if not (worker.ready.done() and worker.ready.result()):
            # Nobody will serve this queue soon. A new socket has no queue until somebody listens, so clients go
            # elsewhere.
            slot.listening.close()
            slot.listening = ports.share("HTTP_BIND", self._http)
        return min(FIRST_PAUSE * 2 ** (slot.failures - 2), LONGEST_PAUSE) if slot.failures > 1 else 0.0

    async def _roll(self) -> None:
        """Replace every worker, one after the other. Stop at the first successor that does not get ready."""
        for slot in self._slots:
            async with slot.changing:
                former = slot.worker
                if not await self._install(slot):
                    _log.error("roll abandoned: the new worker did not get ready")
                    return
                if former is not None:
                    await self._end([former], signal.SIGUSR1)
        _log.info("rolled", workers=self._count)

    async def _install(self, slot: _Slot) -> bool:
        """Put a new worker into the slot once it is ready. A dead one is replaced even by one that failed to start."""
        worker = await self._spawn(slot.listening)
        patience = START_SECONDS + self._settings.database_wait_seconds
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(worker.ready), patience)
        ready = worker.ready.done() and worker.ready.result()
        if not ready:
            await self._end([worker], signal.SIGKILL)
        if ready or slot.worker is None or slot.worker.process.returncode is not None:
            slot.worker = worker
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
        """Ask workers to end, and kill those that do not."""
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
    """Read a worker's pipe. A byte says that it is ready; the end without a byte says that it has ended."""
    asyncio.get_running_loop().remove_reader(reading)
    ready.set_result(bool(os.read(reading, 1)))
    os.close(reading)


def _command(http: int, ready: int) -> list[str]:
    # The launcher has the kernel kill the worker when this thread ends, which is the main one.
    launcher = str(Path(launch.__file__))
    until_we_end = [sys.executable, "-I", "-S", launcher, str(os.getpid()), str(int(signal.SIGKILL)), "-1", "-1"]
    return [*until_we_end, sys.executable, "-m", "appointments", "worker", str(http), str(ready)]

"""``/metrics`` for Prometheus, on a port of its own. It is complete with any number of workers.

A single process answers for itself. With workers the parent answers. Each worker writes its counts to files in memory,
under a name that no other living worker has, and the parent adds them up. When a worker has ended, its name goes to the
next one, which counts on from there. So no counter falls and the folder does not grow.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from appointments.server.ports import StartFault
from appointments.shared.metrics import FOLDER_VARIABLE, WRITER_VARIABLE

_log = structlog.get_logger("appointments")
_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it


@contextmanager
def served(bind: str | None, registry: CollectorRegistry = REGISTRY) -> Iterator[None]:
    """Serve ``registry`` at HOST:PORT while the block lasts; None serves nothing.

    Raises:
        StartFault: the port is taken, or is not this machine's.
    """
    if bind is None:
        yield
        return
    host, _, port = bind.rpartition(":")
    try:
        server, _ = start_http_server(int(port), host.strip("[]"), registry)
    except OSError as error:
        raise StartFault(f"METRICS_BIND: cannot listen on {bind}: {error.strerror}") from error
    _log.info("serving metrics", address=bind)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


class Workers:
    """The counts of several workers, in a folder that ends with the block."""

    def __init__(self, bind: str | None) -> None:
        self._bind = bind
        self._folder: Path | None = None
        self._writers: set[int] = set()

    @contextmanager
    def served(self) -> Iterator[None]:
        """Serve the sum of all workers while the block lasts.

        Raises:
            StartFault: the port is taken, or is not this machine's.
        """
        if self._bind is None:
            yield
            return
        parent = _MEMORY if _MEMORY.is_dir() else None
        self._folder = Path(tempfile.mkdtemp(prefix="appointments-metrics-", dir=parent))
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(self._folder))  # type: ignore[no-untyped-call]
        try:
            with served(self._bind, registry):
                yield
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def enter(self) -> tuple[int, dict[str, str]]:
        """Return a name for a new worker to write under, and the environment that tells it so."""
        writer = next(number for number in range(len(self._writers) + 1) if number not in self._writers)
        self._writers.add(writer)
        if self._folder is None:
            return writer, {}
        return writer, {FOLDER_VARIABLE: str(self._folder), WRITER_VARIABLE: str(writer)}

    def leave(self, writer: int) -> None:
        """Note that a worker has ended. Its counts stay, its gauges go, and its name is free."""
        self._writers.discard(writer)
        if self._folder is not None:
            mark_process_dead(writer, str(self._folder))  # type: ignore[no-untyped-call]

"""A PostgreSQL that loses its power: killed with all that it runs, and started again on the same data."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from appointments.db import embedded


class Postgres:
    """A PostgreSQL whose data survives kill -9, on one port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running = ExitStack()
        self.start()

    def start(self) -> None:
        """Start it; the data must be on the disk, so nothing is hurried."""
        self.server = self.running.enter_context(embedded.serve(self.folder / "data"))

    def kill(self) -> None:
        """End it as a power cut would, all backends with it."""
        pid = self.server.pid
        backends = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        # A backend notices by itself that its postmaster is gone, but may serve one statement more before it does.
        for each in (pid, *map(int, backends)):
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        self.running.close()


@contextmanager
def running() -> Iterator[Postgres]:
    """One of the test's own, until the block ends."""
    with TemporaryDirectory(prefix="appointments-outage-") as folder:
        Path(folder).chmod(0o711)
        postgres = Postgres(Path(folder))
        try:
            yield postgres
        finally:
            postgres.running.close()

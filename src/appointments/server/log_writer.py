"""A stream for logs that keeps nobody waiting: a thread of its own writes the lines, many at a time.

Whoever logs leaves a line in a queue. The queue is bounded, and nothing is dropped: when it is full, because whoever
reads the stream is slower than the service, whoever logs has to write. :meth:`Writer.drain` writes everything that is
left; it runs when the interpreter ends, and has to be called before the process ends in any other way. A process that
is killed loses what it logged in its last :data:`GATHER_SECONDS`.
"""

import atexit
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TextIO

MOST_LINES = 10_000

GATHER_SECONDS = 0.01
"""How long the thread waits for more lines before it writes: it runs at most a hundred times a second."""


class Writer:
    """Writes to ``target`` from a thread."""

    def __init__(self, target: TextIO) -> None:
        self._target = target
        self._lines: deque[str] = deque()
        self._any = threading.Event()
        self._writing = threading.Lock()
        threading.Thread(target=self._keep_writing, name="log-writer", daemon=True).start()
        atexit.register(self.drain)

    def write(self, text: str) -> int:
        """Queue a piece of text, which whole lines are best."""
        self._lines.append(text)
        if not self._any.is_set():
            self._any.set()
        if len(self._lines) > MOST_LINES:
            self.drain()
        return len(text)

    def flush(self) -> None:
        """Do nothing: loggers call this after every line."""

    def drain(self) -> None:
        """Write what is queued."""
        with self._writing:
            pieces = []
            while self._lines:
                pieces.append(self._lines.popleft())
            # Nobody reads the stream any more, or it is closed: there is nobody to tell.
            with suppress(OSError, ValueError):
                self._target.write("".join(pieces))
                self._target.flush()

    def _keep_writing(self) -> None:
        while True:
            self._any.wait()
            time.sleep(GATHER_SECONDS)
            self._any.clear()
            self.drain()

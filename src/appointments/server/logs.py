"""Logs: one event a line on standard output, JSON in production, readable in development. A thread writes them.

What the driver and the HTTP server log through the standard library comes out in the same form. Passwords, tokens and
cookies must never be given to a logger, because nothing here removes them.
"""

import logging
import sys
import time
from json import JSONEncoder
from typing import TextIO, cast

import structlog
from structlog.dev import plain_traceback
from structlog.typing import EventDict, Processor, WrappedLogger

from appointments.server.log_writer import Writer
from appointments.shared import tracing

# One encoder for all lines. With a ``default`` json.dumps would make a new one for each line.
_encoder = JSONEncoder(default=repr)


def _encode(event: object, **_: object) -> str:
    return _encoder.encode(event)


def _add_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    if trace_id := tracing.trace_id():
        event["trace_id"] = trace_id
    return event


class _Clock:
    """The time of a line (RFC 3339). All lines of a second have the same beginning."""

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        second, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second, self._text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        event["timestamp"] = f"{self._text}.{nanoseconds // 1000:06d}Z"
        return event


_writers: list[Writer] = []


def drain() -> None:
    """Write what has been logged. For those who are about to end the process."""
    for writer in _writers:
        writer.drain()


def configure(*, json: bool, level: str) -> None:
    """Set up logging for the whole process."""
    writer = Writer(sys.stdout)
    _writers.append(writer)
    stream = cast("TextIO", writer)
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        _Clock(),
        *([_add_trace] if tracing.wanted() else []),
    ]
    rendering: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_encode)]
        if json
        # The plain traceback, because the pretty ones print local variables, and tokens and passwords among them.
        else [structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), exception_formatter=plain_traceback)]
    )
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    # gRPC's core logs a traceback for each answer that it could not send, because the client has left.
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_fault)
    # The driver's pool logs every failed reconnection. appointments.db logs the failure once.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


def _is_fault(record: logging.LogRecord) -> bool:
    # gRPC does not export the class.
    return not (record.exc_info and type(record.exc_info[1]).__name__ == "ExecuteBatchError")

"""Logs: one event a line on standard output, JSON in production, readable in development.

What the driver and the HTTP server log through the standard library comes out in the same form. Passwords, tokens and
cookies must never be given to a logger, because nothing here removes them.
"""

import logging
import sys
from json import JSONEncoder

import structlog
from structlog.dev import plain_traceback
from structlog.typing import Processor

# One encoder for all lines. With a ``default`` json.dumps would make a new one for each line.
_encoder = JSONEncoder(default=repr)


def _encode(event: object, **_: object) -> str:
    return _encoder.encode(event)


def configure(*, json: bool, level: str) -> None:
    """Set up logging for the whole process."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
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
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    # The driver's pool logs every failed reconnection. appointments.db logs the failure once.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)

"""The HTTP port: hypercorn, told what it must not do (docs/adr/0005).

What its settings cannot say, `appointments.api.exchange` adds around the application.
"""

import asyncio
import logging
from contextlib import suppress

from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config

from appointments.api.exchange import App

IDLE = 30.0
"""Seconds a connection may rest between requests, and may take to send a request's headers."""

MAX_HEADER_BYTES = 16 * 1024
"""What a request's headers may amount to; a cookie or a token needs a small part of it."""

_NEVER = 2**31


def configure(bind: str, *, graceful_timeout: float = 3.0) -> Config:
    """Return the configuration of a listener on ``bind`` (HOST:PORT; port 0 takes a free one)."""
    config = Config()
    config.bind = [bind]
    config.backlog = 1024
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    config.h11_max_incomplete_size = MAX_HEADER_BYTES
    config.h2_max_header_list_size = MAX_HEADER_BYTES
    config.h2_max_concurrent_streams = 100
    config.keep_alive_timeout = IDLE
    # A connection that has had its share is closed at once, even under the answers of other HTTP/2 streams.
    config.keep_alive_max_requests = _NEVER
    # It would count the silence of a server stream as the client's; bodies are bounded by the exchange instead.
    config.read_timeout = None
    config.graceful_timeout = graceful_timeout
    return config


async def serve(app: App, config: Config, stop: asyncio.Event) -> None:
    """Serve until ``stop`` is set, and at most a second longer than the graceful timeout.

    Since Python 3.12 hypercorn waits for open connections without a limit (its issue 308), so the limit is here.
    """
    serving = asyncio.ensure_future(hypercorn_serve(app, config, shutdown_trigger=stop.wait))  # type: ignore[arg-type]
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait((serving,), timeout=config.graceful_timeout + 1)
    finally:
        stopping.cancel()
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving

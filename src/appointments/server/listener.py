"""The HTTP port: hypercorn's protocols with their limits set (docs/adr/0005), and a way to stop without loss.

`appointments.api.http_exchange` adds the limits that hypercorn has no setting for. hypercorn's own accept loop is not
used: it closes idle connections together with the port, and would lose a request that is on its way on one of them.
"""

import asyncio
import logging
from contextlib import suppress

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Event as ConnectionEvent
from hypercorn.events import Updated
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from appointments.api.http_exchange import App, Event, Receive, Scope, Send
from appointments.server.http2 import Protocols

IDLE = 30.0
"""Seconds that a connection may be idle between requests, or may take to send a request's headers."""

MAX_HEADER_BYTES = 16 * 1024
"""The largest headers of a request. A cookie or a token needs a small part of it.

Over HTTP/1.1 h11 checks it between reads, so that headers which arrive in one read of 64 KiB pass.
"""

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
    # hypercorn would close a connection at its limit of requests, even while other HTTP/2 streams are answered.
    config.keep_alive_max_requests = _NEVER
    # It would end silent server streams, too. The exchange bounds the time that a body may take.
    config.read_timeout = None
    config.graceful_timeout = graceful_timeout
    return config


class _Connection(TCPServer):
    """hypercorn's connection, with our HTTP/2. It does not outlive its client by the idle time."""

    async def run(self) -> None:
        """Serve the connection until it ends."""
        connection = self.writer.get_extra_info("socket")
        try:
            client = parse_socket_addr(connection.family, connection.getpeername())
            server = parse_socket_addr(connection.family, connection.getsockname())
            async with TaskGroup(self.loop) as tasks:
                self._task_group = tasks
                self.protocol = Protocols(
                    *(self.app, self.config, self.context, tasks, ConnectionState(self.state)),
                    *(False, client, server, self.protocol_send),
                )
                await self.protocol.initiate()
                await self.idle_task.restart(tasks, self._idle_timeout)
                await self._read_data()
        except OSError:
            pass
        finally:
            await self._close()

    async def protocol_send(self, event: ConnectionEvent) -> None:
        if isinstance(event, Updated) and event.idle and self.reader.at_eof():
            return
        await super().protocol_send(event)

    async def _read_data(self) -> None:
        await super()._read_data()
        await self.idle_task.stop()


class Listener:
    """Serves an application. To stop without loss: `retire`, `stop_accepting`, `quiet`, `close`, in this order."""

    def __init__(self, app: App, config: Config) -> None:
        self._app = app
        self._config = config
        self._context = WorkerContext(None)
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._retiring = False

    async def start(self) -> None:
        """Accept connections from now on."""
        (listening,) = self._config.create_sockets().insecure_sockets
        self._server = await asyncio.start_server(self._connected, sock=listening, backlog=self._config.backlog)

    def retire(self) -> None:
        """Ask the clients to leave. From now on every answer over HTTP/1.1 ends its connection."""
        self._retiring = True

    def stop_accepting(self) -> None:
        """Accept no new connections. The open ones are served as before."""
        if self._server is not None:
            self._server.close()

    async def quiet(self, seconds: float) -> None:
        """Wait until the last open connection has gone, but at most so many seconds."""
        if self._connections:
            await asyncio.wait(self._connections, timeout=seconds)

    async def serve(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set, and at most the graceful timeout longer."""
        await self.start()
        try:
            await stop.wait()
        finally:
            await self.close(self._config.graceful_timeout)

    async def close(self, seconds: float) -> None:
        """End idle connections at once, and the others when they are idle, but all of them after so many seconds."""
        self.stop_accepting()
        await self._context.terminated.set()
        await self.quiet(seconds)
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio runs this as a task
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        app = ASGIWrapper(self._serve_request)  # type: ignore[arg-type] # its events are TypedDicts
        loop, state = asyncio.get_running_loop(), ConnectionState({})
        with suppress(asyncio.CancelledError):
            await _Connection(app, loop, self._config, self._context, state, reader, writer)

    async def _serve_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def last(event: Event) -> None:
            if self._retiring and event["type"] == "http.response.start":
                event = {**event, "headers": [*event.get("headers", ()), (b"connection", b"close")]}
            await send(event)

        # HTTP/2 has no such header. There hypercorn ends the connection with GOAWAY at the stop.
        await self._app(scope, receive, last if scope.get("http_version", "").startswith("1") else send)

"""One HTTP exchange, with the protection that hypercorn leaves to the application (docs/adr/0005).

Guarantees, for any application behind it:

- Over HTTP/1.1 a response does not end before the request's body has: a client that is still sending never reads the
  answer, and a full queue deadlocks.
- Over HTTP/2 a response does not even begin before the request's body has ended, unless it comes in pieces. Clients
  that see an error status stop sending, and then fail the call, or wait for an end that waits for theirs.
- Only a conversation is answered as it goes, and ends when its answer does: a request over HTTP/2 whose length nobody
  knows yet, to a method that takes a stream. `appointments.server.http2` drops what is sent to it after that.
- A body that arrives too slowly is cut off with 408, however its pieces are spread.
- After that, or after the client has gone, sending does nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Event = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PATIENCE = 20.0
"""Seconds that may be spent waiting for a body, whatever its size."""

SLOWEST = 16 * 1024
"""Bytes of body for which there is another second. No link that people use is slower."""

DISCARDED = 512 * 1024 * 1024
"""Bytes of an unwanted body that are read so that the client gets its answer. After that the connection may end."""

_GONE: Event = {"type": "http.disconnect"}


class Exchange:
    """Wraps an exchange's ``receive`` and ``send``. Several tasks may receive at once. Each event goes to one of them.

    ``streaming`` says that the request may be a stream, so that its client may wait for an answer to go on.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, streaming: bool = False) -> None:
        self._http2 = scope["http_version"].startswith("2")
        of_unknown_length = all(name != b"content-length" for name, _ in scope["headers"])
        self._conversation = streaming and self._http2 and of_unknown_length
        self._receive = receive
        self._send = send
        self._clock = asyncio.get_running_loop().time
        self._reading = asyncio.Lock()
        self._waited = 0.0
        self._size = 0
        self._started = False
        self._held: Event | None = None  # the start of the response, until it is known whether it comes in pieces
        self._complete = False  # the request's body has arrived
        self._over = False  # the client has gone, or was cut off

    async def receive(self) -> Event:
        """Return the next event. To the application a client that was cut off has disconnected."""
        async with self._reading:
            if not (self._complete or self._over):
                return await self._next()
        return _GONE if self._over else self._noted(await self._receive())

    async def send(self, event: Event) -> None:
        """Send an event. Except in a conversation, the last one waits until the request's body has been read out."""
        if self._over:
            return
        waits = not (self._complete or self._conversation)
        if event["type"] == "http.response.start":
            self._started = True
            if waits and self._http2:
                self._held = event
                return
        elif waits and not event.get("more_body"):
            if self._held is None:
                await self._send({**event, "more_body": True})
                event = {"type": "http.response.body", "body": b""}
            await self._read_out()
        start, self._held = self._held, None
        if start is not None:
            await self._send(start)
        await self._send(event)

    async def _next(self) -> Event:
        began = self._clock()
        try:
            async with asyncio.timeout(PATIENCE + self._size / SLOWEST - self._waited):
                event = await self._receive()
        except TimeoutError:
            await self._cut_off()
            return _GONE
        self._waited += self._clock() - began
        return self._noted(event)

    def _noted(self, event: Event) -> Event:
        if event["type"] == "http.disconnect":
            self._over = True
        else:
            self._size += len(event.get("body", b""))
            self._complete = not event.get("more_body")
        return event

    async def _read_out(self) -> None:
        allowed = self._size + DISCARDED
        while not (self._complete or self._over) and self._size < allowed:
            async with self._reading:
                # Another task may have read the end while this one waited for the lock.
                if not (self._complete or self._over):
                    await self._next()

    async def _cut_off(self) -> None:
        self._over = True
        if not self._started:
            headers = [(b"content-length", b"0"), (b"x-content-type-options", b"nosniff")]
            await self._send({"type": "http.response.start", "status": 408, "headers": headers})
            await self._send({"type": "http.response.body", "body": b""})


def bounded(app: App) -> App:
    """Give every request of an ASGI application the guarantees of an `Exchange`."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            exchange = Exchange(scope, receive, send)
            receive, send = exchange.receive, exchange.send
        await app(scope, receive, send)

    return guarded

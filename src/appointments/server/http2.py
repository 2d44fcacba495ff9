"""HTTP/2 as hypercorn speaks it, without what one stream or one client can do to others (docs/adr/0005).

Guarantees, for every connection:

- A stream may be answered before its request has ended. What still arrives for it is dropped.
- A client that resets streams faster than `RESETS_PER_SECOND` is sent away with GOAWAY, and with one line in the log.
- Priorities are ignored, as RFC 9113 allows. hypercorn keeps every stream that a client gives a priority to for ever.
- The idle time counts from the preface on, and again from the reset of the last open stream.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from h2.errors import ErrorCodes
from h2.events import DataReceived, PriorityUpdated, RequestReceived, StreamEnded, StreamReset
from h2.events import Event as FrameEvent
from h2.exceptions import StreamClosedError
from hypercorn.events import Closed, RawData, Updated
from hypercorn.events import Event as ConnectionEvent
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H2CProtocolRequiredError, H2ProtocolAssumedError

RESETS_PER_SECOND = 50.0
"""Streams a second that the client of one connection may reset. A proxy in front of many people resets some as well."""

RESETS_AT_ONCE = 200
"""Streams that may be reset in one moment: twice as many as may be open."""

REST = 20.0
"""Seconds that the rest of a request may take once it has been answered. After that its stream is reset."""

LAST_WORDS = 1.0
"""Seconds that a client which was sent away gets to read why. A connection closed at once loses what it was told."""

_log = logging.getLogger(__name__)


class Allowance:
    """A token bucket: ``at_once`` uses, and ``per_second`` new ones."""

    def __init__(self, at_once: int, per_second: float, clock: Callable[[], float]) -> None:
        self._at_once = at_once
        self._per_second = per_second
        self._clock = clock
        self._left = float(at_once)
        self._counted = clock()

    def take(self) -> bool:
        """Use one; returns whether it was there."""
        now = self._clock()
        self._left = min(self._at_once, self._left + (now - self._counted) * self._per_second)
        self._counted = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class HTTP2(H2Protocol):
    """hypercorn's side of one HTTP/2 connection, with the guarantees of this module."""

    def __init__(self, wrapper: ProtocolWrapper) -> None:
        super().__init__(
            wrapper.app,
            wrapper.config,
            wrapper.context,
            wrapper.task_group,
            wrapper.state,
            wrapper.ssl,
            wrapper.client,
            wrapper.server,
            wrapper.send,
        )
        self._clock = asyncio.get_running_loop().time
        self._resets = Allowance(RESETS_AT_ONCE, RESETS_PER_SECOND, self._clock)
        self._receiving: set[int] = set()  # the streams whose request has not ended
        self._answered: dict[int, float] = {}  # those of them that were answered, and when they are reset
        self._sent_away = False

    async def handle(self, event: ConnectionEvent) -> None:
        """Take what the connection has read, unless its client was sent away."""
        if not (self._sent_away and isinstance(event, RawData)):
            await super().handle(event)

    async def stream_send(self, event: StreamEvent) -> None:
        """Take what an application has sent, and note a stream that it is done with while the client still sends."""
        if isinstance(event, StreamClosed) and event.stream_id in self._receiving:
            self._answered[event.stream_id] = self._clock() + REST
        await super().stream_send(event)

    async def _handle_events(self, events: list[FrameEvent]) -> None:
        self._reset_overdue()
        for event in events:
            if isinstance(event, RequestReceived):
                self._receiving.add(event.stream_id)
            elif isinstance(event, StreamEnded | StreamReset):
                self._receiving.discard(event.stream_id)
                self._answered.pop(event.stream_id, None)
            if isinstance(event, StreamReset) and not self._resets.take():
                await self._send_away()
                return
            if isinstance(event, DataReceived) and event.stream_id not in self.streams:
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif not isinstance(event, PriorityUpdated):
                await super()._handle_events([event])
            if isinstance(event, StreamReset):
                await self.send(Updated(idle=self.idle))
        await self._flush()

    def _reset_overdue(self) -> None:
        now = self._clock()
        for stream_id in [each for each, due in self._answered.items() if due <= now]:
            del self._answered[stream_id]
            self._receiving.discard(stream_id)
            with suppress(StreamClosedError):
                self.connection.reset_stream(stream_id, ErrorCodes.NO_ERROR)

    async def _send_away(self) -> None:
        self._sent_away = True
        _log.warning("a client was sent away, because it reset too many streams: %s", self.client and self.client[0])
        self.connection.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
        await self._flush()
        for stream_id in tuple(self.streams):
            await self._close_stream(stream_id)
        self.task_group.spawn(self._close)

    async def _close(self) -> None:
        await asyncio.sleep(LAST_WORDS)
        await self.send(Closed())


class Protocols(ProtocolWrapper):
    """Begins with HTTP/1.1 and goes on with HTTP/2 when the client asks for it, by its preface or by an upgrade."""

    async def handle(self, event: ConnectionEvent) -> None:
        """Take what the connection has read."""
        try:
            await self.protocol.handle(event)
        except H2ProtocolAssumedError as preface:
            await self._switch(preface.data)
        except H2CProtocolRequiredError as upgrade:
            await self._switch(upgrade.data, upgrade.headers, upgrade.settings)

    async def _switch(
        self, data: bytes, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None
    ) -> None:
        self.protocol = HTTP2(self)
        await self.protocol.initiate(headers, settings)
        if headers is None:
            # The preface counted as a request, and ended the idle time.
            await self.send(Updated(idle=True))
        if data:
            await self.protocol.handle(RawData(data))

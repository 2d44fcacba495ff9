"""What a handler sees of a gRPC-Web call: grpc.aio's servicer context, and the requests of a stream.

A handler written for grpc.aio cannot tell the difference, with two exceptions: nothing is ever compressed, and the
initial metadata of a call with one response is sent together with that response.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, NoReturn, Self

import grpc
from grpc.aio import EOF, AbortError

from appointments.api.grpcweb import framing
from appointments.api.grpcweb.reply import Reply

DoneCallback = Callable[[Any], Any]

_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
_OVERHEAD = 64  # bytes that an empty message takes while it waits


class Inbox(AsyncIterator[Any]):
    """The requests of a stream that have arrived but were not read yet: about ``limit`` bytes of them at most."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._queue: asyncio.Queue[tuple[Any, int]] = asyncio.Queue()
        self._size = 0
        self._room = asyncio.Event()
        self._room.set()
        self._closed = False

    async def put(self, request: Any, size: int) -> None:
        """Add a request, then wait until there is room for another. Does nothing once the inbox is closed."""
        if self._closed:
            return
        self._queue.put_nowait((request, size + _OVERHEAD))
        self._size += size + _OVERHEAD
        if self._size > self._limit:
            self._room.clear()
        await self._room.wait()

    def close(self) -> None:
        """End the stream. EOF follows what has arrived."""
        if not self._closed:
            self._closed = True
            self._queue.put_nowait((EOF, 0))
            self._room.set()

    async def read(self) -> Any:
        """Return the next request, or ``grpc.aio.EOF``."""
        request, size = await self._queue.get()
        if request is EOF:
            self._queue.put_nowait((EOF, 0))
        self._size -= size
        if self._size <= self._limit:
            self._room.set()
        return request

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        request = await self.read()
        if request is EOF:
            raise StopAsyncIteration
        return request


class Context(grpc.aio.ServicerContext[Any, Any]):
    """The context of one call, and the status that its handler gives it."""

    door = "web"

    def __init__(
        self,
        *,
        metadata: Iterable[framing.Metadatum],
        peer: str,
        deadline: float | None,
        reply: Reply,
        inbox: Inbox | None,
        serialize: Callable[[Any], bytes],
    ) -> None:
        self._invocation_metadata = tuple(metadata)
        self._peer = peer
        self._deadline = deadline
        self._reply = reply
        self._inbox = inbox
        self._serialize = serialize
        self._code = grpc.StatusCode.OK
        self._details = ""
        self._trailing: tuple[tuple[str, str | bytes], ...] = ()
        self._trailers: list[tuple[bytes, bytes]] = []
        self._abort: AbortError | None = None
        self._cancelled = False
        self._done = False
        self._callbacks: list[DoneCallback] = []

    # For the front.

    @property
    def aborted(self) -> bool:
        """Whether the handler has aborted: its status is final."""
        return self._abort is not None

    @property
    def trailers(self) -> list[tuple[bytes, bytes]]:
        """The trailing metadata, as headers."""
        return self._trailers

    def cancel(self) -> None:
        """Note that nobody waits for the answer any more."""
        self._cancelled = True

    def finish(self) -> None:
        """Note that the call is over, and run the callbacks."""
        self._done = True
        for callback in self._callbacks:
            callback(self)

    # For handlers. grpc.aio.ServicerContext describes each.

    async def read(self) -> Any:
        if self._inbox is None:
            raise grpc.aio.UsageError("the method has one request, which its handler was given")
        return await self._inbox.read()

    async def write(self, message: Any) -> None:
        if self._abort is None:
            await self._reply.message(self._serialize(message))

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        await self._reply.metadata(framing.encode_metadata(initial_metadata))

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        self._trailers = framing.encode_metadata(trailing_metadata)
        self._trailing = tuple(trailing_metadata)

    async def abort(self, code: grpc.StatusCode | int, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        if self._abort is not None:
            raise grpc.aio.UsageError("abort was called already")
        if trailing_metadata:
            self.set_trailing_metadata(trailing_metadata)
        self.set_code(code)
        if self._code is grpc.StatusCode.OK:
            self._code, details = grpc.StatusCode.UNKNOWN, ""
        self._details = details or self._details
        self._abort = AbortError("aborted by the handler")
        raise self._abort

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        await self.abort(status.code, status.details, status.trailing_metadata)

    def set_code(self, code: grpc.StatusCode | int) -> None:
        if self._abort is None:
            self._code = _CODES.get(code, grpc.StatusCode.UNKNOWN) if isinstance(code, int) else code

    def set_details(self, details: str) -> None:
        if self._abort is None:
            self._details = details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Any:
        return self._trailing

    def invocation_metadata(self) -> Any:
        return self._invocation_metadata

    def time_remaining(self) -> Any:
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - asyncio.get_running_loop().time())

    def add_done_callback(self, callback: DoneCallback) -> None:
        self._callbacks.append(callback)

    def cancelled(self) -> bool:
        return self._cancelled

    def done(self) -> bool:
        return self._done

    def peer(self) -> str:
        return self._peer

    def peer_identities(self) -> Iterable[bytes] | None:
        return None

    def peer_identity_key(self) -> str | None:
        return None

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        return {}

    def set_compression(self, compression: grpc.Compression) -> None:
        """Do nothing: gRPC-Web leaves compression to HTTP."""

    def disable_next_message_compression(self) -> None:
        """Do nothing: no message is compressed."""

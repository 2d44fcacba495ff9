"""The native port's second engine: gRPC handlers of this process behind an HTTP/2 server in Rust (docs/adr/0011).

The engine is the package pygrpc-native. This stands on its low-level API, which it promises to keep, and not on its
look-alike of grpc.aio: there a call that is cancelled before its task begins is never forgotten, a stream whose client
is slow to read keeps a thread, and each call costs more. `Server` has the part of grpc.aio.Server that is used here.

Handlers of one request run on the loop that calls :meth:`Server.start`. Those that read a stream of requests, which is
reflection alone, go to a grpcio server behind this one. There is no TLS, and what a client sends is in memory before
anybody can ask for its size: the port must be one that only trusted peers or a proxy with a limit can reach.
"""

import asyncio
import inspect
import logging
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import grpc
from pygrpc_native import EVENT_CANCEL, STREAM_FULL, STREAM_SENT, NativeGrpcFront

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Metadata = Sequence[tuple[str, str | bytes]]
Details = tuple[Metadata, str, float | None]  # metadata, peer, seconds that the client's deadline leaves

MAX_METADATA_BYTES = 16 * 1024
"""As HTTP/2 counts them (RFC 9113 §6.5.2); grpcio's hard limit."""

BATCH = 64
"""How many events one crossing from the engine's threads to the loop may bring."""

FLUSH_SECONDS = 0.05
"""How long a stop waits for the last answers to leave: the engine closes connections whether they have or not."""

LONGEST_PAUSE = 0.1
"""Seconds between two looks at whether a slow reader has made room."""

_UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

_log = logging.getLogger(__name__)


class Context(grpc.aio.ServicerContext[Any, Any]):
    """What a handler sees of its call, as grpc.aio has it. Initial metadata leaves together with a single answer."""

    def __init__(
        self, server: "Server", call_id: int, handler: Handler, details: tuple[Any, str, float | None]
    ) -> None:
        self._metadata, self._peer, remaining = details
        self._deadline = None if remaining is None else server.clock() + remaining
        self._server = server
        self._call_id = call_id
        self._handler = handler
        self._code: grpc.StatusCode | None = None
        self._details = ""
        self._initial: Metadata | None = None
        self._trailing: Metadata = ()
        self._task: asyncio.Task[None] | None = None
        self._left = False

    # What the server asks and tells.

    @property
    def initial_metadata(self) -> Metadata | None:
        """What a handler of one answer wants to send before it."""
        return self._initial

    def begin(self, task: asyncio.Task[None]) -> None:
        """Note the task that runs the handler."""
        self._task = task

    def cancel(self) -> None:
        """End the handler: its client has left, or the deadline has passed."""
        self._left = True
        if self._task is not None:
            self._task.cancel()

    def forget_metadata(self) -> None:
        """Drop the metadata of the request, which a stream would hold for as long as it lasts."""
        self._metadata = ()

    # What handlers ask and tell: grpc.aio.ServicerContext describes each.

    async def read(self) -> NoReturn:
        raise grpc.aio.UsageError("the method has one request, which its handler was given")

    async def write(self, message: Any) -> None:
        await self._server.write(self._call_id, self._handler, message)

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        if self._handler.response_streaming:
            self._server.send_initial_metadata(self._call_id, initial_metadata)
        else:
            self._initial = tuple(initial_metadata)

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        self._trailing = trailing_metadata

    async def abort(self, code: grpc.StatusCode | int, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        self.set_code(code)
        if self._code is grpc.StatusCode.OK:
            self._code, details = grpc.StatusCode.UNKNOWN, ""
        self._details = details
        if trailing_metadata:
            self._trailing = trailing_metadata
        raise grpc.aio.AbortError("aborted by the handler")

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        await self.abort(status.code, status.details, status.trailing_metadata)

    def set_code(self, code: grpc.StatusCode | int) -> None:
        self._code = _CODES.get(code, grpc.StatusCode.UNKNOWN) if isinstance(code, int) else code

    def set_details(self, details: str) -> None:
        self._details = details

    def code(self) -> Any:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Any:
        return self._trailing

    def invocation_metadata(self) -> Any:
        return self._metadata

    def time_remaining(self) -> Any:
        return None if self._deadline is None else max(0.0, self._deadline - self._server.clock())

    def add_done_callback(self, callback: Callable[[Any], Any]) -> None:
        if self._task is not None:
            self._task.add_done_callback(lambda _: callback(self))

    def cancelled(self) -> bool:
        return self._left

    def done(self) -> bool:
        return self._task is not None and self._task.done()

    def peer(self) -> str:
        return self._peer

    def peer_identities(self) -> Iterable[bytes] | None:
        return None

    def peer_identity_key(self) -> str | None:
        return None

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        return {}

    def set_compression(self, compression: grpc.Compression) -> None:
        """Do nothing: the engine compresses no answer."""

    def disable_next_message_compression(self) -> None:
        """Do nothing: no message is compressed."""


class Server:
    """Serves handlers on one port without TLS.

    ``share_port``: other processes may listen on it too. ``max_message_bytes``: a larger request is refused with
    RESOURCE_EXHAUSTED. ``threads``: how many the engine reads and writes with.
    """

    def __init__(self, *, share_port: bool = False, max_message_bytes: int, threads: int = 1) -> None:
        self._share_port = share_port
        self._limit = max_message_bytes
        self._threads = threads
        self._registered: dict[str, Handler] = {}
        self._handlers: list[Handler] = []
        self._contexts: dict[int, Context] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._front: NativeGrpcFront | None = None
        self._fallback: grpc.aio.Server | None = None
        self._folder: str | None = None
        self._stopping = False

    # What grpc.aio.Server has, as far as it is used here.

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Do nothing: whoever registers its handlers this way registers them by name as well."""

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Handler]) -> None:
        """Serve a service's methods. Before the start only."""
        self._registered.update({f"/{service_name}/{name}": handler for name, handler in method_handlers.items()})

    def add_insecure_port(self, address: str) -> int:
        """Bind HOST:PORT and return the port.

        Raises:
            RuntimeError: it is taken, or is not this machine's.
        """
        try:
            self._front = NativeGrpcFront(
                address,
                [],
                io_threads=self._threads,
                call_details=True,
                delay_stream_headers=True,
                # More than is allowed: the engine would answer in HTTP (431), and no gRPC client knows what that means.
                max_metadata_size=4 * MAX_METADATA_BYTES,
                reuse_port=self._share_port,
            )
        except OSError as error:
            raise RuntimeError(f"cannot listen on {address}") from error
        return self._front.bound_port

    async def start(self) -> None:
        """Accept calls from now on, on this loop."""
        front, loop = self._bound(), asyncio.get_running_loop()
        self.clock = loop.time
        single = {path: handler for path, handler in self._registered.items() if not handler.request_streaming}
        if len(single) < len(self._registered):
            front.set_fallback(await self._start_fallback())
        front.add_methods([(path, handler.response_streaming) for path, handler in single.items()])
        self._handlers = list(single.values())
        front.start()
        threading.Thread(target=self._listen, args=(front, loop), name="grpc-native-events", daemon=True).start()

    async def stop(self, grace: float | None) -> None:
        """Refuse new calls, give those in flight ``grace`` seconds, end them, and close all connections."""
        self._stopping = True
        fallback = asyncio.ensure_future(self._fallback.stop(grace)) if self._fallback else None
        if grace and self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(FLUSH_SECONDS)
        if fallback:
            await fallback
        await asyncio.get_running_loop().run_in_executor(None, self._bound().close)
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    # What contexts ask for.

    async def write(self, call_id: int, handler: Handler, message: Any) -> None:
        """Send one message of a stream, when its reader has made room. To a client that has left nothing is sent."""
        serialize, front, pause = handler.response_serializer, self._bound(), 0.0
        data = serialize(message) if serialize else message
        # The engine has no way to tell the loop that there is room. What it has is taken in microseconds, unless the
        # client does not read: hence a look at once, and ever fewer.
        while (sent := front.stream_try_send(call_id, data)) == STREAM_FULL:
            await asyncio.sleep(pause)
            pause = min(2 * pause + 0.0005, LONGEST_PAUSE)
        if sent != STREAM_SENT:
            await asyncio.sleep(0)

    def send_initial_metadata(self, call_id: int, metadata: Metadata) -> None:
        """Send what precedes the messages of a stream."""
        self._bound().stream_send_initial_metadata(call_id, list(metadata))

    # The way of a call.

    def _listen(self, front: NativeGrpcFront, loop: asyncio.AbstractEventLoop) -> None:
        while (events := front.recv_batch_details(BATCH)) is not None:
            try:
                loop.call_soon_threadsafe(self._take, events)
            except RuntimeError:  # the loop has ended without a stop
                front.close()
                return

    def _take(self, events: Sequence[tuple[Any, ...]]) -> None:
        for kind, call_id, method, data, _, details in events:
            if kind == EVENT_CANCEL:
                if context := self._contexts.get(call_id):
                    context.cancel()
            elif self._stopping:
                self._fail(call_id, _UNAVAILABLE, "the server is shutting down")
            elif len(data) > self._limit:
                text = f"Received message larger than max ({len(data)} vs. {self._limit})"
                self._fail(call_id, grpc.StatusCode.RESOURCE_EXHAUSTED, text)
            elif sum(len(key) + len(value) + 32 for key, value in details[0]) > MAX_METADATA_BYTES:
                self._fail(call_id, grpc.StatusCode.RESOURCE_EXHAUSTED, "Received metadata size exceeds limit")
            else:
                self._begin(call_id, self._handlers[method], data, details)

    def _begin(self, call_id: int, handler: Handler, data: bytes, details: Details) -> None:
        context = Context(self, call_id, handler, details)
        task = asyncio.get_running_loop().create_task(self._run(call_id, handler, data, context))
        context.begin(task)
        self._contexts[call_id] = context
        self._tasks.add(task)
        # Not at the end of the coroutine: a task that is cancelled before its first step never gets there.
        task.add_done_callback(partial(self._forget, call_id))

    def _forget(self, call_id: int, task: asyncio.Task[None]) -> None:
        del self._contexts[call_id]
        self._tasks.discard(task)

    async def _run(self, call_id: int, handler: Handler, data: bytes, context: Context) -> None:
        parse = handler.request_deserializer
        try:
            request = parse(data) if parse else data
            if handler.response_streaming:
                await self._stream(call_id, handler, request, context)
            else:
                await self._answer(call_id, handler, request, context)
        except asyncio.CancelledError:
            if not context.cancelled():
                self._fail(call_id, _UNAVAILABLE if self._stopping else grpc.StatusCode.CANCELLED, "the call was ended")
            raise
        except grpc.aio.AbortError:
            self._fail(call_id, context.code(), context.details(), context.trailing_metadata())
        except Exception as error:  # noqa: BLE001 - the last line: whatever it is, the client gets an answer
            if context.code() in {None, grpc.StatusCode.OK}:
                _log.exception("a handler failed")
                context.set_code(grpc.StatusCode.UNKNOWN)
                context.set_details(f"Unexpected {type(error)}")
            self._fail(call_id, context.code(), context.details(), context.trailing_metadata())

    async def _answer(self, call_id: int, handler: Handler, request: Any, context: Context) -> None:
        method: Any = handler.unary_unary
        response = await method(request, context)
        if context.code() in {None, grpc.StatusCode.OK}:
            data = handler.response_serializer(response) if handler.response_serializer else response
            self._bound().respond(call_id, data, context.initial_metadata, context.trailing_metadata())
        else:
            self._fail(call_id, context.code(), context.details(), context.trailing_metadata())

    async def _stream(self, call_id: int, handler: Handler, request: Any, context: Context) -> None:
        method: Any = handler.unary_stream
        if inspect.isasyncgenfunction(method):
            responses = method(request, context)
            try:
                async for response in responses:
                    await self.write(call_id, handler, response)
            finally:
                await responses.aclose()
        else:
            await method(request, context)
        if context.code() in {None, grpc.StatusCode.OK}:
            self._bound().stream_end(call_id, context.trailing_metadata())
        else:
            self._fail(call_id, context.code(), context.details(), context.trailing_metadata())

    def _fail(self, call_id: int, code: grpc.StatusCode, details: str, trailing: Metadata = ()) -> None:
        self._bound().fail(call_id, code.value[0], details, trailing)

    # What it stands on.

    def _bound(self) -> NativeGrpcFront:
        assert self._front is not None  # noqa: S101 - a port was added
        return self._front

    async def _start_fallback(self) -> str:
        # A folder of its own, which nobody else may enter: whoever reaches the socket is past this port.
        self._folder = tempfile.mkdtemp(prefix="appointments-")
        path = str(Path(self._folder) / "fallback.sock")
        services: dict[str, dict[str, Handler]] = {}
        for full, handler in self._registered.items():
            if handler.request_streaming:
                service, method = full[1:].split("/")
                services.setdefault(service, {})[method] = handler
        self._fallback = grpc.aio.server(options=[("grpc.max_receive_message_length", self._limit)])
        self._fallback.add_generic_rpc_handlers(
            tuple(grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items())
        )
        self._fallback.add_insecure_port(f"unix:{path}")
        await self._fallback.start()
        return path

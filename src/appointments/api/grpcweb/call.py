"""One gRPC-Web call from its first byte to its status.

Guarantees:

- The handler runs in a task of its own. The task is cancelled as soon as the client has gone, the deadline has passed,
  the request turns out to be bad, or the server drains.
- There is exactly one status.
- An exception that the handler lets escape is logged here, and is not told to the client.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

import grpc

from appointments.api.grpcweb.context import Context, Inbox
from appointments.api.grpcweb.framing import Deframer, Metadatum, Refusal
from appointments.api.grpcweb.reply import Reply
from appointments.api.http_exchange import Exchange

StatusCode = grpc.StatusCode
Codec = Callable[[Any], Any]

LAST_WORDS = 5.0
"""Seconds that a client gets to read the status of a call that was ended from outside."""

_log = logging.getLogger(__name__)


class _Gone(Exception):
    """The client disconnected before its request was complete."""


def _as_it_is(message: Any) -> bytes:
    """Stand in for the serializer of a handler that has none, because it works with bytes."""
    if not isinstance(message, bytes):
        raise TypeError(f"the handler has no serializer, and its message is not bytes but {type(message).__name__}")
    return message


class Call:
    """A call, ready to `serve`."""

    def __init__(
        self,
        handler: Any,
        exchange: Exchange,
        reply: Reply,
        deframer: Deframer,
        *,
        metadata: Iterable[Metadatum],
        peer: str,
        deadline: float | None,
        limit: int,
    ) -> None:
        self._handler = handler
        self._exchange = exchange
        self._reply = reply
        self._deframer = deframer
        self._deadline = deadline
        self._deserialize: Codec = handler.request_deserializer or _as_it_is
        self._serialize: Codec = handler.response_serializer or _as_it_is
        self._inbox = Inbox(limit) if handler.request_streaming else None
        self._context = Context(
            metadata=metadata,
            peer=peer,
            deadline=deadline,
            reply=reply,
            inbox=self._inbox,
            serialize=self._serialize,
        )
        self._task: asyncio.Task[None] | None = None
        self._running = False
        self._verdict: Refusal | None = None

    @property
    def streaming(self) -> bool:
        """Whether one side may send any number of messages, so that the call need not end by itself."""
        return bool(self._handler.request_streaming or self._handler.response_streaming)

    async def serve(self) -> None:
        """Run the call. Returns when the client has its status, or has gone, and the handler has stopped."""
        try:
            await (self._serve_one() if self._inbox is None else self._serve_stream(self._inbox))
        finally:
            self._context.finish()

    def end(self, refusal: Refusal) -> None:
        """End the call from outside with this status. It does nothing if the call has its status already."""
        if self._verdict is None and not self._reply.ended:
            self._verdict = refusal
            if self._task is not None and self._running:
                self._task.cancel()

    async def _serve_one(self) -> None:
        try:
            async with asyncio.timeout_at(self._deadline):
                request = await self._sole_request()
        except _Gone:
            self._context.cancel()
        except TimeoutError:
            await self._reply.end(StatusCode.DEADLINE_EXCEEDED, "the deadline passed before the request had arrived")
        except Refusal as refusal:
            await self._reply.end(refusal.code, refusal.details)
        else:
            await self._attend(request, self._watch)

    async def _serve_stream(self, inbox: Inbox) -> None:
        async def pump() -> None:
            try:
                await self._fill(inbox)
            except Refusal as refusal:
                self.end(refusal)
            await self._watch()

        await self._attend(inbox, pump)

    async def _attend(self, request: Any, watch: Callable[[], Any]) -> None:
        """Run the handler, while this task watches the client."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(request))
        timer = None
        if self._deadline is not None:
            passed = Refusal(StatusCode.DEADLINE_EXCEEDED, "the deadline passed")
            if self._deadline <= loop.time():
                self.end(passed)  # before the handler begins, because a quick one would be done before the timer
            timer = loop.call_at(self._deadline, self.end, passed)
        try:
            await watch()
            if not (self._task.done() or self._reply.ended):
                self._context.cancel()
                self._task.cancel()
            await asyncio.wait((self._task,))
        finally:
            if not self._task.done():  # this task is being cancelled: the connection is going away
                self._context.cancel()
                self._task.cancel()
            if timer is not None:
                timer.cancel()
        if not self._task.cancelled():
            self._task.result()

    async def _watch(self) -> None:
        """Wait for the disconnect. It also comes when the response has ended."""
        while (await self._exchange.receive())["type"] != "http.disconnect":
            pass

    async def _sole_request(self) -> Any:
        """Read the whole body, which has to be one message."""
        messages: list[bytes] = []
        more = True
        while more:
            event = await self._exchange.receive()
            if event["type"] == "http.disconnect":
                raise _Gone
            more = event.get("more_body", False)
            if body := event.get("body"):
                messages += self._deframer.feed(body)
                if len(messages) > 1:
                    raise Refusal(StatusCode.UNIMPLEMENTED, "the method takes one request, and there is more than one")
        self._deframer.end()
        if not messages:
            raise Refusal(StatusCode.UNIMPLEMENTED, "the method takes one request, and there is none")
        return self._parsed(messages[0])

    async def _fill(self, inbox: Inbox) -> None:
        """Read the body into the inbox, message by message, to its end."""
        more = True
        while more:
            event = await self._exchange.receive()
            if event["type"] == "http.disconnect":
                return
            more = event.get("more_body", False)
            for message in self._deframer.feed(event.get("body", b"")):
                await inbox.put(self._parsed(message), len(message))
        self._deframer.end()
        inbox.close()

    def _parsed(self, message: bytes) -> Any:
        try:
            return self._deserialize(message)
        except Exception:  # noqa: BLE001 - what a deserializer raises is its own affair
            raise Refusal(StatusCode.INVALID_ARGUMENT, "the request is not a message of the method's type") from None

    async def _run(self, request: Any) -> None:
        self._running = True
        message = None
        try:
            if self._verdict is None:
                message = await self._invoke(request)
        except asyncio.CancelledError:
            if self._context.cancelled():
                raise
            self.end(Refusal(StatusCode.CANCELLED, "the handler was cancelled"))
        except Exception as error:  # noqa: BLE001 - the last line: whatever it is, it becomes a status
            self._failed(error)
        finally:
            if self._inbox is not None:
                self._inbox.close()
        await self._finish(message)

    async def _invoke(self, request: Any) -> bytes | None:
        handler = self._handler
        if not handler.response_streaming:
            method = handler.stream_unary if handler.request_streaming else handler.unary_unary
            response: bytes = self._serialize(await method(request, self._context))
            return response
        method = handler.stream_stream if handler.request_streaming else handler.unary_stream
        responses = method(request, self._context)
        if not hasattr(responses, "__aiter__"):  # a coroutine, which writes to the context
            await responses
            return None
        try:
            async for response in responses:
                await self._reply.message(self._serialize(response))
        finally:
            if hasattr(responses, "aclose"):
                await responses.aclose()
        return None

    def _failed(self, error: Exception) -> None:
        context = self._context
        if context.aborted or self._verdict is not None:
            return
        if context.code() is StatusCode.OK:
            _log.error("the handler of a call failed", exc_info=error)
            context.set_code(StatusCode.UNKNOWN)
            context.set_details("the handler failed")

    async def _finish(self, message: bytes | None) -> None:
        verdict, context = self._verdict, self._context
        if verdict is None:
            code = context.code()
            await self._reply.end(code, context.details(), context.trailers, message if code is StatusCode.OK else None)
            return
        try:
            async with asyncio.timeout(LAST_WORDS):
                await self._reply.end(verdict.code, verdict.details, context.trailers)
        except TimeoutError:
            return

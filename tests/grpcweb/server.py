"""The echo service, and both doors to it on ports of their own in the test's loop."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as Detail
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from appointments.api.grpcweb.front import Front
from appointments.api.http_exchange import App, Receive, Scope, Send
from appointments.api.origin import Origins
from appointments.server import listener
from tests.grpcweb.echo.v1 import echo_pb2_grpc
from tests.grpcweb.echo.v1.echo_pb2 import EchoRequest, EchoResponse, Failure, WitnessRequest, WitnessResponse

Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = "/echo.v1.EchoService"
ECHOED = {"x-echo", "x-echo-bin"}


class EchoServicer(echo_pb2_grpc.EchoServiceServicer):
    """Does what requests say. ``states`` holds what became of the calls that gave a key."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.calls = 0

    @contextmanager
    def _witnessed(self, key: str) -> Iterator[None]:
        self.calls += 1
        self.states[key] = "running"
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            self.states[key] = "cancelled"
            raise
        finally:
            if self.states[key] == "running":
                self.states[key] = "done"

    async def Unary(self, request: EchoRequest, context: Context) -> EchoResponse:
        """Answer with the request, and with what the context knows."""
        with self._witnessed(request.key):
            await _prepare(request, context)
            await asyncio.sleep(request.pause_ms / 1000)
            await _fail(request, context)
            return _response(request, context)

    async def ServerStream(self, request: EchoRequest, context: Context) -> AsyncIterator[EchoResponse]:
        """Answer ``count`` times."""
        with self._witnessed(request.key):
            await _prepare(request, context)
            index = 0
            while index != request.count:
                await asyncio.sleep(request.pause_ms / 1000)
                yield _response(request, context, index)
                index += 1
            await _fail(request, context)

    async def ClientStream(self, requests: AsyncIterator[EchoRequest], context: Context) -> EchoResponse:
        """Answer with all texts; the last request says how to end."""
        request = EchoRequest()
        texts = []
        async for request in requests:
            texts.append(request.text)
        with self._witnessed(request.key):
            await _prepare(request, context)
            await _fail(request, context)
            return EchoResponse(text=",".join(texts), index=len(texts))

    async def BidiStream(self, requests: AsyncIterator[EchoRequest], context: Context) -> AsyncIterator[EchoResponse]:
        """Answer each request."""
        index = 0
        async for request in requests:
            if index == 0:
                await _prepare(request, context)
            yield _response(request, context, index)
            await _fail(request, context)
            index += 1

    async def Witness(self, request: WitnessRequest, context: Context) -> WitnessResponse:
        """Tell what became of a call."""
        return WitnessResponse(state=self.states.get(request.key, ""))


def _response(request: EchoRequest, context: Context, index: int = 0) -> EchoResponse:
    metadata = dict(context.invocation_metadata() or ())
    return EchoResponse(
        text=request.text,
        data=request.data,
        index=index,
        peer=context.peer(),
        time_remaining=context.time_remaining() or 0.0,
        authorization=str(metadata.get("authorization", "")),
    )


async def _prepare(request: EchoRequest, context: Context) -> None:
    if request.echo_metadata:
        echoed = [(key, value) for key, value in context.invocation_metadata() or () if key in ECHOED]
        await context.send_initial_metadata(tuple(echoed))
        context.set_trailing_metadata(tuple((f"x-trailing-{key}", value) for key, value in echoed))


async def _fail(request: EchoRequest, context: Context) -> None:
    if not request.HasField("failure"):
        return
    failure = request.failure
    if failure.code == 0:
        raise RuntimeError(failure.message)
    code = next(code for code in grpc.StatusCode if code.value[0] == failure.code)
    details = (("grpc-status-details-bin", _status(failure)),) if failure.details else ()
    await context.abort(code, failure.message, (*(context.trailing_metadata() or ()), *details))


def _status(failure: Failure) -> bytes:
    detail = Detail()
    detail.Pack(ErrorInfo(reason="ECHO", domain="tests"))
    return bytes(Status(code=failure.code, message=failure.message, details=[detail]).SerializeToString())


def session_cookie(headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    """Find the access token as the service does: in a cookie."""
    for name, value in headers:
        if name == b"cookie" and (morsel := SimpleCookie(value.decode("latin-1")).get("session")):
            return morsel.value
    return None


@dataclass
class Doors:
    """Where the echo service can be reached, and the parts of it."""

    port: int
    native_port: int
    echo: EchoServicer
    front: Front
    stop: asyncio.Event
    serving: asyncio.Task[None]

    @property
    def url(self) -> str:
        """The base URL of the gRPC-Web door."""
        return f"http://127.0.0.1:{self.port}"


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    """Stand for the page that the port serves beside RPCs."""
    if scope["type"] != "http":  # hypercorn asks for a lifespan
        return
    headers = [(b"content-type", b"text/html"), (b"content-length", b"15")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"<!doctype html>"})


@asynccontextmanager
async def doors(
    *,
    origins: Sequence[str] = (),
    limit: int = 4 * 1024 * 1024,
    application: App = page,
    graceful_timeout: float = 3.0,
) -> AsyncIterator[Doors]:
    """Run both doors. Leaves by draining the front and stopping the servers."""
    echo = EchoServicer()  # type: ignore[abstract] # one method is missing on purpose
    front = Front(application, max_message_bytes=limit, origins=Origins(origins), credentials=session_cookie)
    native = grpc.aio.server()
    for server in (front, native):
        echo_pb2_grpc.add_EchoServiceServicer_to_server(echo, server)
    native_port = native.add_insecure_port("127.0.0.1:0")
    await native.start()
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    config = listener.configure(f"fd://{listening.detach()}", graceful_timeout=graceful_timeout)
    stop = asyncio.Event()
    serving = asyncio.create_task(listener.Listener(front, config).serve(stop))
    try:
        yield Doors(port, native_port, echo, front, stop, serving)
    finally:
        await front.drain(1.0)
        await native.stop(1.0)
        stop.set()
        await serving

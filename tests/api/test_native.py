"""The engine in Rust, with handlers of the test's own: what a call can do to it, and what is left of a call."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakSet

import grpc
import pytest

from appointments.api.native import Server

Code = grpc.StatusCode
Context = grpc.aio.ServicerContext[bytes, bytes]

LIMIT = 10_000


class Service:
    """Calls that do as they are told, and tell what became of them."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.released = asyncio.Event()
        self.ended: asyncio.Queue[str] = asyncio.Queue()
        self.contexts: WeakSet[Any] = WeakSet()
        self.sent = 0

    async def echo(self, data: bytes, context: Context) -> bytes:
        """Answer what was asked, with metadata on both sides of it."""
        self.contexts.add(context)
        seen = dict(context.invocation_metadata() or ())
        await context.send_initial_metadata((("x-before", "1"),))
        context.set_trailing_metadata((("x-after-bin", seen.get("x-some-bin", b"")), ("x-after", "2")))
        return data

    async def wait(self, data: bytes, context: Context) -> bytes:
        """Answer when released."""
        self.contexts.add(context)
        self.begun.set()
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.ended.put_nowait("cancelled")
            raise
        self.ended.put_nowait("released")
        return data

    async def fail(self, data: bytes, context: Context) -> bytes:
        """Raise something, or abort."""
        if data:
            await context.abort(Code.ABORTED, "grüße", (("x-why-bin", b"\x00\xff"), ("grpc-status-details-bin", b"")))
        raise ValueError("secret")

    async def left(self, data: bytes, context: Context) -> bytes:
        """Tell how much time is left."""
        return repr(context.time_remaining()).encode()

    async def count(self, data: bytes, context: Context) -> AsyncIterator[bytes]:
        """Send so many large messages."""
        try:
            for _ in range(int(data)):
                yield b"x" * 100_000
                self.sent += 1
        finally:
            self.ended.put_nowait("closed")

    async def write(self, data: bytes, context: Context) -> None:
        """Send two messages, the other way."""
        await context.send_initial_metadata((("x-before", "1"),))
        await context.write(b"one")
        await context.write(b"two")
        context.set_trailing_metadata((("x-after", "2"),))


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Server, Service, str]]:
    """A server on a free port, its service and its address."""
    service, server = Service(), Server(max_message_bytes=LIMIT)
    single = ("echo", "wait", "fail", "left")
    handlers: dict[str, Any] = {name: grpc.unary_unary_rpc_method_handler(getattr(service, name)) for name in single}
    handlers |= {name: grpc.unary_stream_rpc_method_handler(getattr(service, name)) for name in ("count", "write")}
    server.add_registered_method_handlers("test.Service", handlers)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield server, service, f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, Service, str]]:
    """The same, for one test."""
    async with serving() as everything:
        yield everything


@asynccontextmanager
async def channel(address: str) -> AsyncIterator[grpc.aio.Channel]:
    """A connection of its own, that does not try again by itself."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    async with grpc.aio.insecure_channel(address, options=options) as opened:
        yield opened


def unary(opened: grpc.aio.Channel, name: str) -> Callable[..., Any]:
    """The method, from bytes to bytes."""
    method: Callable[..., Any] = opened.unary_unary(f"/test.Service/{name}")
    return method


def stream(opened: grpc.aio.Channel, name: str) -> Callable[..., Any]:
    """The method, from bytes to a stream of bytes."""
    method: Callable[..., Any] = opened.unary_stream(f"/test.Service/{name}")
    return method


async def refusal(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    """How a call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value


Running = tuple[Server, Service, str]


async def test_metadata_goes_both_ways(server: Running) -> None:
    """Text and bytes; before the answer and after it."""
    async with channel(server[2]) as opened:
        call = unary(opened, "echo")(b"hello", metadata=(("x-some-bin", b"\x00\xfe"),))
        assert await call == b"hello"
        assert dict(await call.initial_metadata())["x-before"] == "1"
        assert {"x-after": "2", "x-after-bin": b"\x00\xfe"}.items() <= dict(await call.trailing_metadata()).items()


async def test_an_abort_carries_its_message_and_its_metadata(server: Running) -> None:
    """Whatever the message is made of."""
    async with channel(server[2]) as opened:
        error = await refusal(unary(opened, "fail")(b"abort"))
    assert (Code.ABORTED, "grüße") == (error.code(), error.details())
    assert dict(error.trailing_metadata())["x-why-bin"] == b"\x00\xff"


async def test_what_a_handler_raises_is_unknown_and_tells_nothing(server: Running) -> None:
    """The kind of error, but not what it says."""
    async with channel(server[2]) as opened:
        error = await refusal(unary(opened, "fail")(b""))
    assert error.code() == Code.UNKNOWN
    assert "secret" not in (error.details() or "")


async def test_an_unknown_method_is_unimplemented(server: Running) -> None:
    """With a status, and the connection lives on."""
    async with channel(server[2]) as opened:
        assert (await refusal(unary(opened, "nothing")(b""))).code() == Code.UNIMPLEMENTED
        assert await unary(opened, "echo")(b"x") == b"x"


async def test_limits(server: Running) -> None:
    """Of messages, and of metadata."""
    async with channel(server[2]) as opened:
        assert await unary(opened, "echo")(b"x" * LIMIT)
        too_large = await refusal(unary(opened, "echo")(b"x" * (LIMIT + 1)))
        too_much = await refusal(unary(opened, "echo")(b"", metadata=(("x-large", "x" * 17_000),)))
    assert (Code.RESOURCE_EXHAUSTED, Code.RESOURCE_EXHAUSTED) == (too_large.code(), too_much.code())


async def test_the_time_that_is_left(server: Running) -> None:
    """Of the client's deadline; None without one."""
    async with channel(server[2]) as opened:
        assert await unary(opened, "left")(b"") == b"None"
        assert 50 < float(await unary(opened, "left")(b"", timeout=60)) < 61


async def test_a_deadline_ends_the_handler(server: Running) -> None:
    """The handler is cancelled, and its client told."""
    async with channel(server[2]) as opened:
        assert (await refusal(unary(opened, "wait")(b"", timeout=0.2))).code() == Code.DEADLINE_EXCEEDED
    assert await server[1].ended.get() == "cancelled"


async def test_a_client_that_leaves_ends_the_handler(server: Running) -> None:
    """By cancelling its call, or with its connection."""
    _, service, address = server
    async with channel(address) as opened:
        call = unary(opened, "wait")(b"")
        await service.begun.wait()
        call.cancel()
        assert await service.ended.get() == "cancelled"
        service.begun.clear()
        call = unary(opened, "wait")(b"")
        await service.begun.wait()
    assert await service.ended.get() == "cancelled"


async def test_nothing_is_left_of_a_call(server: Running) -> None:
    """Not of one that was answered, and not of one that was cancelled before it could begin."""
    running, service, address = server
    async with channel(address) as opened:
        for _ in range(100):
            assert await unary(opened, "echo")(b"x") == b"x"
            unary(opened, "echo")(b"x").cancel()
            call = unary(opened, "wait")(b"x")
            await asyncio.sleep(0)
            call.cancel()
    # A call and its cancellation in one batch of events: the task ends before its first step.
    handler: Any = grpc.unary_unary_rpc_method_handler(service.echo)
    running._begin(10**9, handler, b"", ((), "", None))
    running._contexts[10**9].cancel()
    await running.stop(5)
    await asyncio.sleep(0)
    gc.collect()
    assert (0, 0, 0) == (len(running._contexts), len(running._tasks), len(service.contexts))


async def test_streams_come_from_generators_and_from_writers(server: Running) -> None:
    """With metadata on both sides."""
    async with channel(server[2]) as opened:
        assert [100_000] * 3 == [len(each) async for each in stream(opened, "count")(b"3")]
        call = stream(opened, "write")(b"")
        assert [b"one", b"two"] == [each async for each in call]
        assert dict(await call.initial_metadata())["x-before"] == "1"
        assert dict(await call.trailing_metadata())["x-after"] == "2"


async def test_slow_readers_hold_up_their_own_streams_alone(server: Running) -> None:
    """They are not sent to without end, they take no thread, and others are served."""
    _, service, address = server
    threads = threading.active_count()
    async with channel(address) as opened:
        slow = [stream(opened, "count")(b"10000") for _ in range(50)]
        for call in slow:
            assert await call.read()
        assert await unary(opened, "echo")(b"x") == b"x"
        assert [100_000] * 200 == [len(each) async for each in stream(opened, "count")(b"200")]
        assert service.sent < 50 * 10_000
        assert threading.active_count() <= threads + 1  # the client's own
        for call in slow:
            call.cancel()
        assert ["closed"] * 51 == [await service.ended.get() for _ in range(51)]


async def test_a_stop_waits_for_calls_and_refuses_others() -> None:
    """What is in flight is answered; who comes later is told UNAVAILABLE, which clients try again."""
    async with serving() as (running, service, address), channel(address) as opened:
        call = asyncio.ensure_future(_outcome(unary(opened, "wait")(b"kept")))
        await service.begun.wait()
        stopping = asyncio.ensure_future(running.stop(30))
        await asyncio.sleep(0)
        assert (await refusal(unary(opened, "echo")(b""))).code() == Code.UNAVAILABLE
        service.released.set()
        assert await call == b"kept"
        await stopping


async def test_a_stop_ends_what_takes_too_long() -> None:
    """With UNAVAILABLE, and without waiting."""
    async with serving() as (running, service, address), channel(address) as opened:
        call = asyncio.ensure_future(_outcome(unary(opened, "wait")(b"")))
        await service.begun.wait()
        await running.stop(0.01)
        assert await call == Code.UNAVAILABLE
        assert await service.ended.get() == "cancelled"


async def _outcome(call: Awaitable[bytes]) -> bytes | grpc.StatusCode:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        return error.code()


async def test_a_port_that_is_taken(server: Running) -> None:
    """Is not shared unless that is wanted."""
    with pytest.raises(RuntimeError):
        Server(max_message_bytes=LIMIT).add_insecure_port(server[2])
    shared = [Server(max_message_bytes=LIMIT, share_port=True) for _ in range(2)]
    port = shared[0].add_insecure_port("127.0.0.1:0")
    assert shared[1].add_insecure_port(f"127.0.0.1:{port}") == port

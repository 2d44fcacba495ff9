"""A handler that is written for grpc.aio does the same behind either door."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import grpc
import httpx
import pytest

from appointments.api.grpcweb.front import Front
from tests.grpcweb.wire import BINARY, framed, frames

Context = grpc.aio.ServicerContext[bytes, bytes]
PAIRS = Sequence[tuple[str, str | bytes]]


class _Status(grpc.Status):
    code = grpc.StatusCode.DATA_LOSS
    details = "lost"
    trailing_metadata = (("a-bin", b"\0\1"),)


class Behaviours:
    """One method per way of using the context; a method's name says its kind."""

    async def unary_plain(self, request: bytes, context: Context) -> bytes:
        return request

    async def unary_metadata(self, request: bytes, context: Context) -> bytes:
        await context.send_initial_metadata((("a", "1"), ("b-bin", b"\0\xff")))
        context.set_trailing_metadata((("c", "2"), ("c", "3")))
        return request

    async def unary_code(self, request: bytes, context: Context) -> bytes:
        context.set_code(grpc.StatusCode.ABORTED)
        context.set_details("set")
        return request

    async def unary_abort(self, request: bytes, context: Context) -> bytes:
        context.set_trailing_metadata((("a", "kept"),))
        await context.abort(grpc.StatusCode.NOT_FOUND, "gone: 100% größer")

    async def unary_abort_replaces_trailers(self, request: bytes, context: Context) -> bytes:
        context.set_trailing_metadata((("a", "dropped"),))
        await context.abort(grpc.StatusCode.NOT_FOUND, "gone", (("b", "given"),))

    async def unary_abort_that_is_swallowed(self, request: bytes, context: Context) -> bytes:
        try:
            await context.abort(grpc.StatusCode.NOT_FOUND, "gone")
        except grpc.aio.AbortError:
            return b"still here"

    async def unary_abort_with_status(self, request: bytes, context: Context) -> bytes:
        await context.abort_with_status(_Status())

    async def unary_code_and_exception(self, request: bytes, context: Context) -> bytes:
        context.set_code(grpc.StatusCode.UNAUTHENTICATED)
        raise LookupError

    async def unary_rpc_error_of_another_call(self, request: bytes, context: Context) -> bytes:
        raise grpc.RpcError

    async def unary_not_bytes(self, request: bytes, context: Context) -> bytes:
        return 7  # type: ignore[return-value]

    async def stream_generator(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        await context.send_initial_metadata((("a", "1"),))
        context.set_trailing_metadata((("b", "2"),))
        yield request
        yield request

    async def stream_coroutine(self, request: bytes, context: Context) -> None:
        await context.write(request)
        await context.write(b"")
        context.set_trailing_metadata((("b", "2"),))

    async def stream_abort(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        yield request
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "enough")

    async def stream_exception(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        yield request
        raise LookupError

    async def requests_iterated(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        return b"+".join([each async for each in requests])

    async def requests_read(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        found: list[bytes] = []
        each: Any
        while (each := await context.read()) is not grpc.aio.EOF:
            found.append(each)
        return b"+".join(found)

    async def requests_ignored(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        await asyncio.sleep(0.1)  # a native client that is answered while it sends may see an error of its own
        return b"enough"


@dataclass
class Outcome:
    """What a client sees of a call."""

    code: int
    details: str
    messages: list[bytes]
    initial: PAIRS
    trailing: PAIRS


NAMES = [name for name in vars(Behaviours) if not name.startswith("_")]
UNTOLD = {"unary_rpc_error_of_another_call", "unary_not_bytes", "unary_code_and_exception", "stream_exception"}
"""grpc.aio tells the client what the exception was. The front does not, and that is the only difference."""


def handlers() -> grpc.GenericRpcHandler:
    """The behaviours as methods that take and give bytes."""
    behaviours = Behaviours()
    kinds: dict[str, Callable[..., Any]] = {
        "unary": grpc.unary_unary_rpc_method_handler,
        "stream": grpc.unary_stream_rpc_method_handler,
        "requests": grpc.stream_unary_rpc_method_handler,
    }
    methods = {name: kinds[name.partition("_")[0]](getattr(behaviours, name)) for name in NAMES}
    return grpc.method_handlers_generic_handler("t.T", methods)


KEYS = {"a", "a-bin", "b", "b-bin", "c"}
REQUESTS = [b"x", b"", b"y"]


def own(metadata: Iterable[tuple[str, str | bytes]]) -> list[tuple[str, str | bytes]]:
    """What the behaviours sent of it."""
    return [(key, value) for key, value in metadata if key in KEYS]


async def native_outcome(name: str, port: int) -> Outcome:
    """Call over gRPC."""
    kind = name.partition("_")[0]
    messages: list[bytes] = []
    channel: Any  # grpc's types know no call without serializers
    call: Any
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        if kind == "stream":
            call = channel.unary_stream(f"/t.T/{name}")(b"x")
        elif kind == "requests":
            call = channel.stream_unary(f"/t.T/{name}")(iter(REQUESTS))
        else:
            call = channel.unary_unary(f"/t.T/{name}")(b"x")
        with suppress(grpc.RpcError):
            if kind == "stream":
                async for message in call:
                    messages.append(message)  # noqa: PERF401 - what came before an error counts
            else:
                messages.append(await call)
        code = (await call.code()).value[0]
        initial, trailing = own(await call.initial_metadata()), own(await call.trailing_metadata())
        return Outcome(code, await call.details() or "", messages, initial, trailing)


async def web_outcome(name: str, front: Front) -> Outcome:
    """Call over gRPC-Web."""
    body = b"".join(map(framed, REQUESTS if name.startswith("requests_") else [b"x"]))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=front), base_url="http://front") as client:
        answer = await client.post(f"/t.T/{name}", content=body, headers={"content-type": BINARY})
    parts = frames(answer.content)
    headers = [(key, value) for key, value in answer.headers.multi_items() if key in KEYS or key.startswith("grpc-")]
    if parts:
        lines = parts.pop()[1].decode().splitlines()
        trailers = [(key, value) for key, _, value in (line.partition(": ") for line in lines)]
    else:
        headers, trailers = [], headers
    status = dict(trailers)
    details = unquote(status.get("grpc-message", ""))
    messages = [message for _, message in parts]
    return Outcome(int(status["grpc-status"]), details, messages, own(decoded(headers)), own(decoded(trailers)))


def decoded(headers: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str | bytes]]:
    """Metadata as gRPC gives it: binary where it is."""
    for key, value in headers:
        yield key, base64.b64decode(value + "==") if key.endswith("-bin") else value


@pytest.mark.parametrize("name", NAMES)
async def test_behaviour_is_the_same_behind_both_doors(name: str) -> None:
    """Status, details, messages and metadata are equal."""
    front, native = Front(), grpc.aio.server()
    for server in (front, native):
        server.add_generic_rpc_handlers((handlers(),))
    port = native.add_insecure_port("127.0.0.1:0")
    await native.start()
    expected, actual = await native_outcome(name, port), await web_outcome(name, front)
    await native.stop(None)
    if name in UNTOLD:
        assert "Unexpected" in expected.details
        assert "Unexpected" not in actual.details
        expected.details = actual.details
    assert expected == actual


async def test_context_tells_what_it_knows() -> None:
    """Peer, deadline, metadata, and the end of the call."""
    seen: dict[str, Any] = {}

    async def handler(request: bytes, context: Any) -> bytes:
        metadata = context.invocation_metadata()
        seen.update(peer=context.peer(), left=context.time_remaining(), metadata=dict(metadata or ()))
        context.add_done_callback(lambda done: seen.update(done=done.done(), cancelled=done.cancelled()))
        return request

    front = Front()
    methods: dict[str, Any] = {"M": grpc.unary_unary_rpc_method_handler(handler)}
    front.add_registered_method_handlers("t.T", methods)
    transport = httpx.ASGITransport(app=front, client=("::1", 567))
    async with httpx.AsyncClient(transport=transport, base_url="http://front") as client:
        headers = {"content-type": BINARY, "grpc-timeout": "5S", "x-a": "1", "b-bin": "AA", "cookie": "c=d"}
        await client.post("/t.T/M", content=framed(b""), headers=headers)
    assert "ipv6:%5B::1%5D:567" == seen["peer"]
    assert 0 < seen["left"] <= 5
    assert {"x-a": "1", "b-bin": b"\0"}.items() <= seen["metadata"].items()
    assert not {"cookie", "content-type", "grpc-timeout", "host"} & seen["metadata"].keys()
    assert (True, False) == (seen["done"], seen["cancelled"])


async def test_faults_of_a_handler_are_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever runs the service finds the traceback; the client finds nothing."""
    front = Front()
    front.add_generic_rpc_handlers((handlers(),))
    outcome = await web_outcome("stream_exception", front)
    assert (2, "the handler failed") == (outcome.code, outcome.details)
    assert [LookupError] == [record.exc_info[0] for record in caplog.records if record.exc_info]

"""The service of the conformance suite: every request says what its answer has to be."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from tests.conformance.v1 import service_pb2, service_pb2_grpc
from tests.conformance.v1.service_pb2 import (
    BidiStreamRequest,
    BidiStreamResponse,
    ClientStreamRequest,
    ClientStreamResponse,
    ConformancePayload,
    Header,
    ServerStreamRequest,
    ServerStreamResponse,
    StreamResponseDefinition,
    UnaryRequest,
    UnaryResponse,
    UnaryResponseDefinition,
)

Context = grpc.aio.ServicerContext[Any, Any]
RequestInfo = ConformancePayload.RequestInfo

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class ConformanceServicer(service_pb2_grpc.ConformanceServiceServicer):
    """Written for grpc.aio, and registered unchanged behind both doors."""

    Unimplemented = service_pb2_grpc.ConformanceServiceServicer.Unimplemented
    IdempotentUnary = service_pb2_grpc.ConformanceServiceServicer.IdempotentUnary  # for GET, which neither door takes

    async def Unary(self, request: UnaryRequest, context: Context) -> UnaryResponse:
        """Answer, or fail, as the request says."""
        return UnaryResponse(payload=await _answer(request.response_definition, [request], context))

    async def ClientStream(
        self, requests: AsyncIterator[ClientStreamRequest], context: Context
    ) -> ClientStreamResponse:
        """Answer, or fail, as the first request says, when all are here."""
        received = [request async for request in requests]
        definition = received[0].response_definition if received else UnaryResponseDefinition()
        return ClientStreamResponse(payload=await _answer(definition, received, context))

    async def ServerStream(self, request: ServerStreamRequest, context: Context) -> AsyncIterator[ServerStreamResponse]:
        """Answer as often as the request says."""
        definition = request.response_definition
        await _begin(definition, context)
        for index, data in enumerate(definition.response_data):
            info = None if index else _info(context, [request])
            await asyncio.sleep(definition.response_delay_ms / 1000)
            yield ServerStreamResponse(payload=ConformancePayload(data=data, request_info=info))
        await _end(definition, [request], context)

    async def BidiStream(
        self, requests: AsyncIterator[BidiStreamRequest], context: Context
    ) -> AsyncIterator[BidiStreamResponse]:
        """Answer each request as it comes, or all of them at the end, as the first one says."""
        definition = StreamResponseDefinition()
        received: list[BidiStreamRequest] = []
        full_duplex, begun, sent = False, False, 0
        async for request in requests:
            received.append(request)
            if not begun:
                begun, definition, full_duplex = True, request.response_definition, request.full_duplex
                if full_duplex:
                    await _begin(definition, context)
            if not full_duplex:
                continue
            if sent == len(definition.response_data):
                break
            yield await _piece(definition, sent, received, context)
            sent += 1
            received = []
        if begun and not full_duplex:
            await _begin(definition, context)
        while sent < len(definition.response_data):
            yield await _piece(definition, sent, [] if sent else received, context)
            sent += 1
        await _end(definition, received, context)


async def _answer(
    definition: UnaryResponseDefinition, received: Iterable[Message], context: Context
) -> ConformancePayload:
    await context.send_initial_metadata(_pairs(definition.response_headers))
    context.set_trailing_metadata(_pairs(definition.response_trailers))
    info = _info(context, received)
    await asyncio.sleep(definition.response_delay_ms / 1000)
    if definition.WhichOneof("response") == "error":
        await _fail(definition.error, info, context)
    return ConformancePayload(data=definition.response_data, request_info=info)


async def _begin(definition: StreamResponseDefinition, context: Context) -> None:
    context.set_trailing_metadata(_pairs(definition.response_trailers))
    await context.send_initial_metadata(_pairs(definition.response_headers))


async def _piece(
    definition: StreamResponseDefinition, index: int, received: Iterable[Message], context: Context
) -> BidiStreamResponse:
    info = RequestInfo(requests=map(_packed, received)) if index else _info(context, received)
    await asyncio.sleep(definition.response_delay_ms / 1000)
    return BidiStreamResponse(payload=ConformancePayload(data=definition.response_data[index], request_info=info))


async def _end(definition: StreamResponseDefinition, received: Iterable[Message], context: Context) -> None:
    if definition.HasField("error"):
        await _fail(definition.error, None if definition.response_data else _info(context, received), context)


async def _fail(error: service_pb2.Error, info: RequestInfo | None, context: Context) -> NoReturn:
    details = [*error.details, *([_packed(info)] if info else [])]
    status = Status(code=error.code, message=error.message, details=details)
    trailers = (*(context.trailing_metadata() or ()), ("grpc-status-details-bin", status.SerializeToString()))
    await context.abort(_CODES[error.code], error.message, trailers)


def _info(context: Context, received: Iterable[Message]) -> RequestInfo:
    headers: dict[str, Header] = {}
    for key, value in context.invocation_metadata() or ():
        text = value if isinstance(value, str) else _base64(value)
        headers.setdefault(key, Header(name=key)).value.append(text)
    left = context.time_remaining()
    timeout = None if left is None else round(left * 1000)
    return RequestInfo(request_headers=headers.values(), timeout_ms=timeout, requests=map(_packed, received))


def _packed(message: Message) -> Packed:
    packed = Packed()
    packed.Pack(message)
    return packed


def _pairs(headers: Iterable[Header]) -> tuple[tuple[str, str | bytes], ...]:
    return tuple((name, value) for header in headers for name, value in _values(header.name.lower(), header.value))


def _values(name: str, values: Iterable[str]) -> Iterator[tuple[str, str | bytes]]:
    for value in values:
        yield name, base64.b64decode(value + "==") if name.endswith("-bin") else value


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode().rstrip("=")

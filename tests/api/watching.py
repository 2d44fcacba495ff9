"""Streams of changes as clients read them: the native one, and gRPC-Web frame by frame."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import grpc
import httpx
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from appointments.api.rest.cookies import DEVELOPMENT
from appointments.v1 import changes_pb2 as pb
from appointments.v1 import changes_pb2_grpc
from tests.clients import Person
from tests.grpcweb.wire import BINARY, framed
from tests.service import Target

PATH = "/appointments.v1.ChangeService/WatchChanges"


class Ended(Exception):
    """A stream has ended, with this code and, if it is an error, this reason."""

    def __init__(self, code: grpc.StatusCode, reason: str = "") -> None:
        super().__init__(code.name, reason)
        self.code = code
        self.reason = reason


Answers = AsyncIterator[pb.WatchChangesResponse]
Watch = Callable[[Target, Person, pb.WatchChangesRequest], AbstractAsyncContextManager[Answers]]


@asynccontextmanager
async def native(target: Target, person: Person, request: pb.WatchChangesRequest) -> AsyncIterator[Answers]:
    """The native port."""
    async with grpc.aio.insecure_channel(target.grpc) as channel:
        stub = changes_pb2_grpc.ChangeServiceStub(channel)
        call = stub.WatchChanges(request, metadata=person.metadata)

        async def answers() -> Answers:
            try:
                async for answer in call:
                    yield answer
            except grpc.aio.AioRpcError as error:
                raise Ended(error.code(), _reason(dict(error.trailing_metadata() or ()))) from None
            raise Ended(await call.code())

        yield answers()
        call.cancel()


@asynccontextmanager
async def web(target: Target, person: Person, request: pb.WatchChangesRequest) -> AsyncIterator[Answers]:
    """The web port, with a page's cookie."""
    headers = {
        "content-type": BINARY,
        "x-grpc-web": "1",
        "origin": target.url,
        "cookie": f"{DEVELOPMENT.access}={person.tokens.access_token}",
    }
    async with (
        httpx.AsyncClient(timeout=60) as client,
        client.stream("POST", target.url + PATH, content=framed(request), headers=headers) as response,
    ):
        assert 200 == response.status_code

        async def answers() -> Answers:
            buffer = b""
            async for data in response.aiter_raw():
                buffer += data
                while len(buffer) >= 5 and len(buffer) >= 5 + int.from_bytes(buffer[1:5]):
                    length = int.from_bytes(buffer[1:5])
                    flags, content, buffer = buffer[0], buffer[5 : 5 + length], buffer[5 + length :]
                    if flags & 0x80:
                        raise _ended(content)
                    yield pb.WatchChangesResponse.FromString(content)
            raise AssertionError("the stream has ended without a status")

        yield answers()


def _ended(trailers: bytes) -> Ended:
    lines = dict(line.partition(": ")[::2] for line in trailers.decode().splitlines())
    code = next(code for code in grpc.StatusCode if code.value[0] == int(lines["grpc-status"]))
    return Ended(code, _reason(lines))


def _reason(trailers: dict[Any, Any]) -> str:
    packed = trailers.get("grpc-status-details-bin")
    if packed is None:
        return ""
    status = Status.FromString(packed if isinstance(packed, bytes) else base64.b64decode(packed + "=="))
    info = ErrorInfo()
    status.details[0].Unpack(info)
    return str(info.reason)


WATCHES: dict[str, Watch] = {"native": native, "web": web}


async def changes(answers: Answers, count: int) -> list[pb.Change]:
    """So many changes, whatever answers they come in."""
    found: list[pb.Change] = []
    async with asyncio.timeout(20):
        async for answer in answers:
            found += answer.changes
            if len(found) >= count:
                return found
    raise AssertionError("the stream has ended")


async def until_ended(answers: Answers) -> Ended:
    """How the stream ends."""
    try:
        async with asyncio.timeout(30):
            async for _ in answers:
                pass
    except Ended as ended:
        return ended
    raise AssertionError("the stream has ended without saying so")

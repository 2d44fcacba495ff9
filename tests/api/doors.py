"""Four ways to call the two ports. Each takes the bytes of a request, and returns what a client sees of the answer."""

import base64
import itertools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import grpc
import httpx
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message_factory import GetMessageClass
from google.rpc.status_pb2 import Status

from appointments.api.rest.cookies import DEVELOPMENT
from tests.clients import DETAILS
from tests.grpcweb.wire import BINARY, TEXT, framed, frames
from tests.service import Target

PAIRS = Sequence[tuple[str, str | bytes]]
DETAILS_KEY = "grpc-status-details-bin"
OF_THE_TRANSPORT = {"accept-encoding", "content-length", "content-type", "date", "grpc-accept-encoding"}
OF_THE_TRANSPORT |= {"grpc-encoding", "vary", "x-content-type-options"}


@dataclass
class Raw:
    """An answer. The body is bytes. Metadata is every header that is not the transport's own."""

    code: grpc.StatusCode
    message: str
    metadata: PAIRS
    body: bytes | None


Call = Callable[[str, bytes, str | None, PAIRS], Awaitable[Raw]]
"""Path, request, access token if there is one, further metadata."""


@asynccontextmanager
async def native(target: Target) -> AsyncIterator[Call]:
    """The native port, with the token as metadata."""

    async def call(path: str, request: bytes, token: str | None, metadata: PAIRS) -> Raw:
        proof = () if token is None else (("authorization", f"Bearer {token}"),)
        done: Any = channel.unary_unary(path)(request, metadata=(*metadata, *proof), timeout=60, wait_for_ready=True)
        code = await done.code()
        seen = own([*await done.initial_metadata(), *await done.trailing_metadata()])
        return Raw(code, await done.details() or "", seen, await done if code is grpc.StatusCode.OK else None)

    channel: Any  # grpc's types know no call without serializers
    async with grpc.aio.insecure_channel(target.grpc) as channel:
        yield call


@asynccontextmanager
async def web(target: Target, *, content_type: str = BINARY, cookie: bool = False) -> AsyncIterator[Call]:
    """The web port, with the token as metadata, or as the session of a page of the same origin."""

    async def call(path: str, request: bytes, token: str | None, metadata: PAIRS) -> Raw:
        headers = {"content-type": content_type, "x-grpc-web": "1", "grpc-timeout": "60S"}
        headers |= {key: str(value) for key, value in metadata}
        if cookie:
            headers |= {"origin": target.url, "sec-fetch-site": "same-origin"}
        if token is not None:
            headers |= {"cookie": f"{DEVELOPMENT.access}={token}"} if cookie else {"authorization": f"Bearer {token}"}
        body = framed(request)
        answer = await client.post(path, content=base64.b64encode(body) if text else body, headers=headers)
        return taken_apart(answer, text=text)

    text = content_type == TEXT
    async with httpx.AsyncClient(base_url=target.url, timeout=60, verify=False) as client:
        yield call


def taken_apart(answer: httpx.Response, *, text: bool) -> Raw:
    """A response as a gRPC-Web client reads it: the trailers are the last frame, or else the headers."""
    assert 200 == answer.status_code, answer.text
    content = answer.content
    if text:
        content = b"".join(base64.b64decode(content[start : start + 4]) for start in range(0, len(content), 4))
    parts = frames(content)
    trailers: list[tuple[str, str]] = []
    if parts:
        flags, block = parts.pop()
        assert 0x80 == flags
        trailers = [(key, value) for key, _, value in (line.partition(": ") for line in block.decode().splitlines())]
    seen = [*answer.headers.multi_items(), *trailers]
    status = [value for key, value in seen if key == "grpc-status"]
    assert 1 == len(status)
    code = next(code for code in grpc.StatusCode if code.value[0] == int(status[0]))
    message = unquote(dict(seen).get("grpc-message", ""))
    metadata = own((key, base64.b64decode(value + "==") if key.endswith("-bin") else value) for key, value in seen)
    assert (code is grpc.StatusCode.OK) == (len(parts) == 1)
    return Raw(code, message, metadata, parts[0][1] if parts else None)


def own(metadata: Iterable[tuple[str, str | bytes]]) -> list[tuple[str, str | bytes]]:
    """The part of the answer that comes from the service, and not from the transport."""
    return [
        (key, value)
        for key, value in metadata
        if key not in OF_THE_TRANSPORT | {"grpc-status", "grpc-message"} and not key.startswith("access-control-")
    ]


DOORS: dict[str, Callable[[Target], AbstractAsyncContextManager[Call]]] = {
    "native": native,
    "web": web,
    "web with the session": lambda target: web(target, cookie=True),
    "web in text with the session": lambda target: web(target, content_type=TEXT, cookie=True),
}

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
NAMED = {"secret": "secret", "etag": "etag", "email": "email", "nextPageToken": "token", "ipAddress": "address"}
NAMED |= {"userAgent": "agent", "url": "url", "nextCursor": "cursor"}
"""Names of values that differ from person to person. Each value is replaced by a number."""
NOW = {"createTime", "updateTime", "deleteTime", "lastUseTime", "expireTime", "retryDelay"}
NOW |= {"changeTime", "nextAttemptTime"}
"""What depends on the clock."""
BESIDE = {"attempts", "error", "failingSinceTime", "responseStatus"}
"""How far a delivery has come, which goes on beside the calls."""


@dataclass
class Recorder:
    """Makes calls through a door, and records the answers, with numbers for what cannot be equal."""

    door: Call
    seen: list[dict[str, Any]] = field(default_factory=list)
    _names: dict[str, str] = field(default_factory=dict)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    async def call(self, method: MethodDescriptor, request: bytes, token: str | None) -> Raw:
        """Call a method. Calls are numbered, so that behind every door the same one has the same request id."""
        path = f"/{method.containing_service.full_name}/{method.name}"
        raw = await self.door(path, request, token, (("x-request-id", f"call-{next(self._numbers)}"),))
        self.seen.append(self._readable(method, raw))
        return raw

    def _readable(self, method: MethodDescriptor, raw: Raw) -> dict[str, Any]:
        body = None if raw.body is None else GetMessageClass(method.output_type).FromString(raw.body)
        status = [value for key, value in raw.metadata if key == DETAILS_KEY]
        return {
            "call": method.name,
            "code": raw.code.name,
            "message": self._named(raw.message),
            "metadata": sorted((key, value) for key, value in raw.metadata if key != DETAILS_KEY),
            "status": [self._named(_unpacked(Status.FromString(bytes(each)))) for each in status],  # type: ignore[arg-type]
            "body": None if body is None else self._named(MessageToDict(body)),
        }

    def _named(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: self._named(each, name) for name, each in value.items() if name not in BESIDE}
        if isinstance(value, list):
            return [self._named(each) for each in value]
        if key in NOW:
            return "<time>"
        if key in NAMED:
            return self._name(value, NAMED[key])
        return UUID.sub(lambda found: self._name(found[0], "id"), value) if isinstance(value, str) else value

    def _name(self, value: str, kind: str) -> str:
        return self._names.setdefault(value, f"<{kind} {len(self._names)}>")


def _unpacked(status: Status) -> dict[str, Any]:
    details = [
        {kind.DESCRIPTOR.full_name: MessageToDict(kind.FromString(detail.value))}
        for detail in status.details
        for kind in [DETAILS[detail.type_url.rpartition("/")[2]]]
    ]
    return {"code": status.code, "message": status.message, "details": details}

"""Calls through any door by their request alone, for tests of what programs see."""

from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from tests.api.doors import DETAILS_KEY, Call, Raw
from tests.contract import METHODS

BY_REQUEST = {method.input_type.name: method for method in METHODS}

Reason = tuple[str, str, dict[str, str]]


async def call(door: Call, credential: str | None, request: Message, act_as: str | None = None) -> Raw:
    """Make the call that a request belongs to."""
    method = BY_REQUEST[request.DESCRIPTOR.name]
    metadata = () if act_as is None else (("x-act-as", act_as),)
    path = f"/{method.containing_service.full_name}/{method.name}"
    return await door(path, request.SerializeToString(), credential, metadata)


async def answer(door: Call, credential: str | None, request: Message, act_as: str | None = None) -> Any:
    """The same, and the answer, which has to be one."""
    raw = await call(door, credential, request, act_as)
    assert raw.code is grpc.StatusCode.OK, raw.message
    return GetMessageClass(BY_REQUEST[request.DESCRIPTOR.name].output_type).FromString(raw.body or b"")


def reason(raw: Raw) -> Reason:
    """Status, reason and what goes with it."""
    info = ErrorInfo()
    details = dict(raw.metadata).get(DETAILS_KEY)
    if isinstance(details, bytes):
        Status.FromString(details).details[0].Unpack(info)
    return raw.code.name, info.reason, dict(info.metadata)


def fields(raw: Raw) -> list[str]:
    """The bad fields that an answer names."""
    found = BadRequest()
    details = dict(raw.metadata).get(DETAILS_KEY)
    if isinstance(details, bytes):
        for detail in Status.FromString(details).details:
            detail.Unpack(found)
    return [violation.field for violation in found.field_violations]

"""Faults as ``google.rpc.Status``: the code from the table in errors, the details that a client can act on."""

import math

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status

from appointments.api import convert
from appointments.shared.errors import DOMAIN, INTERNAL, STATUSES, Conflict, Fault, Invalid, Misses, SeriesConflict
from appointments.v1 import appointments_pb2 as pb
from appointments.v1.series_pb2 import SeriesConflictInfo

DETAILS_KEY = "grpc-status-details-bin"

MOST_BYTES = 4_500
"""Of one detail: clients refuse trailers of more than 8 KiB, and in base64 it is a third more."""


def status_code(fault: Fault | None) -> grpc.StatusCode:
    """The canonical code of a fault; INTERNAL for an unexpected error (None)."""
    status = STATUSES[type(fault)] if fault else INTERNAL
    return grpc.StatusCode[status.grpc]


def status(fault: Fault | None, request_id: str) -> Status:
    """The whole status, with its details. An unexpected error (None) is opaque: its request id leads to the log."""
    details: list[Message] = [_error_info(fault)]
    if isinstance(fault, Invalid):
        details.append(_bad_request(fault))
    if isinstance(fault, Conflict):
        details.append(_conflict_info(fault))
    if isinstance(fault, SeriesConflict):
        details.append(_series_conflict_info(fault.misses))
    if fault and fault.retry_after is not None:
        nanos = math.ceil(fault.retry_after * 1_000_000_000)
        details.append(RetryInfo(retry_delay=Duration(seconds=nanos // 10**9, nanos=nanos % 10**9)))
    details.append(RequestInfo(request_id=request_id))
    message = fault.message if fault else "Internal error."
    return Status(code=status_code(fault).value[0], message=message, details=map(_packed, details))


def _packed(detail: Message) -> Any:
    # As Any.Pack() does, which takes twice as long.
    return Any(type_url=f"type.googleapis.com/{detail.DESCRIPTOR.full_name}", value=detail.SerializeToString())


def _error_info(fault: Fault | None) -> ErrorInfo:
    if fault is None:
        return ErrorInfo(reason=Fault.reason, domain=DOMAIN)
    return ErrorInfo(reason=fault.reason, domain=DOMAIN, metadata=fault.metadata)


def _bad_request(fault: Invalid) -> BadRequest:
    return BadRequest(
        field_violations=[
            BadRequest.FieldViolation(field=violation.field, description=violation.description)
            for violation in fault.violations
        ]
    )


def _conflict_info(fault: Conflict) -> pb.ConflictInfo:
    return pb.ConflictInfo(
        appointments=[convert.conflicting(collision) for collision in fault.collisions],
        resource_ids=map(str, fault.resource_ids),
    )


def _series_conflict_info(misses: Misses) -> SeriesConflictInfo:
    info = convert.misses(misses)
    while info.ByteSize() > MOST_BYTES:
        del info.occurrences[len(info.occurrences) * 3 // 4 :]
    return info

"""Faults as problem details (RFC 9457): the status from the table in errors, the stable reason, every bad field."""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from appointments.shared.errors import INTERNAL, STATUSES, Fault, Invalid, TooLarge

MEDIA_TYPE = "application/problem+json"

REASONS = {
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: TooLarge.reason,
    415: "UNSUPPORTED_MEDIA_TYPE",
}
"""Reasons of what the HTTP layer refuses before a feature is called."""


# These are coroutines although they await nothing: Starlette would run a plain function in a thread.
async def from_fault(request: Request, error: Exception) -> Response:
    """Answer a Fault."""
    if not isinstance(error, Fault):
        raise TypeError("not a fault") from error
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    status = STATUSES[type(error)].http
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return _problem(request, status, error.reason, error.message, headers=headers, fields=_fields(error))


async def from_http(request: Request, error: Exception) -> Response:
    """Answer a request that the router refuses."""
    if not isinstance(error, HTTPException):
        raise TypeError("not an HTTP refusal") from error
    status = error.status_code
    return _problem(request, status, REASONS.get(status, Fault.reason), error.detail, headers=error.headers)


def internal(request: Request) -> Response:
    """Answer an unexpected error. The caller gets only the request id, with which it is found in the log."""
    return _problem(request, INTERNAL.http, Fault.reason, "Internal error.")


def _problem(
    request: Request,
    status: int,
    reason: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    fields: dict[str, Any] | None = None,
) -> Response:
    content = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "reason": reason,
        **(fields or {}),
        "request_id": request.state.request_id,
    }
    return JSONResponse(content, status, headers, MEDIA_TYPE)


def _fields(fault: Fault) -> dict[str, Any]:
    if not isinstance(fault, Invalid):
        return {}
    return {"errors": [{"field": each.field, "description": each.description} for each in fault.violations]}

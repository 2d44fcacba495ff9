"""A JSON object in a request's body (RFC 8259). Input that two parsers could read differently is refused (RFC 7493)."""

import json
from typing import Any, NoReturn

from starlette.exceptions import HTTPException
from starlette.requests import Request

from appointments.shared.errors import Malformed, TooLarge, Violation

MAX_BYTES = 64 * 1024


class Fields:
    """The fields of a JSON object. Violations are collected, so that one answer can name all of them."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values
        self.violations: list[Violation] = []

    def text(self, name: str) -> str:
        """Return a text field; empty if it is absent or not a string."""
        value = self._values.get(name, "")
        if isinstance(value, str):
            return value
        self.violations.append(Violation(name, "must be a string"))
        return ""


async def read(request: Request, *, optional: bool = False) -> Fields:
    """Read the body.

    Args:
        request: the request whose body to read.
        optional: whether the body may be absent.

    Raises:
        HTTPException: 415, the content type is not JSON.
        TooLarge: the body is over 64 KiB.
        Malformed: the body is not a JSON object.
    """
    body = await _bytes(request)
    if optional and not body:
        return Fields({})
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HTTPException(415, "The body must be application/json.")
    try:
        value = json.loads(body.decode(), object_pairs_hook=_object, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise Malformed("The body is not well-formed JSON.", reason="MALFORMED_JSON") from None
    if not isinstance(value, dict):
        raise Malformed("The body must be a JSON object.", reason="MALFORMED_JSON")
    return Fields(value)


async def _bytes(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise TooLarge(f"The body must be at most {MAX_BYTES} bytes.")
    return bytes(body)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name is there twice")
    return values


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")

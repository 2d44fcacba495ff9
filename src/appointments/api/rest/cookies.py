"""The session's two cookies (RFC 6265bis). No script can read them, and browsers send them to this site only.

Production uses name prefixes that browsers enforce: only this very host can set a ``__Host-`` cookie, and both it and a
``__Secure-`` one need TLS. Development has no TLS, so its names are plain. The refresh token is sent to /auth only.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from starlette.responses import Response

from appointments.auth.tokens import Tokens
from appointments.shared.errors import Malformed

Headers = Iterable[tuple[bytes, bytes]]

REFRESH_PATH = "/auth"


@dataclass(frozen=True, slots=True)
class Names:
    """The names of the two cookies."""

    access: str
    refresh: str


DEVELOPMENT = Names("access_token", "refresh_token")
PRODUCTION = Names("__Host-access_token", "__Secure-refresh_token")


def names(production: bool) -> Names:
    """The names that the environment uses."""
    return PRODUCTION if production else DEVELOPMENT


def access_token(headers: Headers, production: bool) -> str | None:
    """The access token in a request's raw headers.

    Raises:
        Malformed: there are two.
    """
    return _only(headers, names(production).access)


def refresh_token(headers: Headers, production: bool) -> str | None:
    """The refresh token in a request's raw headers.

    Raises:
        Malformed: there are two.
    """
    return _only(headers, names(production).refresh)


def put(response: Response, tokens: Tokens, now: datetime, *, production: bool) -> None:
    """Set both cookies, each for as long as its token is valid."""
    name = names(production)
    for key, value, expires_at, path in (
        (name.access, tokens.access_token, tokens.access_expires_at, "/"),
        (name.refresh, tokens.refresh_token, tokens.refresh_expires_at, REFRESH_PATH),
    ):
        max_age = max(0, int((expires_at - now).total_seconds()))
        response.set_cookie(key, value, max_age=max_age, path=path, secure=production, httponly=True, samesite="strict")


def clear(response: Response, *, production: bool) -> None:
    """Delete both cookies."""
    name = names(production)
    for key, path in ((name.access, "/"), (name.refresh, REFRESH_PATH)):
        response.delete_cookie(key, path=path, secure=production, httponly=True, samesite="strict")


def _only(headers: Headers, name: str) -> str | None:
    # Parsers disagree on whether the first or the last of two cookies counts. An attacker who planted one must not
    # profit from that.
    lines = (value.decode("latin-1") for key, value in headers if key.lower() == b"cookie")
    pairs = (pair.partition("=") for line in lines for pair in line.split(";"))
    found = [value.strip() for key, _, value in pairs if key.strip() == name]
    if len(found) > 1:
        raise Malformed("The session cookie is there more than once.", reason="DUPLICATE_COOKIE")
    return found[0] if found and found[0] else None

"""The session's two cookies (RFC 6265bis). No script can read them, and no other site's request carries them.

In production their names bind them: a ``__Host-`` cookie can only come from this very host over TLS, a ``__Secure-``
one only over TLS. Development has neither, so it has plain names. The refresh token travels to /auth only.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from starlette.responses import Response

from appointments.auth.tokens import Tokens
from appointments.errors import Malformed

Headers = Iterable[tuple[bytes, bytes]]

REFRESH_PATH = "/auth"


@dataclass(frozen=True, slots=True)
class Names:
    """What the cookies are called."""

    access: str
    refresh: str


DEVELOPMENT = Names("access_token", "refresh_token")
PRODUCTION = Names("__Host-access_token", "__Secure-refresh_token")


def names(production: bool) -> Names:
    """The names in this environment."""
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
    """Have the browser keep both tokens for as long as they are good."""
    name = names(production)
    for key, value, expires_at, path in (
        (name.access, tokens.access_token, tokens.access_expires_at, "/"),
        (name.refresh, tokens.refresh_token, tokens.refresh_expires_at, REFRESH_PATH),
    ):
        max_age = max(0, int((expires_at - now).total_seconds()))
        response.set_cookie(key, value, max_age=max_age, path=path, secure=production, httponly=True, samesite="strict")


def clear(response: Response, *, production: bool) -> None:
    """Have the browser forget both."""
    name = names(production)
    for key, path in ((name.access, "/"), (name.refresh, REFRESH_PATH)):
        response.delete_cookie(key, path=path, secure=production, httponly=True, samesite="strict")


def _only(headers: Headers, name: str) -> str | None:
    # Parsers disagree on whether the first or the last of two counts: whoever planted one must not profit from that.
    lines = (value.decode("latin-1") for key, value in headers if key.lower() == b"cookie")
    pairs = (pair.partition("=") for line in lines for pair in line.split(";"))
    found = [value.strip() for key, _, value in pairs if key.strip() == name]
    if len(found) > 1:
        raise Malformed("The session cookie is there more than once.", reason="DUPLICATE_COOKIE")
    return found[0] if found and found[0] else None

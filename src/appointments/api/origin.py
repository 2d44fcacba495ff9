"""Which origins may use a browser's session: this server's own, and those that the operator allows. RFC 6454, Fetch.

A cookie proves whose browser sends a request, not whose page. So every endpoint that acts on a cookie asks
`Origins.permits` first. Clients that are not browsers send neither Origin nor Sec-Fetch-Site; no page can misuse them.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

Header = tuple[bytes, bytes]

_DEFAULT_PORTS = {"http": 80, "https": 443}
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_MAX_AGE = b"7200"  # seconds; Chromium keeps no preflight for longer


class Origins:
    """The origins that may call with credentials: the server's own, and the ``allowed`` ones."""

    def __init__(self, allowed: Collection[str] = ()) -> None:
        self._allowed = frozenset(origin.lower().encode("ascii") for origin in allowed)

    def permits(self, scope: Mapping[str, Any]) -> bool:
        """Whether the page that sent this request, if a page did, may use the session."""
        origins = _values(scope, b"origin")
        sites = _values(scope, b"sec-fetch-site")
        if len(origins) > 1 or len(sites) > 1:
            return False
        if origins and origins[0].lower() in self._allowed:
            return True
        if sites and sites[0] not in {b"same-origin", b"none"}:
            return False
        # Behind a proxy that terminates TLS the page is on https and this server on http. Browsers send Sec-Fetch-Site
        # wherever there is TLS, and if it says that the two are one origin the schemes may differ.
        return not origins or _is_own(origins[0], scope, any_scheme=sites == [b"same-origin"])

    def response_headers(self, scope: Mapping[str, Any], expose: Iterable[bytes] = ()) -> list[Header]:
        """Return the CORS headers of the response to this request; ``expose`` names what the page's script may read."""
        if not self._allowed:
            return []
        origin = self._foreign(scope)
        if origin is None:
            return [(b"vary", b"Origin")]
        headers = [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
            (b"vary", b"Origin"),
        ]
        exposed = b", ".join(expose)
        return [*headers, (b"access-control-expose-headers", exposed)] if exposed else headers

    def preflight(self, scope: Mapping[str, Any], methods: str = "POST") -> list[Header] | None:
        """Return the headers that permit what a preflight asks for; None if its origin is not a configured one."""
        origin = self._foreign(scope)
        if origin is None:
            return None
        asked = b",".join(_values(scope, b"access-control-request-headers")).split(b",")
        names = [name for name in map(bytes.strip, asked) if _TOKEN.fullmatch(name)]
        headers = [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-allow-methods", methods.encode("ascii")),
            (b"access-control-max-age", _MAX_AGE),
            (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        ]
        # gRPC metadata can have any name (x-act-as is one), and with credentials "*" is no wildcard. So every name that
        # was asked for is named.
        return [*headers, (b"access-control-allow-headers", b", ".join(names))] if names else headers

    def _foreign(self, scope: Mapping[str, Any]) -> bytes | None:
        origins = _values(scope, b"origin")
        return origins[0] if len(origins) == 1 and origins[0].lower() in self._allowed else None


def _values(scope: Mapping[str, Any], name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key == name]


def _is_own(origin: bytes, scope: Mapping[str, Any], *, any_scheme: bool) -> bool:
    hosts = _values(scope, b"host")
    if len(hosts) != 1:
        return False
    own = f"{scope.get('scheme', 'http')}://{hosts[0].decode('latin-1')}"
    page, here = _parts(origin.decode("latin-1")), _parts(own)
    if page is None or here is None:
        return False
    if any_scheme and page[0] == "https" and here[0] == "http":
        here = _parts("https" + own.removeprefix("http"))
    return page == here


def _parts(origin: str) -> tuple[str, str | None, int | None] | None:
    """Return scheme, host and port; None for what is not an origin, such as "null"."""
    try:
        parts = urlsplit(origin)
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    bare = not (parts.path or parts.query or parts.fragment or parts.username)
    return (parts.scheme, parts.hostname, port) if bare and parts.hostname else None

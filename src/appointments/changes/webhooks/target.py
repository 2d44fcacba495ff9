"""Which URLs a webhook may have: none that lead into the server's own network (server-side request forgery).

When something is posted, the host name is resolved once, all its addresses are checked, and the connection goes to one
of these addresses. If the name were resolved a second time it could lead somewhere else (DNS rebinding).
"""

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

MAX_URL = 2000
_EMBEDDING = IPv6Network("64:ff9b::/96")
"""NAT64: the last four bytes are an IPv4 address, whatever that is (RFC 6052)."""


class Refused(Exception):
    """The host has no address that may be called."""


@dataclass(frozen=True, slots=True)
class Target:
    """What may be called. ``plain`` allows http, ``private`` allows addresses that are not public."""

    plain: bool = False
    private: bool = False

    def problem(self, url: str) -> str | None:
        """What is wrong with a URL, without resolving its host name. None: nothing."""
        return next(self._problems(url), None)

    def _problems(self, url: str) -> Iterator[str]:
        if not url:
            yield "is required"
        if len(url) > MAX_URL:
            yield f"must be at most {MAX_URL:,} characters"
        if not url.isascii() or not url.isprintable() or " " in url:
            yield "must be a URL, in ASCII"
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname or "", parts.port
        except ValueError:
            yield "must be a URL"
            return
        if parts.scheme not in {"https", "http"} or not host:
            yield "must be a URL, such as https://example.com/hook"
        if parts.scheme == "http" and not self.plain:
            yield "must begin with https://"
        if parts.username is not None or parts.password is not None or parts.fragment:
            yield "must have no user, password or fragment"
        if not self.private and _is_inside(host):
            yield "must lead to a public address"

    async def address(self, host: str, port: int) -> str:
        """An address of a host that may be called.

        Raises:
            Refused: the host has no address, or one that may not be called.
        """
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise Refused(f"the host has no address: {error}") from None
        addresses = [str(each[4][0]) for each in found]
        # A single private address is enough to refuse the host: no honest host has both kinds.
        if not self.private and not all(is_public(ip_address(each.partition("%")[0])) for each in addresses):
            raise Refused("the host does not lead to a public address")
        return addresses[0]


def _is_inside(host: str) -> bool:
    """Whether a host is known not to be public without resolving it: a private address, or localhost."""
    try:
        return not is_public(ip_address(host))
    except ValueError:
        return host == "localhost"


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is on the public internet, and does not embed an address that may not be."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.sixtofour is not None or address.teredo is not None or address in _EMBEDDING:
            return False
    return address.is_global and not address.is_multicast

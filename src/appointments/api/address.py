"""The client's IP address: the peer's own, or the one that a trusted proxy reports.

X-Forwarded-For grows to the right: each proxy appends the address that called it. With n trusted proxies, the outermost
of them wrote the n-th entry from the right. The client may have invented everything to the left of that entry.
"""

from ipaddress import ip_address


def client_address(peer: str, forwarded_for: str | None, hops: int) -> str:
    """Return the address of the client.

    ``forwarded_for`` holds the header's values joined by commas, ``hops`` the number of trusted proxies. The result is
    the peer's own address if no proxy is trusted, or if the header has fewer entries than that.
    """
    entries = [entry.strip() for entry in (forwarded_for or "").split(",")]
    if not 0 < hops <= len(entries):
        return _parsed(peer) or peer
    return _parsed(entries[-hops]) or _parsed(peer) or peer


def _parsed(text: str) -> str | None:
    # Some proxies add the port: 192.0.2.1:4711 and [2001:db8::1]:4711. A zone (fe80::1%eth0) is meaningless here.
    candidate = text.partition("%")[0]
    if candidate.startswith("["):
        candidate = candidate[1:].partition("]")[0]
    elif candidate.count(":") == 1:
        candidate = candidate.partition(":")[0]
    try:
        ip = ip_address(candidate)
    except ValueError:
        return None
    # A dual-stack socket reports IPv4 clients as ::ffff:192.0.2.1.
    return str((ip.version == 6 and ip.ipv4_mapped) or ip)

"""The client's IP address: the peer's, or what a trusted proxy says.

X-Forwarded-For grows to the right: each proxy adds the address that it was called from. With n trusted proxies the n-th
entry from the right was written by the outermost of them; whatever is left of it the client may have invented.
"""

from ipaddress import ip_address


def client_address(peer: str, forwarded_for: str | None, hops: int) -> str:
    """Who calls. ``forwarded_for``: the header's values joined by commas; ``hops``: the number of trusted proxies.

    The peer's own address if no proxy is trusted, or if the header does not reach that far.
    """
    entries = [entry.strip() for entry in (forwarded_for or "").split(",")]
    if not 0 < hops <= len(entries):
        return _parsed(peer) or peer
    return _parsed(entries[-hops]) or _parsed(peer) or peer


def _parsed(text: str) -> str | None:
    # Some proxies add the port: 192.0.2.1:4711 and [2001:db8::1]:4711. A zone (fe80::1%eth0) says nothing here.
    candidate = text.partition("%")[0]
    if candidate.startswith("["):
        candidate = candidate[1:].partition("]")[0]
    elif candidate.count(":") == 1:
        candidate = candidate.partition(":")[0]
    try:
        ip = ip_address(candidate)
    except ValueError:
        return None
    # A socket for both families sees IPv4 clients in this disguise.
    return str((ip.version == 6 and ip.ipv4_mapped) or ip)

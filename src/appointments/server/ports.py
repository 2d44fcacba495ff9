"""The ports before anybody listens on them: a taken one is refused in one clear line, whoever has it.

A port that processes share with SO_REUSEPORT would be shared with a stranger of the same user as well, silently, and
each would get some of the other's calls. So :func:`reserve` first asks for the port for itself alone.
"""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


class StartFault(Exception):
    """The service cannot start; the message says what is in the way."""


def bind(setting: str, address: str) -> socket.socket:
    """Bind a socket of our own to HOST:PORT, without listening yet. ``setting`` is what a fault is told of.

    Raises:
        StartFault: the port is taken, or is not this machine's.
    """
    return _bound(setting, address, shared=False)


@contextmanager
def reserve(setting: str, address: str) -> Iterator[str]:
    """Keep HOST:PORT for this process and its children, who share it; yields the address, with a port for port 0.

    Raises:
        StartFault: somebody else has it, or is about to.
    """
    with ExitStack() as stack:
        with bind(setting, address) as alone:
            exact = name(alone)
        stack.enter_context(_claim(setting, exact))
        # Bound but not listening: it gets no connection, and keeps the port while no child listens.
        stack.enter_context(share(setting, exact))
        yield exact


def share(setting: str, address: str) -> socket.socket:
    """Bind one more socket to a reserved address, without listening yet: the kernel spreads connections over all.

    Raises:
        StartFault: it has been taken since.
    """
    return _bound(setting, address, shared=True)


def name(bound: socket.socket) -> str:
    """A socket's address as HOST:PORT."""
    host, port, *_ = bound.getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bound(setting: str, address: str, *, shared: bool) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((host, int(port)))
    except OSError as error:
        bound.close()
        raise StartFault(f"{setting}: cannot listen on {address}: {error.strerror}") from error
    return bound


def _claim(setting: str, address: str) -> socket.socket:
    # Two services that start at the same moment find the port free: nobody listens yet. A name in Linux's abstract
    # namespace is had by one process at a time, ends with it, and is as wide as the network namespace, like the port.
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0appointments:{address}")
    except OSError as error:
        claim.close()
        raise StartFault(f"{setting}: cannot listen on {address}: another service is about to") from error
    return claim

"""Binding the ports before anybody listens on them. If one is taken, the fault is one clear line.

Workers share a port with SO_REUSEPORT. Any other process of the same user could silently join them, and each would get
some of the other's calls. So :func:`reserve` first asks for the port without sharing it.
"""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


class StartFault(Exception):
    """The service cannot start. The message says why."""


def bind(setting: str, address: str) -> socket.socket:
    """Bind a socket of our own to HOST:PORT, without listening yet. ``setting`` is named in a fault.

    Raises:
        StartFault: the port is taken, or is not this machine's.
    """
    return _bound(setting, address, shared=False)


@contextmanager
def reserve(setting: str, address: str) -> Iterator[str]:
    """Reserve HOST:PORT for this process and its children; yields the address, in which port 0 has become a free one.

    Raises:
        StartFault: somebody else has it, or is about to.
    """
    with ExitStack() as stack:
        with bind(setting, address) as alone:
            exact = name(alone)
        stack.enter_context(_claim(setting, exact))
        # This socket is bound but does not listen. It gets no connection, and keeps the port while no child listens.
        stack.enter_context(share(setting, exact))
        yield exact


def share(setting: str, address: str) -> socket.socket:
    """Bind one more socket to a reserved address, without listening yet. The kernel spreads connections over all.

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
    # Two services that start at the same moment would both find the port free, because nobody listens yet. So each
    # first takes a name in Linux's abstract namespace. Only one process can have it, it ends with the process, and it
    # is known in the whole network namespace, as the port is.
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0appointments:{address}")
    except OSError as error:
        claim.close()
        raise StartFault(f"{setting}: cannot listen on {address}: another service is about to") from error
    return claim

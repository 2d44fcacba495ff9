"""The engine of the native port, by ``GRPC_SERVER`` (docs/adr/0011): grpcio, or one in Rust under the same handlers."""

import ssl
from pathlib import Path
from typing import Any, Protocol

import grpc

from appointments.api.grpcweb.front import MAX_MESSAGE_BYTES
from appointments.api.rpc import Registrar
from appointments.server.ports import StartFault
from appointments.server.settings import Settings

GRPCIO_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A client may ping an idle connection every 10 seconds. gRPC's default would end the connection.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Beyond the first of these gRPC refuses calls by chance, before anybody here knows of them: by default 1,000, which
    # the clients of a server that has just restarted are many more than. Here as many may wait as may have streams.
    ("grpc.server.max_pending_requests", 10_000),
    ("grpc.server.max_pending_requests_hard_limit", 20_000),
)


class Server(Registrar, Protocol):
    """What either engine is from here on."""

    async def start(self) -> None:
        """Accept calls."""

    async def stop(self, grace: float | None) -> None:
        """Refuse new calls, and close the connections once those in flight have ended or ``grace`` seconds passed."""


def build(settings: Settings, *, share_port: bool) -> Any:
    """Make the server, for handlers to be added to: a grpc.aio.Server, or one that has what is used of it.

    ``share_port`` lets other processes listen on the port, too; without it a second one is refused.

    Raises:
        StartFault: the engine is not installed.
    """
    if settings.grpc_server == "grpcio":
        # gRPC's default for sharing is 1. A second server would then silently share the port of the first.
        return grpc.aio.server(options=[*GRPCIO_OPTIONS, ("grpc.so_reuseport", int(share_port))])
    try:
        # Only here: the package is an extra.
        from appointments.api import native  # noqa: PLC0415
    except ImportError as error:
        raise StartFault(
            "GRPC_SERVER: native needs the package pygrpc-native: pip install 'appointments[native]'"
        ) from error
    return native.Server(share_port=share_port, max_message_bytes=MAX_MESSAGE_BYTES)


def listen(server: Any, settings: Settings) -> str:
    """Bind the port and return its address.

    Raises:
        StartFault: the port is taken, or the certificate cannot be used.
    """
    address = settings.grpc_bind
    try:
        if settings.grpc_tls:
            port = server.add_secure_port(address, _credentials(*settings.grpc_tls))
        else:
            port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise StartFault(
            f"GRPC_BIND: cannot listen on {address}: the port is taken, or is not this machine's"
        ) from error
    return f"{address.rpartition(':')[0]}:{port}"


def _credentials(certificate: Path, key: Path) -> grpc.ServerCredentials:
    try:
        pair = key.read_bytes(), certificate.read_bytes()
        # gRPC would only say that it cannot bind the port.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except OSError as error:
        what = error.filename or f"{certificate}, {key}"
        raise StartFault(f"GRPC_TLS_CERT, GRPC_TLS_KEY: {what}: {error.strerror}") from error
    return grpc.ssl_server_credentials([pair])

"""The composition root: one process, one loop, both servers.

:func:`serve` builds everything from the settings, announces when it is ready, and drains when it is told to stop. The
order of the drain is the one in which nothing is lost: readiness and health turn first, so that balancers look
elsewhere; streams are ended with UNAVAILABLE, so that their clients go there; calls in flight end; the HTTP server
closes last.
"""

import asyncio
import gc
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from pydantic import SecretStr

from appointments import auth
from appointments.api import cookies, http, listener
from appointments.api.account import AccountService
from appointments.api.appointments import AppointmentService
from appointments.api.auth import AuthService
from appointments.api.exchange import bounded
from appointments.api.grpcweb import Front
from appointments.api.health import Health, Readiness
from appointments.api.origin import Origins
from appointments.api.rpc import Policy
from appointments.auth import Auth, Passwords
from appointments.config import Settings
from appointments.db import Database
from appointments.errors import Malformed, Unavailable
from appointments.migrate import migrate
from appointments.ratelimit import Limiter
from appointments.v1 import account_pb2, appointments_pb2, auth_pb2

APPOINTMENTS = appointments_pb2.DESCRIPTOR.services_by_name["AppointmentService"]
ACCOUNT = account_pb2.DESCRIPTOR.services_by_name["AccountService"]
AUTH = auth_pb2.DESCRIPTOR.services_by_name["AuthService"]
SERVICES = (APPOINTMENTS, ACCOUNT, AUTH)

HOUSEKEEPING_SECONDS = 3600.0

GRPC_OPTIONS = (
    # Without it a second server would silently share the port of the first.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    # A client may ping an idle connection every 10 seconds without being sent away.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)

Announce = Callable[[Settings, str, str], None]

_log = structlog.get_logger("appointments")


class StartFault(Exception):
    """The service cannot start; the message says what is in the way."""


@dataclass(frozen=True)
class _Servers:
    """What listens, and what it takes to make it stop."""

    native: grpc.aio.Server
    front: Front
    readiness: Readiness
    health: Health


async def serve(settings: Settings, dsn: str, *, announce: Announce) -> None:
    """Serve until SIGTERM or SIGINT, then drain. ``announce`` is told both addresses once calls are welcome.

    Raises:
        StartFault: a port is taken.
        MigrationFault: the database cannot be reached or migrated.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        http_socket = stack.enter_context(_bind(settings.http_bind))
        await migrate(dsn, patience=settings.database_wait_seconds)
        db = await stack.enter_async_context(Database(dsn, size=settings.database_pool_size))
        passwords = Passwords(cost=settings.bcrypt_cost)
        stack.callback(passwords.close)
        identities = auth.build(
            db, passwords, secret=_secret(settings.jwt_secret), previous=_secret(settings.jwt_secret_previous) or None
        )
        servers = _build(settings, db, identities)
        grpc_address = _listen(servers.native, settings.grpc_bind)
        await servers.health.report()
        await servers.native.start()
        closed = asyncio.Event()
        http_address = _address(http_socket)
        # The listener closes what it is given.
        config = listener.configure(f"fd://{http_socket.detach()}", graceful_timeout=settings.drain_seconds)
        web = asyncio.create_task(listener.serve(servers.front, config, closed))
        background = [
            asyncio.create_task(servers.health.keep_reporting()),
            asyncio.create_task(_keep_house(identities)),
        ]
        # What start-up has made lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        announce(settings, grpc_address, http_address)
        _log.info("serving", grpc=grpc_address, http=http_address, environment=settings.environment)
        await _first(web, stop)
        await _drain(servers, settings.drain_seconds)
        closed.set()
        await _cancel(background)
        await web
    _log.info("stopped")


def _build(settings: Settings, db: Database, identities: Auth) -> _Servers:
    origins, limiter, readiness = Origins(settings.allowed_origins), Limiter(), Readiness(db)
    site = http.build(
        identities,
        limiter,
        origins,
        readiness,
        production=settings.production,
        trusted_proxy_hops=settings.trusted_proxy_hops,
    )
    native = grpc.aio.server(options=GRPC_OPTIONS)
    front = Front(bounded(site), origins=origins, credentials=_cookie_token(settings.production))
    policy = Policy(identities.authenticator, trusted_proxy_hops=settings.trusted_proxy_hops)
    policy.register(APPOINTMENTS, AppointmentService(db), native, front)
    policy.register(ACCOUNT, AccountService(identities.accounts, identities.sessions, limiter), native, front)
    signing_in = AuthService(identities.accounts, identities.sessions, identities.rotation, limiter)
    policy.register(AUTH, signing_in, native, public=True)
    names = [service.full_name for service in SERVICES]
    health = Health(readiness, names)
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, native)
    if not settings.production:
        known = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
        reflection.enable_server_reflection([*names, known, reflection.SERVICE_NAME], native)
    return _Servers(native, front, readiness, health)


def _cookie_token(production: bool) -> Callable[[Sequence[tuple[bytes, bytes]]], str | None]:
    def credentials(headers: Sequence[tuple[bytes, bytes]]) -> str | None:
        try:
            return cookies.access_token(headers, production)
        except Malformed:
            return ""  # two are none; the origin is still asked for

    return credentials


def _bind(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, int(port)))
    except OSError as error:
        listening.close()
        raise StartFault(f"HTTP_BIND: cannot listen on {address}: {error.strerror}") from error
    return listening


def _address(listening: socket.socket) -> str:
    host, port, *_ = listening.getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _listen(server: grpc.aio.Server, address: str) -> str:
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise StartFault(
            f"GRPC_BIND: cannot listen on {address}: the port is taken, or is not this machine's"
        ) from error
    return f"{address.rpartition(':')[0]}:{port}"


async def _first(web: asyncio.Task[None], stop: asyncio.Event) -> None:
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((web, stopping), return_when=asyncio.FIRST_COMPLETED)
    await _cancel([stopping])


async def _drain(servers: _Servers, seconds: float) -> None:
    _log.info("draining", seconds=seconds)
    servers.readiness.draining = True
    await servers.health.drain()
    await asyncio.gather(servers.front.drain(seconds), servers.native.stop(seconds))


async def _keep_house(identities: Auth) -> None:
    while True:
        with suppress(Unavailable):
            await identities.sessions.sweep()
        await asyncio.sleep(HOUSEKEEPING_SECONDS)


async def _cancel(tasks: Sequence[asyncio.Task[object]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _secret(value: SecretStr | None) -> str:
    return value.get_secret_value() if value else ""

"""The composition root: :func:`serve` builds everything from the settings, in one process with one event loop.

It announces when it is ready, and drains when it is told to stop.
"""

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from functools import partial
from typing import NoReturn

import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from appointments import auth
from appointments.api.account import AccountService
from appointments.api.admin import AdminService
from appointments.api.appointments import AppointmentService
from appointments.api.auth import AuthService
from appointments.api.availability import AvailabilityService
from appointments.api.changes import ChangeService
from appointments.api.feeds import FeedService
from appointments.api.grpcweb.front import Front
from appointments.api.health import Health, Readiness
from appointments.api.http_exchange import bounded
from appointments.api.invitations import InvitationService
from appointments.api.keys import KeyService
from appointments.api.origin import Origins
from appointments.api.resources import ResourceService
from appointments.api.rest import cookies, site
from appointments.api.rest.calendars import Calendars
from appointments.api.rest.dev_mail import DevelopmentMail
from appointments.api.rest.events import Events
from appointments.api.rest.history import History
from appointments.api.rpc import Policy
from appointments.api.series import SeriesService
from appointments.api.webhooks import WebhookService
from appointments.auth import Auth, Passwords, audit
from appointments.auth.ratelimit import Limiter
from appointments.calendar import frontiers, holds
from appointments.changes import sequencer
from appointments.changes.hub import Hub
from appointments.changes.sequencer import Sequencer
from appointments.changes.webhooks import deliveries
from appointments.db import Database
from appointments.db.migrate import migrate
from appointments.icalendar.feeds import Feeds
from appointments.icalendar.invitations import Limits
from appointments.server import background, listener, logs, metrics_endpoint, ports, transport
from appointments.server.background import Office
from appointments.server.drain import Servers, drain
from appointments.server.listener import Listener
from appointments.server.settings import Settings, secret_of
from appointments.shared import metrics, tracing
from appointments.shared.errors import Malformed, Unavailable
from appointments.v1 import (
    account_pb2,
    admin_pb2,
    appointments_pb2,
    auth_pb2,
    availability_pb2,
    changes_pb2,
    feeds_pb2,
    invitations_pb2,
    keys_pb2,
    resources_pb2,
    series_pb2,
    webhooks_pb2,
)

APPOINTMENTS = appointments_pb2.DESCRIPTOR.services_by_name["AppointmentService"]
RESOURCES = resources_pb2.DESCRIPTOR.services_by_name["ResourceService"]
AVAILABILITY = availability_pb2.DESCRIPTOR.services_by_name["AvailabilityService"]
ACCOUNT = account_pb2.DESCRIPTOR.services_by_name["AccountService"]
FEEDS = feeds_pb2.DESCRIPTOR.services_by_name["FeedService"]
KEYS = keys_pb2.DESCRIPTOR.services_by_name["KeyService"]
ADMIN = admin_pb2.DESCRIPTOR.services_by_name["AdminService"]
AUTH = auth_pb2.DESCRIPTOR.services_by_name["AuthService"]
SERIES = series_pb2.DESCRIPTOR.services_by_name["SeriesService"]
INVITATIONS = invitations_pb2.DESCRIPTOR.services_by_name["InvitationService"]
WEBHOOKS = webhooks_pb2.DESCRIPTOR.services_by_name["WebhookService"]
CHANGES = changes_pb2.DESCRIPTOR.services_by_name["ChangeService"]
SERVICES = (
    *(APPOINTMENTS, SERIES, INVITATIONS, RESOURCES, AVAILABILITY, CHANGES),
    *(WEBHOOKS, ACCOUNT, FEEDS, KEYS, ADMIN, AUTH),
)

HOUSEKEEPING_SECONDS = 3600.0

EXTENDING_SECONDS = 600.0
"""How often the frontiers of series are looked at; a frontier is moved months at a time."""

SAMPLING_SECONDS = 1.0
"""How old a gauge of the metrics may be."""

Announce = Callable[[Settings, str, str], None]

_log = structlog.get_logger("appointments")


async def serve(settings: Settings, dsn: str, *, announce: Announce, inherited: socket.socket | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then drain. ``announce`` gets both addresses once calls are served.

    A worker has ``inherited`` a bound socket for HTTP, and shares the native port by its number. It also drains on
    SIGUSR1, which says that a successor has taken over. It leaves SIGHUP to its supervisor. When it has drained it ends
    the process.

    Raises:
        StartFault: a port is taken, or the certificate cannot be used.
        MigrationFault: the database cannot be reached or migrated.
        TracingFault: traces are asked for and cannot be made.
    """
    worker = inherited is not None
    stop = _stop_by_signal(worker=worker)
    async with AsyncExitStack() as stack:
        tracing.begin()
        stack.callback(tracing.end)
        if not worker:
            stack.enter_context(metrics_endpoint.served(settings.metrics_bind))
        http_socket = stack.enter_context(inherited or ports.bind("HTTP_BIND", settings.http_bind))
        await migrate(settings.direct(dsn), patience=settings.database_wait_seconds)
        db = await stack.enter_async_context(background.database(settings, dsn))
        passwords = Passwords(cost=settings.bcrypt_cost)
        stack.callback(passwords.close)
        http_address = ports.name(http_socket)
        mail = background.office(settings, http_address)
        identities = auth.build(
            db,
            passwords,
            secret=secret_of(settings.jwt_secret),
            previous=secret_of(settings.jwt_secret_previous) or None,
            post=mail.post,
        )
        limiter = Limiter(redis_url=secret_of(settings.redis_url) or None)
        stack.push_async_callback(limiter.close)
        # The listener takes over the socket, and closes it.
        hub = Hub(db, Sequencer(db))
        given = f"fd://{http_socket.detach()}"
        servers = _build(settings, db, identities, limiter, mail, hub=hub, http_bind=given, share_port=worker)
        grpc_address = transport.listen(servers.native, settings)
        await servers.health.report()
        await servers.native.start()
        await servers.web.start()
        beside = [
            asyncio.create_task(servers.health.keep_reporting()),
            asyncio.create_task(_keep_house(settings, db, identities)),
            asyncio.create_task(_sweep_holds(db)),
            asyncio.create_task(hub.sequencer.run()),
            asyncio.create_task(hub.run()),
            asyncio.create_task(servers.streams.keep_checking()),
            asyncio.create_task(_extend_series(db, timedelta(days=settings.series_horizon_days))),
            asyncio.create_task(_keep_sampling()),
            asyncio.create_task(background.watch_jobs(db)),
        ]
        runner = background.Background(settings, db, mail, identities) if settings.jobs == "inside" else None
        if runner:
            beside.append(asyncio.create_task(runner.run()))
        # The objects of the start live as long as the process. So the garbage collector need not look at them again.
        gc.collect()
        gc.freeze()
        announce(settings, grpc_address, http_address)
        _log.info("serving", grpc=grpc_address, http=http_address, environment=settings.environment, mail=mail.state)
        if mail.state == "off":
            _log.warning("no mail is sent: SMTP_URL is not set")
        succeeded = await stop
        patience = {"seconds": settings.drain_seconds, "lame_duck": settings.lame_duck_seconds}
        working = [asyncio.create_task(runner.stop(settings.drain_seconds))] if runner else []
        await drain(servers, *working, **patience, succeeded=succeeded, ending=worker)
        if worker:
            _vanish()
        await _cancel(beside)
    _log.info("stopped")


def _vanish() -> NoReturn:
    """End the process at once. A tidy end would answer CANCELLED to the calls that are being refused."""
    tracing.end()
    _log.info("stopped")
    logs.drain()
    os._exit(0)


def _stop_by_signal(*, worker: bool) -> asyncio.Future[bool]:
    """Return a future for the first signal to end. Its result says whether a successor is there already."""
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[bool] = loop.create_future()

    def end(*, succeeded: bool) -> None:
        if not stop.done():
            stop.set_result(succeeded)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, partial(end, succeeded=False))
    if worker:
        loop.add_signal_handler(signal.SIGUSR1, partial(end, succeeded=True))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return stop


def _build(
    settings: Settings,
    db: Database,
    identities: Auth,
    limiter: Limiter,
    mail: Office,
    *,
    hub: Hub,
    http_bind: str,
    share_port: bool,
) -> Servers:
    origins, readiness = Origins(settings.allowed_origins), Readiness(db)
    policy = Policy(
        identities.authenticator,
        trusted_proxy_hops=settings.trusted_proxy_hops,
        note_write=db.note_write if settings.database_replica_url else None,
        limiter=limiter,
    )
    changes = ChangeService(db, hub)
    feeds = Feeds(db, mail.links)
    rest = site.build(
        identities,
        limiter,
        origins,
        readiness,
        events=Events(changes, policy, origins, production=settings.production),
        production=settings.production,
        trusted_proxy_hops=settings.trusted_proxy_hops,
        mail=mail.state,
        answers=mail.answers(db),
        calendars=Calendars(db, feeds, policy, origins, limiter, production=settings.production),
        history=History(db, policy, origins, production=settings.production),
        kept_mail=DevelopmentMail(mail.folder, mail.links.public_url) if mail.folder else None,
    )
    native = transport.build(settings, share_port=share_port)
    front = Front(bounded(rest), origins=origins, credentials=_cookie_token(settings.production))
    horizon = timedelta(days=settings.series_horizon_days)
    limits = Limits(per_day=settings.invitations_per_day, when_new=settings.invitations_per_day_new)
    policy.register(
        APPOINTMENTS, AppointmentService(db, limits if mail.carrier else None, horizon=horizon), native, front
    )
    policy.register(RESOURCES, ResourceService(db, creation=settings.resource_creation), native, front)
    policy.register(SERIES, SeriesService(db, limits if mail.carrier else None, horizon=horizon), native, front)
    policy.register(INVITATIONS, InvitationService(db, limiter), native, front)
    policy.register(AVAILABILITY, AvailabilityService(db, people=settings.free_busy), native, front)
    policy.register(CHANGES, changes, native, front)
    policy.register(WEBHOOKS, WebhookService(db, background.webhook_target(settings)), native, front, audited=True)
    account = AccountService(identities.accounts, identities.sessions, identities.mailed_links, limiter)
    policy.register(ACCOUNT, account, native, front, audited=True)
    policy.register(FEEDS, FeedService(feeds), native, front, audited=True)
    policy.register(KEYS, KeyService(identities.keys), native, front, audited=True)
    policy.register(ADMIN, AdminService(identities.directory), native, audited=True)
    signing_in = AuthService(identities.accounts, identities.sessions, identities.rotation, limiter)
    policy.register(AUTH, signing_in, native, public=True, audited=True)
    names = [service.full_name for service in SERVICES]
    health = Health(readiness, names)
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, native)
    if not settings.production:
        known = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
        reflection.enable_server_reflection([*names, known, reflection.SERVICE_NAME], native)
    web = Listener(front, listener.configure(http_bind))
    return Servers(native, web, front, policy.gate, policy.streams, readiness, health)


def _cookie_token(production: bool) -> Callable[[Sequence[tuple[bytes, bytes]]], str | None]:
    def credentials(headers: Sequence[tuple[bytes, bytes]]) -> str | None:
        try:
            return cookies.access_token(headers, production)
        except Malformed:
            return ""  # two cookies count as none, but the origin is still checked

    return credentials


async def _keep_house(settings: Settings, db: Database, identities: Auth) -> None:
    while True:
        with suppress(Unavailable):
            await identities.sessions.sweep()
            await sequencer.prune(db, settings.changes_days)
            await deliveries.sweep(db)
            await audit.prune(db, settings.audit_days)
        await asyncio.sleep(HOUSEKEEPING_SECONDS)


async def _keep_sampling() -> None:
    while True:
        metrics.sample()
        await asyncio.sleep(SAMPLING_SECONDS)


async def _sweep_holds(db: Database) -> None:
    # A late sweep costs nothing but rows, because every query ignores a hold that has expired.
    while True:
        await asyncio.sleep(holds.SWEEP_SECONDS)
        with suppress(Unavailable):
            await holds.sweep(db)


async def _extend_series(db: Database, horizon: timedelta) -> None:
    # A late run costs nothing but time: beyond their frontiers series are guarded all the same.
    while True:
        with suppress(Unavailable):
            await frontiers.extend_due(db, horizon)
            await frontiers.extend_unbooked(db, horizon)
        await asyncio.sleep(EXTENDING_SECONDS)


async def _cancel(tasks: Sequence[asyncio.Task[object]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

"""The command line: ``serve``, ``migrate``, ``jobs``, ``admin grant``. Faults are a clear line and an exit code."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import click
import uvloop

from appointments import embedded
from appointments.auth.directory import grant_admin
from appointments.changes import numbering
from appointments.db import Database
from appointments.db.migrate import MigrationFault, migrate, pending
from appointments.embedded import DatabaseUnavailable
from appointments.errors import Unavailable
from appointments.server import app, background, logs
from appointments.server.ports import StartFault
from appointments.server.rules import recurrence
from appointments.server.settings import ConfigFault, Settings, load
from appointments.server.supervisor import Supervisor
from appointments.tracing import TracingFault


@click.group()
@click.version_option(package_name="appointments")
def main() -> None:
    """An appointment service in which double booking is structurally impossible."""
    # The first process of a container gets only signals that it has a handler for. The servers install their own.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


main.add_command(recurrence)


@main.command()
@click.option(
    "--workers", envvar="WORKERS", type=click.IntRange(1, 256), default=1, show_default=True, show_envvar=True
)
def serve(workers: int) -> None:
    """Migrate the database, then serve gRPC, gRPC-Web, REST and the browser calendar.

    Settings come from the environment. Without DATABASE_URL, development runs on an embedded PostgreSQL, whose data is
    kept between runs. Several workers share both ports; SIGHUP replaces them one by one.
    """
    with _faults_as_lines(), _database() as (settings, dsn):
        logs.configure(json=settings.production, level=settings.log_level)
        if workers == 1:
            _run(app.serve(settings, dsn, announce=_announce))
        else:
            asyncio.run(_supervise(settings, dsn, workers))


@main.command(hidden=True)
@click.argument("http", type=int)
@click.argument("ready", type=int)
def worker(http: int, ready: int) -> None:
    """Serve as one of several workers: HTTP on an inherited socket. Write a byte to an inherited pipe when ready."""
    with _faults_as_lines(), _database() as (settings, dsn):
        logs.configure(json=settings.production, level=settings.log_level)

        def announce(*_: object) -> None:
            os.write(ready, b".")
            os.close(ready)

        _run(app.serve(settings, dsn, announce=announce, inherited=socket.socket(fileno=http)))


@main.command("migrate")
def migrate_command() -> None:
    """Apply the migrations that the database lacks, and list them."""
    with _faults_as_lines(), _database() as (settings, dsn):
        applied = asyncio.run(migrate(settings.direct(dsn)))
        click.echo("\n".join(applied) or "Nothing to apply.")


@main.group()
def admin() -> None:
    """Say who administers this deployment."""


@admin.command()
@click.argument("address")
def grant(address: str) -> None:
    """Make the person with this e-mail ADDRESS an admin. It also works while the service runs."""
    with _faults_as_lines(), _database(shared=True) as (settings, dsn):
        if not asyncio.run(_grant(settings, dsn, address)):
            raise click.ClickException(f"nobody has the address {address}: register first")
    click.echo(f"{address} is an admin now.")


async def _grant(settings: Settings, dsn: str, address: str) -> bool:
    async with Database(settings.direct(dsn), size=1) as db:
        async with db.connection() as connection:
            if await pending(connection):
                raise MigrationFault("the database lacks migrations: start the service, or run appointments migrate")
        return await grant_admin(db, address)


@main.group(invoke_without_command=True)
@click.pass_context
def jobs(context: click.Context) -> None:
    """Run jobs (mail, sweeps) and nothing else, for a service that has JOBS=off. Migrates first."""
    if context.invoked_subcommand is None:
        with _faults_as_lines(), _database(shared=True) as (settings, dsn):
            logs.configure(json=settings.production, level=settings.log_level)
            _run(background.run_alone(settings, dsn))


@jobs.command("status")
def jobs_status() -> None:
    """List what waits, runs and was given up, and what has become of the mail."""
    with _faults_as_lines(), _database(shared=True) as (settings, dsn):
        logs.configure(json=settings.production, level="error")
        counts, letters = asyncio.run(background.status(settings, dsn))
        for each in counts:
            since = f", due since {each.oldest_due_at:%Y-%m-%dT%H:%M:%SZ}" if each.oldest_due_at else ""
            click.echo(
                f"job  {each.kind:24} {each.waiting} waiting, {each.running} running, {each.failed} given up{since}"
            )
        for kind, state, count in letters:
            click.echo(f"mail {kind:24} {count} {state}")


@main.group("changes")
def changes_group() -> None:
    """The log of changes."""


@changes_group.command("new-epoch")
def new_epoch() -> None:
    """Let every cursor expire: after a restore, before anybody is served.

    A restored database counts positions that it has counted before. Whoever has a cursor from before the restore lists
    again, and follows from there.
    """
    with _faults_as_lines(), _database(shared=True) as (settings, dsn):

        async def begin() -> None:
            async with Database(settings.direct(dsn), size=1) as db:
                await numbering.epoch_anew(db)

        asyncio.run(begin())
        click.echo("A new epoch has begun: every cursor has expired.")


def _run(serving: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serving)


async def _supervise(settings: Settings, dsn: str, workers: int) -> None:
    # Migrated once, before any worker could see a half-migrated database. The workers find nothing left to do.
    await migrate(settings.direct(dsn), patience=settings.database_wait_seconds)
    await Supervisor(settings, dsn, workers).run(_announce)


@contextmanager
def _database(*, shared: bool = False) -> Iterator[tuple[Settings, str]]:
    """The settings and where the database is; ``shared``: the embedded one may belong to a service that runs."""
    settings = load()
    if settings.database_url:
        yield settings, settings.database_url.get_secret_value()
        return
    data = embedded.default_data()
    if shared and (dsn := embedded.running(data)):
        yield settings, dsn
        return
    with embedded.serve(data) as server:
        yield settings, server.dsn


@contextmanager
def _faults_as_lines() -> Iterator[None]:
    try:
        yield
    except (ConfigFault, DatabaseUnavailable, MigrationFault, StartFault, TracingFault, Unavailable) as fault:
        click.echo(f"appointments: {fault}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        # Either the server was not there yet, or this is the second Ctrl-C, while it drains.
        sys.exit(130)


def _announce(settings: Settings, grpc_address: str, http_address: str) -> None:
    if settings.production:
        return
    click.echo(
        f"\n  Calendar  http://{http_address}/\n  gRPC      {grpc_address}\n\n  Ctrl-C stops everything.\n",
    )

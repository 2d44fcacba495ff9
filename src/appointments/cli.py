"""The command line: ``appointments serve`` and ``appointments migrate``. Faults are one clear line and an exit code."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
import uvloop

from appointments import app, config, devdb, logs
from appointments.config import ConfigFault, Settings
from appointments.devdb import DatabaseUnavailable
from appointments.errors import Unavailable
from appointments.migrate import MigrationFault, migrate


@click.group()
@click.version_option(package_name="appointments")
def main() -> None:
    """An appointment service in which double booking is structurally impossible."""


@main.command()
def serve() -> None:
    """Serve gRPC, gRPC-Web, REST and the browser calendar; migrates first.

    Settings come from the environment. Without DATABASE_URL, development runs on an embedded PostgreSQL, whose data is
    kept between runs.
    """
    with _faults_as_lines(), _database() as (settings, dsn):
        logs.configure(json=settings.production, level=settings.log_level)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(app.serve(settings, dsn, announce=_announce))


@main.command("migrate")
def migrate_command() -> None:
    """Apply the migrations that the database lacks, and list them."""
    with _faults_as_lines(), _database() as (_, dsn):
        applied = asyncio.run(migrate(dsn))
        click.echo("\n".join(applied) or "Nothing to apply.")


@contextmanager
def _database() -> Iterator[tuple[Settings, str]]:
    settings = config.load()
    if settings.database_url:
        yield settings, settings.database_url.get_secret_value()
        return
    with devdb.serve(devdb.default_data()) as server:
        yield settings, server.dsn


@contextmanager
def _faults_as_lines() -> Iterator[None]:
    try:
        yield
    except (ConfigFault, DatabaseUnavailable, MigrationFault, app.StartFault, Unavailable) as fault:
        click.echo(f"appointments: {fault}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        # Before the server was there to drain, or once more while it drained.
        sys.exit(130)


def _announce(settings: Settings, grpc_address: str, http_address: str) -> None:
    if settings.production:
        return
    click.echo(
        f"\n  Calendar  http://{http_address}/\n  gRPC      {grpc_address}\n\n  Ctrl-C stops everything.\n",
    )

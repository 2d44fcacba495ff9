"""What every command shares: where the database is, and faults that are one clear line and an exit code."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from appointments.db import embedded
from appointments.db.embedded import DatabaseUnavailable
from appointments.db.migrate import MigrationFault
from appointments.server.ports import StartFault
from appointments.server.settings import ConfigFault, Settings, load
from appointments.shared.errors import Fault
from appointments.shared.tracing import TracingFault


@contextmanager
def database(*, shared: bool = False) -> Iterator[tuple[Settings, str]]:
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
def faults_as_lines() -> Iterator[None]:
    """Print what is wrong and exit with 1; exit with 130 after Ctrl-C."""
    try:
        yield
    except (ConfigFault, DatabaseUnavailable, MigrationFault, StartFault, TracingFault, Fault) as fault:
        click.echo(f"appointments: {fault}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        # Either the server was not there yet, or this is the second Ctrl-C, while it drains.
        sys.exit(130)

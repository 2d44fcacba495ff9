"""The command line: ``serve``, ``migrate``, ``jobs``, ``tzdata``, ``admin`` … A fault is one line and an exit code."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

import click
import uvloop

from appointments.calendar import tzdata
from appointments.calendar.materializing import Terms
from appointments.changes import sequencer
from appointments.db import Database
from appointments.db.migrate import migrate
from appointments.icalendar.invitations import receiving
from appointments.server import app, background, logs
from appointments.server.administration import admin
from appointments.server.auditing import show_audit
from appointments.server.recurrence import recurrence
from appointments.server.settings import Settings
from appointments.server.supervisor import Supervisor
from appointments.server.terminal import database, faults_as_lines
from appointments.shared.errors import Unavailable


@click.group()
@click.version_option(package_name="appointments")
def main() -> None:
    """An appointment service in which double booking is structurally impossible."""
    # The first process of a container gets only signals that it has a handler for. The servers install their own.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


main.add_command(recurrence)
main.add_command(admin)
main.add_command(show_audit)


@main.command()
@click.option(
    "--workers", envvar="WORKERS", type=click.IntRange(1, 256), default=1, show_default=True, show_envvar=True
)
def serve(workers: int) -> None:
    """Migrate the database, then serve gRPC, gRPC-Web, REST and the browser calendar.

    Settings come from the environment. Without DATABASE_URL, development runs on an embedded PostgreSQL, whose data is
    kept between runs. Several workers share both ports; SIGHUP replaces them one by one.
    """
    with faults_as_lines(), database() as (settings, dsn):
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
    with faults_as_lines(), database() as (settings, dsn):
        logs.configure(json=settings.production, level=settings.log_level)

        def announce(*_: object) -> None:
            os.write(ready, b".")
            os.close(ready)

        _run(app.serve(settings, dsn, announce=announce, inherited=socket.socket(fileno=http)))


@main.command("migrate")
def migrate_command() -> None:
    """Apply the migrations that the database lacks, and list them."""
    with faults_as_lines(), database() as (settings, dsn):
        applied = asyncio.run(migrate(settings.direct(dsn)))
        click.echo("\n".join(applied) or "Nothing to apply.")


@main.group(invoke_without_command=True)
@click.pass_context
def jobs(context: click.Context) -> None:
    """Run jobs (mail, sweeps) and nothing else, for a service that has JOBS=off. Migrates first."""
    if context.invoked_subcommand is None:
        with faults_as_lines(), database(shared=True) as (settings, dsn):
            logs.configure(json=settings.production, level=settings.log_level)
            _run(background.run_alone(settings, dsn))


@jobs.command("status")
def jobs_status() -> None:
    """List what waits, runs and was given up, and what has become of the mail."""
    with faults_as_lines(), database(shared=True) as (settings, dsn):
        logs.configure(json=settings.production, level="error")
        counts, letters = asyncio.run(background.status(settings, dsn))
        for each in counts:
            since = f", due since {each.oldest_due_at:%Y-%m-%dT%H:%M:%SZ}" if each.oldest_due_at else ""
            click.echo(
                f"job  {each.kind:24} {each.waiting} waiting, {each.running} running, {each.failed} given up{since}"
            )
        for kind, state, count in letters:
            click.echo(f"mail {kind:24} {count} {state}")


@main.command("receive-mail")
@click.argument("recipients", nargs=-1)
def receive_mail(recipients: tuple[str, ...]) -> None:
    """Read a message on standard input that answers an invitation, and apply it. A mail server pipes them in.

    RECIPIENTS are the addresses of its envelope; without any its headers say whom it is to. What is no answer is
    ignored, with exit code 0, so that nobody is written to because of it. Exit code 75 asks for another try later.
    """
    with faults_as_lines(), database(shared=True) as (settings, dsn):
        logs.configure(json=settings.production, level="error")
        if not settings.invitation_reply_to:
            raise click.UsageError("set INVITATION_REPLY_TO, the address that invitations are answered to")
        message = sys.stdin.buffer.read(receiving.MOST_BYTES + 1)
        try:
            click.echo(asyncio.run(background.receive(settings, dsn, message, recipients)))
        except Unavailable as fault:
            click.echo(f"appointments: {fault}", err=True)
            sys.exit(os.EX_TEMPFAIL)


@main.group("tzdata")
def tzdata_commands() -> None:
    """The rules of time zones, which governments change."""


@tzdata_commands.command("check")
@click.option("--apply", is_flag=True, help="Move what they move.")
def tzdata_check(*, apply: bool) -> None:
    """Tell which occurrences of series the installed tzdata puts elsewhere than they stand; run it after an update.

    A series keeps its wall time. What finds no place where it belongs is skipped, and can be restored like any other
    skipped occurrence.
    """
    with faults_as_lines(), database(shared=True) as (settings, dsn):

        async def run() -> None:
            async with Database(settings.direct(dsn), size=2) as db:
                found = await tzdata.drifts(db)
                for drift in found:
                    click.echo(
                        f"{drift.series_id} {drift.time_zone} {drift.wall:%Y-%m-%dT%H:%M}"
                        f" stands at {drift.stands_at:%Y-%m-%dT%H:%MZ}, belongs at {drift.belongs_at:%Y-%m-%dT%H:%MZ}"
                    )
                if not found:
                    click.echo("Every occurrence stands where its wall time is.")
                elif apply:
                    moved = await tzdata.move(db, found, Terms(horizon=timedelta(days=settings.series_horizon_days)))
                    skipped = sum(booked.misses.total for booked in moved)
                    click.echo(f"{len(moved):,} series moved; {skipped:,} occurrences found no place and were skipped.")
                else:
                    click.echo(f"{len(found):,} occurrences would move: run this again with --apply.")

        asyncio.run(run())


@main.group("changes")
def changes_group() -> None:
    """The log of changes."""


@changes_group.command("new-epoch")
def new_epoch() -> None:
    """Let every cursor expire: after a restore, before anybody is served.

    A restored database counts positions that it has counted before. Whoever has a cursor from before the restore lists
    again, and follows from there.
    """
    with faults_as_lines(), database(shared=True) as (settings, dsn):

        async def begin() -> None:
            async with Database(settings.direct(dsn), size=1) as db:
                await sequencer.epoch_anew(db)

        asyncio.run(begin())
        click.echo("A new epoch has begun: every cursor has expired.")


def _run(serving: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serving)


async def _supervise(settings: Settings, dsn: str, workers: int) -> None:
    # Migrated once, before any worker could see a half-migrated database. The workers find nothing left to do.
    await migrate(settings.direct(dsn), patience=settings.database_wait_seconds)
    await Supervisor(settings, dsn, workers).run(_announce)


def _announce(settings: Settings, grpc_address: str, http_address: str) -> None:
    if settings.production:
        return
    click.echo(
        f"\n  Calendar  http://{http_address}/\n  gRPC      {grpc_address}\n\n  Ctrl-C stops everything.\n",
    )

"""``appointments admin``: what an operator does from a terminal, while the service runs or not.

Every command goes straight to the database and through the same code as the service, so its rules hold here too. Other
processes notice within five seconds. ``--json`` prints one JSON document for a program to read.
"""

import asyncio
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

import click
import psycopg

from appointments import jobs as queue
from appointments.auth import Auth, audit
from appointments.auth.directory import grant_admin
from appointments.auth.sessions import Session, end_all
from appointments.auth.tokens import utc_now
from appointments.auth.user import User, find_by_email
from appointments.db import Connection, Database
from appointments.db.migrate import pending, read
from appointments.db.migration_locks import Effect, stated
from appointments.mail import outbox
from appointments.server import doctor as examination
from appointments.server.commands import as_json, confirm, find, person, print_json, run, yes
from appointments.server.terminal import database, faults_as_lines
from appointments.shared.errors import NotFound
from appointments.shared.validation import fold_email


@click.group()
def admin() -> None:
    """Look after users, sessions and the database. It also works while the service runs."""


@admin.command()
@click.argument("address")
@as_json
def grant(address: str, as_json: bool) -> None:
    """Make the person with this e-mail ADDRESS an admin."""

    async def work(house: Auth, db: Database) -> bool:  # noqa: ARG001
        return await grant_admin(db, address)

    if not run(work):
        raise click.ClickException(f"nobody has the address {address}: register first")
    _done(as_json, f"{address} is an admin now.", user=address, role="admin")


@admin.group()
def users() -> None:
    """List, show, disable and delete users."""


@users.command("list")
@as_json
def list_users(as_json: bool) -> None:
    """List all users and service accounts, the oldest first."""

    async def work(house: Auth, db: Database) -> list[User]:  # noqa: ARG001
        found: list[User] = []
        token = ""
        while True:
            page = await house.directory.page(size=1000, token=token)
            found += page.users
            if not (token := page.next_token):
                return found

    found = run(work)
    if as_json:
        print_json([_told(each) for each in found])
    for each in [] if as_json else found:
        click.echo(f"{each.id}  {each.email or each.external_id or each.display_name}{_marks(each)}")


@users.command()
@person
@as_json
def show(who: str, as_json: bool) -> None:
    """Show a user and their sessions."""

    async def work(house: Auth, db: Database) -> tuple[User, list[Mapping[str, Any]]]:
        found = await find(db, who)
        return found, [asdict(each) for each in await house.sessions.list(found.id)]

    found, sessions = run(work)
    if as_json:
        print_json(_told(found) | {"sessions": sessions})
        return
    for name, value in _told(found).items():
        click.echo(f"{name:14}{value}")
    for each in sessions:
        click.echo(f"{'session':14}{each['id']}  {each['user_agent']}")


@users.command()
@person
@as_json
def disable(who: str, as_json: bool) -> None:
    """Sign a user out everywhere, and let them in no more. Their appointments stay."""
    _change(who, disabled=True)
    _done(as_json, f"{who} is disabled.", user=who, disabled=True)


@users.command()
@person
@as_json
def enable(who: str, as_json: bool) -> None:
    """Let a disabled user in again."""
    _change(who, disabled=False)
    _done(as_json, f"{who} may sign in.", user=who, disabled=False)


@users.command("revoke-admin")
@person
@as_json
def revoke_admin(who: str, as_json: bool) -> None:
    """Take the role of an admin away. One admin who can sign in always stays."""
    _change(who, role="user")
    _done(as_json, f"{who} is no admin any more.", user=who, role="user")


@users.command("end-sessions")
@person
@as_json
def end_sessions(who: str, as_json: bool) -> None:
    """Sign a user out everywhere."""

    async def work(house: Auth, db: Database) -> int:  # noqa: ARG001
        found = await find(db, who)

        async def end(connection: Connection) -> int:
            return len(await end_all(connection, found.id, "revoked", utc_now()))

        return await db.transact(end)

    ended = run(work)
    _done(as_json, f"{ended} sessions have ended.", user=who, ended=ended)


@users.command()
@person
@yes
@as_json
def delete(who: str, yes: bool, as_json: bool) -> None:
    """Delete a user and everything in the account."""
    confirm(f"{who} and everything in the account will be deleted. This cannot be undone.", yes=yes)

    async def work(house: Auth, db: Database) -> None:
        found = await find(db, who)
        await house.directory.delete(found.id, actor_id=found.id)

    run(work)
    _done(as_json, f"{who} is deleted.", user=who, deleted=True)


@users.command("reset-password")
@person
@click.option("--temporary", is_flag=True, help="Set a new password and print it, instead of mailing a link.")
@yes
@as_json
def reset_password(who: str, temporary: bool, yes: bool, as_json: bool) -> None:
    """Mail a link that sets a new password; or set one, which signs the user out everywhere.

    The link is mailed by the service, or by `appointments jobs`. Only --temporary asks: the link changes nothing yet.
    """
    if temporary:
        confirm(f"{who} will be signed out everywhere, and the old password is gone.", yes=yes)
    password = secrets.token_urlsafe(12) if temporary else ""

    async def work(house: Auth, db: Database) -> None:
        found = await find(db, who)
        if temporary:
            await house.accounts.replace_password(found.id, password)
        else:
            await house.mailed_links.request_reset(found.email)

    run(work)
    if temporary:
        _done(as_json, f"The password of {who} is now: {password}", user=who, password=password)
    else:
        _done(as_json, f"A link is on its way to {who}.", user=who, mailed=True)


@admin.group()
def sessions() -> None:
    """List and end sessions."""


@sessions.command("list")
@person
@as_json
def list_sessions(who: str, as_json: bool) -> None:
    """List the live sessions of a user, the last used first."""

    async def work(house: Auth, db: Database) -> Sequence[Session]:
        return await house.sessions.list((await find(db, who)).id)

    found = run(work)
    if as_json:
        print_json([asdict(each) for each in found])
    for each in [] if as_json else found:
        click.echo(f"{each.id}  {each.last_used_at:%Y-%m-%dT%H:%MZ}  {each.ip_address}  {each.user_agent}")


@sessions.command("end")
@click.argument("session_id", metavar="ID", type=click.UUID)
@as_json
def end_session(session_id: UUID, as_json: bool) -> None:
    """End one session."""

    async def work(house: Auth, db: Database) -> None:
        async with db.connection() as connection:
            cursor = await connection.execute(
                "SELECT user_id FROM sessions WHERE id = %(id)s AND revoked_at IS NULL", {"id": session_id}
            )
            row = await cursor.fetchone()
        if row is None:
            raise NotFound(f"There is no live session {session_id}.")
        await house.sessions.revoke(row[0], session_id)

    run(work)
    _done(as_json, f"The session {session_id} has ended.", session=str(session_id), ended=True)


@admin.group()
def jobs() -> None:
    """See, repeat and cancel jobs."""


@jobs.command()
@click.option("--kind", help="Of one kind.")
@click.option("--failed", is_flag=True, help="Only what was given up.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="The latest so many.")
@as_json
def status(kind: str | None, failed: bool, limit: int, as_json: bool) -> None:
    """List jobs, the latest first. `appointments jobs status` counts them."""

    async def work(house: Auth, db: Database) -> list[queue.Listed]:  # noqa: ARG001
        return await queue.listing(db, kind=kind, failed=failed, limit=limit)

    found = run(work)
    if as_json:
        print_json([asdict(each) for each in found])
    for each in [] if as_json else found:
        state = "failed" if each.failed_at else "running" if each.running else "waiting"
        about = f"  {each.error}" if each.error else ""
        click.echo(
            f"{each.id}  {each.kind}  {state}  due {each.due_at:%Y-%m-%dT%H:%M:%SZ}  {each.attempts} tries{about}"
        )


@jobs.command()
@click.argument("job_id", metavar="ID", type=int)
@as_json
def retry(job_id: int, as_json: bool) -> None:
    """Run a job now that waits or was given up."""

    async def work(house: Auth, db: Database) -> bool:  # noqa: ARG001
        return await queue.run_again(db, job_id)

    if not run(work):
        raise click.ClickException(f"there is no job {job_id} that waits or was given up")
    _done(as_json, f"The job {job_id} runs as soon as a worker is free.", job=job_id, due=True)


@jobs.command()
@click.argument("job_id", metavar="ID", type=int)
@yes
@as_json
def cancel(job_id: int, yes: bool, as_json: bool) -> None:
    """Forget a job that does not run at the moment. What recurs cannot be cancelled."""
    confirm(f"The job {job_id} will be forgotten. This cannot be undone.", yes=yes)

    async def work(house: Auth, db: Database) -> bool:  # noqa: ARG001
        return await queue.cancel(db, job_id)

    if not run(work):
        raise click.ClickException(f"there is no job {job_id} that could be cancelled: it runs, recurs, or is gone")
    _done(as_json, f"The job {job_id} is cancelled.", job=job_id, cancelled=True)


@admin.group()
def mail() -> None:
    """See to addresses that mail does not reach."""


@mail.command("forget-bounces")
@click.argument("address")
@yes
@as_json
def forget_bounces(address: str, yes: bool, as_json: bool) -> None:
    """Write to an ADDRESS again to which three messages have bounced. Whoever unsubscribed stays unsubscribed."""
    confirm(f"What has bounced from {address} will be forgotten, and it will be written to again.", yes=yes)

    async def forget(connection: Connection) -> int:
        if bounces := await outbox.forget_all_bounces(connection, address):
            owner = await find_by_email(connection, fold_email(address))
            # An address of nobody here is not written down once more: nobody could have it erased.
            await audit.record(connection, "mail.resumed", owner.id if owner else None, bounces=bounces)
        return bounces

    async def work(house: Auth, db: Database) -> int:  # noqa: ARG001
        return await db.transact(forget)

    if not (bounces := run(work)):
        raise click.ClickException(f"nothing has bounced from {address}")
    _done(as_json, f"{address} is written to again ({bounces} bounces forgotten).", address=address, forgotten=bounces)


@admin.command()
@as_json
def migrations(as_json: bool) -> None:
    """Say which migrations the database has and lacks, and which tables an upgrade would lock for a moment.

    Whatever takes long on a large table locks nothing that others want, and nobody has to wait for it.
    """
    with faults_as_lines(), database(shared=True) as (settings, dsn):
        missing, rows = asyncio.run(_missing(settings.direct(dsn)))
    found = [
        {"name": each.name, "applied": each.name not in missing, "outside": each.outside}
        | _plan(stated().get(each.name, _MADE_TABLES), rows if each.name in missing else {})
        for each in read()
    ]
    if as_json:
        print_json(found)
    for each in [] if as_json else found:
        click.echo(f"{'applied' if each['applied'] else 'missing':9}{each['name']:33}{_told_effect(each)}".rstrip())


_MADE_TABLES = Effect({}, 0)


def _plan(effect: Effect, rows: Mapping[str, int]) -> dict[str, Any]:
    # Tables that one missing migration makes and another one changes are not there yet.
    locked = {table: mode for table, mode in effect.locks.items() if table in rows}
    return {
        "locks": {table: rows[table] for table in locked},
        "modes": locked,
        "seconds_at_ten_million": effect.seconds,
    }


def _told_effect(migration: dict[str, Any]) -> str:
    if migration["applied"]:
        return ""
    if seconds := migration["seconds_at_ten_million"]:
        return f"in the background, {seconds} s at ten million appointments: nobody waits for it"
    tables = [f"{table} ({rows:,} rows)" for table, rows in migration["locks"].items()]
    if not tables:
        return "locks nothing that is in use"
    who = "everybody" if "ACCESS EXCLUSIVE" in migration["modes"].values() else "who writes"
    return f"locks for a moment: {', '.join(tables)}; {who} waits"


async def _missing(dsn: str) -> tuple[list[str], dict[str, int]]:
    """The names of the missing migrations; and about how many rows each table has, by PostgreSQL's statistics."""
    async with await psycopg.AsyncConnection.connect(dsn, connect_timeout=5) as connection:
        rows = await connection.execute(
            "SELECT relname, greatest(reltuples, 0)::bigint FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
        )
        return await pending(connection), dict(await rows.fetchall())


@admin.command()
@as_json
def doctor(as_json: bool) -> None:
    """See whether everything is as it has to be: settings, database, constraints, bookings, clocks, Redis, mail.

    Exits with 1 if there is a fault. Warnings are what a service can live with.
    """
    findings = []
    with faults_as_lines(), database(shared=True) as (settings, dsn):

        async def examine() -> None:
            async for each in examination.examine(settings, dsn):
                findings.append(each)
                if not as_json:
                    click.secho(f"{each.verdict:8}", fg=_COLOURS[each.verdict], nl=False)
                    click.echo(f"{each.name:18}{each.text}")

        asyncio.run(examine())
    if as_json:
        print_json([asdict(each) for each in findings])
    sys.exit(any(each.verdict == "fault" for each in findings))


_COLOURS = {"ok": "green", "warning": "yellow", "fault": "red"}


def _done(as_json: bool, text: str, **facts: object) -> None:
    """Say what was done: in words, or for a program."""
    if as_json:
        print_json(facts)
    else:
        click.echo(text)


def _change(who: str, **changes: Any) -> None:
    async def work(house: Auth, db: Database) -> None:
        await house.directory.update((await find(db, who)).id, changes)

    run(work)


def _told(who: User) -> dict[str, Any]:
    fields = asdict(who)
    del fields["hours"]
    return fields


def _marks(who: User) -> str:
    marks = [who.role] * (who.role != "user") + ["disabled"] * who.disabled + [who.kind] * (who.kind != "person")
    return f"  ({', '.join(marks)})" if marks else ""

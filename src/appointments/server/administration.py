"""``appointments admin``: what an operator does from a terminal, while the service runs or not.

Every command goes straight to the database and through the same code as the service, so its rules hold here too. Other
processes notice within five seconds. ``--json`` prints one JSON document for a program to read.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, TypeVar
from uuid import UUID

import click
import psycopg

from appointments import auth
from appointments.auth import Auth, Passwords, user
from appointments.auth.directory import grant_admin
from appointments.auth.sessions import end_all
from appointments.auth.tokens import utc_now
from appointments.auth.user import User
from appointments.db import Connection, Database
from appointments.db.migrate import MigrationFault, pending, read
from appointments.server import doctor as examination
from appointments.server.settings import Settings
from appointments.server.terminal import database, faults_as_lines
from appointments.shared import validation
from appointments.shared.errors import NotFound

T = TypeVar("T")

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
confirmed = click.confirmation_option(prompt="This cannot be undone. Go on?")
person = click.argument("who", metavar="ADDRESS|ID")


@click.group()
def admin() -> None:
    """Look after users, sessions and the database. It also works while the service runs."""


@admin.command()
@click.argument("address")
def grant(address: str) -> None:
    """Make the person with this e-mail ADDRESS an admin."""

    async def work(house: Auth, db: Database) -> bool:  # noqa: ARG001
        return await grant_admin(db, address)

    if not _run(work):
        raise click.ClickException(f"nobody has the address {address}: register first")
    click.echo(f"{address} is an admin now.")


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

    found = _run(work)
    if as_json:
        _print_json([_told(each) for each in found])
    for each in [] if as_json else found:
        click.echo(f"{each.id}  {each.email or each.external_id or each.display_name}{_marks(each)}")


@users.command()
@person
@as_json
def show(who: str, as_json: bool) -> None:
    """Show a user and their sessions."""

    async def work(house: Auth, db: Database) -> tuple[User, list[Mapping[str, Any]]]:
        found = await _find(db, who)
        return found, [asdict(each) for each in await house.sessions.list(found.id)]

    found, sessions = _run(work)
    if as_json:
        _print_json(_told(found) | {"sessions": sessions})
        return
    for name, value in _told(found).items():
        click.echo(f"{name:14}{value}")
    for each in sessions:
        click.echo(f"{'session':14}{each['id']}  {each['user_agent']}")


@users.command()
@person
def disable(who: str) -> None:
    """Sign a user out everywhere, and let them in no more. Their appointments stay."""
    _change(who, disabled=True)
    click.echo(f"{who} is disabled.")


@users.command()
@person
def enable(who: str) -> None:
    """Let a disabled user in again."""
    _change(who, disabled=False)
    click.echo(f"{who} may sign in.")


@users.command("revoke-admin")
@person
def revoke_admin(who: str) -> None:
    """Take the role of an admin away. One admin who can sign in always stays."""
    _change(who, role="user")
    click.echo(f"{who} is no admin any more.")


@users.command("end-sessions")
@person
def end_sessions(who: str) -> None:
    """Sign a user out everywhere."""

    async def work(house: Auth, db: Database) -> int:  # noqa: ARG001
        found = await _find(db, who)

        async def end(connection: Connection) -> int:
            return len(await end_all(connection, found.id, "revoked", utc_now()))

        return await db.transact(end)

    click.echo(f"{_run(work)} sessions have ended.")


@users.command()
@person
@confirmed
def delete(who: str) -> None:
    """Delete a user and everything in the account."""

    async def work(house: Auth, db: Database) -> None:
        found = await _find(db, who)
        await house.directory.delete(found.id, actor_id=found.id)

    _run(work)
    click.echo(f"{who} is deleted.")


@admin.command()
@as_json
def migrations(as_json: bool) -> None:
    """Say which migrations the database has and lacks. Those that run outside a transaction lock nothing for long."""
    with faults_as_lines(), database(shared=True) as (settings, dsn):
        missing = set(asyncio.run(_missing(settings.direct(dsn))))
    found = [{"name": each.name, "applied": each.name not in missing, "outside": each.outside} for each in read()]
    if as_json:
        _print_json(found)
    for each in [] if as_json else found:
        click.echo(f"{'applied' if each['applied'] else 'missing':9}{each['name']}")


async def _missing(dsn: str) -> list[str]:
    async with await psycopg.AsyncConnection.connect(dsn, connect_timeout=5) as connection:
        return await pending(connection)


@admin.command()
@as_json
def doctor(as_json: bool) -> None:
    """See whether everything is as it has to be: settings, database, constraints, bookings, clocks, Redis.

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
        _print_json([asdict(each) for each in findings])
    sys.exit(any(each.verdict == "fault" for each in findings))


_COLOURS = {"ok": "green", "warning": "yellow", "fault": "red"}


def _change(who: str, **changes: Any) -> None:
    async def work(house: Auth, db: Database) -> None:
        await house.directory.update((await _find(db, who)).id, changes)

    _run(work)


async def _find(db: Database, who: str) -> User:
    async with db.connection() as connection:
        if validation.is_uuid(who):
            found = await user.find(connection, UUID(who))
        else:
            found = await user.find_by_email(connection, validation.fold_email(who))
    if found is None:
        raise NotFound(f"There is no user {who}.")
    return found


def _told(who: User) -> dict[str, Any]:
    fields = asdict(who)
    del fields["hours"]
    return fields


def _marks(who: User) -> str:
    marks = [who.role] * (who.role != "user") + ["disabled"] * who.disabled + [who.kind] * (who.kind != "person")
    return f"  ({', '.join(marks)})" if marks else ""


def _print_json(document: object) -> None:
    click.echo(json.dumps(document, default=str, indent=2))


def _run(work: Callable[[Auth, Database], Awaitable[T]]) -> T:
    """Do something with the parts of the service, on a database that is migrated."""

    async def run(settings: Settings, dsn: str) -> T:
        async with _parts(settings, dsn) as (house, db):
            return await work(house, db)

    with faults_as_lines(), database(shared=True) as (settings, dsn):
        return asyncio.run(run(settings, dsn))


@asynccontextmanager
async def _parts(settings: Settings, dsn: str) -> AsyncIterator[tuple[Auth, Database]]:
    async with Database(settings.direct(dsn), size=1) as db:
        async with db.connection() as connection:
            if await pending(connection):
                raise MigrationFault("the database lacks migrations: start the service, or run appointments migrate")
        passwords = Passwords(cost=settings.bcrypt_cost)
        try:
            yield auth.build(db, passwords, secret=settings.jwt_secret.get_secret_value()), db
        finally:
            passwords.close()

"""What the commands of an operator share: the parts of the service on its database, and how answers are printed."""

import asyncio
import getpass
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar
from uuid import UUID

import click

from appointments import auth
from appointments.auth import Auth, Passwords, audit, user
from appointments.auth.user import User
from appointments.db import Database
from appointments.db.migrate import MigrationFault, pending
from appointments.server.background import office
from appointments.server.settings import Settings
from appointments.server.terminal import database, faults_as_lines
from appointments.shared import validation
from appointments.shared.errors import NotFound

T = TypeVar("T")

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
yes = click.option("--yes", is_flag=True, help="Do not ask.")
person = click.argument("who", metavar="ADDRESS|ID")


def run(work: Callable[[Auth, Database], Awaitable[T]]) -> T:
    """Do something with the parts of the service, on a database that is migrated."""

    async def go(settings: Settings, dsn: str) -> T:
        async with _parts(settings, dsn) as (house, db):
            return await work(house, db)

    by = audit.origin(audit.Origin("command", operator=_operator()))
    with faults_as_lines(), by, database(shared=True) as (settings, dsn):
        return asyncio.run(go(settings, dsn))


def _operator() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"  # a container's user need not have a name


def confirm(text: str, *, yes: bool) -> None:
    """Ask on stderr whether to go on, with ``--json`` too, so that stdout stays the document. ``yes`` answers it.

    Raises:
        click.ClickException: nobody can answer, because stdin has ended.
        click.Abort: the answer is no.
    """
    if yes:
        return
    try:
        answer = click.confirm(f"{text} Go on?", err=True)
    except click.Abort as nobody:
        raise click.ClickException("nothing is done without an answer: use --yes where nobody can give one") from nobody
    if not answer:
        raise click.Abort


async def find(db: Database, who: str) -> User:
    """The user with an address or an id.

    Raises:
        NotFound: there is none.
    """
    async with db.connection() as connection:
        if validation.is_uuid(who):
            found = await user.find(connection, UUID(who))
        else:
            found = await user.find_by_email(connection, validation.fold_email(who))
    if found is None:
        raise NotFound(f"There is no user {who}.")
    return found


async def identifier(db: Database, who: str) -> UUID:
    """The id of a user, who may be gone if it is given as that.

    Raises:
        NotFound: nobody has the address.
    """
    return UUID(who) if validation.is_uuid(who) else (await find(db, who)).id


def print_json(document: object) -> None:
    """Print one document."""
    click.echo(json.dumps(document, default=str, indent=2))


@asynccontextmanager
async def _parts(settings: Settings, dsn: str) -> AsyncIterator[tuple[Auth, Database]]:
    async with Database(settings.direct(dsn), size=1) as db:
        async with db.connection() as connection:
            if await pending(connection):
                raise MigrationFault("the database lacks migrations: start the service, or run appointments migrate")
        passwords = Passwords(cost=settings.bcrypt_cost)
        try:
            post = office(settings, settings.http_bind).post
            yield auth.build(db, passwords, secret=settings.jwt_secret.get_secret_value(), post=post), db
        finally:
            passwords.close()

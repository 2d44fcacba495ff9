"""``appointments audit``: what happened to accounts, for an operator who looks into it."""

from dataclasses import asdict
from datetime import UTC, datetime

import click

from appointments.auth import Auth, audit
from appointments.auth.audit import Entry, Filter
from appointments.db import Database
from appointments.server.commands import as_json, identifier, print_json, run

_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"]


@click.command("audit")
@click.option("--user", "who", metavar="ADDRESS|ID", help="Of one account. One that is deleted is named by its id.")
@click.option("--event", type=click.Choice(audit.EVENTS), help="Of one kind.")
@click.option("--request-id", help="Of one request, as its log lines have it.")
@click.option("--address", help="From one IP address.")
@click.option("--since", type=click.DateTime(_TIMES), help="From this time on (UTC).")
@click.option("--until", type=click.DateTime(_TIMES), help="Before this time (UTC).")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="The latest so many.")
@as_json
def show_audit(  # noqa: PLR0917 - click gives each option by its name
    who: str | None,
    event: str | None,
    request_id: str | None,
    address: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """List what happened to accounts, the latest first: sign-ins, sessions, passwords, roles, keys, exports."""

    async def work(house: Auth, db: Database) -> list[Entry]:  # noqa: ARG001
        user_id = await identifier(db, who) if who else None
        wanted = Filter(user_id, event, request_id, address, _utc(since), _utc(until))
        return await audit.entries(db, wanted, limit=limit)

    found = run(work)
    if as_json:
        print_json([asdict(each) for each in found])
    for each in [] if as_json else found:
        detail = " ".join(f"{key}={value}" for key, value in each.detail.items())
        by = f"by {each.actor_id}" if each.actor_id and each.actor_id != each.user_id else ""
        parts = (each.event, str(each.user_id or "-"), by, each.address or "", detail, each.request_id or "")
        click.echo(f"{each.at:%Y-%m-%dT%H:%M:%SZ}  {'  '.join(filter(None, parts))}")


def _utc(time: datetime | None) -> datetime | None:
    return time.replace(tzinfo=UTC) if time else None

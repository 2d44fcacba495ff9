"""Letters about webhooks: who owns one that is disabled learns of it, once, and nobody else."""

import asyncio
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from appointments.changes.webhooks import deliveries, endpoints, notices
from appointments.changes.webhooks.endpoints import Spec, Webhook
from appointments.changes.webhooks.target import Target
from appointments.db import Database
from appointments.mail import Outbox
from tests.auth.signing_in import process
from tests.mailroom import Mailroom, text

HERE = Target(plain=True, private=True)
URL = "https://hooks.example.com/a-secret-path?token=secret"


async def hook(db: Database, owner: UUID, *, verified: bool = True) -> Webhook:
    """A webhook of somebody who reads mail at their address, or of whom nobody knows."""
    async with db.connection() as connection:
        verified_at = "now()" if verified else "NULL"
        await connection.execute(f"UPDATE users SET email_verified_at = {verified_at}".encode())
    webhook, _ = await endpoints.create(db, owner, Spec(URL, ()), HERE)
    return webhook


async def fail(db: Database, webhook: Webhook, *, gone: bool) -> list[bool]:
    """Two deliveries that fail in the same moment; whether each disabled the webhook."""
    for _ in range(2):
        await deliveries.ping(db, webhook)
    lease = uuid4()
    leased = await deliveries.lease(db, lease, 2)
    return await asyncio.gather(
        *(
            deliveries.failed(
                db, each, lease, status=410 if gone else 500, error="no", pause=deliveries.PAUSE, gone=gone,
                outbox=Outbox(),
            )
            for each in leased
        )
    )  # fmt: skip


async def letters(db: Database, path: Path) -> list[str]:
    """What is sent, read once."""
    room = Mailroom(db, path)
    return [text(each) for each in await room.new(process(db, post=room.post), writers=notices.writers())]


async def test_the_owner_of_a_webhook_that_is_gone_gets_one_letter(db: Database, owner: UUID, tmp_path: Path) -> None:
    """Which webhook, why and since when, but nothing of its URL that may be a secret."""
    webhook = await hook(db, owner)
    assert [False, True] == sorted(await fail(db, webhook, gone=True))
    (letter,) = await letters(db, tmp_path)
    assert "410" in letter
    assert "https://hooks.example.com" in letter
    assert str(webhook.id) in letter
    assert "secret" not in letter


async def test_five_days_of_failure_are_told_too(db: Database, owner: UUID, tmp_path: Path) -> None:
    """With their own reason; a single failure is not."""
    webhook = await hook(db, owner)
    assert [False, False] == await fail(db, webhook, gone=False)
    async with db.connection() as connection:
        await connection.execute("UPDATE webhooks SET failing_since_at = now() - interval '6 days'")
    assert True in await fail(db, webhook, gone=False)
    (letter,) = await letters(db, tmp_path)
    assert "five days" in letter


@pytest.mark.parametrize("verified", [True, False])
async def test_nothing_is_said_that_is_no_longer_so(
    db: Database, owner: UUID, tmp_path: Path, *, verified: bool
) -> None:
    """Enabled before the letter went out; and nobody writes to an address that nobody proved to read."""
    webhook = await hook(db, owner, verified=verified)
    await fail(db, webhook, gone=True)
    if verified:
        await endpoints.update(db, owner, webhook.id, {"disabled": False}, HERE)
    assert [] == await letters(db, tmp_path)

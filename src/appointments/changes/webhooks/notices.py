"""The letter that tells an owner that a webhook of theirs has been disabled, which nobody would notice otherwise."""

from urllib.parse import urlsplit
from uuid import UUID

from appointments.db import Connection, Statement, instant
from appointments.mail import Letter, Mail, Outbox
from appointments.mail.postman import Writer

KIND = "webhook.disabled"

_WHY = {
    "gone": "Its endpoint answered 410, which says that it is gone for good.",
    "failing": "No delivery to it has succeeded for five days.",
}


async def put(connection: Connection, outbox: Outbox, webhook_id: UUID) -> None:
    """Have the owner told, in the transaction that disables it, if they have proved to read their address."""
    if not outbox.is_on:
        return
    for owner_id, email in await connection.fetch(OWNER, {"id": webhook_id}):
        await outbox.put(connection, Letter(KIND, email, owner_id, about={"webhook": str(webhook_id)}))


OWNER = Statement(
    """
    SELECT users.id, email FROM webhooks JOIN users ON users.id = owner_id
    WHERE webhooks.id = %(id)s::uuid AND email_verified_at IS NOT NULL
    """
)


def writers() -> dict[str, Writer]:
    """Who writes the letters of each kind."""
    return {KIND: Writer(_disabled, is_own=True)}


async def _disabled(connection: Connection, letter: Letter) -> Mail | None:
    rows = await connection.fetch(READ, {"id": UUID(letter.about["webhook"])})
    if not rows:
        return None  # it has been deleted or enabled since
    url, reason, disabled_at, waiting = rows[0]
    parts = urlsplit(url)
    return Mail(
        "A webhook was disabled",
        (f"A webhook of your account with Appointments was disabled. {_WHY[reason]}",),
        facts=(
            # What follows the host is often a secret.
            ("Webhook", f"{parts.scheme}://{parts.hostname or ''}"),
            ("Id", letter.about["webhook"]),
            ("Disabled", f"{instant(disabled_at):%Y-%m-%d %H:%M} UTC"),
            ("Not delivered", str(waiting)),
        ),
        closing=(
            "Enable it with UpdateWebhook when the endpoint works again. What has changed meanwhile is in ListChanges,"
            " and single deliveries can be sent again with Redeliver.",
        ),
    )


READ = Statement(
    """
    SELECT url, disable_reason, disabled_at, (
        SELECT count(*) FROM webhook_deliveries WHERE webhook_id = webhooks.id AND state <> 'delivered'
    )
    FROM webhooks WHERE id = %(id)s::uuid AND disabled_at IS NOT NULL AND disable_reason IS NOT NULL
    """
)

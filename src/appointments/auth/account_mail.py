"""Mail about accounts: links that prove an address, and notices of what happened to an account.

Letters go into the outbox in the transaction of what they tell of. They are written when they are sent, so a link that
has been replaced by a newer one is not mailed any more.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from uuid_utils.compat import uuid7

from appointments.db import Connection
from appointments.mail import MAIL_OFF, Action, Letter, Links, Mail, Outbox
from appointments.mail.links import digest_of
from appointments.mail.postman import Writer

Purpose = Literal["verify", "change", "reset"]

LIFETIMES = {"verify": timedelta(hours=24), "change": timedelta(hours=24), "reset": timedelta(minutes=30)}
PATHS = {"verify": "verify-email", "change": "change-email", "reset": "password-reset"}
"""Where the links of each purpose lead, below PUBLIC_URL."""

Event = Literal["new_device", "password_changed", "session_stolen", "email_changed"]


@dataclass(frozen=True, slots=True)
class Link:
    """A link that still works: whose it is, and which address it proves."""

    user_id: UUID
    email: str


class Post:
    """Writes to people about their accounts."""

    def __init__(self, outbox: Outbox = MAIL_OFF, links: Links | None = None) -> None:
        self._outbox = outbox
        self._links = links or Links("")

    @property
    def is_on(self) -> bool:
        """Whether there is mail at all."""
        return self._outbox.is_on

    async def send_link(
        self, connection: Connection, user_id: UUID, purpose: Purpose, email: str, now: datetime
    ) -> None:
        """Mail a new link, which takes the place of the one before."""
        if not self.is_on:
            return
        link_id = uuid7()
        await connection.execute(
            """
            INSERT INTO mail_links (user_id, purpose, id, digest, email, created_at, expires_at)
            VALUES (%(user_id)s, %(purpose)s, %(id)s, %(digest)s, %(email)s, %(now)s, %(expires_at)s)
            ON CONFLICT ON CONSTRAINT mail_links_pkey DO UPDATE SET
                id = excluded.id, digest = excluded.digest, email = excluded.email,
                created_at = excluded.created_at, expires_at = excluded.expires_at
            """,
            {
                "user_id": user_id,
                "purpose": purpose,
                "id": link_id,
                "digest": digest_of(self._links.token(purpose, link_id)),
                "email": email,
                "now": now,
                "expires_at": now + LIFETIMES[purpose],
            },
        )
        await self._outbox.put(connection, Letter(f"account.{purpose}", email, user_id, about={"link": str(link_id)}))

    async def tell(self, connection: Connection, user_id: UUID, event: Event, **about: str) -> None:
        """Tell a person what happened to their account, if they have proved to read their address."""
        if not self.is_on:
            return
        cursor = await connection.execute(
            "SELECT email FROM users WHERE id = %(id)s AND email_verified_at IS NOT NULL", {"id": user_id}
        )
        if row := await cursor.fetchone():
            await self.tell_at(connection, user_id, row[0], event, **about)

    async def tell_at(self, connection: Connection, user_id: UUID, email: str, event: Event, **about: str) -> None:
        """The same at a certain address."""
        await self._outbox.put(connection, Letter(f"account.{event}", email, user_id, about=about))

    def writers(self) -> dict[str, Writer]:
        """Who writes the letters of each kind."""
        return {
            "account.verify": Writer(self._verify),
            "account.change": Writer(self._change),
            "account.reset": Writer(self._reset, is_own=True),
            "account.new_device": Writer(self._new_device, is_own=True),
            "account.password_changed": Writer(self._password_changed, is_own=True),
            "account.session_stolen": Writer(self._session_stolen, is_own=True),
            "account.email_changed": Writer(self._email_changed, is_own=True),
        }

    async def _url(self, connection: Connection, letter: Letter, purpose: Purpose) -> str | None:
        cursor = await connection.execute(
            "SELECT digest FROM mail_links WHERE user_id = %(user_id)s AND purpose = %(purpose)s AND id = %(id)s",
            {"user_id": letter.user_id, "purpose": purpose, "id": letter.about["link"]},
        )
        row = await cursor.fetchone()
        token = self._links.token_with(row[0], purpose, letter.about["link"]) if row else None
        return self._links.url(PATHS[purpose], token) if token else None

    async def _verify(self, connection: Connection, letter: Letter) -> Mail | None:
        if (url := await self._url(connection, letter, "verify")) is None:
            return None
        return Mail(
            "Confirm your e-mail address",
            ("Somebody, probably you, signed up for Appointments with this address.",),
            actions=(Action("Confirm the address", url),),
            closing=("The link works for 24 hours. If it was not you, there is nothing to do.",),
        )

    async def _change(self, connection: Connection, letter: Letter) -> Mail | None:
        if (url := await self._url(connection, letter, "change")) is None:
            return None
        return Mail(
            "Confirm your new e-mail address",
            ("Somebody, probably you, wants to use this address for an account with Appointments.",),
            actions=(Action("Use this address", url),),
            closing=("The link works for 24 hours. If it was not you, there is nothing to do.",),
        )

    async def _reset(self, connection: Connection, letter: Letter) -> Mail | None:
        if (url := await self._url(connection, letter, "reset")) is None:
            return None
        return Mail(
            "Set a new password",
            ("Somebody, probably you, asked to set a new password for your account with Appointments.",),
            actions=(Action("Set a new password", url),),
            closing=(
                "The link works once, for 30 minutes. A new password signs you out everywhere.",
                "If it was not you, there is nothing to do: your password is as it was.",
            ),
        )

    async def _new_device(self, connection: Connection, letter: Letter) -> Mail:  # noqa: ARG002
        return Mail(
            "A new device signed in",
            ("A device that was not seen before has signed in to your account with Appointments.",),
            facts=_facts(letter, device="Device", address="Address", at="Time"),
            closing=("If it was not you, set a new password now: that signs everybody out.",),
            actions=self._reset_actions(),
        )

    async def _password_changed(self, connection: Connection, letter: Letter) -> Mail:  # noqa: ARG002
        return Mail(
            "Your password was changed",
            ("The password of your account with Appointments was changed, and other devices were signed out.",),
            facts=_facts(letter, at="Time"),
            closing=("If it was not you, set a new password now.",),
            actions=self._reset_actions(),
        )

    async def _session_stolen(self, connection: Connection, letter: Letter) -> Mail:  # noqa: ARG002
        return Mail(
            "You were signed out everywhere",
            (
                "A sign-in of yours was used in two places at once, as if it had been stolen."
                " So every device was signed out of your account with Appointments.",
            ),
            facts=_facts(letter, at="Time"),
            closing=("Sign in again. If you think that somebody knows your password, set a new one.",),
            actions=self._reset_actions(),
        )

    async def _email_changed(self, connection: Connection, letter: Letter) -> Mail:  # noqa: ARG002
        return Mail(
            "Your e-mail address was changed",
            ("Your account with Appointments now uses another e-mail address, and this one no longer signs in.",),
            facts=_facts(letter, at="Time"),
            closing=("If it was not you, tell whoever runs the service.",),
        )

    def _reset_actions(self) -> tuple[Action, ...]:
        return (Action("Set a new password", f"{self._links.public_url}/{PATHS['reset']}"),)


def said(now: datetime) -> str:
    """An instant, as a letter says it."""
    return f"{now:%Y-%m-%d %H:%M} UTC"


def _facts(letter: Letter, **labels: str) -> tuple[tuple[str, str], ...]:
    about: dict[str, Any] = dict(letter.about)
    return tuple((label, str(about[key])) for key, label in labels.items() if about.get(key))

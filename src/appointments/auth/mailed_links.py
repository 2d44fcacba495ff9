"""What a mailed link allows: to confirm an address, to change it, to set a new password.

Nothing here tells whether an address has an account. Asking for a link to reset a password writes one row, whoever
asks; whether there is an account is found out by a job, after the answer.
"""

from datetime import datetime
from uuid import UUID

import psycopg

from appointments import jobs
from appointments.auth import audit, passwords
from appointments.auth.account_mail import Link, Post, Purpose, said
from appointments.auth.identity import Authenticator
from appointments.auth.passwords import Passwords
from appointments.auth.sessions import end_all
from appointments.auth.tokens import Clock, utc_now
from appointments.db import Connection, Database
from appointments.jobs import Job, Kind
from appointments.mail.links import digest_of
from appointments.shared import validation
from appointments.shared.errors import Invalid, Taken, Unmet

RESET_JOB = "account.reset"
VERIFIED_JOB = "account.verified"
"""Deferred when an account gets a confirmed address: whoever has waited for that goes on."""


class MailedLinks:
    """Mails links to people, and takes them back."""

    def __init__(
        self, db: Database, passwords: Passwords, authenticator: Authenticator, post: Post, *, now: Clock = utc_now
    ) -> None:
        self._db = db
        self._passwords = passwords
        self._authenticator = authenticator
        self._post = post
        self._now = now

    @property
    def is_on(self) -> bool:
        """Whether there is mail at all."""
        return self._post.is_on

    def kinds(self) -> list[Kind]:
        """The kinds of jobs that this defers."""
        return [Kind(RESET_JOB, self._mail_reset)]

    async def request_verification(self, user_id: UUID) -> None:
        """Mail a link that confirms the account's address; once it is confirmed there is nothing to mail.

        Raises:
            Unmet: there is no mail here (MAIL_OFF), or the account has no address (NO_ADDRESS).
        """
        self._check_mail()

        async def work(connection: Connection) -> None:
            cursor = await connection.execute(
                "SELECT email, email_verified_at FROM users WHERE id = %(id)s FOR NO KEY UPDATE", {"id": user_id}
            )
            email, verified_at = await cursor.fetchone() or (None, None)
            if email is None:
                raise Unmet("The account has no e-mail address.", reason="NO_ADDRESS")
            if verified_at is None:
                await self._post.send_link(connection, user_id, "verify", email, self._now())

        await self._db.transact(work)

    async def request_reset(self, email: str) -> None:
        """Have a link mailed that sets a new password, if the address has an account.

        Raises:
            Invalid: it is no address.
            Unmet: there is no mail here (MAIL_OFF).
        """
        check_address(email)
        self._check_mail()

        async def work(connection: Connection) -> None:
            await jobs.defer(connection, RESET_JOB, payload={"email": validation.fold_email(email)})

        await self._db.transact(work)

    async def request_change(self, user_id: UUID, email: str) -> None:
        """Mail a link to a new address; the account has it once the link is followed. The password was checked before.

        Raises:
            Invalid: it is no address, or the account's own.
            Taken: it has an account (EMAIL_TAKEN).
            Unmet: there is no mail here (MAIL_OFF).
        """
        check_address(email)
        self._check_mail()
        wanted = validation.fold_email(email)

        async def work(connection: Connection) -> None:
            cursor = await connection.execute(
                "SELECT id = %(id)s FROM users WHERE email = %(email)s", {"id": user_id, "email": wanted}
            )
            if row := await cursor.fetchone():
                raise Invalid.field("email", "is the account's address already") if row[0] else _taken()
            await connection.execute("SELECT FROM users WHERE id = %(id)s FOR NO KEY UPDATE", {"id": user_id})
            await self._post.send_link(connection, user_id, "change", wanted, self._now())

        await self._db.transact(work)

    async def look(self, purpose: Purpose, token: str) -> str | None:
        """The address that a link proves, or None if the link does not work (any more). Changes nothing."""
        async with self._db.connection() as connection:
            link = await _find(connection, purpose, token, self._now())
        return link.email if link else None

    async def verify(self, token: str) -> str:
        """Follow a link that confirms an address; return the address.

        Raises:
            Invalid: the link does not work (INVALID_TOKEN).
        """

        async def work(connection: Connection) -> str:
            link = await self._take(connection, "verify", token)
            await connection.execute(
                "UPDATE users SET email_verified_at = coalesce(email_verified_at, %(now)s) WHERE id = %(id)s",
                {"id": link.user_id, "now": self._now()},
            )
            await audit.record(connection, "email.verified", link.user_id)
            await _announce(connection, link.user_id)
            return link.email

        return await self._db.transact(work)

    async def change(self, token: str) -> str:
        """Follow a link that changes an account's address, and tell the old one; return the new address.

        Raises:
            Invalid: the link does not work (INVALID_TOKEN).
            Taken: the address has got an account meanwhile (EMAIL_TAKEN).
        """

        async def work(connection: Connection) -> str:
            link, now = await self._take(connection, "change", token), self._now()
            cursor = await connection.execute("SELECT email FROM users WHERE id = %(id)s", {"id": link.user_id})
            (old,) = await cursor.fetchone() or (None,)
            await connection.execute(
                "UPDATE users SET email = %(email)s, email_verified_at = %(now)s, updated_at = %(now)s"
                " WHERE id = %(id)s",
                {"id": link.user_id, "email": link.email, "now": now},
            )
            await audit.record(connection, "email.changed", link.user_id, email=old)
            await _announce(connection, link.user_id)
            # What was mailed to the old address proves nothing any more.
            await connection.execute("DELETE FROM mail_links WHERE user_id = %(id)s", {"id": link.user_id})
            if old:
                await self._post.tell_at(connection, link.user_id, old, "email_changed", at=said(now))
            return link.email

        try:
            return await self._db.transact(work)
        except psycopg.errors.UniqueViolation as error:
            if error.diag.constraint_name != "users_email":
                raise
            raise _taken() from None

    async def reset(self, token: str, password: str) -> None:
        """Follow a link that sets a new password, once. Every session of the account ends, and its address is proved.

        Raises:
            Invalid: the password is out of bounds, or the link does not work (INVALID_TOKEN).
            Unavailable: too many passwords are waiting.
        """
        if problem := passwords.problem(password):
            raise Invalid.field("password", problem)
        if await self.look("reset", token) is None:
            raise _bad_token()  # before anything is spent on a hash
        with self._passwords.slot() as hasher:
            password_hash = await hasher.hash(password)

        async def work(connection: Connection) -> list[UUID]:
            link, now = await self._take(connection, "reset", token), self._now()
            cursor = await connection.execute(
                """
                UPDATE users SET password_hash = %(password_hash)s, updated_at = %(now)s,
                    email_verified_at = coalesce(email_verified_at, %(now)s)
                WHERE id = %(id)s AND password_hash IS NOT NULL AND disabled_at IS NULL
                """,
                {"id": link.user_id, "password_hash": password_hash, "now": now},
            )
            if not cursor.rowcount:
                raise _bad_token()
            await audit.record(connection, "password.changed", link.user_id, by="mailed_link")
            ended = list(await end_all(connection, link.user_id, "password_changed", now))
            await self._post.tell(connection, link.user_id, "password_changed", at=said(now))
            await _announce(connection, link.user_id)
            return ended

        self._authenticator.forget(await self._db.transact(work))

    async def _mail_reset(self, job: Job) -> None:
        async def work(connection: Connection) -> None:
            # A managed user has no password, and a link must not give them one: they never sign in.
            cursor = await connection.execute(
                """
                SELECT id, email FROM users
                WHERE email = %(email)s AND password_hash IS NOT NULL AND disabled_at IS NULL FOR NO KEY UPDATE
                """,
                {"email": job.payload["email"]},
            )
            if row := await cursor.fetchone():
                await self._post.send_link(connection, row[0], "reset", row[1], self._now())

        await self._db.transact(work)

    async def _take(self, connection: Connection, purpose: Purpose, token: str) -> Link:
        """Use a link up. Of several at once one gets it: the user is locked first, as on every other path."""
        if link := await _find(connection, purpose, token, self._now()):
            await connection.execute("SELECT FROM users WHERE id = %(id)s FOR NO KEY UPDATE", {"id": link.user_id})
            cursor = await connection.execute(
                "DELETE FROM mail_links WHERE digest = %(digest)s", {"digest": digest_of(token)}
            )
            if cursor.rowcount:
                return link
        raise _bad_token()

    def _check_mail(self) -> None:
        if not self._post.is_on:
            raise Unmet("This service sends no mail.", reason="MAIL_OFF")


async def _announce(connection: Connection, user_id: UUID) -> None:
    await jobs.defer(connection, VERIFIED_JOB, key=str(user_id), payload={"user_id": str(user_id)})


async def _find(connection: Connection, purpose: Purpose, token: str, now: datetime) -> Link | None:
    # A link to confirm or to reset is of use only while the account still has the address that it was mailed to.
    cursor = await connection.execute(
        """
        SELECT user_id, mail_links.email FROM mail_links JOIN users ON users.id = user_id
        WHERE digest = %(digest)s AND purpose = %(purpose)s AND expires_at > %(now)s
            AND (purpose = 'change' OR users.email = mail_links.email)
        """,
        {"digest": digest_of(token), "purpose": purpose, "now": now},
    )
    row = await cursor.fetchone()
    return Link(*row) if row else None


def check_address(email: str) -> None:
    """Raise Invalid if it is no e-mail address."""
    if problem := validation.email_problem(email):
        raise Invalid.field("email", problem)


def _taken() -> Taken:
    return Taken("The e-mail address has an account already.", reason="EMAIL_TAKEN")


def _bad_token() -> Invalid:
    return Invalid.field(
        "token", "does not work: it was used, replaced by a newer one, or is too old", reason="INVALID_TOKEN"
    )

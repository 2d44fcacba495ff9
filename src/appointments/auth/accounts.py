"""Accounts: register, sign in, change the profile or the password, delete the account."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import psycopg
from psycopg.rows import class_row
from uuid_utils.compat import uuid7

from appointments.auth import audit, erasure, passwords, user
from appointments.auth.account_mail import Post, said
from appointments.auth.audit import printable
from appointments.auth.identity import Authenticator
from appointments.auth.passwords import Hasher, Passwords
from appointments.auth.sessions import Device, Sessions, end_all
from appointments.auth.tokens import Clock, Tokens, utc_now
from appointments.auth.user import User
from appointments.calendar import reminders
from appointments.calendar.bookable import hours as opening
from appointments.calendar.bookable import rules
from appointments.calendar.bookable.hours import Hours
from appointments.calendar.bookable.rules import BookingRules
from appointments.db import Connection, Database
from appointments.shared import metrics, validation
from appointments.shared.errors import Invalid, NotFound, Taken, Unauthenticated, Violation
from appointments.shared.validation import ZONES

MAX_DISPLAY_NAME = 200


@dataclass(frozen=True, slots=True)
class SignIn:
    """The user who has just signed in, with the session's tokens."""

    user: User
    tokens: Tokens


class Accounts:
    """Creates accounts, signs people in, changes and deletes their accounts."""

    def __init__(
        self,
        db: Database,
        passwords: Passwords,
        sessions: Sessions,
        authenticator: Authenticator,
        *,
        post: Post | None = None,
        now: Clock = utc_now,
    ) -> None:
        self._db = db
        self._passwords = passwords
        self._sessions = sessions
        self._authenticator = authenticator
        self._post = post or Post()
        self._now = now

    async def register(self, email: str, password: str, display_name: str, device: Device) -> SignIn:
        """Create an account and sign in.

        Raises:
            Invalid: a field is out of bounds; each is named.
            Taken: the address has an account (EMAIL_TAKEN).
            Unavailable: too many passwords are waiting.
        """
        if bad := violations(email, password, display_name):
            raise Invalid(bad)
        with self._passwords.slot() as hasher:
            password_hash = await hasher.hash(password)
        now = self._now()
        newcomer = User(uuid7(), validation.fold_email(email), display_name, "UTC", now, now)

        async def create(connection: Connection) -> Tokens | None:
            await user.insert(connection, newcomer, password_hash)
            await audit.record(connection, "account.created", newcomer.id, actor_id=newcomer.id)
            await self._post.send_link(connection, newcomer.id, "verify", newcomer.email, now)
            return await self._sessions.open(connection, newcomer.id, password_hash, device)

        try:
            tokens = await self._db.transact(create)
        except psycopg.errors.UniqueViolation as error:
            if error.diag.constraint_name != "users_email":
                raise
            metrics.SIGN_INS.labels("address_taken").inc()
            raise Taken("The e-mail address has an account already.", reason="EMAIL_TAKEN") from None
        if tokens is None:
            raise AssertionError("the password cannot have changed: only this transaction sees the account")
        metrics.SIGN_INS.labels("registered").inc()
        return SignIn(newcomer, tokens)

    async def login(self, email: str, password: str, device: Device) -> SignIn:
        """Sign in. An unknown address gets the same answer as a wrong password, and takes the same time.

        Raises:
            Invalid: a field is missing.
            Unauthenticated: it is not the password of an account (WRONG_CREDENTIALS), or the account is disabled
                (USER_DISABLED).
            Unavailable: too many passwords are waiting.
        """
        if missing := [name for name, value in (("email", email), ("password", password)) if not value]:
            raise Invalid([Violation(name, "is required") for name in missing])
        with self._passwords.slot() as hasher:
            user_id, password_hash = await self._find(email) or (None, None)
            is_right = await hasher.verify(password, password_hash)
        signed_in = None
        try:
            if is_right and user_id and password_hash:
                signed_in = await self._enter(user_id, password_hash, device)
        except Unauthenticated as fault:
            await self._note_failure(user_id, fault.reason)
            raise
        metrics.SIGN_INS.labels("signed_in" if signed_in else "wrong_credentials").inc()
        if signed_in is None:
            await self._note_failure(user_id, "WRONG_CREDENTIALS")
            raise Unauthenticated("Unknown e-mail address or wrong password.", reason="WRONG_CREDENTIALS")
        return signed_in

    async def _note_failure(self, user_id: UUID | None, reason: str) -> None:
        # The same statement whether or not the address has an account, so that the time tells nothing.
        async with self._db.connection() as connection:
            await audit.record(connection, "sign_in.failed", user_id, reason=reason.lower())

    async def _enter(self, user_id: UUID, password_hash: str, device: Device) -> SignIn | None:
        async def work(connection: Connection) -> SignIn | None:
            is_known = not self._post.is_on or await self._sessions.knows(connection, user_id, device)
            tokens = await self._sessions.open(connection, user_id, password_hash, device)
            person = await user.find(connection, user_id)
            if person and person.disabled:
                # Only who knows the password is told.
                raise Unauthenticated("The account is disabled.", reason="USER_DISABLED")
            if tokens is None or person is None:
                return None
            if not is_known:
                told = {"device": printable(device.user_agent), "address": device.address, "at": said(self._now())}
                await self._post.tell(connection, user_id, "new_device", **told)
            return SignIn(person, tokens)

        return await self._db.transact(work)

    async def get(self, user_id: UUID) -> User:
        """Read the caller's own account.

        Raises:
            Unauthenticated: the account has been deleted (SESSION_ENDED).
        """
        async with self._db.connection() as connection:
            return _existing(await user.find(connection, user_id))

    async def update(
        self,
        user_id: UUID,
        *,
        display_name: str | None = None,
        time_zone: str | None = None,
        hours: Hours | None = None,
        booking_rules: BookingRules | None = None,
        default_reminders: Sequence[int] | None = None,
    ) -> User:
        """Change what is given; an empty time zone resets it to UTC.

        Raises:
            Invalid: a field is out of bounds; each is named.
        """
        bad = profile_violations(display_name or "", time_zone or "UTC")
        bad += opening.violations(hours, "user.hours") if hours else []
        bad += rules.violations(booking_rules, "user.booking_rules") if booking_rules else []
        bad += reminders.violations(default_reminders or (), "user.default_reminders")
        if bad:
            raise Invalid(bad)
        given = (display_name, time_zone, hours, booking_rules, default_reminders)
        if all(each is None for each in given):
            return await self.get(user_id)
        async with self._db.connection() as connection:
            cursor = await connection.cursor(row_factory=class_row(User)).execute(
                f"""
                UPDATE users SET updated_at = %(now)s, display_name = coalesce(%(display_name)s, display_name),
                    time_zone = coalesce(%(time_zone)s, time_zone),
                    hours = CASE WHEN %(with_hours)s THEN %(hours)s::jsonb ELSE hours END,
                    booking_rules = CASE WHEN %(with_rules)s THEN %(rules)s::jsonb ELSE booking_rules END,
                    default_reminders = CASE
                        WHEN %(with_reminders)s THEN %(reminders)s::integer[] ELSE default_reminders
                    END
                WHERE id = %(id)s RETURNING {user.COLUMNS}
                """,
                {
                    "id": user_id,
                    "now": self._now(),
                    "display_name": display_name,
                    "time_zone": "UTC" if time_zone == "" else time_zone,
                    "with_hours": hours is not None,
                    "hours": hours.dumps() if hours else None,
                    "with_rules": booking_rules is not None,
                    "rules": booking_rules.dumps() if booking_rules else None,
                    "with_reminders": default_reminders is not None,
                    "reminders": list(default_reminders) if default_reminders else None,
                },
            )
            return _existing(await cursor.fetchone())

    async def change_password(self, user_id: UUID, session_id: UUID | None, current: str, new: str) -> None:
        """Change the password and end every session but this one.

        Raises:
            Invalid: the new password is out of bounds, or the current one is wrong (WRONG_PASSWORD).
            Unavailable: too many passwords are waiting.
        """
        bad = [("current_password", None if current else "is required"), ("new_password", passwords.problem(new))]
        if any(problem for _, problem in bad):
            raise Invalid([Violation(field, problem) for field, problem in bad if problem])
        with self._passwords.slot() as hasher:
            old_hash = await self._verify_password(hasher, user_id, "current_password", current)
            new_hash = await hasher.hash(new)

        async def change(connection: Connection) -> list[UUID] | None:
            now = self._now()
            if not await _replace_hash(connection, user_id, old_hash, new_hash, now):
                return None
            await audit.record(connection, "password.changed", user_id)
            await self._post.tell(connection, user_id, "password_changed", at=said(now))
            return list(await end_all(connection, user_id, "password_changed", now, but=session_id))

        ended = await self._db.transact(change)
        if ended is None:
            raise _wrong_password("current_password")
        self._authenticator.forget(ended)

    async def replace_password(self, user_id: UUID, new: str) -> None:
        """Set a password for somebody who has lost theirs, as an operator does, and sign them out everywhere.

        Raises:
            Invalid: the new password is out of bounds.
            NotFound: there is no such user, or none who signs in.
        """
        if problem := passwords.problem(new):
            raise Invalid.field("new_password", problem)
        with self._passwords.slot() as hasher:
            new_hash = await hasher.hash(new)

        async def work(connection: Connection) -> list[UUID]:
            now = self._now()
            cursor = await connection.execute(
                "UPDATE users SET password_hash = %(hash)s, updated_at = %(now)s"
                " WHERE id = %(id)s AND password_hash IS NOT NULL",
                {"id": user_id, "hash": new_hash, "now": now},
            )
            if not cursor.rowcount:
                raise NotFound("There is no such user who signs in.")
            await audit.record(connection, "password.changed", user_id, by="operator")
            await self._post.tell(connection, user_id, "password_changed", at=said(now))
            return list(await end_all(connection, user_id, "password_changed", now))

        self._authenticator.forget(await self._db.transact(work))

    async def check_password(self, user_id: UUID, password: str) -> None:
        """Check that whoever calls knows the account's password.

        Raises:
            Invalid: the password is missing or wrong (WRONG_PASSWORD).
            Unavailable: too many passwords are waiting.
        """
        if not password:
            raise Invalid.field("password", "is required")
        with self._passwords.slot() as hasher:
            await self._verify_password(hasher, user_id, "password", password)

    async def delete(self, user_id: UUID, password: str) -> None:
        """Delete the account and everything in it, for good.

        Raises:
            Invalid: the password is missing or wrong (WRONG_PASSWORD).
            Unavailable: too many passwords are waiting.
        """
        if not password:
            raise Invalid.field("password", "is required")
        with self._passwords.slot() as hasher:
            password_hash = await self._verify_password(hasher, user_id, "password", password)
        self._authenticator.forget(
            await self._db.transact(
                lambda connection: _erase(connection, user_id, password_hash, mail_is_on=self._post.is_on)
            )
        )

    async def _find(self, email: str) -> tuple[UUID, str | None] | None:
        # A malformed address has no account. The caller still pays for one password check, like everybody else.
        if validation.email_problem(email):
            return None
        async with self._db.connection() as connection:
            cursor = await connection.execute(
                "SELECT id, password_hash FROM users WHERE email = %(email)s", {"email": validation.fold_email(email)}
            )
            return await cursor.fetchone()

    async def _verify_password(self, hasher: Hasher, user_id: UUID, field: str, password: str) -> str:
        async with self._db.connection() as connection:
            cursor = await connection.execute("SELECT password_hash FROM users WHERE id = %(id)s", {"id": user_id})
            row = await cursor.fetchone()
        if row is None:
            raise _account_deleted()
        password_hash: str | None = row[0]
        if password_hash is None or not await hasher.verify(password, password_hash):
            raise _wrong_password(field)
        return password_hash


def violations(email: str, password: str, display_name: str) -> list[Violation]:
    """List everything that is wrong with a registration."""
    found = [("email", validation.email_problem(email)), ("password", passwords.problem(password))]
    fields = [Violation(field, problem) for field, problem in found if problem]
    return fields + profile_violations(display_name, "UTC")


def profile_violations(display_name: str, time_zone: str) -> list[Violation]:
    """List what is wrong with what a user says of themselves."""
    found = []
    if problem := validation.problem(display_name, most=MAX_DISPLAY_NAME):
        found.append(Violation("display_name", problem))
    if time_zone not in ZONES:
        found.append(Violation("time_zone", "must be an IANA time zone, such as Europe/Vienna"))
    return found


async def _replace_hash(connection: Connection, user_id: UUID, old: str, new: str, now: datetime) -> bool:
    # Only if the hash is still the one that was checked: the second of two changes at once was checked against a
    # password that is no longer current.
    cursor = await connection.execute(
        "UPDATE users SET password_hash = %(new)s, updated_at = %(now)s WHERE id = %(id)s AND password_hash = %(old)s",
        {"id": user_id, "old": old, "new": new, "now": now},
    )
    return cursor.rowcount == 1


async def _erase(connection: Connection, user_id: UUID, password_hash: str, *, mail_is_on: bool = False) -> list[UUID]:
    await erasure.lock(connection, user_id)
    cursor = await connection.execute(
        "SELECT FROM users WHERE id = %(id)s AND password_hash = %(password_hash)s",
        {"id": user_id, "password_hash": password_hash},
    )
    if not cursor.rowcount:
        # Another request came first: the password has changed, or the account is gone.
        _existing(await user.find(connection, user_id))
        raise _wrong_password("password")
    return await erasure.erase(connection, user_id, actor_id=user_id, mail_is_on=mail_is_on)


def _existing(person: User | None) -> User:
    if person is None:
        raise _account_deleted()
    return person


def _account_deleted() -> Unauthenticated:
    return Unauthenticated("The account has been deleted.", reason="SESSION_ENDED")


def _wrong_password(field: str) -> Invalid:
    return Invalid.field(field, "is not your password", reason="WRONG_PASSWORD")

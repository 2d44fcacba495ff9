"""The users of a deployment, as its admins see to them: managed users, service accounts, roles, and who is shut out.

A managed user never signs in: a backend knows them by an external id and acts for them. A service account is a program;
it has keys. One admin who can sign in always stays, unless they end their own account.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb
from uuid_utils.compat import uuid7

from appointments.auth import audit, erasure, keys, user
from appointments.auth.accounts import profile_violations
from appointments.auth.identity import Authenticator
from appointments.auth.keys import KeySpec, NewKey
from appointments.auth.sessions import end_all
from appointments.auth.tokens import Clock, utc_now
from appointments.auth.user import User
from appointments.calendar.bookable import hours as opening
from appointments.calendar.bookable import rules
from appointments.calendar.bookable.hours import Hours
from appointments.calendar.bookable.rules import BookingRules
from appointments.db import Connection, Database, paging
from appointments.shared import validation
from appointments.shared.errors import Invalid, NotFound, Taken, Unmet, Violation

DEFAULT_PAGE = 50
MAX_PAGE = 1000
MAX_EXTERNAL_ID = 200

CHANGEABLE = ("display_name", "time_zone", "external_id", "role", "disabled", "hours", "booking_rules")

_ADMINS_TURN = 0x61646D696E
"""The advisory lock's number, "admin" in ASCII: who changes or deletes users has it, so that two admins who do the same
to each other at once do not both find another one left."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the list, and the token that goes on after it ("" on the last)."""

    users: list[User]
    next_token: str


class Directory:
    """What admins do with users. Who is one is judged before: see :mod:`appointments.api.scopes`."""

    def __init__(
        self, db: Database, authenticator: Authenticator, *, mail_is_on: bool = False, now: Clock = utc_now
    ) -> None:
        self._db = db
        self._authenticator = authenticator
        self._mail_is_on = mail_is_on
        self._now = now

    async def create(self, *, display_name: str, time_zone: str, external_id: str, email: str) -> User:
        """Make a managed user. Everything may be "".

        Raises:
            Invalid: a field is out of bounds; each is named.
            Taken: somebody has the address (EMAIL_TAKEN) or the external id (EXTERNAL_ID_TAKEN).
        """
        now = self._now()
        newcomer = User(
            uuid7(), validation.fold_email(email), display_name, time_zone or "UTC", now, now, external_id=external_id
        )
        if bad := _violations(newcomer):
            raise Invalid(bad)
        await self._insert(newcomer)
        return newcomer

    async def create_service_account(self, display_name: str, spec: KeySpec) -> tuple[User, NewKey]:
        """Make a service account and its first key.

        Raises:
            Invalid: a field is out of bounds; each is named.
        """
        now = self._now()
        newcomer = User(uuid7(), "", display_name, "UTC", now, now, kind="service_account")
        problem = validation.problem(display_name, least=1, most=keys.MAX_DISPLAY_NAME)
        bad = [Violation("display_name", problem)] if problem else []
        if bad := bad + keys.violations(spec, now):
            raise Invalid(bad)

        async def work(connection: Connection) -> NewKey:
            await user.insert(connection, newcomer)
            await audit.record(connection, "account.created", newcomer.id, kind="service_account")
            return await keys.insert(connection, newcomer.id, spec, now)

        return newcomer, await self._db.transact(work)

    async def get(self, user_id: UUID | None = None, *, external_id: str = "") -> User:
        """Read a user, by id or by external id.

        Raises:
            NotFound: there is none.
        """
        async with self._db.connection() as connection:
            cursor = await connection.cursor(row_factory=class_row(User)).execute(
                f"SELECT {user.COLUMNS} FROM users WHERE id = %(id)s OR external_id = %(external_id)s",
                {"id": user_id, "external_id": external_id or None},
            )
            return _existing(await cursor.fetchone())

    async def page(self, *, size: int = 0, token: str = "") -> Page:
        """List users and service accounts, the oldest first: ``size`` (50 if 0, 1,000 at most) after ``token``.

        Raises:
            Invalid: the size is negative, or the token belongs to another list.
        """
        after = paging.decode(token, "users") if token else None
        bad = [Violation("page_size", "must not be negative")] if size < 0 else []
        if token and after is None:
            bad.append(Violation("page_token", "is not a page token of this list"))
        if bad:
            raise Invalid(bad)
        limit = min(size or DEFAULT_PAGE, MAX_PAGE)
        async with self._db.connection() as connection:
            cursor = await connection.cursor(row_factory=class_row(User)).execute(
                f"""
                SELECT {user.COLUMNS} FROM users
                WHERE %(after_time)s::timestamptz IS NULL OR (created_at, id) > (%(after_time)s, %(after_id)s)
                ORDER BY created_at, id LIMIT %(limit)s
                """,
                {
                    "after_time": after.start_at if after else None,
                    "after_id": after.id if after else None,
                    "limit": limit + 1,
                },
            )
            found = await cursor.fetchall()
        if len(found) <= limit:
            return Page(found, "")
        last = found[limit - 1]
        return Page(found[:limit], paging.encode(paging.Key(last.created_at, last.id), "users"))

    async def update(self, user_id: UUID, changes: dict[str, Any]) -> User:
        """Change what is given of :data:`CHANGEABLE`. Who is disabled is signed out everywhere.

        Raises:
            Invalid: a field is out of bounds; each is named.
            NotFound: there is no such user.
            Taken: another user has the external id (EXTERNAL_ID_TAKEN).
            Unmet: no admin who can sign in would be left (LAST_ADMIN).
        """

        async def work(connection: Connection) -> tuple[User, Sequence[UUID]]:
            await _take_turn(connection)
            current = _existing(await _locked(connection, user_id))
            wanted = replace(current, **{field: _stored(value) for field, value in changes.items()})
            if bad := _violations(wanted) + _bookable_violations(changes):
                raise Invalid(bad)
            if wanted == current:
                return current, ()
            had = await _has_admin(connection)
            changed = await self._rewrite(connection, wanted)
            await _check_admins(connection, had=had)
            if wanted.role != current.role:
                await audit.record(connection, "role.changed", user_id, role=wanted.role)
            if wanted.disabled != current.disabled:
                await audit.record(connection, "account.disabled" if wanted.disabled else "account.enabled", user_id)
            if not wanted.disabled or current.disabled:
                return changed, ()
            return changed, await end_all(connection, user_id, "user_disabled", self._now())

        with _what_is_taken():
            changed, ended = await self._db.transact(work)
        self._authenticator.forget(ended)
        await self._forget(user_id)
        return changed

    async def delete(self, user_id: UUID, *, actor_id: UUID) -> None:
        """Delete a user and everything in the account, for good.

        Raises:
            NotFound: there is no such user.
            Unmet: no admin who can sign in would be left (LAST_ADMIN).
        """

        async def work(connection: Connection) -> tuple[list[UUID], list[bytes]]:
            await _take_turn(connection)
            await erasure.lock(connection, user_id)
            _existing(await user.find(connection, user_id))
            had, digests = await _has_admin(connection), await _digests(connection, user_id)
            ended = await erasure.erase(connection, user_id, actor_id=actor_id, mail_is_on=self._mail_is_on)
            await _check_admins(connection, had=had)
            return ended, digests

        ended, digests = await self._db.transact(work)
        self._authenticator.forget(ended)
        self._authenticator.forget_keys(digests)
        self._authenticator.forget_user(user_id)

    async def _insert(self, newcomer: User) -> None:
        async def work(connection: Connection) -> None:
            await user.insert(connection, newcomer)
            await audit.record(connection, "account.created", newcomer.id, kind="managed")

        with _what_is_taken():
            await self._db.transact(work)

    async def _rewrite(self, connection: Connection, wanted: User) -> User:
        cursor = await connection.cursor(row_factory=class_row(User)).execute(
            f"""
            UPDATE users SET display_name = %(display_name)s, time_zone = %(time_zone)s,
                external_id = nullif(%(external_id)s, ''), role = %(role)s,
                disabled_at = CASE WHEN %(disabled)s THEN coalesce(disabled_at, %(now)s) END, updated_at = %(now)s,
                hours = %(hours)s, booking_rules = %(booking_rules)s
            WHERE id = %(id)s RETURNING {user.COLUMNS}
            """,
            {field: getattr(wanted, field) for field in ("id", *CHANGEABLE)}
            | {
                "now": self._now(),
                "hours": Jsonb(wanted.hours) if wanted.hours else None,
                "booking_rules": Jsonb(wanted.booking_rules) if wanted.booking_rules else None,
            },
        )
        return _existing(await cursor.fetchone())

    async def _forget(self, user_id: UUID) -> None:
        async with self._db.connection() as connection:
            self._authenticator.forget_keys(await _digests(connection, user_id))
        self._authenticator.forget_user(user_id)


async def grant_admin(db: Database, email: str) -> bool:
    """Make the person with an address an admin; False: nobody has it. The command line does it for the first one."""

    async def work(connection: Connection) -> bool:
        cursor = await connection.execute(
            "UPDATE users SET role = 'admin', updated_at = now() WHERE email = %(email)s RETURNING id",
            {"email": validation.fold_email(email)},
        )
        if row := await cursor.fetchone():
            await audit.record(connection, "role.changed", row[0], role="admin")
        return row is not None

    return await db.transact(work)


def _stored(value: Any) -> Any:
    return value.to_json() if isinstance(value, Hours | BookingRules) else value


def _bookable_violations(changes: dict[str, Any]) -> list[Violation]:
    bad = opening.violations(changes["hours"], "user.hours") if "hours" in changes else []
    if "booking_rules" in changes:
        bad += rules.violations(changes["booking_rules"], "user.booking_rules")
    return bad


def _violations(wanted: User) -> list[Violation]:
    bad = profile_violations(wanted.display_name, wanted.time_zone)
    if wanted.email and (problem := validation.email_problem(wanted.email)):
        bad.append(Violation("email", problem))
    if problem := validation.problem(wanted.external_id, most=MAX_EXTERNAL_ID):
        bad.append(Violation("external_id", problem))
    elif wanted.external_id and not wanted.external_id.strip():
        bad.append(Violation("external_id", "must not be blank"))
    if wanted.role not in {"user", "admin"}:
        bad.append(Violation("role", "must be a known role"))
    if wanted.kind == "service_account":
        if not wanted.display_name.strip():
            bad.append(Violation("display_name", "is required of a service account"))
        if wanted.external_id:
            bad.append(Violation("external_id", "must be empty: a service account is no managed user"))
        if wanted.role == "admin":
            bad.append(Violation("role", "must not be admin: what a service account may do its keys’ scopes say"))
    return [Violation(f"user.{each.field}", each.description) for each in bad]


async def _take_turn(connection: Connection) -> None:
    await connection.execute("SELECT pg_advisory_xact_lock(%(number)s)", {"number": _ADMINS_TURN})


async def _locked(connection: Connection, user_id: UUID) -> User | None:
    cursor = await connection.cursor(row_factory=class_row(User)).execute(
        f"SELECT {user.COLUMNS} FROM users WHERE id = %(id)s FOR NO KEY UPDATE", {"id": user_id}
    )
    return await cursor.fetchone()


async def _has_admin(connection: Connection) -> bool:
    cursor = await connection.execute(
        "SELECT FROM users WHERE role = 'admin' AND disabled_at IS NULL AND password_hash IS NOT NULL LIMIT 1"
    )
    return cursor.rowcount == 1


async def _check_admins(connection: Connection, *, had: bool) -> None:
    """See that somebody is left who can sign in as an admin, if there was one."""
    if had and not await _has_admin(connection):
        raise Unmet("No admin who can sign in would be left.", reason="LAST_ADMIN")


async def _digests(connection: Connection, user_id: UUID) -> list[bytes]:
    cursor = await connection.execute("SELECT digest FROM keys WHERE user_id = %(id)s", {"id": user_id})
    return [row[0] for row in await cursor.fetchall()]


def _existing(found: User | None) -> User:
    if found is None:
        raise NotFound("There is no such user.")
    return found


@contextmanager
def _what_is_taken() -> Iterator[None]:
    """Say in words what a unique index refuses."""
    try:
        yield
    except psycopg.errors.UniqueViolation as error:
        if error.diag.constraint_name == "users_email":
            raise Taken("The e-mail address has an account already.", reason="EMAIL_TAKEN") from None
        if error.diag.constraint_name == "users_external_id":
            raise Taken("Another user has the external id.", reason="EXTERNAL_ID_TAKEN") from None
        raise

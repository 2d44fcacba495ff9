"""Keys: how a program calls without a person's password. A key does what its scopes say, for the user it belongs to.

The secret leaves the service once, when the key is made; the database has its digest. A key that is revoked is deleted:
it stops working everywhere within 5 seconds (:mod:`~appointments.auth.identity`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row
from uuid_utils.compat import uuid7

from appointments.auth import audit, secret
from appointments.auth.identity import Authenticator
from appointments.auth.tokens import Clock, utc_now
from appointments.db import Connection, Database
from appointments.shared import validation
from appointments.shared.errors import Denied, Invalid, NotFound, Unauthenticated, Unmet, Violation

READ = "appointments.read"
WRITE = "appointments.write"
RESOURCES = "resources.write"
ADMIN = "admin"
SCOPES = (READ, WRITE, RESOURCES, ADMIN)
"""What a key may be allowed: WRITE includes READ; ADMIN is for AdminService, and for acting for users."""

MAX_LIVE = 50
MAX_DISPLAY_NAME = 200


@dataclass(frozen=True, slots=True)
class KeySpec:
    """What a key is to be. ``expires_at`` None is never."""

    display_name: str
    scopes: Sequence[str]
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """A key, without its secret. ``last_used_at`` is exact to about a minute."""

    id: UUID
    display_name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that has just been made, with the secret that nobody can be told again."""

    key: Key
    secret: str


class Keys:
    """Makes, lists and revokes keys: a user's own, and for admins those of service accounts."""

    def __init__(self, db: Database, authenticator: Authenticator, *, now: Clock = utc_now) -> None:
        self._db = db
        self._authenticator = authenticator
        self._now = now

    async def create(
        self, user_id: UUID, spec: KeySpec, *, service_account_id: UUID | None = None, is_admin: bool = False
    ) -> NewKey:
        """Make a key for the user, or for a service account.

        Raises:
            Invalid: a field is out of bounds; each is named.
            Denied: the scope ``admin``, or a service account's key, and the user is no admin (NOT_AN_ADMIN).
            NotFound: there is no such service account.
            Unmet: there are 50 live keys already (TOO_MANY_KEYS).
        """
        now = self._now()
        if found := violations(spec, now):
            raise Invalid(found)
        if ADMIN in spec.scopes and not is_admin:
            raise Denied("Only admins may make keys with the scope admin.", reason="NOT_AN_ADMIN")
        holder_id = _holder(user_id, service_account_id, is_admin=is_admin)

        async def work(connection: Connection) -> NewKey:
            await _lock(connection, holder_id, is_program=service_account_id is not None)
            return await insert(connection, holder_id, spec, now)

        return await self._db.transact(work)

    async def list(
        self, user_id: UUID, *, service_account_id: UUID | None = None, is_admin: bool = False
    ) -> Sequence[Key]:
        """List live and expired keys of the user, or of a service account, the newest first.

        Raises:
            Denied: a service account's, and the user is no admin (NOT_AN_ADMIN).
            NotFound: there is no such service account.
        """
        holder_id = _holder(user_id, service_account_id, is_admin=is_admin)
        async with self._db.connection() as connection:
            if service_account_id:
                cursor = await connection.execute(
                    "SELECT FROM users WHERE id = %(id)s AND kind = 'service_account'", {"id": holder_id}
                )
                if not cursor.rowcount:
                    raise _no_service_account()
            keys = await connection.cursor(row_factory=class_row(Key)).execute(
                """
                SELECT id, display_name, scopes, created_at, expires_at, last_used_at FROM keys
                WHERE user_id = %(user_id)s ORDER BY created_at DESC, id DESC
                """,
                {"user_id": holder_id},
            )
            return await keys.fetchall()

    async def revoke(self, user_id: UUID, key_id: UUID, *, is_admin: bool = False) -> None:
        """End one of the user's keys; an admin may end a service account's.

        Raises:
            NotFound: there is no such key.
        """
        async with self._db.connection() as connection:
            cursor = await connection.execute(
                f"""
                WITH revoked AS (
                    DELETE FROM keys USING users
                    WHERE keys.id = %(id)s AND users.id = keys.user_id
                      AND (user_id = %(user_id)s OR (%(is_admin)s AND users.kind = 'service_account'))
                    RETURNING digest, keys.id, user_id
                ), audited AS (
                    INSERT INTO audit ({audit.COLUMNS})
                    SELECT {audit.FACTS}, user_id, jsonb_build_object('key', id) || %(audit_extra)s::jsonb FROM revoked
                )
                SELECT digest FROM revoked
                """,
                {"id": key_id, "user_id": user_id, "is_admin": is_admin} | audit.facts("key.revoked", actor_id=user_id),
            )
            rows = await cursor.fetchall()
        if not rows:
            raise NotFound("You have no such key.")
        self._authenticator.forget_keys(row[0] for row in rows)


def violations(spec: KeySpec, now: datetime) -> list[Violation]:
    """Every rule that a new key breaks."""
    found = []
    if problem := validation.problem(spec.display_name, least=1, most=MAX_DISPLAY_NAME):
        found.append(Violation("key.display_name", problem))
    if not spec.scopes:
        found.append(Violation("key.scopes", f"is required: at least one of {', '.join(SCOPES)}"))
    for index, scope in enumerate(spec.scopes):
        if scope not in SCOPES:
            found.append(Violation(f"key.scopes[{index}]", f"must be one of {', '.join(SCOPES)}"))
        elif scope in spec.scopes[:index]:
            found.append(Violation(f"key.scopes[{index}]", "is there already"))
        if index == len(SCOPES):
            break  # however many follow, one of those named so far was there twice or is unknown
    if spec.expires_at is not None and spec.expires_at <= now:
        found.append(Violation("key.expire_time", "must be a valid time in the future"))
    return found


async def insert(connection: Connection, holder_id: UUID, spec: KeySpec, now: datetime) -> NewKey:
    """Make a key for a user whose row is locked.

    Raises:
        Unmet: there are 50 live keys already (TOO_MANY_KEYS).
    """
    made = NewKey(Key(uuid7(), spec.display_name, list(spec.scopes), now, spec.expires_at, None), secret.new())
    cursor = await connection.execute(
        """
        INSERT INTO keys (id, user_id, digest, display_name, scopes, created_at, expires_at)
        SELECT %(id)s, %(user_id)s, %(digest)s, %(display_name)s, %(scopes)s, %(now)s, %(expires_at)s
        WHERE %(most)s > (
            SELECT count(*) FROM keys
            WHERE user_id = %(user_id)s AND (expires_at IS NULL OR expires_at > %(now)s)
        )
        """,
        {
            "id": made.key.id,
            "user_id": holder_id,
            "digest": secret.digest(made.secret),
            "display_name": spec.display_name,
            "scopes": list(spec.scopes),
            "now": now,
            "expires_at": spec.expires_at,
            "most": MAX_LIVE,
        },
    )
    if not cursor.rowcount:
        raise Unmet(f"There are {MAX_LIVE} live keys already: revoke one first.", reason="TOO_MANY_KEYS")
    await audit.record(connection, "key.created", holder_id, key=str(made.key.id), scopes=made.key.scopes)
    return made


async def _lock(connection: Connection, holder_id: UUID, *, is_program: bool) -> None:
    # Two calls at once would both count 49 keys.
    cursor = await connection.execute(
        "SELECT FROM users WHERE id = %(id)s AND (NOT %(is_program)s OR kind = 'service_account') FOR NO KEY UPDATE",
        {"id": holder_id, "is_program": is_program},
    )
    if cursor.rowcount:
        return
    raise _no_service_account() if is_program else Unauthenticated("The account has been deleted.")


def _holder(user_id: UUID, service_account_id: UUID | None, *, is_admin: bool) -> UUID:
    if service_account_id is None:
        return user_id
    if not is_admin:
        raise Denied("Only admins may see to the keys of service accounts.", reason="NOT_AN_ADMIN")
    return service_account_id


def _no_service_account() -> NotFound:
    return NotFound("There is no such service account.")

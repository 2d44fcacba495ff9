"""Who may see, book or manage a resource. Only its managers may read this. A resource always has a manager."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from appointments.calendar import log, resources
from appointments.calendar.log import BY_OWNER, Cause
from appointments.calendar.resource import Role
from appointments.db import Connection, Database, Statement, paging
from appointments.shared.errors import Denied, Invalid, Violation
from appointments.shared.validation import email_problem, fold_email

MAX_PAGE = 1_000

_NOBODY = UUID(int=0)


class Access(NamedTuple):
    """The role granted to one person. ``email`` is "" for an account without an address."""

    user_id: UUID
    email: str
    display_name: str
    role: int


class Page(NamedTuple):
    """Some of them, and the token of the page that follows, "" on the last."""

    access: Sequence[Access]
    next_token: str


async def page(
    db: Database, user_id: UUID, resource_id: UUID, *, is_admin: bool = False, size: int = 0, token: str = ""
) -> Page:
    """Who was granted a role, by address and then by id: ``size`` of them (1,000 if 0, and at most) after ``token``.

    Accounts without an address come last.

    Raises:
        Invalid: the size is negative, or the token belongs to another list.
        NotFound: the user sees no such live resource.
        Denied: the user does not manage it.
    """
    listing = ("access", resource_id)
    bad = [Violation("page_size", "must not be negative")] if size < 0 else []
    after = paging.unseal_name(token, listing) if token else (_NOBODY, "")
    if after is None:
        bad.append(Violation("page_token", "is not a page token of this list"))
    if bad or after is None:
        raise Invalid(bad)
    seen = await resources.get(db, user_id, resource_id, is_admin=is_admin)
    if seen.role < Role.MANAGER:
        raise Denied("You do not manage the resource.", reason="NOT_A_MANAGER")
    limit = min(size or MAX_PAGE, MAX_PAGE)
    after_id, after_email = after
    values = {
        "resource_id": resource_id,
        # Whoever has no address comes last; the first page begins before everybody.
        "after_has_none": bool(token) and not after_email,
        "after_email": after_email,
        "after_id": after_id,
        "limit": limit + 1,
    }
    found = [Access._make(row) for row in await db.fetch(LIST, values)]
    if len(found) <= limit:
        return Page(found, "")
    last = found[limit - 1]
    return Page(found[:limit], paging.seal_name(last.user_id, last.email, listing))


LIST = Statement(
    """
    SELECT users.id, coalesce(email, ''), display_name, resource_grants.role
    FROM resource_grants JOIN users ON users.id = user_id
    WHERE resource_id = %(resource_id)s::uuid
      AND (email IS NULL, coalesce(email, '') COLLATE "C", users.id)
          > (%(after_has_none)s::boolean, %(after_email)s::text COLLATE "C", %(after_id)s::uuid)
    ORDER BY email IS NULL, coalesce(email, '') COLLATE "C", users.id
    LIMIT %(limit)s::integer
    """
)


async def grant(
    db: Database,
    user_id: UUID,
    resource_id: UUID,
    whom: str | UUID,
    role: int,
    *,
    is_admin: bool = False,
    cause: Cause = BY_OWNER,
) -> None:
    """Grant a role to somebody, named by address or by id. The role NONE revokes it.

    With an id, callers could learn the name and address behind it. So only callers who administer users may use ids.

    Raises:
        Invalid: the role is unknown, or nobody has that address or id.
        NotFound: the user sees no such live resource.
        Denied: the user does not manage it.
        Unmet: it would be left without a manager (LAST_MANAGER).
    """
    field = "email" if isinstance(whom, str) else "user_id"
    if isinstance(whom, str) and (problem := email_problem(whom)):
        raise Invalid.field(field, problem)
    if role not in set(Role):
        raise Invalid.field("role", "must be a known role")

    async def work(connection: Connection) -> None:
        await resources.lock(connection, user_id, resource_id, is_admin=is_admin)
        values = {
            "resource_id": resource_id,
            "email": fold_email(whom) if isinstance(whom, str) else None,
            "grantee_id": None if isinstance(whom, str) else whom,
            "role": role,
        }
        rows = await connection.fetch(GRANT if role else REVOKE, values)
        if not rows:
            raise Invalid.field(field, "has no account here")
        await resources.check_managed(connection, resource_id)
        await log.write_resource(
            connection, resource_id, "resource.access", actor_id=user_id, cause=cause, also=rows[0][0]
        )

    await db.transact(work)


GRANT = Statement(
    """
    INSERT INTO resource_grants (resource_id, user_id, role)
    SELECT %(resource_id)s::uuid, id, %(role)s::integer FROM users
    WHERE email = %(email)s::text OR id = %(grantee_id)s::uuid
    ON CONFLICT ON CONSTRAINT resource_grants_pkey DO UPDATE SET role = excluded.role
    RETURNING user_id
    """
)
REVOKE = Statement(
    """
    WITH account AS (
        SELECT id FROM users WHERE email = %(email)s::text OR id = %(grantee_id)s::uuid
    ), revoked AS (
        DELETE FROM resource_grants USING account WHERE resource_id = %(resource_id)s::uuid AND user_id = account.id
    )
    SELECT id FROM account
    """
)

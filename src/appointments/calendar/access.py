"""Who may see, book or manage a resource. Only its managers may read this. A resource always has a manager."""

from typing import NamedTuple
from uuid import UUID

from appointments.calendar import log, resources
from appointments.calendar.log import BY_OWNER, Cause
from appointments.calendar.resource import Role
from appointments.db import Connection, Database, Statement
from appointments.shared.errors import Denied, Invalid
from appointments.shared.validation import email_problem, fold_email


class Access(NamedTuple):
    """The role granted to one person. ``email`` is "" for an account without an address."""

    user_id: UUID
    email: str
    display_name: str
    role: int


async def page(db: Database, user_id: UUID, resource_id: UUID, *, is_admin: bool = False) -> list[Access]:
    """Everybody who was granted a role, ordered by address.

    Raises:
        NotFound: the user sees no such live resource.
        Denied: the user does not manage it.
    """
    seen = await resources.get(db, user_id, resource_id, is_admin=is_admin)
    if seen.role < Role.MANAGER:
        raise Denied("You do not manage the resource.", reason="NOT_A_MANAGER")
    return [Access._make(row) for row in await db.fetch(LIST, {"resource_id": resource_id})]


LIST = Statement(
    """
    SELECT users.id, coalesce(email, ''), display_name, resource_grants.role
    FROM resource_grants JOIN users ON users.id = user_id
    WHERE resource_id = %(resource_id)s::uuid
    ORDER BY email COLLATE "C", users.id
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

"""Writing the log of changes: one row for each calendar that shows what has changed.

The statement that makes a change also writes its rows, so neither is there without the other. A calendar is a person's
or a resource's. When an appointment no longer takes a room, the followers of the room are told that, too.

Rows wait in ``new_changes`` for their position (:mod:`appointments.changes`). They are written after the changed row is
locked, so that their ids are in the order of its versions.
"""

from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID

from appointments.db import Connection, Statement


@dataclass(frozen=True, slots=True)
class Cause:
    """What makes a change: who acts for the owner (None: the owner), and by which request (its x-request-id)."""

    actor_id: UUID | None = None
    request_id: str | None = None

    @property
    def values(self) -> dict[str, Any]:
        """The named parameters that write it."""
        return {"actor_id": self.actor_id, "x_request_id": self.request_id}


BY_OWNER = Cause()


REQUEST: LiteralString = "%(x_request_id)s::text"


def of_owner(
    kind: LiteralString, rows: LiteralString, *, request: LiteralString = REQUEST, fields: LiteralString = "NULL"
) -> LiteralString:
    """A CTE ``logged``: what happened to the appointments that the CTE ``rows`` returns, for their owners alone.

    The rows have the columns of ``appointments``, and the statement the parameters of a :class:`Cause`. ``request`` and
    ``fields`` are SQL: by which request, and an array of the names of what has changed.
    """
    return f"""logged AS (
        INSERT INTO new_changes (calendar_id, kind, item_id, version, actor_id, request_id, fields, changed_at)
        SELECT owner_id, '{kind}', id, version, coalesce(actor_id, owner_id), {request}, {fields}, updated_at
        FROM {rows}
    )"""


def of_all(
    kind: LiteralString,
    rows: LiteralString,
    *,
    left: LiteralString = "NULL::uuid[]",
    fields: LiteralString = "NULL",
    actor: LiteralString = "coalesce(actor_id, owner_id)",
) -> LiteralString:
    """The same for their owners and for every resource that they take.

    Of the appointments that do not take the resources ``left`` any more, the followers of those are told that too.
    """
    return f"""logged AS (
        INSERT INTO new_changes (calendar_id, kind, item_id, version, actor_id, request_id, fields, changed_at)
        SELECT calendar_id, what, id, version, {actor}, {REQUEST}, {fields}, updated_at
        FROM {rows} CROSS JOIN LATERAL (
            SELECT owner_id, '{kind}'
            UNION ALL SELECT unnest(resource_ids), '{kind}'
            UNION ALL SELECT unnest({left}), 'appointment.removed'
        ) AS calendars (calendar_id, what)
    )"""


async def write_resource(
    connection: Connection, resource_id: UUID, kind: str, *, actor_id: UUID, cause: Cause, also: UUID | None = None
) -> None:
    """Log what happened to a resource, as its row now is, for its followers; and for one person whose role changed."""
    values = {
        "id": resource_id,
        "kind": kind,
        "by": cause.actor_id or actor_id,
        "also": also,
        "x_request_id": cause.request_id,
    }
    await connection.fetch(RESOURCE, values)


RESOURCE = Statement(
    """
    INSERT INTO new_changes (calendar_id, kind, item_id, version, actor_id, request_id, changed_at)
    SELECT calendar_id, %(kind)s::text, id, version, %(by)s::uuid, %(x_request_id)s::text, now()
    FROM resources CROSS JOIN unnest(ARRAY[id, %(also)s::uuid]) AS calendar_id
    WHERE id = %(id)s::uuid AND calendar_id IS NOT NULL
    """
)

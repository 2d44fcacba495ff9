"""The end of an account: everything in it goes for good. What others share with it stays, without it."""

from uuid import UUID

from appointments.auth import audit
from appointments.db import Connection


async def lock(connection: Connection, user_id: UUID) -> None:
    """Have an account alone until the transaction ends, in the lock order of every other path (docs/booking.md).

    Resources come first: those that the user has added forget who did. Then the subject, which bookings lock, with
    those of the people who may have accepted what goes with the account. Then the user.
    """
    await connection.execute(
        "SELECT FROM resources WHERE created_by = %(id)s ORDER BY id FOR NO KEY UPDATE", {"id": user_id}
    )
    await connection.execute(
        """
        SELECT FROM subjects WHERE id = %(id)s OR id IN (
            SELECT user_id FROM appointments JOIN invitees ON appointment_id = appointments.id WHERE owner_id = %(id)s
        )
        ORDER BY id FOR UPDATE
        """,
        {"id": user_id},
    )
    await connection.execute("SELECT FROM users WHERE id = %(id)s FOR UPDATE", {"id": user_id})


async def erase(connection: Connection, user_id: UUID, *, actor_id: UUID) -> list[UUID]:
    """Delete an account that is locked; return its sessions, for the cache to drop after the commit."""
    cursor = await connection.execute(
        "SELECT id FROM sessions WHERE user_id = %(id)s ORDER BY id FOR UPDATE", {"id": user_id}
    )
    sessions = [row[0] for row in await cursor.fetchall()]
    # Whoever follows a room learns that it is free again, and whoever was invited that it is off. What the log says to
    # the account itself goes with it.
    await connection.execute(
        """
        INSERT INTO new_changes (calendar_id, kind, item_id, version, actor_id, changed_at)
        SELECT unnest(resource_ids), 'appointment.deleted', id, version + 1, %(actor_id)s, now() FROM appointments
        WHERE owner_id = %(id)s AND deleted_at IS NULL AND resource_ids IS NOT NULL
        UNION ALL
        SELECT user_id, 'appointment.deleted', id, version + 1, %(actor_id)s, now()
        FROM appointments JOIN invitees ON appointment_id = id
        WHERE owner_id = %(id)s AND user_id IS NOT NULL
        """,
        {"id": user_id, "actor_id": actor_id},
    )
    await audit.forget(connection, user_id)
    await audit.record(connection, "account.deleted", user_id, actor_id=actor_id)
    await connection.execute("DELETE FROM changes WHERE calendar_id = %(id)s", {"id": user_id})
    await connection.execute("DELETE FROM subjects WHERE id = %(id)s", {"id": user_id})
    return sessions

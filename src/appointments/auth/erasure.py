"""The end of an account: everything in it goes for good. What others share with it stays, without it."""

from uuid import UUID

from appointments.auth import audit
from appointments.db import Connection
from appointments.mail import outbox


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
        SELECT FROM subjects WHERE id = ANY (ARRAY(
            SELECT %(id)s::uuid UNION ALL
            SELECT user_id FROM appointments JOIN invitees ON appointment_id = appointments.id WHERE owner_id = %(id)s
        ))
        ORDER BY id FOR UPDATE
        """,
        {"id": user_id},
    )
    await connection.execute("SELECT FROM users WHERE id = %(id)s FOR UPDATE", {"id": user_id})


FAREWELL = "invitation.ended"
"""The kind of the letters that cancel what goes with an account."""

SERIES_FAREWELL = "invitation.series.ended"
"""The same for series."""


async def erase(connection: Connection, user_id: UUID, *, actor_id: UUID, mail_is_on: bool = False) -> list[UUID]:
    """Delete an account that is locked; return its sessions, for the cache to drop after the commit.

    With ``mail_is_on`` whoever was told by mail of an appointment that is still to come is told that it is off.
    """
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
    if mail_is_on:
        await _say_farewell(connection, user_id)
    await audit.forget(connection, user_id)
    await audit.record(connection, "account.deleted", user_id, actor_id=actor_id)
    await connection.execute("DELETE FROM changes WHERE calendar_id = %(id)s", {"id": user_id})
    await connection.execute("DELETE FROM subjects WHERE id = %(id)s", {"id": user_id})
    return sessions


async def _say_farewell(connection: Connection, user_id: UUID) -> None:
    # Whoever tells somebody of an appointment at this moment has its row: they are waited for, and their news are seen.
    await connection.execute(
        """
        SELECT FROM appointments WHERE owner_id = %(id)s AND end_at > now() AND series_id IS NULL
        ORDER BY id FOR UPDATE
        """,
        {"id": user_id},
    )
    await connection.execute("SELECT FROM series WHERE owner_id = %(id)s ORDER BY id FOR UPDATE", {"id": user_id})
    # The letters hold what nobody can look up any more. The outbox forgets it as soon as they are sent.
    await connection.execute(
        """
        WITH letters AS (
            INSERT INTO outbox (id, kind, recipient, appointment_id, sequence, about, state, created_at, changed_at)
            SELECT gen_random_uuid(), %(kind)s, address, appointments.id, invitations.version + 1, jsonb_build_object(
                       'sequence', invitations.sequence + 1,
                       'gone', jsonb_build_object('told', told, 'email', users.email, 'name', users.display_name)
                   ), 'queued', now(), now()
            FROM invitations
            JOIN appointments ON appointments.id = invitations.appointment_id
            JOIN users ON users.id = owner_id
            WHERE owner_id = %(id)s AND end_at > now() AND NOT is_cancelled AND users.email IS NOT NULL
            UNION ALL
            SELECT gen_random_uuid(), %(series_kind)s, address, series.id, number + 1, jsonb_build_object(
                       'sequence', sequence + 1, 'why', 'ended', 'of', NULL, 'was', NULL,
                       'gone', jsonb_build_object('told', told, 'email', users.email, 'name', users.display_name)
                   ), 'queued', now(), now()
            FROM series_invitations
            JOIN series ON series.id = series_invitations.series_id
            JOIN users ON users.id = owner_id
            WHERE owner_id = %(id)s AND NOT is_cancelled AND told -> 'series' <> 'null' AND users.email IS NOT NULL
              AND EXISTS (SELECT FROM appointments WHERE appointments.series_id = series.id AND end_at > now())
            ON CONFLICT ON CONSTRAINT outbox_once DO NOTHING
            RETURNING id
        )
        INSERT INTO jobs (kind, key, payload, due_at, deferred_at)
        SELECT %(job)s, id::text, '{}', now(), now() FROM letters ORDER BY id
        """,
        {"id": user_id, "kind": FAREWELL, "series_kind": SERIES_FAREWELL, "job": outbox.JOB},
    )

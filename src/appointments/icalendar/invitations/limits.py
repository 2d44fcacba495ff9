"""How many people somebody may invite: this service is no way to write to strangers.

It is counted before anything is booked, and refused as a whole. Whoever has an account here with a confirmed address is
no stranger. Until the organizer's own address is confirmed nobody is written to, so nothing is counted.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

from appointments.calendar.appointment import Attendee
from appointments.db import Connection, Database, Statement, instant
from appointments.shared.errors import TooMany
from appointments.shared.validation import email_problem, fold_email

PER_ADDRESS = 30
"""How many messages one address gets from one organizer in a day."""


class Limits:
    """Counts. ``per_day`` strangers for an account, ``when_new`` for one that is younger than a day."""

    def __init__(self, *, per_day: int, when_new: int) -> None:
        self._per_day = per_day
        self._when_new = when_new

    async def count(self, db: Database, user_id: UUID, attendees: Iterable[Attendee]) -> None:
        """Count an invitation of each attendee.

        Raises:
            TooMany: it is over a limit (INVITATION_LIMIT); nothing is counted then.
        """
        addresses = sorted({fold_email(attendee.email) for attendee in attendees})
        if not any(map(email_problem, addresses)):  # those are refused in a moment
            await db.transact(lambda connection: self._count(connection, user_id, addresses))

    async def _count(self, connection: Connection, user_id: UUID, addresses: list[str]) -> None:
        rows = await connection.fetch(ORGANIZER, {"user_id": user_id, "addresses": addresses})
        if not rows:
            return
        is_new, strangers = rows[0]
        if not strangers:
            return
        await connection.fetch(COUNT, {"user_id": user_id, "addresses": sorted(strangers)})
        total, busiest, address, total_until, address_until = (
            await connection.fetch(TOTALS, {"user_id": user_id, "addresses": strangers})
        )[0]
        most = self._when_new if is_new else self._per_day
        if total > most:
            raise _too_many(f"You may invite {most} people from outside in a day", most, total_until)
        if busiest > PER_ADDRESS:
            raise _too_many(f"You may invite {address} {PER_ADDRESS} times in a day", PER_ADDRESS, address_until)


# The organizer is locked, so that two requests cannot both fit in. Only who has a confirmed address writes to anybody.
ORGANIZER = Statement(
    """
    SELECT organizer.created_at > now() - interval '1 day', ARRAY(
        SELECT address FROM unnest(%(addresses)s::text[]) AS address
        WHERE NOT EXISTS (SELECT FROM users WHERE users.email = address AND users.email_verified_at IS NOT NULL)
    )
    FROM users AS organizer WHERE id = %(user_id)s::uuid AND email_verified_at IS NOT NULL FOR NO KEY UPDATE
    """
)
COUNT = Statement(
    """
    INSERT INTO invited_addresses (user_id, address, since_at, times)
    SELECT %(user_id)s::uuid, address, now(), 1 FROM unnest(%(addresses)s::text[]) AS address
    ON CONFLICT ON CONSTRAINT invited_addresses_pkey DO UPDATE SET
        times = CASE WHEN invited_addresses.since_at > now() - interval '1 day'
                     THEN invited_addresses.times + 1 ELSE 1 END,
        since_at = CASE WHEN invited_addresses.since_at > now() - interval '1 day'
                        THEN invited_addresses.since_at ELSE now() END
    """
)
TOTALS = Statement(
    """
    WITH today AS (
        SELECT address, times, since_at FROM invited_addresses
        WHERE user_id = %(user_id)s::uuid AND since_at > now() - interval '1 day'
    ), busiest AS (
        SELECT times, address, since_at FROM today WHERE address = ANY (%(addresses)s::text[])
        ORDER BY times DESC, address LIMIT 1
    )
    SELECT (SELECT count(*) FROM today), (SELECT times FROM busiest), (SELECT address FROM busiest),
           (SELECT min(since_at) FROM today) + interval '1 day', (SELECT since_at FROM busiest) + interval '1 day'
    """
)
SWEEP = Statement("DELETE FROM invited_addresses WHERE since_at < now() - interval '2 days'")


def _too_many(what: str, limit: int, until: int) -> TooMany:
    when = instant(until)
    wait = max(1.0, (when - datetime.now(UTC)).total_seconds())
    said = f"{when:%Y-%m-%dT%H:%M:%SZ}"
    return TooMany(
        f"{what}. More are possible from {said} on.",
        reason="INVITATION_LIMIT",
        retry_after=wait,
        metadata={"limit": str(limit), "until": said},
    )

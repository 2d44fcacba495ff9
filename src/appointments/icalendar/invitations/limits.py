"""Limits on invitations, so that the service cannot be used to send spam to strangers.

Invitations are counted before anything is booked, and a request over a limit is refused as a whole. A stranger is
anybody without an account here whose address is confirmed. Until the organizer's own address is confirmed no mail is
sent, so nothing is counted.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from appointments.calendar.appointment import Attendee
from appointments.db import Connection, Database, Statement, instant
from appointments.jobs import Later
from appointments.shared.errors import TooMany
from appointments.shared.validation import email_problem, fold_email

PER_ADDRESS = 30
"""The most messages that one organizer may send to one address in a day."""


class Limits:
    """An account may invite ``per_day`` strangers in a day, or ``when_new`` if it is younger than a day."""

    def __init__(self, *, per_day: int, when_new: int) -> None:
        self._per_day = per_day
        self._when_new = when_new

    async def count(self, db: Database, user_id: UUID, attendees: Iterable[Attendee]) -> None:
        """Count an invitation of each attendee.

        Raises:
            TooMany: it is over a limit (INVITATION_LIMIT). Then nothing is counted.
        """
        addresses = sorted({fold_email(attendee.email) for attendee in attendees})
        if not any(map(email_problem, addresses)):  # the rules refuse malformed addresses right after this
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


# Locks the organizer, so that two concurrent requests cannot both take the last free place. No row if the organizer's
# address is not confirmed, because then no mail is sent.
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


async def keep_pace(connection: Connection, user_id: UUID, addresses: Sequence[str], *, per_day: int) -> None:
    """See that an organizer may write to these addresses now, by what was sent today, of appointments and of series.

    Raises:
        Later: they have invited too many strangers, or one of these addresses too often.
    """
    strangers, busiest = (await connection.fetch(PACE, {"user_id": user_id, "addresses": addresses}))[0]
    if strangers > per_day or busiest >= PER_ADDRESS:
        raise Later("the organizer has invited many people today", after=timedelta(hours=1))


PACE = Statement(
    """
    WITH today AS (
        SELECT recipient, count(*) AS times FROM outbox
        WHERE user_id = %(user_id)s::uuid AND kind IN ('invitation.request', 'invitation.series')
          AND created_at > now() - interval '1 day'
        GROUP BY recipient
    )
    SELECT (
        SELECT count(*) FROM (
            SELECT recipient FROM today UNION SELECT unnest(%(addresses)s::text[])
        ) AS everybody (address)
        WHERE NOT EXISTS (SELECT FROM users WHERE users.email = address AND users.email_verified_at IS NOT NULL)
    ), (SELECT coalesce(max(times), 0) FROM today WHERE recipient = ANY (%(addresses)s::text[]))
    """
)

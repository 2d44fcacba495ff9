"""Reminds people of their appointments by mail, once, and within a minute of the moment that they chose.

An owner is reminded as the appointment says, else as their account says; whoever has accepted an appointment of
somebody else, as their own account says. Nobody is reminded of what is deleted, of a hold, or at an address that is not
confirmed.

One job looks every few seconds for what has become due since it last looked. There is nothing to keep in step when an
appointment moves: what is due is read from the appointments themselves, by an index. The outbox takes one letter for
each appointment, person and moment. So runners that look at the same time, or again after a crash, remind once; and an
appointment that moves has other moments, at which it is reminded of again. What has changed between a letter's way into
the outbox and its sending is noticed by its writer.

A moment that passed while nobody looked is made up for until the appointment has begun.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import LiteralString
from uuid import UUID
from zoneinfo import ZoneInfo

from appointments.calendar.appointment import has_answered
from appointments.calendar.reminders import FARTHEST
from appointments.db import Connection, Database, Micros, Row, Statement, instant
from appointments.jobs import Job, Kind
from appointments.mail import Action, Letter, Mail, Outbox
from appointments.mail.postman import Writer
from appointments.shared import metrics
from appointments.shared.validation import ZONES

REMINDER = "reminder"
"""The kind of the letters."""

JOB = "reminders"
EVERY = timedelta(seconds=20)

OVERLAP = timedelta(seconds=60)
"""How far back is looked again: a change that had not committed the last time has by now."""

GRACE = timedelta(minutes=2)
"""How long after its start people are still reminded. One for the start itself is always a little late."""

LETTERS_AT_ONCE = 500
PEOPLE_AT_ONCE = 5_000
"""How many accounts with a default one statement looks at: it takes some ten milliseconds."""

_NOBODY = UUID(int=0)
_MINUTE = timedelta(minutes=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _now() -> datetime:
    return datetime.now(UTC)


class Reminding:
    """Finds whom to remind, and writes the letters. ``now`` is the clock.

    ``unsubscribe_url`` makes the link by which an address asks not to be written to any more.
    """

    def __init__(
        self,
        db: Database,
        outbox: Outbox,
        *,
        public_url: str,
        unsubscribe_url: Callable[[Connection, str], Awaitable[str]] | None = None,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._db = db
        self._outbox = outbox
        self._public_url = public_url
        self._unsubscribe_url = unsubscribe_url
        self._now = now

    def kinds(self) -> list[Kind]:
        """The kinds of jobs."""
        return [Kind(JOB, self._look, every=EVERY), Kind(f"{JOB}.late", self._look_if_late, every=EVERY)]

    def writers(self) -> dict[str, Writer]:
        """The writer of the letters."""
        return {REMINDER: Writer(self._write)}

    async def _look_if_late(self, job: Job) -> None:
        """Look in place of a worker that was killed while it looked: nobody else gets its job for a minute."""
        if self._now() - await self._scanned_at() > 2 * EVERY:
            await self._look(job)

    async def _scanned_at(self) -> datetime:
        return instant((await self._db.fetch(SCANNED, {}))[0][0])

    async def _look(self, job: Job) -> None:  # noqa: ARG002
        now, scanned_at = self._now(), await self._scanned_at()
        begun = now - GRACE
        # What was due even earlier has begun by now.
        since = max(scanned_at - OVERLAP, begun - FARTHEST * _MINUTE)
        if since >= now:
            return
        values = {"since": since, "until": now, "begun": begun, "minutes": _minutes(since, now)}
        await self._put(await self._db.fetch(DUE, values))
        after = _NOBODY
        while people := [row[0] for row in await self._db.fetch(PEOPLE, {"after": after, "most": PEOPLE_AT_ONCE})]:
            await self._put(await self._db.fetch(DUE_BY_DEFAULT, values | {"people": people}))
            after = people[-1]
        # Only now: if a worker dies before it, all of this is looked at again, and the outbox knows what it has.
        await self._db.fetch(SCAN, {"until": now})

    async def _put(self, due: Sequence[Row]) -> None:
        for first in range(0, len(due), LETTERS_AT_ONCE):
            letters = [
                Letter(
                    REMINDER,
                    email,
                    user_id,
                    appointment_id,
                    _minute(instant(start_at)) - minutes,
                    {"start": start_at, "minutes": minutes},
                )
                for appointment_id, user_id, email, start_at, minutes in due[first : first + LETTERS_AT_ONCE]
            ]
            async with self._db.connection() as connection:
                await self._outbox.put_all(connection, letters)

    async def _write(self, connection: Connection, letter: Letter) -> Mail | None:
        start, minutes = instant(letter.about["start"]), letter.about["minutes"]
        now = self._now()
        if start <= now - GRACE:
            return None
        values = {"id": letter.appointment_id, "user_id": letter.user_id, "email": letter.recipient}
        rows = await connection.fetch(STANDING, values | {"start_at": start, "minutes": minutes})
        if not rows:
            return None  # it was moved, deleted or declined, or has other reminders now
        title, end, time_zone, all_day, location, description, users_zone, organizer = rows[0]
        metrics.REMINDER_DELAY.observe(max((now - (start - minutes * _MINUTE)).total_seconds(), 0.0))
        zone = ZoneInfo(users_zone if users_zone != "UTC" and users_zone in ZONES else time_zone)
        when = _when(start, end, ZoneInfo(time_zone) if all_day else zone, all_day=all_day)
        facts = [("What", title), ("When", when)]
        facts += [(label, said) for label, said in (("Where", location), ("Organizer", organizer)) if said]
        if description:
            facts.append(("Notes", description[:MOST_DESCRIPTION]))
        unsubscribe_url = ""
        if self._unsubscribe_url:
            unsubscribe_url = await self._unsubscribe_url(connection, letter.recipient)
        return Mail(
            f"Reminder: {title}",
            (f"{'Now' if start <= now else 'In ' + _span(start - now)}: an appointment in your calendar.",),
            facts=tuple(facts),
            actions=(Action("Open the calendar", f"{self._public_url}/"),),
            footer="You get this because of the reminders in your calendar."
            " You can change them in the appointment, or in your account.",
            unsubscribe_url=unsubscribe_url,
        )


MOST_DESCRIPTION = 2000


def _minute(at: datetime) -> int:
    return int((at - _EPOCH) // _MINUTE)


def _minutes(since: datetime, until: datetime) -> list[int]:
    return list(range(_minute(since), _minute(until) + 1))


def _span(ahead: timedelta) -> str:
    """How long until then, as people say it: ``10 minutes``, ``1 hour 30 minutes``, ``2 days``."""
    minutes = max(round(ahead / _MINUTE), 1)
    days, rest = divmod(minutes, 1440)
    hours, rest = divmod(rest, 60)
    parts = [(days, "day"), (hours, "hour"), (rest, "minute")]
    return " ".join(f"{count} {unit}{'s' * (count > 1)}" for count, unit in parts if count)


def _when(start: datetime, end: Micros, zone: ZoneInfo, *, all_day: bool) -> str:
    first, last = start.astimezone(zone), instant(end).astimezone(zone)
    if all_day:
        last -= timedelta(microseconds=1)
        day = f"{first:%a %-d %b %Y}"
        return day if first.date() == last.date() else f"{day} – {last:%a %-d %b %Y}"
    until = f"{last:%H:%M}" if first.date() == last.date() else f"{last:%a %-d %b %Y, %H:%M}"
    return f"{first:%a %-d %b %Y, %H:%M} – {until} ({zone.key})"


SCANNED = Statement("SELECT scanned_at FROM reminder_scan")
SCAN = Statement(
    "UPDATE reminder_scan SET scanned_at = %(until)s::timestamptz WHERE scanned_at < %(until)s::timestamptz"
)

_MOMENT: LiteralString = """
    start_at - minutes * interval '1 minute' > greatest(%(since)s::timestamptz, booked_at)
    AND start_at - minutes * interval '1 minute' <= %(until)s::timestamptz
    AND start_at > %(begun)s::timestamptz
"""
"""What was booked after the moment had passed is nothing to be reminded of."""

_CAN_BE_REMINDED: LiteralString = "email_verified_at IS NOT NULL AND email IS NOT NULL AND disabled_at IS NULL"

# An index tells which appointments with reminders of their own have one in these minutes.
DUE = Statement(
    f"""
    WITH due AS (
        SELECT appointments.id, owner_id, start_at, created_at AS booked_at, minutes
        FROM appointments CROSS JOIN LATERAL unnest(reminders) AS minutes
        WHERE reminders IS NOT NULL AND deleted_at IS NULL AND expires_at IS NULL
          AND reminder_minutes(start_at, reminders) && %(minutes)s::integer[]
    )
    SELECT due.id, users.id, email, start_at, minutes FROM due JOIN users ON users.id = owner_id
    WHERE {_MOMENT} AND {_CAN_BE_REMINDED}
    ORDER BY due.id, email, minutes DESC
    """
)

PEOPLE = Statement(
    f"""
    SELECT id FROM users
    WHERE default_reminders IS NOT NULL AND id > %(after)s::uuid AND {_CAN_BE_REMINDED}
    ORDER BY id LIMIT %(most)s::integer
    """
)

# Of the others each person looks into their own calendar, at the few moments that are their offsets away. OFFSET 0
# keeps the planner from reading all calendars instead.
DUE_BY_DEFAULT = Statement(
    f"""
    SELECT theirs.id, users.id, email, start_at, minutes
    FROM users CROSS JOIN LATERAL unnest(default_reminders) AS minutes
    CROSS JOIN LATERAL (
        SELECT appointments.id, start_at, appointments.created_at AS booked_at FROM appointments
        WHERE owner_id = users.id
          AND start_at > %(since)s::timestamptz + minutes * interval '1 minute'
          AND start_at <= %(until)s::timestamptz + minutes * interval '1 minute'
          AND reminders IS NULL AND deleted_at IS NULL AND expires_at IS NULL
        UNION ALL
        SELECT appointments.id, start_at, appointments.created_at
        FROM invitees JOIN appointments ON appointments.id = appointment_id
        WHERE invitees.user_id = users.id
          AND starts_at > %(since)s::timestamptz + minutes * interval '1 minute'
          AND starts_at <= %(until)s::timestamptz + minutes * interval '1 minute'
          AND deleted_at IS NULL AND expires_at IS NULL AND {has_answered("ACCEPTED")}
        OFFSET 0
    ) AS theirs
    WHERE users.id = ANY (%(people)s::uuid[]) AND {_MOMENT}
    ORDER BY theirs.id, email, minutes DESC
    """
)

STANDING = Statement(
    f"""
    SELECT title, end_at, appointments.time_zone, all_day, location, description, users.time_zone,
           CASE WHEN owner_id <> users.id THEN (
               SELECT coalesce(nullif(display_name, ''), email) FROM users AS owner WHERE owner.id = owner_id
           ) END
    FROM appointments JOIN users ON users.id = %(user_id)s::uuid
    WHERE appointments.id = %(id)s::uuid AND start_at = %(start_at)s::timestamptz
      AND deleted_at IS NULL AND expires_at IS NULL
      AND email = %(email)s::text AND email_verified_at IS NOT NULL AND disabled_at IS NULL
      AND CASE
          WHEN owner_id = users.id THEN %(minutes)s::integer = ANY (coalesce(reminders, default_reminders))
          ELSE %(minutes)s::integer = ANY (default_reminders) AND EXISTS (
              SELECT FROM invitees
              WHERE appointment_id = appointments.id AND invitees.user_id = users.id AND {has_answered("ACCEPTED")}
          )
      END
    """
)

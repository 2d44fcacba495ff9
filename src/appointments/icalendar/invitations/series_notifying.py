"""Notifies attendees of series. A series is one invitation, whatever becomes of its occurrences.

One job for each series compares what each attendee was told with how the series is now. What is told is the rule, the
occurrences that differ from it, and those that are off. So occurrences that become rows later are no news. A change of
one occurrence makes a message about that one alone; several at once make one message about the whole series.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from appointments.calendar.appointment import COLUMNS, Appointment
from appointments.calendar.appointment import from_row as appointment_from_row
from appointments.calendar.series import COLUMNS as SERIES_COLUMNS
from appointments.calendar.series import Series
from appointments.calendar.series import from_row as series_from_row
from appointments.db import Connection, Database, Statement
from appointments.icalendar.invitations import wording
from appointments.icalendar.invitations.limits import keep_pace
from appointments.icalendar.invitations.notifying import Organizer, facts_of
from appointments.jobs import Job, Kind
from appointments.mail import Letter, Outbox
from appointments.shared.validation import fold_email

JOB = "invitations.series"
REQUEST, CANCEL = "invitation.series", "invitation.series.cancel"

_OF_OCCURRENCE = {"title", "description", "location", "start_at", "end_at", "time_zone", "all_day"}
"""The fields of an occurrence that attendees are told."""

_OF_SEQUENCE = ("start", "length", "zone", "all_day", "rule", "added", "excluded", "location")
_OF_OCCURRENCES_SEQUENCE = ("start", "end", "zone", "location")


class Occurrence(NamedTuple):
    """An occurrence that is not as its series says: changed, or off."""

    wall: datetime
    appointment: Appointment
    overrides: frozenset[str]


@dataclass(frozen=True, slots=True)
class Shown:
    """A series as it is now, with what is different of single occurrences."""

    series: Series
    organizer: Organizer
    occurrences: Sequence[Occurrence]
    is_over: bool

    def of(self, address: str) -> dict[str, Any]:
        """What an address is invited to: the series, or some of its occurrences only, as it is told (and stored)."""
        if self.series.deleted_at is not None:
            return _NOTHING
        is_invited = address in _folded(self.series)
        changed, off = {}, []
        for wall, appointment, overrides in self.occurrences:
            is_here = appointment.deleted_at is None and address in _folded(appointment)
            if not is_here:
                if is_invited:
                    off.append(wall.isoformat())
            elif not is_invited or overrides & _OF_OCCURRENCE:
                is_moved = bool(overrides & {"start_at", "end_at", "time_zone", "all_day"})
                changed[wall.isoformat()] = facts_of(appointment) | {"moved": is_moved}
        return {"series": series_facts(self.series) if is_invited else None, "changed": changed, "off": sorted(off)}

    def everybody(self) -> set[str]:
        """The addresses that are invited to the series or to one of its occurrences, without the organizer's."""
        found = _folded(self.series)
        for each in self.occurrences:
            if each.appointment.deleted_at is None:
                found |= _folded(each.appointment)
        return found - {self.organizer.email}


_NOTHING: dict[str, Any] = {"series": None, "changed": {}, "off": []}


def _folded(one: Series | Appointment) -> set[str]:
    return {fold_email(each.email) for each in one.attendees}


@dataclass(frozen=True, slots=True)
class Told:
    """What an attendee was told so far."""

    sequence: int
    number: int
    full_number: int
    full_sequence: int
    sequences: dict[str, int]
    view: dict[str, Any]
    is_cancelled: bool


@dataclass(frozen=True, slots=True)
class News:
    """A message that an attendee needs: of the whole series, or of the occurrence with the wall time ``of``."""

    address: str
    kind: str
    why: str
    sequence: int
    view: dict[str, Any]
    of: str | None = None
    was: dict[str, Any] | None = None


class SeriesTelling:
    """Finds out who needs which message about a series. ``per_day`` is the limit of strangers."""

    def __init__(self, db: Database, outbox: Outbox, *, per_day: int) -> None:
        self._db = db
        self._outbox = outbox
        self._per_day = per_day

    def kinds(self) -> list[Kind]:
        """The kinds of jobs."""
        return [Kind(JOB, self._tell, patience=timedelta(days=7))]

    async def _tell(self, job: Job) -> None:
        await self._db.transact(lambda connection: self._tell_of(connection, UUID(job.key or "")))

    async def _tell_of(self, connection: Connection, series_id: UUID) -> None:
        shown = await read(connection, series_id)
        if shown is None or not shown.organizer.is_verified or shown.is_over:
            return
        told: dict[str, Told] = {}
        waiting: set[str] = set()
        for address, is_waiting, *columns in await connection.fetch(TOLD, {"id": series_id}):
            told[address] = Told(*columns)
            if is_waiting:
                waiting.add(address)
        news = list(_news(shown, told, waiting))
        if addresses := sorted(each.address for each in news if each.kind == REQUEST):
            await keep_pace(connection, shown.organizer.user_id, addresses, per_day=self._per_day)
        for each in news:
            await self._put(connection, shown, each, told.get(each.address))

    async def _put(self, connection: Connection, shown: Shown, news: News, before: Told | None) -> None:
        number = before.number + 1 if before else 1
        is_full = news.of is None
        values = {
            "id": shown.series.id,
            "address": news.address,
            "sequence": news.sequence,
            "number": number,
            "full_number": number if is_full or before is None else before.full_number,
            "full_sequence": news.sequence if is_full or before is None else before.full_sequence,
            "sequences": json.dumps(_sequences(news, before)).encode(),
            "told": json.dumps(news.view).encode(),
            "is_cancelled": news.kind == CANCEL and is_full,
        }
        await connection.fetch(TELL, values)
        about = {"sequence": news.sequence, "why": news.why, "of": news.of, "was": news.was}
        letter = Letter(news.kind, news.address, shown.organizer.user_id, shown.series.id, number, about)
        await self._outbox.put(connection, letter)


def _sequences(news: News, before: Told | None) -> dict[str, int]:
    return {} if news.of is None else {**(before.sequences if before else {}), news.of: news.sequence}


def _news(shown: Shown, told: Mapping[str, Told], waiting: set[str]) -> Iterator[News]:
    for address in sorted(shown.everybody() | told.keys()):
        view, before = shown.of(address), told.get(address)
        is_invited = bool(view["series"] or view["changed"])
        if before is None or before.is_cancelled:
            if is_invited:
                newest = max((each.sequence for each in told.values() if not each.is_cancelled), default=0)
                sequence = max(newest, before.sequence + 1 if before else 0)
                yield News(address, REQUEST, "new", sequence, view)
        elif not is_invited:
            why = "off" if shown.series.deleted_at is not None else "removed"
            yield News(address, CANCEL, why, before.sequence + 1, view)
        elif view != before.view:
            yield _changed(address, before, view, is_waiting=address in waiting)


def _changed(address: str, before: Told, view: dict[str, Any], *, is_waiting: bool) -> News:
    """The one message that says what is different."""
    was = before.view
    sequence = before.sequence + _has_moved(was, view)
    walls = was["changed"].keys() | view["changed"].keys() | set(was["off"]) | set(view["off"])
    different = [wall for wall in sorted(walls) if _of_one(was, wall) != _of_one(view, wall)]
    # A message about one occurrence is of no use to a calendar that has not got the one about the series yet.
    if was["series"] == view["series"] and len(different) == 1 and not is_waiting:
        (wall,) = different
        if wall in view["changed"]:
            before_it = was["changed"].get(wall)
            return News(address, REQUEST, "changed", sequence, view, wall, before_it)
        if wall in view["off"] or view["series"] is None:
            return News(address, CANCEL, "off", sequence, view, wall)
    return News(address, REQUEST, "changed", sequence, view, was=was["series"])


def _of_one(view: dict[str, Any], wall: str) -> Any:
    return "off" if wall in view["off"] else view["changed"].get(wall)


def _has_moved(was: dict[str, Any], now: dict[str, Any]) -> bool:
    if was["off"] != now["off"] or (was["series"] is None) != (now["series"] is None):
        return True
    if was["series"] and any(was["series"][fact] != now["series"][fact] for fact in _OF_SEQUENCE):
        return True
    return _moved(was) != _moved(now)


def _moved(view: dict[str, Any]) -> dict[str, list[Any]]:
    """The occurrences that are not when or where the series has them. A title of its own moves nothing."""
    series = view["series"]
    return {
        wall: [facts[fact] for fact in _OF_OCCURRENCES_SEQUENCE]
        for wall, facts in view["changed"].items()
        if series is None or facts["moved"] or facts["location"] != series["location"]
    }


def series_facts(series: Series) -> dict[str, Any]:
    """The facts of a series that attendees are told, its times in words among them."""
    return {
        "title": series.title,
        "when": wording.when(series.spec),
        "start": series.start_wall.isoformat(),
        "length": series.length,
        "zone": series.time_zone,
        "all_day": series.all_day,
        "rule": series.rule,
        "added": [each.isoformat() for each in series.added],
        "excluded": [each.isoformat() for each in series.excluded],
        "location": series.location,
        "description": series.description,
    }


async def read(connection: Connection, series_id: UUID) -> Shown | None:
    """A series, its organizer, and the occurrences that are not as it says."""
    rows = await connection.fetch(READ, {"id": series_id})
    if not rows:
        return None
    email, name, is_verified, is_over, *columns = rows[0]
    series = series_from_row(tuple(columns))
    occurrences = [
        Occurrence(wall, appointment_from_row(tuple(rest)), frozenset(overrides or ()))
        for wall, overrides, *rest in await connection.fetch(DIFFERENT, {"id": series_id})
    ]
    return Shown(series, Organizer(series.owner_id, email, name, is_verified), occurrences, is_over)


# A series that ends because another one goes on from it is not over for those who have it in their calendars. Nor is
# one whose occurrences another one has taken back: it is off.
READ = Statement(
    f"""
    SELECT coalesce(users.email, ''), users.display_name, users.email_verified_at IS NOT NULL,
           EXISTS (SELECT FROM appointments WHERE series_id = series.id) AND NOT EXISTS (
               SELECT FROM appointments JOIN series AS part ON part.id = appointments.series_id
               WHERE (part.id = series.id OR part.previous_id = series.id) AND end_at > now()
           ),
           {SERIES_COLUMNS}
    FROM series JOIN users ON users.id = series.owner_id WHERE series.id = %(id)s::uuid
    """
)
DIFFERENT = Statement(
    f"""
    SELECT occurs_wall, overrides, {COLUMNS} FROM appointments
    WHERE series_id = %(id)s::uuid AND (deleted_at IS NOT NULL OR overrides <> '{{}}')
    ORDER BY occurs_wall
    """
)
TOLD = Statement(
    """
    SELECT address, EXISTS (
               SELECT FROM outbox WHERE appointment_id = series_id AND recipient = address
                 AND kind IN ('invitation.series', 'invitation.series.cancel') AND state IN ('queued', 'sending')
           ), sequence, number, full_number, full_sequence, sequences, told, is_cancelled
    FROM series_invitations WHERE series_id = %(id)s::uuid ORDER BY address FOR NO KEY UPDATE
    """
)
TELL = Statement(
    """
    INSERT INTO series_invitations (
        series_id, address, sequence, number, full_number, full_sequence, sequences, told, is_cancelled, told_at
    )
    VALUES (%(id)s::uuid, %(address)s::text, %(sequence)s::integer, %(number)s::bigint, %(full_number)s::bigint,
            %(full_sequence)s::integer, %(sequences)s::jsonb, %(told)s::jsonb, %(is_cancelled)s::boolean, now())
    ON CONFLICT ON CONSTRAINT series_invitations_pkey DO UPDATE SET
        sequence = excluded.sequence, number = excluded.number, full_number = excluded.full_number,
        full_sequence = excluded.full_sequence, sequences = excluded.sequences, told = excluded.told,
        is_cancelled = excluded.is_cancelled, told_at = excluded.told_at
    """
)

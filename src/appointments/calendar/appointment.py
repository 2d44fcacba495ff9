"""An appointment: what a person decides about it (:class:`Spec`), and its row (:class:`Appointment`).

The only place that knows the columns' order: statements select :data:`COLUMNS` and hand each row to :func:`from_row`.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

from appointments.db import Micros, Row, instant, micros
from appointments.shared.validation import fold_email

UNSET = datetime.min.replace(tzinfo=UTC)
"""A time that a request did not give."""

NO_TIME = timedelta()
MICROSECOND = timedelta(microseconds=1)
NOT_ANSWERED = "NEEDS-ACTION"


@dataclass(frozen=True, slots=True)
class Attendee:
    """Somebody invited. ``response`` is a PARTSTAT of RFC 5545 §3.2.12."""

    email: str
    display_name: str = ""
    response: str = NOT_ANSWERED
    comment: str = ""
    """What they said with their answer."""
    undelivered: bool = False
    """Whether the last message about it did not reach them."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What is booked. Times are aware, to the microsecond, ``[start_at, end_at)``; UNSET where none was given.

    The resources, by id, are taken too, and so are the buffers, of the owner and of every resource. A ``transparent``
    appointment takes no time at all (TRANSP of RFC 5545 §3.8.2.7).
    """

    title: str
    start_at: datetime
    end_at: datetime
    time_zone: str
    description: str = ""
    location: str = ""
    attendees: tuple[Attendee, ...] = ()
    resource_ids: tuple[str, ...] = ()
    buffer_before: timedelta = NO_TIME
    buffer_after: timedelta = NO_TIME
    transparent: bool = False
    all_day: bool = False
    reminders: tuple[int, ...] | None = field(default=None, repr=False)
    """Minutes before the start; None: as the owner's account has it by default."""

    @property
    def resources(self) -> list[UUID]:
        """The ids of the resources, once the rules have found them to be ids."""
        return [UUID(resource_id) for resource_id in self.resource_ids]


def _columns(updated_at: LiteralString, deleted_at: LiteralString, version: LiteralString) -> LiteralString:
    # What most appointments do not have is NULL on the wire, which no loader is called for.
    return f"""
    id::text AS id_text, owner_id::text AS owner_text, title, start_at, end_at, time_zone, description, location,
    nullif(attendees, '[]') AS attendees, created_at,
    {updated_at} AS updated_at, {deleted_at} AS deleted_at, {version} AS version,
    resource_ids::text[] AS resource_texts,
    nullif(buffer_before, 0) AS before, nullif(buffer_after, 0) AS after, nullif(transparent, false) AS is_transparent,
    nullif(all_day, false) AS is_all_day, actor_id::text AS actor_text, expires_at,
    overridden_rules, series_id::text AS series_text, original_start_at, reminders
"""


def _once_expired(then: LiteralString, otherwise: LiteralString) -> LiteralString:
    return f"CASE WHEN expires_at <= now() AND deleted_at IS NULL THEN {then} ELSE {otherwise} END"


# A hold that has expired is as it will be once it is swept away.
COLUMNS: LiteralString = _columns(
    _once_expired("expires_at", "updated_at"),
    _once_expired("expires_at", "deleted_at"),
    _once_expired("version + 1", "version"),
)

# The same columns of rows that are LIVE: those have not expired, so there is nothing to work out.
LIVE_COLUMNS: LiteralString = _columns("updated_at", "deleted_at", "version")

# Neither deleted nor a hold that has expired.
LIVE: LiteralString = "deleted_at IS NULL AND (expires_at IS NULL OR expires_at > now())"

FOLDED: LiteralString = "lower(btrim(guest ->> 'email'))"
"""The address of a ``guest`` among the attendees, as it is compared."""


def attendees_with(changed: LiteralString, which: LiteralString) -> LiteralString:
    """SQL: the attendees in their order, with ``changed`` in place of each ``guest`` for whom ``which`` is so."""
    return f"""(
        SELECT jsonb_agg(CASE WHEN {which} THEN {changed} ELSE guest END ORDER BY number)
        FROM jsonb_array_elements(attendees) WITH ORDINALITY AS guests (guest, number)
    )"""


def has_answered(response: LiteralString, attendees: LiteralString = "attendees") -> LiteralString:
    """SQL: whether the attendee of this ``address`` has given a response."""
    return f"""EXISTS (
        SELECT FROM jsonb_array_elements({attendees}) AS guest
        WHERE {FOLDED} = address AND guest ->> 'response' = '{response}'
    )"""


# Whoever had answered is asked anew: what they had accepted was given back.
UNANSWERED: LiteralString = """
    CASE WHEN attendees = '[]' THEN attendees ELSE (
        SELECT jsonb_agg((guest - 'comment') || '{"response": "NEEDS-ACTION"}' ORDER BY number)
        FROM jsonb_array_elements(attendees) WITH ORDINALITY AS guests (guest, number)
    ) END
"""


# As whom somebody is invited, and the name and the address of who invites them. An address that was not confirmed could
# be anybody's, so it is left out.
INVITATION: LiteralString = """(
    SELECT ARRAY[
        address, organizers.display_name, CASE WHEN email_verified_at IS NULL THEN '' ELSE coalesce(email, '') END
    ]
    FROM users AS organizers WHERE organizers.id = owner_id
)"""

# Who has changed their address may be invited by the former one and by the new one. One of both stands for them.
ONCE: LiteralString = """NOT EXISTS (
    SELECT FROM invitees AS others
    WHERE others.appointment_id = invitees.appointment_id AND others.address < invitees.address
      AND others.user_id = invitees.user_id
)"""


class Organizer(NamedTuple):
    """Who invites somebody. ``address`` is "" unless it is confirmed."""

    name: str
    address: str


class Appointment(NamedTuple):
    """A row of ``appointments``, column by column. ``version`` counts its changes from 1.

    A tuple of what PostgreSQL sends, which is what the contract's messages want too: a list makes hundreds of them. The
    UUIDs and datetimes of the domain are there for the asking. Buffers are in seconds; None is 0, or False.
    """

    id_text: str
    owner_text: str
    title: str
    start_at: Micros
    end_at: Micros
    time_zone: str
    description: str
    location: str
    attendees: tuple[Attendee, ...]
    created_at: Micros
    updated_at: Micros
    deleted_at: Micros | None
    version: int
    resource_ids: list[str] | None
    buffer_before: int | None
    buffer_after: int | None
    transparent: bool | None
    all_day: bool | None
    actor_text: str | None
    """Who last wrote it for its owner; None: the owner."""

    expires_at: Micros | None
    """Until when it is, or was, a hold."""

    overridden_rules: list[str] | None = None
    """The rules of booking that its writers have overridden."""

    series_text: str | None = None
    """The id of the series that it is an occurrence of."""

    original_start_at: Micros | None = None
    """When the series put it."""

    reminders: list[int] | None = None
    """Minutes before the start; None: as the owner's account has it by default."""

    invitation: list[str] | None = None
    """As whom the reader is invited, and by whom (:data:`INVITATION`); None: it is their own, or that of a resource."""

    @property
    def address(self) -> str | None:
        """As whom the reader is invited; None: they are not."""
        return self.invitation[0] if self.invitation else None

    @property
    def organizer(self) -> Organizer | None:
        """Who invites the reader; None: they are not invited."""
        return Organizer(self.invitation[1], self.invitation[2]) if self.invitation else None

    @property
    def id(self) -> UUID:
        """Its id."""
        return UUID(self.id_text)

    @property
    def owner_id(self) -> UUID:
        """Whose it is."""
        return UUID(self.owner_text)

    @property
    def spec(self) -> Spec:
        """What a person decided about it."""
        return Spec(
            self.title, instant(self.start_at), instant(self.end_at), self.time_zone, self.description, self.location,
            self.attendees, tuple(self.resource_ids or ()), timedelta(seconds=self.buffer_before or 0),
            timedelta(seconds=self.buffer_after or 0), bool(self.transparent), bool(self.all_day),
            None if self.reminders is None else tuple(self.reminders),
        )  # fmt: skip

    @property
    def etag(self) -> str:
        """Its version as an entity tag."""
        return etag(self.version)


def etag(version: int) -> str:
    """A version as an entity tag (AIP-154, RFC 9110 §8.8.3)."""
    return f'"{version}"'


def from_row(row: Row) -> Appointment:
    """Read a row of :data:`COLUMNS`. Nobody is invited to most appointments: then there is nothing to parse."""
    cells = [*row, None]
    cells[8] = _guests(row[8]) if row[8] else ()
    return Appointment._make(cells)


def from_row_and_invitation(row: Row) -> Appointment:
    """Read a row of :data:`COLUMNS` and one more: :data:`INVITATION`, or NULL."""
    cells = list(row)
    cells[8] = _guests(row[8]) if row[8] else ()
    appointment = Appointment._make(cells)
    return as_invited(appointment) if appointment.invitation else appointment


def _guests(stored: list[dict[str, Any]]) -> tuple[Attendee, ...]:
    return tuple(Attendee(**guest) for guest in stored)


def as_invited(appointment: Appointment) -> Appointment:
    """An appointment with an ``invitation`` as somebody sees it who is invited.

    They see what it is and who answers what. What it takes of its organizer besides is not theirs to see, nor what
    others have said with their answers, nor whom mail does not reach.
    """
    attendees = tuple(
        replace(
            each,
            comment=each.comment if fold_email(each.email) == appointment.address else "",
            undelivered=False,
        )
        if each.comment or each.undelivered
        else each
        for each in appointment.attendees
    )
    return appointment._replace(
        attendees=attendees,
        resource_ids=None,
        buffer_before=None,
        buffer_after=None,
        actor_text=None,
        overridden_rules=None,
        reminders=None,
    )


def booked(
    appointment_id: UUID,
    owner_id: UUID,
    spec: Spec,
    created_at: Micros,
    *,
    actor_id: UUID | None = None,
    expires_at: Micros | None = None,
    overridden: Sequence[str] = (),
) -> Appointment:
    """The appointment that a spec is as soon as it is booked."""
    return Appointment(
        str(appointment_id), str(owner_id), spec.title, micros(spec.start_at), micros(spec.end_at), spec.time_zone,
        spec.description, spec.location, spec.attendees, created_at, created_at, None, 1,
        list(spec.resource_ids) or None, seconds(spec.buffer_before) or None, seconds(spec.buffer_after) or None,
        spec.transparent or None, spec.all_day or None, str(actor_id) if actor_id else None,
        expires_at, list(overridden) or None, reminders=stored(spec.reminders),
    )  # fmt: skip


def stored(reminders: tuple[int, ...] | None) -> list[int] | None:
    """Reminders as the database has them."""
    return None if reminders is None else list(reminders)


def changed_fields(before: Spec, after: Spec) -> list[str]:
    """The names of the fields in which two specs differ."""
    return [field for field in Spec.__slots__ if getattr(before, field) != getattr(after, field)]


def seconds(buffer: timedelta) -> int:
    """A buffer as the database has it."""
    return buffer.days * 86_400 + buffer.seconds


def has_moved(before: Spec, after: Spec) -> bool:
    """Whether another time is taken, or none any more: what was answered is not about that."""
    return (before.start_at, before.end_at, before.transparent) != (after.start_at, after.end_at, after.transparent)


def with_answers(changed: Spec, current: Spec) -> Spec:
    """A changed spec with what its attendees have answered so far; of another time nobody has answered yet."""
    if not changed.attendees:
        return changed
    is_asked_anew = has_moved(current, changed)
    before = {fold_email(each.email): each for each in current.attendees}
    attendees = []
    for each in changed.attendees:
        nothing = Attendee(each.email)
        known = before.get(fold_email(each.email), nothing)
        answer = nothing if is_asked_anew else known
        attendees.append(replace(each, response=answer.response, comment=answer.comment, undelivered=known.undelivered))
    return replace(changed, attendees=tuple(attendees))


def _guest(attendee: Attendee) -> dict[str, Any]:
    stored = asdict(attendee)
    for rare in ("comment", "undelivered"):
        if not stored[rare]:
            del stored[rare]
    return stored


def to_values(spec: Spec) -> dict[str, Any]:
    """The named parameters that write a spec."""
    return {
        "title": spec.title,
        "description": spec.description,
        "location": spec.location,
        "start_at": spec.start_at,
        "end_at": spec.end_at,
        "time_zone": spec.time_zone,
        "attendees": json.dumps(list(map(_guest, spec.attendees))).encode() if spec.attendees else b"[]",
        "buffer_before": seconds(spec.buffer_before),
        "buffer_after": seconds(spec.buffer_after),
        "all_day": spec.all_day,
        "reminders": stored(spec.reminders),
    }

"""The domain errors, and the one table that gives each its status over gRPC and HTTP.

Features raise these on purpose, and nothing else. The api package turns them into a ``google.rpc.Status`` or an RFC
9457 problem. Any other exception becomes an opaque INTERNAL, and is logged with its request id. A message is written
for the caller. It never holds another user's data, SQL or a stack trace.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

DOMAIN = "appointments.v1"
"""The ``domain`` of every ErrorInfo. Within it a reason never changes its meaning."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One bad field. ``field`` is its path in the request, as the contract spells it."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class Collision:
    """One of the caller's own appointments that is in the way."""

    id: UUID
    start_at: datetime
    end_at: datetime


class Fault(Exception):
    """A failure with a stable ``reason`` and a ``message`` for the caller.

    ``retry_after`` says in how many seconds to try again, where that helps. ``metadata`` holds what a program needs to
    act on the reason, such as the scope that is missing.
    """

    reason = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        retry_after: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or type(self).reason
        self.retry_after = retry_after
        self.metadata = dict(metadata or {})


class Invalid(Fault):
    """The request breaks rules of the contract. Every broken rule is named."""

    reason = "INVALID_FIELD"

    def __init__(self, violations: Sequence[Violation], *, reason: str | None = None) -> None:
        summary = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
        super().__init__(summary, reason=reason)
        self.violations = tuple(violations)

    @classmethod
    def field(cls, field: str, description: str, *, reason: str | None = None) -> "Invalid":
        """Name one bad field."""
        return cls([Violation(field, description)], reason=reason)


class Malformed(Fault):
    """The request cannot be read: it is not the message, the JSON or the header that it should be."""

    reason = "MALFORMED_REQUEST"


class Unauthenticated(Fault):
    """The caller is not signed in: the credentials are missing, wrong, expired or revoked."""

    reason = "UNAUTHENTICATED"


class Forbidden(Fault):
    """A page of another site tried to use the caller's session."""

    reason = "ORIGIN_NOT_ALLOWED"


class Denied(Fault):
    """The caller is known, and may not do this: a scope, a role or a grant is missing."""

    reason = "PERMISSION_DENIED"


class NotFound(Fault):
    """The caller has no such thing. If somebody else has it, the error is exactly the same."""

    reason = "NOT_FOUND"


class Taken(Fault):
    """The thing exists already: an account with that address, an appointment that is not deleted."""

    reason = "ALREADY_EXISTS"


class Conflict(Taken):
    """Double booking, refused: the time overlaps appointments of the caller, or resources are taken then."""

    reason = "TIME_CONFLICT"

    def __init__(
        self, collisions: Sequence[Collision], resource_ids: Sequence[UUID] = (), *, message: str = ""
    ) -> None:
        taken = "A resource is taken at that time." if len(resource_ids) == 1 else "Resources are taken at that time."
        own = "The time overlaps other appointments of yours."
        said = " ".join([own] * bool(collisions or not resource_ids) + [taken] * bool(resource_ids))
        super().__init__(message or said)
        self.collisions = tuple(collisions)
        self.resource_ids = tuple(resource_ids)


@dataclass(frozen=True, slots=True)
class Miss:
    """An occurrence of a series that finds no place, and what is in its way."""

    original_start_at: datetime
    collisions: tuple[Collision, ...] = ()
    resource_ids: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class Misses:
    """The occurrences that find no place: the first of them, and how many there are."""

    named: tuple[Miss, ...] = ()
    total: int = 0


class SeriesConflict(Taken):
    """Occurrences of a series find no place; nothing of it was booked."""

    reason = "TIME_CONFLICT"

    def __init__(self, misses: Misses) -> None:
        count = f"{misses.total:,} occurrences find" if misses.total != 1 else "One occurrence finds"
        super().__init__(f"{count} no place.")
        self.misses = misses


class Stale(Fault):
    """The given etag is not the current one, because the thing was changed in between."""

    reason = "STALE_ETAG"


class Unmet(Fault):
    """The request is valid, but the present state does not allow it. Something else has to change first."""

    reason = "FAILED_PRECONDITION"


class Expired(Fault):
    """What the caller wants to go on from is no longer kept: begin again, with a list of what is there now."""

    reason = "CURSOR_EXPIRED"


class TooMany(Fault):
    """Too many attempts. ``retry_after`` says when the next one is allowed."""

    reason = "RATE_LIMITED"


class TooLarge(Fault):
    """The request is larger than the server accepts."""

    reason = "REQUEST_TOO_LARGE"


class Unavailable(Fault):
    """The service cannot do it now: the database does not answer, or too much is waiting. A retry may help."""

    reason = "UNAVAILABLE"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        retry_after: float = 1.0,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, reason=reason, retry_after=retry_after, metadata=metadata)


class DeadlineExceeded(Fault):
    """The deadline passed before there was an answer. Whether the work was done is unknown."""

    reason = "DEADLINE_EXCEEDED"


@dataclass(frozen=True, slots=True)
class Status:
    """A canonical code of gRPC, by name, and the HTTP status that says the same."""

    grpc: str
    http: int


INTERNAL = Status("INTERNAL", 500)

STATUSES: dict[type[Fault], Status] = {
    Invalid: Status("INVALID_ARGUMENT", 400),
    Malformed: Status("INVALID_ARGUMENT", 400),
    Unauthenticated: Status("UNAUTHENTICATED", 401),
    Forbidden: Status("PERMISSION_DENIED", 403),
    Denied: Status("PERMISSION_DENIED", 403),
    NotFound: Status("NOT_FOUND", 404),
    Taken: Status("ALREADY_EXISTS", 409),
    Conflict: Status("ALREADY_EXISTS", 409),
    SeriesConflict: Status("ALREADY_EXISTS", 409),
    Stale: Status("ABORTED", 409),
    Unmet: Status("FAILED_PRECONDITION", 400),
    Expired: Status("OUT_OF_RANGE", 410),
    TooLarge: Status("RESOURCE_EXHAUSTED", 413),
    TooMany: Status("RESOURCE_EXHAUSTED", 429),
    Unavailable: Status("UNAVAILABLE", 503),
    DeadlineExceeded: Status("DEADLINE_EXCEEDED", 504),
}
"""The status of every fault over gRPC and HTTP. A test finds a fault that is missing here."""

"""Expanding rules over JSON Lines: one question per line, one answer per line.

This lets programs in other languages, and test suites of other calendars, use the engine. A malformed line does not end
the exchange: its own answer says what is wrong with it.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, time
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from appointments.calendar.recurrence.occurrences import happens, occurrences
from appointments.calendar.recurrence.rule import BadRule, check_until, parse
from appointments.calendar.recurrence.wall import instant, wall_at
from appointments.shared.validation import ZONES

MOST = 100_000
"""Occurrences in one answer."""

MOST_OF_ENDLESS = 1_000
"""The same where neither the rule nor the question sets an end."""


@dataclass(frozen=True, slots=True)
class Question:
    """The question of a line. Times are wall times, midnights if ``date_only``. ``after``, ``before`` are exclusive."""

    rule: str
    start: datetime
    zone: ZoneInfo | None = None
    added: tuple[datetime, ...] = ()
    excluded: tuple[datetime, ...] = ()
    after: datetime | None = None
    before: datetime | None = None
    limit: int | None = None
    date_only: bool = False

    @property
    def clock(self) -> ZoneInfo:
        """The zone that converts wall times into instants. Without one: UTC, a clock without summer time."""
        return ZoneInfo("UTC") if self.zone is None or self.date_only else self.zone


def answers(lines: Iterable[bytes | str]) -> Iterator[str]:
    """Answer each line that is not blank."""
    for line in lines:
        if line.strip():
            found: dict[str, object]
            try:
                found = {"occurrences": expand(read(line)), "error": None}
            except (BadRule, ValueError, OverflowError, RecursionError) as error:
                found = {"occurrences": [], "error": str(error) or "cannot be expanded"}
            yield json.dumps(found)


def expand(question: Question) -> list[str]:
    """The occurrences in ISO 8601, as wall times of the zone, or as dates.

    A start that the rule does not select is left out and does not count for COUNT. RFC 5545 leaves this open, and most
    calendars do it this way. (A series of this service always begins at its start.)

    Raises:
        BadRule: the rule is malformed, or never happens.
    """
    rule, zone = parse(question.rule), None if question.date_only else question.zone
    check_until(rule, zoned=zone is not None, date_only=question.date_only)
    if question.date_only:
        # RFC 5545 §3.3.10: these are ignored where the start is a date.
        rule = replace(rule, by_hour=(), by_minute=(), by_second=())
    if not happens(rule, question.start, zone) and not (question.added and rule.until):
        raise BadRule("never happens")
    clock = question.clock
    is_open = rule.endless and question.before is None
    limit = min(MOST_OF_ENDLESS if question.limit is None and is_open else MOST, question.limit or MOST)
    after, before = (instant(bound, clock) if bound else None for bound in (question.after, question.before))
    found = occurrences(
        rule, question.start, zone, added=question.added, excluded=question.excluded, since=after, until=before
    )
    shown = (wall_at(each.at, clock) for each in found if after is None or each.at > after)
    return [wall.date().isoformat() if question.date_only else wall.isoformat() for wall in islice(shown, limit)]


def read(line: bytes | str) -> Question:
    """Read a question from its line.

    Raises:
        ValueError: it is not a JSON object, or a field has the wrong type or value; the message names the field.
    """
    try:
        asked = json.loads(line)
    except ValueError as error:
        raise ValueError(f"the line is not JSON: {error}") from None
    if not isinstance(asked, dict):
        raise ValueError("the line is not a JSON object")  # noqa: TRY004 - one error for whatever a line holds
    return question(asked)


def question(asked: dict[str, Any]) -> Question:
    """Read a question from its fields. Unknown fields are ignored.

    Raises:
        ValueError: a field is missing, or has the wrong type or value; the message names it.
    """
    given = {name: value for name, value in asked.items() if value is not None}
    date_only = _of(bool, given, "date_only", default=False)
    moment: Callable[[Any, str], datetime] = _date if date_only else _wall
    for name in ("rule", "start"):
        if name not in given:
            raise ValueError(f"{name} is required")
    limit = given.get("limit")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ValueError("limit must be a positive whole number")
    return Question(
        rule=_of(str, given, "rule"),
        start=moment(given["start"], "start"),
        zone=_zone(given.get("zone")),
        added=tuple(moment(each, "added") for each in _of(list, given, "added", default=[])),
        excluded=tuple(moment(each, "excluded") for each in _of(list, given, "excluded", default=[])),
        after=moment(given["after"], "after") if "after" in given else None,
        before=moment(given["before"], "before") if "before" in given else None,
        limit=limit,
        date_only=date_only,
    )


def _of(kind: type, given: dict[str, Any], name: str, *, default: Any = None) -> Any:
    value = given.get(name, default)
    if not isinstance(value, kind):
        names = {bool: "true or false", str: "a text", list: "a list"}
        raise ValueError(f"{name} must be {names[kind]}")  # noqa: TRY004 - as above
    return value


def _wall(value: object, name: str) -> datetime:
    """Parse a wall time in ISO 8601, such as "2026-05-03T09:00". A date means its midnight."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is not None:
        raise ValueError(f"{name} must be a wall time without an offset, such as 2026-05-03T09:00")
    return moment


def _date(value: object, name: str) -> datetime:
    moment = _wall(value, name)
    if moment.time() != time():
        raise ValueError(f"{name} must be a date, such as 2026-05-03")
    return moment


def _zone(value: object) -> ZoneInfo | None:
    if value is None:
        return None
    if not isinstance(value, str) or value not in ZONES:
        raise ValueError("zone must be an IANA time zone, such as Europe/Zurich")
    return ZoneInfo(value)

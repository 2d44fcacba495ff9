"""ImportAppointments: convert, call the feature, convert."""

from datetime import timedelta
from uuid import UUID

from appointments.api import convert
from appointments.api.caller import Caller, cause
from appointments.db import Database
from appointments.icalendar import imports
from appointments.icalendar.imports import Item, OnConflict, State
from appointments.shared.errors import Invalid
from appointments.v1 import appointments_pb2 as pb

_POLICIES = {
    pb.ON_IMPORT_CONFLICT_UNSPECIFIED: OnConflict.FAIL,
    pb.ON_IMPORT_CONFLICT_FAIL: OnConflict.FAIL,
    pb.ON_IMPORT_CONFLICT_SKIP: OnConflict.SKIP,
    pb.ON_IMPORT_CONFLICT_TRANSPARENT: OnConflict.TRANSPARENT,
}
_STATES = {
    State.NEW: pb.IMPORT_STATE_NEW,
    State.CHANGED: pb.IMPORT_STATE_CHANGED,
    State.UNCHANGED: pb.IMPORT_STATE_UNCHANGED,
    State.COLLIDING: pb.IMPORT_STATE_COLLIDING,
    State.UNSUPPORTED: pb.IMPORT_STATE_UNSUPPORTED,
}


async def run(
    db: Database, request: pb.ImportAppointmentsRequest, caller: Caller, horizon: timedelta
) -> pb.ImportAppointmentsResponse:
    """Import a file into the caller's calendar."""
    policy = _POLICIES.get(request.on_conflict)
    if policy is None:
        raise Invalid.field("on_conflict", "is not a known choice")
    report = await imports.run(
        db,
        caller.user_id,
        request.ics,
        on_conflict=policy,
        validate_only=request.validate_only,
        cause=cause(caller),
        horizon=horizon,
    )
    response = pb.ImportAppointmentsResponse()
    for item in report.items:
        _add(response, item, report.made if request.validate_only else frozenset(), validate_only=request.validate_only)
    return response


def _add(response: pb.ImportAppointmentsResponse, item: Item, nobodys: frozenset[UUID], *, validate_only: bool) -> None:
    is_there = not (validate_only and item.is_new)
    message = response.items.add(
        uid=item.entry.uid,
        recurrence_id=item.entry.recurrence_id,
        line=item.entry.line,
        title=item.entry.title,
        state=_STATES[item.state],
        appointment_id=str(item.appointment_id) if item.appointment_id and is_there else "",
        series_id=str(item.series_id) if item.series_id and is_there else "",
    )
    for note in item.notes:
        message.notes.add(line=note.line, text=note.text)
    for each in item.collisions:
        found = convert.conflicting(each)
        if each.id in nobodys:
            found.id = ""
        message.conflicts.append(found)

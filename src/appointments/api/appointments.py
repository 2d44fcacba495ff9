"""AppointmentService: convert, call the feature, convert."""

from dataclasses import replace
from datetime import datetime, timedelta

from appointments.api import convert, imports, masks
from appointments.api.caller import Caller, cause
from appointments.calendar import booking, frontiers, holds, listing, occupancy, updating
from appointments.calendar.appointment import Appointment, Spec, with_answers
from appointments.calendar.validation import violations
from appointments.db import Database, Reads
from appointments.icalendar.invitations import Limits
from appointments.shared import metrics
from appointments.shared.errors import Invalid, Violation
from appointments.v1 import appointments_pb2 as pb

CHANGEABLE = {
    "title": "title",
    "description": "description",
    "location": "location",
    "start_time": "start_at",
    "end_time": "end_at",
    "time_zone": "time_zone",
    "attendees": "attendees",
    "resource_ids": "resource_ids",
    "buffer_before": "buffer_before",
    "buffer_after": "buffer_after",
    "transparency": "transparent",
    "all_day": "all_day",
    "reminders": "reminders",
    "no_reminders": "reminders",
}
"""The contract's fields that an update can name, each with its field of a Spec."""

_CREATED, _UPDATED, _UNDELETED = map(metrics.BOOKINGS.labels, ("create", "update", "undelete"))


class AppointmentService:
    """The caller's own appointments. Statuses are in proto/appointments/v1/appointments.proto."""

    def __init__(self, db: Database, limits: Limits | None = None, *, horizon: timedelta = frontiers.HORIZON) -> None:
        """``limits`` say how many people somebody may invite; None: nobody is written to.

        ``horizon`` is how far ahead the occurrences of endless series are appointments already.
        """
        self._db = db
        self._limits = limits
        self._horizon = horizon

    def _reads(self, caller: Caller) -> Reads:
        return self._db.reads(caller.user_id, caller.read_after)

    async def CreateAppointment(
        self, request: pb.CreateAppointmentRequest, caller: Caller
    ) -> pb.CreateAppointmentResponse:
        """Book a time."""
        spec, ttl = convert.spec(request.appointment), convert.ttl(request.appointment)
        try:
            request_id = convert.optional_identifier(request.request_id, "request_id")
        except Invalid as bad:
            raise Invalid([*bad.violations, *violations(spec), *holds.violations(ttl, spec)]) from None
        if spec.attendees and not violations(spec):
            await self._count_invitations(caller, spec)
        created = await booking.create(
            self._db,
            caller.user_id,
            spec,
            request_id=request_id,
            cause=cause(caller),
            ttl=ttl,
            override=request.override_rules,
        )
        _CREATED.inc()
        return pb.CreateAppointmentResponse(appointment=convert.appointment(created))

    async def _count_invitations(self, caller: Caller, spec: Spec) -> None:
        if self._limits and spec.attendees:
            await self._limits.count(self._db, caller.user_id, spec.attendees)

    async def ConfirmAppointment(
        self, request: pb.ConfirmAppointmentRequest, caller: Caller
    ) -> pb.ConfirmAppointmentResponse:
        """Make a hold an appointment."""
        appointment_id = convert.identifier(request.id, "id")
        confirmed = await updating.confirm(
            self._db, caller.user_id, appointment_id, etag=request.etag, cause=cause(caller)
        )
        return pb.ConfirmAppointmentResponse(appointment=convert.appointment(confirmed))

    async def GetAppointment(self, request: pb.GetAppointmentRequest, caller: Caller) -> pb.GetAppointmentResponse:
        """Read one."""
        found = await booking.get(self._reads(caller), caller.user_id, convert.identifier(request.id, "id"))
        return pb.GetAppointmentResponse(appointment=convert.appointment(found, viewer=str(caller.user_id)))

    async def ListAppointments(
        self, request: pb.ListAppointmentsRequest, caller: Caller
    ) -> pb.ListAppointmentsResponse:
        """List those that overlap a window."""
        if request.resource_id:
            return await self._list_of_resource(request, caller)
        series_id = convert.optional_identifier(request.series_id, "series_id")
        since, until = _bounds(request)
        window = listing.Window(caller.user_id, since, until, request.show_deleted, series_id)
        page = await listing.page_ahead(
            self._db,
            self._reads(caller),
            window,
            horizon=self._horizon,
            size=request.page_size,
            token=request.page_token,
        )
        response = pb.ListAppointmentsResponse(next_page_token=page.next_token)
        for each in page.appointments:
            convert.appointment(each, response.appointments.add)
        return response

    async def _list_of_resource(
        self, request: pb.ListAppointmentsRequest, caller: Caller
    ) -> pb.ListAppointmentsResponse:
        if request.series_id:
            raise Invalid.field("series_id", "does not go with resource_id")
        if request.show_deleted:
            raise Invalid.field("show_deleted", "does not go with resource_id: a deleted appointment takes no resource")
        window = occupancy.Window(
            caller.user_id, convert.identifier(request.resource_id, "resource_id"), *_bounds(request)
        )
        page = await occupancy.page(
            self._db,
            window,
            horizon=self._horizon,
            size=request.page_size,
            token=request.page_token,
            is_admin=caller.is_admin,
        )
        response = pb.ListAppointmentsResponse(next_page_token=page.next_token)
        for each in page.entries:
            if isinstance(each, Appointment):
                convert.appointment(each, response.appointments.add, viewer=str(caller.user_id))
            else:
                convert.taken(each, response.appointments.add)
        return response

    async def UpdateAppointment(
        self, request: pb.UpdateAppointmentRequest, caller: Caller
    ) -> pb.UpdateAppointmentResponse:
        """Change the fields of the mask."""
        message = request.appointment
        appointment_id = convert.identifier(message.id, "appointment.id")
        wanted = convert.spec(message)
        paths = masks.paths(request.update_mask, message, (*CHANGEABLE, "ttl"))
        ttl = convert.ttl(message) if "ttl" in paths else None
        if ttl is None and "ttl" in request.update_mask.paths:
            raise Invalid.field("appointment.ttl", "is required where update_mask names it")
        fields = [CHANGEABLE[path] for path in paths - {"ttl"}]

        def change(current: Spec) -> Spec:
            return with_answers(replace(current, **{field: getattr(wanted, field) for field in fields}), current)

        if "attendees" in fields:
            await self._count_invitations(caller, wanted)
        changed = await updating.update(
            self._db,
            caller.user_id,
            appointment_id,
            change,
            etag=message.etag,
            cause=cause(caller),
            override=request.override_rules,
            retime=(wanted.start_at, wanted.end_at) if set(fields) == {"start_at", "end_at"} and ttl is None else None,
            ttl=ttl,
        )
        _UPDATED.inc()
        return pb.UpdateAppointmentResponse(appointment=convert.appointment(changed))

    async def DeleteAppointment(
        self, request: pb.DeleteAppointmentRequest, caller: Caller
    ) -> pb.DeleteAppointmentResponse:
        """Delete softly."""
        appointment_id = convert.identifier(request.id, "id")
        deleted = await updating.delete(
            self._db,
            caller.user_id,
            appointment_id,
            etag=request.etag,
            cause=cause(caller),
            override=request.override_rules,
        )
        return pb.DeleteAppointmentResponse(appointment=convert.appointment(deleted))

    async def UndeleteAppointment(
        self, request: pb.UndeleteAppointmentRequest, caller: Caller
    ) -> pb.UndeleteAppointmentResponse:
        """Restore."""
        restored = await updating.undelete(
            self._db,
            caller.user_id,
            convert.identifier(request.id, "id"),
            cause=cause(caller),
            override=request.override_rules,
        )
        _UNDELETED.inc()
        return pb.UndeleteAppointmentResponse(appointment=convert.appointment(restored))

    async def ImportAppointments(
        self, request: pb.ImportAppointmentsRequest, caller: Caller
    ) -> pb.ImportAppointmentsResponse:
        """Import an iCalendar file."""
        return await imports.run(self._db, request, caller, self._horizon)


def _bounds(request: pb.ListAppointmentsRequest) -> tuple[datetime | None, datetime | None]:
    bounds = {
        field: convert.instant(getattr(request, field))
        for field in ("start_time", "end_time")
        if request.HasField(field)
    }
    bad = [field for field, bound in bounds.items() if bound is None]
    if bad:
        raise Invalid([Violation(field, "must be a valid Timestamp, in the years 1 to 9999") for field in bad])
    return bounds.get("start_time"), bounds.get("end_time")

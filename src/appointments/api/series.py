"""SeriesService: convert, call the feature, convert."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from appointments.api import convert, masks
from appointments.api.caller import Caller, cause
from appointments.calendar import frontiers, series_booking, series_updating
from appointments.calendar.appointment import UNSET
from appointments.calendar.materializing import Terms
from appointments.calendar.series import SeriesSpec, shifted, violations
from appointments.db import Database
from appointments.icalendar.invitations import Limits
from appointments.shared.errors import Invalid, Violation
from appointments.v1 import appointments_pb2
from appointments.v1 import series_pb2 as pb

_OF_FIRST = {
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
"""The contract's fields that each occurrence has, each with its field of a Spec."""

_OF_SERIES = {"recurrence_rule": "rule", "added_times": "added", "excluded_times": "excluded"}


class SeriesService:
    """The caller's own series. Statuses are in proto/appointments/v1/series.proto."""

    def __init__(self, db: Database, limits: Limits | None = None, *, horizon: timedelta = frontiers.HORIZON) -> None:
        """``limits`` say how many people somebody may invite, a series counting once; None: nobody is written to."""
        self._db = db
        self._limits = limits
        self._horizon = horizon

    def _terms(self, on_conflict: int, *, validate_only: bool) -> Terms:
        if on_conflict not in pb.OnConflict.values():
            raise Invalid.field("on_conflict", "is not a known choice")
        return Terms(skip=on_conflict == pb.ON_CONFLICT_SKIP, validate_only=validate_only, horizon=self._horizon)

    async def CreateSeries(self, request: pb.CreateSeriesRequest, caller: Caller) -> pb.CreateSeriesResponse:
        """Book every occurrence."""
        spec = _spec(request.series)
        terms = self._terms(request.on_conflict, validate_only=request.validate_only)
        try:
            request_id = convert.optional_identifier(request.request_id, "request_id")
        except Invalid as bad:
            raise Invalid([*bad.violations, *violations(spec, terms.clock)]) from None
        if not request.validate_only and not violations(spec, terms.clock):
            await self._count_invitations(caller, spec)
        booked = await series_booking.create(
            self._db, caller.user_id, spec, terms, request_id=request_id, cause=cause(caller)
        )
        return pb.CreateSeriesResponse(
            series=convert.series(booked, is_there=not request.validate_only), conflicts=convert.misses(booked.misses)
        )

    async def _count_invitations(self, caller: Caller, spec: SeriesSpec) -> None:
        if self._limits and spec.first.attendees:
            await self._limits.count(self._db, caller.user_id, spec.first.attendees)

    async def GetSeries(self, request: pb.GetSeriesRequest, caller: Caller) -> pb.GetSeriesResponse:
        """Read one."""
        found = await series_booking.get(self._db, caller.user_id, convert.identifier(request.id, "id"))
        return pb.GetSeriesResponse(series=convert.series(found))

    async def ListSeries(self, request: pb.ListSeriesRequest, caller: Caller) -> pb.ListSeriesResponse:
        """List them, the newest first."""
        page = await series_booking.page(
            self._db,
            caller.user_id,
            show_deleted=request.show_deleted,
            size=request.page_size,
            token=request.page_token,
        )
        return pb.ListSeriesResponse(series=map(convert.series, page.series), next_page_token=page.next_token)

    async def UpdateSeries(self, request: pb.UpdateSeriesRequest, caller: Caller) -> pb.UpdateSeriesResponse:
        """Change all occurrences, or one and all that follow."""
        message = request.series
        series_id = convert.identifier(message.id, "series.id")
        from_id = convert.optional_identifier(request.from_appointment_id, "from_appointment_id")
        terms = self._terms(request.on_conflict, validate_only=request.validate_only)
        paths = masks.paths(request.update_mask, message, (*_OF_FIRST, *_OF_SERIES))
        if "attendees" in paths and not request.validate_only:
            await self._count_invitations(caller, _spec(message))
        change = _change(message, paths)
        if request.rejoin_series_id:
            return await self._rejoin(request, caller, change, terms)
        booked = await series_updating.update(
            self._db,
            caller.user_id,
            series_id,
            change,
            terms,
            from_id=from_id,
            include_past=request.include_past,
            etag=message.etag,
            cause=cause(caller),
        )
        return pb.UpdateSeriesResponse(series=convert.series(booked), conflicts=convert.misses(booked.misses))

    async def _rejoin(
        self, request: pb.UpdateSeriesRequest, caller: Caller, change: Callable[[SeriesSpec], SeriesSpec], terms: Terms
    ) -> pb.UpdateSeriesResponse:
        """Take back a series that was split off."""
        for field in ("from_appointment_id", "include_past"):
            if getattr(request, field):
                raise Invalid.field(field, "must be unset where a series is taken back")
        booked = await series_updating.rejoin(
            self._db,
            caller.user_id,
            convert.identifier(request.series.id, "series.id"),
            convert.identifier(request.rejoin_series_id, "rejoin_series_id"),
            change,
            terms=terms,
            etag=request.series.etag,
            other_etag=request.rejoin_etag,
            cause=cause(caller),
        )
        return pb.UpdateSeriesResponse(series=convert.series(booked), conflicts=convert.misses(booked.misses))

    async def DeleteSeries(self, request: pb.DeleteSeriesRequest, caller: Caller) -> pb.DeleteSeriesResponse:
        """Delete all occurrences softly, or one and all that follow."""
        booked = await series_updating.delete(
            self._db,
            caller.user_id,
            convert.identifier(request.id, "id"),
            from_id=convert.optional_identifier(request.from_appointment_id, "from_appointment_id"),
            etag=request.etag,
            cause=cause(caller),
        )
        return pb.DeleteSeriesResponse(series=convert.series(booked))

    async def UndeleteSeries(self, request: pb.UndeleteSeriesRequest, caller: Caller) -> pb.UndeleteSeriesResponse:
        """Restore."""
        booked = await series_updating.undelete(
            self._db,
            caller.user_id,
            convert.identifier(request.id, "id"),
            self._terms(request.on_conflict, validate_only=False),
            cause=cause(caller),
        )
        return pb.UndeleteSeriesResponse(series=convert.series(booked), conflicts=convert.misses(booked.misses))


def _change(message: pb.Series, paths: set[str]) -> Callable[[SeriesSpec], SeriesSpec]:
    """What the fields of a mask make of a series, unchecked. A new start without an end keeps the length."""
    wanted = _spec(message)

    def change(current: SeriesSpec) -> SeriesSpec:
        given: dict[str, Any] = {
            _OF_FIRST[path]: getattr(wanted.first, _OF_FIRST[path]) for path in paths if path in _OF_FIRST
        }
        if "start_at" in given and "end_at" not in given and wanted.first.start_at > UNSET + timedelta(days=1):
            given["end_at"] = current.ending(wanted.first.start_at)
        anew = {_OF_SERIES[path]: getattr(wanted, _OF_SERIES[path]) for path in paths if path in _OF_SERIES}
        changed = replace(current, first=replace(current.first, **given), **anew)
        return shifted(changed, current, set(anew))

    return change


def _spec(message: pb.Series) -> SeriesSpec:
    """What a request asks for, unchecked: the feature names what is wrong with it."""
    if message.transparency not in appointments_pb2.Transparency.values():
        raise Invalid.field("series.transparency", "is not a known transparency")
    if message.no_reminders and message.reminders:
        raise Invalid.field("series.no_reminders", "does not go with reminders")
    return SeriesSpec(
        convert.spec(
            appointments_pb2.Appointment(
                title=message.title,
                description=message.description,
                location=message.location,
                start_time=message.start_time if message.HasField("start_time") else None,
                end_time=message.end_time if message.HasField("end_time") else None,
                time_zone=message.time_zone,
                attendees=message.attendees,
                resource_ids=message.resource_ids,
                buffer_before=message.buffer_before if message.HasField("buffer_before") else None,
                buffer_after=message.buffer_after if message.HasField("buffer_after") else None,
                transparency=message.transparency,
                all_day=message.all_day,
                reminders=message.reminders,
                no_reminders=message.no_reminders,
            )
        ),
        message.recurrence_rule,
        *(_times(message, field) for field in ("added_times", "excluded_times")),
    )


def _times(message: pb.Series, field: str) -> tuple[datetime, ...]:
    times = [convert.instant(each) for each in getattr(message, field)]
    bad = [
        Violation(f"series.{field}[{index}]", "must be a valid Timestamp")
        for index, each in enumerate(times)
        if not each
    ]
    if bad:
        raise Invalid(bad)
    return tuple(each for each in times if each)

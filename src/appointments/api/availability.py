"""AvailabilityService: convert, call the feature, convert."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Literal

from google.protobuf.timestamp_pb2 import Timestamp

from appointments.api.caller import Caller
from appointments.api.convert import buffer, instant, set_timestamp
from appointments.calendar import availability
from appointments.calendar.appointment import UNSET
from appointments.calendar.availability import Asker, Search, Wanted
from appointments.calendar.bookable.spans import Span
from appointments.db import Database
from appointments.v1 import availability_pb2 as pb


class AvailabilityService:
    """Free and busy, and slots. Statuses are in proto/appointments/v1/availability.proto.

    ``people``: who may see when others are taken, everybody who has signed in or nobody.
    """

    def __init__(self, db: Database, *, people: Literal["users", "none"] = "users") -> None:
        self._db = db
        self._sees_people = people == "users"

    async def QueryFreeBusy(self, request: pb.QueryFreeBusyRequest, caller: Caller) -> pb.QueryFreeBusyResponse:
        """Tell when subjects are taken."""
        found = await availability.free_busy(
            self._db,
            self._asker(caller),
            [each.lower() for each in request.subject_ids],
            _time(request.HasField, "start_time", request.start_time),
            _time(request.HasField, "end_time", request.end_time),
            emails=request.emails,
            with_closed=request.include_closed,
        )
        response = pb.QueryFreeBusyResponse()
        for each in found:
            subject = response.subjects.add(subject_id=str(each.subject_id), email=each.email)
            _add(subject.busy.add, each.busy)
            _add(subject.closed.add, each.closed)
        return response

    async def SearchSlots(self, request: pb.SearchSlotsRequest, caller: Caller) -> pb.SearchSlotsResponse:
        """Find slots."""
        wanted = Search(
            wanted=tuple(
                Wanted(
                    tuple(map(str.lower, each.any_of_subject_ids)),
                    each.count or 1,
                    tuple(each.any_of_emails),
                )
                for each in request.requirements
            ),
            length=buffer(request.duration),
            since=_time(request.HasField, "start_time", request.start_time),
            until=_time(request.HasField, "end_time", request.end_time),
            step=buffer(request.step) if request.HasField("step") else None,
            before=buffer(request.buffer_before),
            after=buffer(request.buffer_after),
        )
        page = await availability.search(
            self._db, self._asker(caller), wanted, size=request.page_size, token=request.page_token
        )
        response = pb.SearchSlotsResponse(next_page_token=page.next_token)
        for offer in page.offers:
            slot = response.slots.add(subject_ids=map(str, offer.subject_ids))
            set_timestamp(slot.start_time, offer.start)
            set_timestamp(slot.end_time, offer.end)
        if page.why:
            response.why.CopyFrom(
                pb.SlotObstacles(
                    starts=page.why.looked_at,
                    hours=page.why.hours,
                    notice=page.why.notice,
                    rules=page.why.rules,
                    busy=page.why.busy,
                    buffers=page.why.buffers,
                )
            )
        return response

    def _asker(self, caller: Caller) -> Asker:
        return Asker(caller.user_id, caller.is_admin, self._sees_people, acts=caller.actor_id != caller.user_id)


def _time(has: Callable[..., bool], field: str, value: Timestamp) -> datetime:
    # A time that is no time becomes one that is far out of bounds, so that it is named with the other bad fields.
    return (instant(value) or UNSET + timedelta(days=1)) if has(field) else UNSET


def _add(make: Callable[[], pb.TimeSpan], spans: Iterable[Span]) -> None:
    for first, end in spans:
        span = make()
        set_timestamp(span.start_time, first)
        set_timestamp(span.end_time, end)

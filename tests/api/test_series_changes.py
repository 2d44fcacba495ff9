"""What a change of a series moves along, through the port."""

from datetime import UTC, datetime, timedelta

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from appointments.v1 import appointments_pb2, series_pb2_grpc
from appointments.v1 import series_pb2 as pb
from tests.clients import HOUR, Person, details, timestamp

FIRST = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0) + timedelta(days=7)
WEEK = timedelta(days=7)


async def create(
    person: Person, rule: str, start: datetime = FIRST, length: timedelta = HOUR, **said: object
) -> pb.Series:
    """Book a series in UTC."""
    fields = {"title": "Rounds", "time_zone": "UTC", "recurrence_rule": rule} | said
    series = pb.Series(start_time=timestamp(start), end_time=timestamp(start + length), **fields)  # type: ignore[arg-type]
    stub = series_pb2_grpc.SeriesServiceStub(person.channel)
    return (await stub.CreateSeries(pb.CreateSeriesRequest(series=series), metadata=person.metadata)).series


async def move(person: Person, series: pb.Series, start: datetime, **said: object) -> pb.Series:
    """Give it another start, and nothing else but what is said."""
    changed = pb.Series(id=series.id, start_time=timestamp(start), **said)  # type: ignore[arg-type]
    request = pb.UpdateSeriesRequest(series=changed, update_mask=FieldMask(paths=["start_time", *said]))
    stub = series_pb2_grpc.SeriesServiceStub(person.channel)
    return (await stub.UpdateSeries(request, metadata=person.metadata)).series


async def test_the_dates_of_an_endless_series_move_with_it(ada: Person) -> None:
    """What was left out stays left out, and what was added is where it was, both an hour later."""
    added, left_out = FIRST + timedelta(days=1), FIRST + 2 * WEEK
    series = await create(ada, "FREQ=WEEKLY", added_times=[timestamp(added)], excluded_times=[timestamp(left_out)])
    moved = await move(ada, series, FIRST + HOUR)
    assert ([timestamp(added + HOUR)], [timestamp(left_out + HOUR)]) == (
        list(moved.added_times),
        list(moved.excluded_times),
    )


async def test_a_series_moves_past_its_own_end(ada: Person) -> None:
    """UNTIL moves along, so that what ends this month can be moved to the next one."""
    series = await create(ada, f"FREQ=DAILY;UNTIL={FIRST + timedelta(days=2):%Y%m%dT%H%M%SZ}")
    moved = await move(ada, series, FIRST + 4 * WEEK)
    assert f"FREQ=DAILY;UNTIL={FIRST + 4 * WEEK + timedelta(days=2):%Y%m%dT%H%M%SZ}" == moved.recurrence_rule


async def test_whole_days_keep_their_number_where_clocks_change(ada: Person) -> None:
    """The last Sunday of March has 23 hours in Zurich."""
    start = datetime(2031, 3, 7, 23, tzinfo=UTC)
    series = await create(ada, "FREQ=YEARLY;COUNT=2", start, timedelta(days=2), time_zone="Europe/Zurich", all_day=True)
    moved = await move(ada, series, datetime(2031, 3, 28, 23, tzinfo=UTC))
    assert timestamp(datetime(2031, 3, 30, 22, tzinfo=UTC)) == moved.end_time


@pytest.mark.parametrize(
    ("start", "said", "field"),
    [
        (FIRST + HOUR, {"time_zone": "Mars/Base"}, "series.time_zone"),
        (datetime(2200, 1, 1, tzinfo=UTC), {}, "series.start_time"),
        (datetime(2100, 12, 31, 9, tzinfo=UTC), {"recurrence_rule": "FREQ=NEVER"}, "series.recurrence_rule"),
    ],
)
async def test_a_start_that_is_none_is_told_by_its_field(
    ada: Person, start: datetime, said: dict[str, object], field: str
) -> None:
    """Nothing can be moved along to there, and the client is told which field it is about."""
    series = await create(ada, "FREQ=WEEKLY", excluded_times=[timestamp(FIRST + WEEK)])
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await move(ada, series, start, **said)
    assert grpc.StatusCode.INVALID_ARGUMENT == refused.value.code()
    assert field in {each.field for each in details(refused.value)["BadRequest"].field_violations}


async def test_what_was_split_off_is_taken_back(ada: Person) -> None:
    """By its id and both etags; with nothing beside it that would change more."""
    series = await create(ada, "FREQ=WEEKLY;COUNT=4")
    stub = series_pb2_grpc.SeriesServiceStub(ada.channel)
    window = appointments_pb2.ListAppointmentsRequest(series_id=series.id)
    rows = (await ada.appointments.ListAppointments(window, metadata=ada.metadata)).appointments
    changed = pb.Series(id=series.id, title="Other")
    split = pb.UpdateSeriesRequest(series=changed, from_appointment_id=rows[2].id)
    other = (await stub.UpdateSeries(split, metadata=ada.metadata)).series
    before = pb.Series(id=series.id, recurrence_rule="FREQ=WEEKLY;COUNT=4")
    request = pb.UpdateSeriesRequest(series=before, rejoin_series_id=other.id, rejoin_etag=other.etag)
    for wrong, code in (
        (pb.UpdateSeriesRequest(from_appointment_id=rows[0].id), grpc.StatusCode.INVALID_ARGUMENT),
        (pb.UpdateSeriesRequest(include_past=True), grpc.StatusCode.INVALID_ARGUMENT),
        (pb.UpdateSeriesRequest(rejoin_series_id="x"), grpc.StatusCode.INVALID_ARGUMENT),
        (pb.UpdateSeriesRequest(rejoin_etag='"99"'), grpc.StatusCode.ABORTED),
        (pb.UpdateSeriesRequest(series=pb.Series(etag='"99"')), grpc.StatusCode.ABORTED),
    ):
        attempt = pb.UpdateSeriesRequest()
        attempt.CopyFrom(request)
        attempt.MergeFrom(wrong)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.UpdateSeries(attempt, metadata=ada.metadata)
        assert code == refused.value.code()
    again = (await stub.UpdateSeries(request, metadata=ada.metadata)).series
    assert (series.id, "FREQ=WEEKLY;COUNT=4", "Rounds") == (again.id, again.recurrence_rule, again.title)
    found = (await ada.appointments.ListAppointments(window, metadata=ada.metadata)).appointments
    assert [(each.id, each.title, each.start_time) for each in rows] == [
        (each.id, each.title, each.start_time) for each in found
    ]

"""Invitations through the ports: from a booking to an answer that the organizer sees, on pages without script."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator

import grpc
import httpx
import psycopg
import pytest

from appointments.v1 import appointments_pb2 as pb
from appointments.v1 import series_pb2, series_pb2_grpc
from tests import service
from tests.api.rest import browser
from tests.clients import TEN, Person, details, new_email, person, timestamp
from tests.conftest import database_dsn
from tests.service import Server

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def postal(postgres_dsn: str, template: str) -> Iterator[Server]:
    """A server that keeps its mail, and does not wait before it writes."""
    name = f"{template}_inviting"
    environment = {"TRUSTED_PROXY_HOPS": "1", "INVITATION_DELAY_SECONDS": "0", "INVITATIONS_PER_DAY_NEW": "3"}
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        dsn = database_dsn(postgres_dsn, name)
        with service.start(dsn, environment) as running:
            yield running
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def client(postal: Server) -> AsyncIterator[httpx.AsyncClient]:
    """A browser."""
    async with browser(postal.url) as opened:
        yield opened


@pytest.fixture
async def ada(postal: Server) -> AsyncIterator[Person]:
    """Somebody with a confirmed address."""
    async with person(postal.grpc) as somebody:
        with psycopg.connect(str(postal.dsn)) as connection:
            connection.execute("UPDATE users SET email_verified_at = now() WHERE email = %s", [somebody.email])
        yield somebody


async def mailed(client: httpx.AsyncClient, email: str, subject: str) -> str:
    """The newest message of that subject to somebody, as a page, as soon as it is there."""
    async with asyncio.timeout(20):
        while True:
            rows = re.findall(
                r'<td>([^<]+)</td><td><a href="([^"]+)">([^<]+)</a>', (await client.get("/dev/mail")).text
            )
            if found := [path for to, path, what in rows if (to, what) == (email, subject)]:
                return str((await client.get(found[0])).text)
            await asyncio.sleep(0.1)


def path(message: str, kind: str) -> str:
    """The path of a link in a message."""
    found = re.search(rf'href="http://[^/"]+(/{kind}/[\w-]{{43}})', message)
    assert found
    return found.group(1)


async def test_from_a_booking_to_an_answer(client: httpx.AsyncClient, ada: Person, postal: Server) -> None:
    """Nothing is answered by following the link, whatever it says; the button answers, and the organizer sees it."""
    guest = new_email()
    booked = await ada.create(
        title="<Chess>", attendees=[pb.Attendee(email=guest, response=pb.ATTENDEE_RESPONSE_ACCEPTED)]
    )
    assert pb.ATTENDEE_RESPONSE_NEEDS_ACTION == booked.attendees[0].response
    link = path(await mailed(client, guest, "Invitation: &lt;Chess&gt;"), "invitation")
    for _ in range(2):
        page = await client.get(link, params={"answer": "DECLINED"}, headers={"Host": "evil.example"})
        assert (200, True) == (page.status_code, "&lt;Chess&gt;" in page.text and "<Chess>" not in page.text)
    assert ("no-store", "no-referrer") == (page.headers["cache-control"], page.headers["referrer-policy"])
    assert "noindex" in page.headers["x-robots-tag"]
    request = pb.GetAppointmentRequest(id=booked.id)
    assert booked == (await ada.appointments.GetAppointment(request, metadata=ada.metadata)).appointment

    form = {"response": "ACCEPTED", "comment": 'I <come> & bring "cake"'}
    answered = await client.post(link, data=form, headers={"Origin": "null", "Sec-Fetch-Site": "cross-site"})
    assert (200, True) == (answered.status_code, "You have accepted." in answered.text)
    seen = (await ada.appointments.GetAppointment(request, metadata=ada.metadata)).appointment
    assert (pb.ATTENDEE_RESPONSE_ACCEPTED, form["comment"]) == (seen.attendees[0].response, seen.attendees[0].comment)
    assert seen.etag != booked.etag
    assert 400 == (await client.post(link, data={"response": "x"})).status_code
    assert 404 == (await client.get("/invitation/" + "x" * 43)).status_code
    assert link not in postal.log()

    await ada.appointments.DeleteAppointment(pb.DeleteAppointmentRequest(id=booked.id), metadata=ada.metadata)
    await mailed(client, guest, "Cancelled: &lt;Chess&gt;")
    assert "has been cancelled" in (await client.get(link)).text
    assert 400 == (await client.post(link, data=form)).status_code


async def test_a_series_is_answered_at_once_and_counts_once(
    client: httpx.AsyncClient, ada: Person, postal: Server
) -> None:
    """One message leads to one page that answers every occurrence; over the limit no series is booked."""
    guest = new_email()
    wanted = series_pb2.Series(
        title="<Chess>", start_time=timestamp(TEN), end_time=timestamp(TEN.replace(hour=11)), time_zone="Europe/Zurich",
        recurrence_rule="FREQ=WEEKLY;COUNT=5", attendees=[pb.Attendee(email=guest)],
    )  # fmt: skip
    async with grpc.aio.insecure_channel(postal.grpc) as channel:
        calls = series_pb2_grpc.SeriesServiceStub(channel)
        request = series_pb2.CreateSeriesRequest(series=wanted)
        booked = (await calls.CreateSeries(request, metadata=ada.metadata)).series
        link = path(await mailed(client, guest, "Invitation: &lt;Chess&gt;"), "invitation/series")
        page = await client.get(link, params={"answer": "DECLINED"})
        assert (200, True) == (page.status_code, "Every week on Wednesday, 12:00 – 13:00" in page.text)
        assert ("no-store", "no-referrer") == (page.headers["cache-control"], page.headers["referrer-policy"])
        answered = await client.post(link, data={"response": "ACCEPTED"}, headers={"Origin": "null"})
        assert (200, True) == (answered.status_code, "You have accepted." in answered.text)
        seen = await calls.GetSeries(series_pb2.GetSeriesRequest(id=booked.id), metadata=ada.metadata)
        assert pb.ATTENDEE_RESPONSE_ACCEPTED == seen.series.attendees[0].response
        window = pb.ListAppointmentsRequest(series_id=booked.id)
        every = (await ada.appointments.ListAppointments(window, metadata=ada.metadata)).appointments
        assert [pb.ATTENDEE_RESPONSE_ACCEPTED] * 5 == [each.attendees[0].response for each in every]
        assert 404 == (await client.get("/invitation/series/" + "x" * 43)).status_code
        assert link not in postal.log()
        many = [pb.Attendee(email=new_email()) for _ in range(3)]
        others = series_pb2.Series(title="Others", attendees=many)
        others.MergeFrom(series_pb2.Series(
            start_time=timestamp(TEN.replace(hour=15)), end_time=timestamp(TEN.replace(hour=16)),
            time_zone="Europe/Zurich", recurrence_rule="FREQ=WEEKLY",
        ))  # fmt: skip
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await calls.CreateSeries(series_pb2.CreateSeriesRequest(series=others), metadata=ada.metadata)
        assert Code.RESOURCE_EXHAUSTED == refused.value.code()
        del others.attendees[2:]
        await calls.CreateSeries(series_pb2.CreateSeriesRequest(series=others), metadata=ada.metadata)


async def test_one_click_ends_it(client: httpx.AsyncClient, ada: Person) -> None:
    """As mail programs POST it (RFC 8058); GET only shows; and one can come back."""
    guest = new_email()
    await ada.create(TEN, attendees=[pb.Attendee(email=guest)])
    link = path(await mailed(client, guest, "Invitation: Haircut"), "unsubscribe")
    assert "when somebody invites you" in (await client.get(link)).text
    assert 200 == (await client.post(link, data={"List-Unsubscribe": "One-Click"})).status_code
    assert "does not write to" in (await client.get(link)).text
    assert 200 == (await client.post(link, data={"wanted": "yes"})).status_code
    assert "when somebody invites you" in (await client.get(link)).text
    assert 404 == (await client.post("/unsubscribe/" + "x" * 43)).status_code


async def test_over_the_limit_nothing_is_booked(ada: Person) -> None:
    """By a create and by a change; the answer says what the limit is and until when."""
    many = [pb.Attendee(email=new_email()) for _ in range(4)]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ada.create(attendees=many)
    info = details(refused.value)["ErrorInfo"]
    assert Code.RESOURCE_EXHAUSTED == refused.value.code()
    assert ("INVITATION_LIMIT", "3") == (info.reason, info.metadata["limit"])
    assert 86_000 < details(refused.value)["RetryInfo"].retry_delay.seconds <= 86_400
    booked = await ada.create(attendees=many[:3])
    request = pb.UpdateAppointmentRequest(appointment=pb.Appointment(id=booked.id, attendees=many))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ada.appointments.UpdateAppointment(request, metadata=ada.metadata)
    assert Code.RESOURCE_EXHAUSTED == refused.value.code()
    moved = pb.UpdateAppointmentRequest(
        appointment=pb.Appointment(id=booked.id, end_time=timestamp(TEN.replace(hour=12)))
    )
    await ada.appointments.UpdateAppointment(moved, metadata=ada.metadata)

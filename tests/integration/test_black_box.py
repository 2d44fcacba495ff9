"""What a deployed system can get wrong: the page in the image, gRPC-Web through its port, races on its database."""

import asyncio
from collections import Counter

import grpc
import httpx

from appointments.v1 import appointments_pb2 as pb
from tests.api.rest import browser, sign_up
from tests.clients import HOUR, TEN, Person, appointment
from tests.grpcweb.wire import BINARY, framed, frames
from tests.service import Target

CREATE = "/appointments.v1.AppointmentService/CreateAppointment"


async def create_from_a_page(client: httpx.AsyncClient, booking: pb.Appointment) -> tuple[int, int]:
    """Call over gRPC-Web with the session cookie; returns the HTTP status and the call's, wherever it stands."""
    message = pb.CreateAppointmentRequest(appointment=booking).SerializeToString()
    headers = {"Content-Type": BINARY, "X-Grpc-Web": "1", "Origin": str(client.base_url).rstrip("/")}
    response = await client.post(CREATE, content=framed(message), headers=headers)
    told = dict(response.headers)
    for flags, data in frames(response.content):
        if flags & 0x80:
            lines = (line.partition(":") for line in bytes(data).decode().splitlines())
            told |= {name: value for name, _, value in lines}
    return response.status_code, int(told["grpc-status"])


async def test_the_page_is_served(target: Target) -> None:
    """The image carries the built calendar."""
    async with httpx.AsyncClient(base_url=target.url) as client:
        page = await client.get("/")
    assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (200, "text/html")
    assert "<script" in page.text


async def test_a_browser_books_over_grpc_web(target: Target) -> None:
    """Signed up over REST, booked over gRPC-Web with the cookie; the same time again is a conflict."""
    async with browser(target.url) as client:
        await sign_up(client)
        assert (200, 0) == await create_from_a_page(client, appointment())
        assert (200, 6) == await create_from_a_page(client, appointment(TEN + HOUR / 2))


async def test_of_a_hundred_at_once_one_books(ada: Person) -> None:
    """Exactly one OK; every other one ALREADY_EXISTS."""

    async def attempt() -> grpc.StatusCode:
        try:
            await ada.create()
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    for _ in range(5):
        answers = Counter(await asyncio.gather(*(attempt() for _ in range(100))))
        assert {grpc.StatusCode.OK: 1, grpc.StatusCode.ALREADY_EXISTS: 99} == answers
        found = await ada.appointments.ListAppointments(pb.ListAppointmentsRequest(), metadata=ada.metadata)
        (booked,) = found.appointments
        await ada.appointments.DeleteAppointment(pb.DeleteAppointmentRequest(id=booked.id), metadata=ada.metadata)

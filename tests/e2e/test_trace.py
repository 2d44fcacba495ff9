"""A click in the browser, followed to the statement that it causes."""

import asyncio

from playwright.async_api import Request

from tests import clients, service
from tests.collector import attributes, receiver
from tests.e2e.conftest import BEHIND_A_PROXY, Opener


async def test_a_click_is_one_trace_from_the_page_to_the_statement(
    open_tab: Opener, ada: clients.Person, built: None, database: str
) -> None:
    """Save, the call that it makes, the booking's INSERT and the log line: all by one id, which begins in the page."""
    sent: list[str] = []

    def note(request: Request) -> None:
        if request.url.endswith("/CreateAppointment"):
            sent.append(request.headers["traceparent"])

    with receiver() as (endpoint, spans):
        with service.start(database, BEHIND_A_PROXY | {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}) as server:
            tab = await open_tab(url=server.url, email=ada.email)
            await tab.settled()
            tab.page.on("request", note)
            await tab.book("Dentist", "2030-05-16T18:00", "2030-05-16T19:00")
            log = server.log()
            assert 0 == await asyncio.to_thread(server.stop)
        [header] = sent
        _, trace, click, sampled = header.split("-")
        ours = [span for span in spans if span.trace_id.hex() == trace]
    assert "01" == sampled
    [call] = [span for span in ours if span.name == "appointments.v1.AppointmentService/CreateAppointment"]
    assert (click, "OK") == (call.parent_span_id.hex(), attributes(call)["rpc.response.status_code"])
    assert "INSERT bookings" in [span.name for span in ours if span.parent_span_id == call.span_id]
    assert f"trace_id={trace}" in log

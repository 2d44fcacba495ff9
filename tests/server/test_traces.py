"""Spans as a collector gets them from a real server."""

import asyncio
import subprocess
import sys

import grpc
import httpx
import pytest

from appointments.v1 import appointments_pb2 as pb
from tests import service
from tests.clients import HOUR, TEN, appointment, person
from tests.collector import attributes, receiver

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


async def test_a_call_is_one_trace_from_the_client_to_the_statement(dsn: str) -> None:
    """The client's traceparent is the parent, the statement a child, the log line has the id. No secret is told."""
    with receiver() as (endpoint, spans):
        setting = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "TRUSTED_PROXY_HOPS": "1"}
        with service.start(dsn, setting) as server:
            async with person(server.grpc) as somebody:
                metadata = (*somebody.metadata, ("traceparent", TRACEPARENT))
                request = pb.CreateAppointmentRequest(appointment=appointment(title="Private matter"))
                await somebody.appointments.CreateAppointment(request, metadata=metadata)
                with pytest.raises(grpc.aio.AioRpcError):
                    await somebody.appointments.CreateAppointment(request, metadata=metadata)
            async with httpx.AsyncClient(base_url=server.url) as browser:
                await browser.get("/no/such/page", headers={"traceparent": TRACEPARENT})
            log = server.log()
            assert 0 == await asyncio.to_thread(server.stop)
        ours = [span for span in spans if span.trace_id.hex() == TRACE]
    calls = [span for span in ours if span.name == "appointments.v1.AppointmentService/CreateAppointment"]
    assert ["OK", "ALREADY_EXISTS"] == [attributes(span)["rpc.response.status_code"] for span in calls]
    children = [span.name for span in ours if span.parent_span_id == calls[0].span_id]
    assert "INSERT bookings" in children
    assert ["GET"] == [span.name for span in ours if "http.route" in attributes(span)]
    assert f"trace_id={TRACE}" in log
    said = str(spans)
    assert not [word for word in ("Private matter", somebody.email, somebody.user_id, "no/such") if word in said]


async def test_a_shared_statement_is_linked_to_each_caller(dsn: str) -> None:
    """Creates that are under way together are one span, with a link to the call of each."""
    with receiver() as (endpoint, spans):
        setting = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "TRUSTED_PROXY_HOPS": "1"}
        with service.start(dsn, setting) as server:
            async with person(server.grpc) as somebody:
                await asyncio.gather(*(somebody.create(TEN + hour * HOUR) for hour in range(40)))
            assert 0 == await asyncio.to_thread(server.stop)
        calls = {span.span_id for span in spans if span.name.endswith("/CreateAppointment")}
        shared = [span for span in spans if span.name == "shared statement"]
    assert 40 == len(calls)
    assert shared
    for span in shared:
        assert len(span.links) > 1
        assert {link.span_id for link in span.links} <= calls


def test_without_an_endpoint_nothing_of_it_is_loaded() -> None:
    """OpenTelemetry costs nobody anything who does not ask for it, but for what the client of Redis loads by itself."""
    program = "import sys, appointments.shared.tracing; print(any('opentelemetry.sdk' in name for name in sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "False" == run.stdout.strip()


def test_a_missing_package_is_told(dsn: str) -> None:
    """In one line, before anything is served."""
    hide = "import sys; sys.modules['opentelemetry.sdk'] = None; sys.argv = ['appointments', 'serve'];"
    program = f"{hide} from appointments.server.cli import main; main()"
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "DATABASE_URL": dsn, "PATH": ""}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=env)
    assert 1 == run.returncode
    assert "install appointments[otel]" in run.stderr
    assert "Traceback" not in run.stderr

"""Spans as a collector gets them from a real server."""

import asyncio
import subprocess
import sys

import grpc
import httpx
import psycopg
import pytest

from appointments.v1 import account_pb2, changes_pb2, changes_pb2_grpc
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
        shared = [span for span in spans if span.name == "INSERT bookings" and span.links]
    assert 40 == len(calls)
    assert shared
    for span in shared:
        assert len(span.links) > 1
        assert {link.span_id for link in span.links} <= calls


async def test_what_is_sampled_leads_to_its_statement(dsn: str) -> None:
    """At half of the calls: each that is recorded has its statement in its trace, or is linked to by a shared one."""
    with receiver() as (endpoint, spans):
        setting = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.5",
        }
        with service.start(dsn, setting) as server:
            async with person(server.grpc) as somebody:
                await asyncio.gather(*(somebody.create(TEN + hour * HOUR) for hour in range(100)))
            log = server.log()
            assert 0 == await asyncio.to_thread(server.stop)
    calls = {span.span_id for span in spans if span.name.endswith("/CreateAppointment")}
    assert 1 <= len(calls) < 100
    booked = [span for span in spans if span.name == "INSERT bookings"]
    linked = [link.span_id for span in booked for link in span.links]
    # A shared statement stands in the trace of one of its callers.
    assert linked
    assert calls == {*linked, *(span.parent_span_id for span in booked)}
    # A trace that nobody records is not told to anybody who reads the log.
    created = [line for line in log.splitlines() if "/CreateAppointment" in line]
    assert len(calls) == sum("trace_id=" in line for line in created)


async def test_a_callers_trace_is_told_where_it_is_not_recorded(dsn: str) -> None:
    """The log has the trace of a client that samples nothing, since the client knows it. There are no spans of it."""
    with receiver() as (endpoint, spans):
        setting = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}
        with service.start(dsn, setting) as server:
            async with person(server.grpc) as somebody:
                unsampled = (("traceparent", TRACEPARENT.removesuffix("01") + "00"),)
                await somebody.account.GetCurrentUser(
                    account_pb2.GetCurrentUserRequest(), metadata=(*somebody.metadata, *unsampled)
                )
            log = server.log()
            assert 0 == await asyncio.to_thread(server.stop)
    assert [True] == [f"trace_id={TRACE}" in line for line in log.splitlines() if "/GetCurrentUser" in line]
    assert [] == [span for span in spans if span.trace_id.hex() == TRACE]


async def test_streams_jobs_and_transactions_have_spans(dsn: str) -> None:
    """A stream is one span, a job begins a trace, and statements in a transaction are seen like all others."""
    with receiver() as (endpoint, spans), service.start(dsn, {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}) as server:
        async with person(server.grpc) as somebody:
            stub = changes_pb2_grpc.ChangeServiceStub(somebody.channel)
            call = stub.WatchChanges(changes_pb2.WatchChangesRequest(), metadata=somebody.metadata)
            await call.read()
            call.cancel()
            server.wait_for_line("status=CANCELLED")
        assert 0 == await asyncio.to_thread(server.stop)
    by_id = {span.span_id: span for span in spans}
    [stream] = [span for span in spans if span.name == "appointments.v1.ChangeService/WatchChanges"]
    assert "CANCELLED" == attributes(stream)["rpc.response.status_code"]
    [registered] = [span for span in spans if span.name == "appointments.v1.AuthService/Register"]
    inside = [span.name for span in spans if span.parent_span_id == registered.span_id]
    assert {"BEGIN", "INSERT subjects", "COMMIT"} <= {*inside}
    jobs = [span for span in spans if span.name == "job jobs.sweep"]
    assert ["finished"] == [attributes(span)["appointments.job.outcome"] for span in jobs]
    assert b"" == jobs[0].parent_span_id
    swept = [span for span in spans if by_id.get(span.parent_span_id) is jobs[0]]
    assert [] != swept


async def test_a_job_is_linked_to_the_call_that_deferred_it(dsn: str) -> None:
    """A letter to the call that was written, or to the job that wrote it, which leads to the call in turn."""
    with receiver() as (endpoint, spans), service.start(dsn, {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}) as server:
        async with person(server.grpc) as somebody:
            async with httpx.AsyncClient(base_url=server.url, headers={"origin": server.url}) as browser:
                answer = await browser.post("/auth/password-reset", json={"email": somebody.email})
            assert answer.is_success
            async with asyncio.timeout(30):
                while not done(dsn):  # noqa: ASYNC110 - in another process
                    await asyncio.sleep(0.1)
        assert 0 == await asyncio.to_thread(server.stop)
    by_id = {span.span_id: span for span in spans}
    caused = {
        (span.name, by_id[link.span_id].name, by_id[link.span_id].trace_id == link.trace_id)
        for span in spans
        for link in span.links
        if span.name.startswith("job ")
    }
    asked = "POST /auth/password-reset"
    assert ("job mail", "appointments.v1.AuthService/Register", True) in caused
    assert {("job account.reset", asked, True), ("job mail", "job account.reset", True)} <= caused
    assert {b""} == {span.parent_span_id for span in spans if span.name.startswith("job ")}
    assert [] == [span for span in spans if span.name == "job jobs.sweep" and span.links]


def done(dsn: str) -> bool:
    """Whether all letters are on their way and nothing is to be done but what recurs."""
    with psycopg.connect(dsn) as connection:
        return connection.execute("SELECT FROM jobs WHERE key IS DISTINCT FROM ''").fetchone() is None


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

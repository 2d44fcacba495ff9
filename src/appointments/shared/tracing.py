"""Traces, if an operator asks for them: OpenTelemetry spans of calls, requests, statements and jobs.

Off is the default. Every function here then does nothing and costs next to nothing, and the SDK is not even loaded.
On means that ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set. The other ``OTEL_*`` variables hold as well. A span has names of
the contract and of statements, never a parameter, a path that somebody made up or anything else of a person.
"""

import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanContext, Tracer

ENDPOINT_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"

FLUSH_MILLISECONDS = 2000
"""How long the process waits at its end for a collector that does not answer."""

Attributes = Mapping[str, str | int]

_SERVER_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""What OpenTelemetry's conventions count as the server's fault; the others are the client's."""

_NOTHING: AbstractContextManager[None] = nullcontext()


class TracingFault(Exception):
    """Traces are asked for and cannot be made; the message says what is missing."""


class _State:
    provider: "TracerProvider | None" = None
    tracer: "Tracer | None" = None


def begin() -> None:
    """Make traces from now on, if the environment asks for them.

    Raises:
        TracingFault: OpenTelemetry is not installed.
    """
    if not os.environ.get(ENDPOINT_VARIABLE):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise TracingFault(f"{ENDPOINT_VARIABLE}: install appointments[otel] to send traces ({error})") from None
    name = os.environ.get("OTEL_SERVICE_NAME", "appointments")
    _State.provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}), shutdown_on_exit=False)
    _State.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _State.tracer = _State.provider.get_tracer("appointments")


def end() -> None:
    """Send what has not been sent; nothing is made any more."""
    provider, _State.provider, _State.tracer = _State.provider, None, None
    if provider:
        provider.force_flush(FLUSH_MILLISECONDS)
        provider.shutdown()


def enabled() -> bool:
    """Whether spans are made."""
    return _State.tracer is not None


def serve(name: str, headers: Mapping[str, str], attributes: Attributes) -> "AbstractContextManager[Span | None]":
    """A span around what a client has asked for; its parent is the client's, if ``headers`` name one."""
    if _State.tracer is None:
        return _NOTHING
    from opentelemetry.trace import SpanKind  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    parent = TraceContextTextMapPropagator().extract(headers)
    return _span(_State.tracer, name, context=parent, kind=SpanKind.SERVER, attributes=dict(attributes))


def query(name: str) -> "AbstractContextManager[Span | None]":
    """A span around a statement, such as ``INSERT bookings``, within the span of whoever runs it."""
    if _State.tracer is None or current() is None:
        return _NOTHING
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    attributes = {"db.system.name": "postgresql", "db.query.summary": name}
    return _span(_State.tracer, name, kind=SpanKind.CLIENT, attributes=attributes)


def share(callers: "Iterable[SpanContext | None]") -> "AbstractContextManager[Span | None]":
    """A span around what is done once for several callers, linked to the span of each."""
    if _State.tracer is None:
        return _NOTHING
    from opentelemetry.context import Context  # noqa: PLC0415
    from opentelemetry.trace import Link  # noqa: PLC0415

    links = [Link(caller) for caller in callers if caller]
    return _span(_State.tracer, "shared statement", context=Context(), links=links) if links else _NOTHING


def work(name: str) -> "AbstractContextManager[Span | None]":
    """A span around something that nobody waits for, such as a job."""
    return _NOTHING if _State.tracer is None else _span(_State.tracer, name)


def _span(tracer: "Tracer", name: str, **options: Any) -> "AbstractContextManager[Span]":
    # An exception's text may hold anything, and how a call ended is an attribute.
    return tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False, **options)


def ended(status: str) -> None:
    """Note in the span that is being worked in how the call ended: a canonical code of gRPC, by name."""
    if _State.tracer is None:
        return
    from opentelemetry.trace import Status, StatusCode, get_current_span  # noqa: PLC0415

    span = get_current_span()
    span.set_attribute("rpc.response.status_code", status)
    if status in _SERVER_FAULTS:
        span.set_status(Status(StatusCode.ERROR))


def answered(name: str, route: str, status: int) -> None:
    """Note in the span that is being worked in how an HTTP request ended, and give it the name that is known now."""
    if _State.tracer is None:
        return
    from opentelemetry.trace import Status, StatusCode, get_current_span  # noqa: PLC0415

    span = get_current_span()
    span.update_name(name)
    span.set_attributes({"http.route": route, "http.response.status_code": status})
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))


def current() -> "SpanContext | None":
    """The span that is being worked in, to link to."""
    if _State.tracer is None:
        return None
    from opentelemetry.trace import get_current_span  # noqa: PLC0415

    found = get_current_span().get_span_context()
    return found if found.is_valid else None


def trace_id() -> dict[str, str]:
    """What a log line says about the trace that it belongs to."""
    context = current()
    return {"trace_id": f"{context.trace_id:032x}"} if context else {}

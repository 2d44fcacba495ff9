"""Spans by OpenTelemetry's SDK, which is loaded with this module: see :mod:`appointments.shared.tracing`.

A call that is not sampled costs the sampler's decision and no more: neither it nor what it does has a span. The span
that is being worked in stands in a variable of this module, because OpenTelemetry's own context would be copied.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar, Token

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

FLUSH_MILLISECONDS = 2000
"""How long the process waits at its end for a collector that does not answer."""

Attributes = Mapping[str, str | int]

_ROOT = Context()
_ERROR = Status(StatusCode.ERROR)
_SAMPLED = TraceFlags.SAMPLED
_NOTHING: AbstractContextManager[None] = nullcontext()

_working_in: ContextVar[Span | None] = ContextVar("working_in", default=None)
_links: ContextVar[Sequence[Link] | None] = ContextVar("links", default=None)


class _Ids(RandomIdGenerator):
    """Gives the next trace the id that the sampler has been asked about."""

    drawn = 0

    def generate_trace_id(self) -> int:
        drawn, self.drawn = self.drawn, 0
        return drawn or super().generate_trace_id()


class Spans:
    """Makes spans and sends them where ``OTEL_EXPORTER_OTLP_ENDPOINT`` says."""

    def __init__(self) -> None:
        name = os.environ.get("OTEL_SERVICE_NAME", "appointments")
        self._ids = _Ids()
        self._provider = TracerProvider(
            resource=Resource.create({SERVICE_NAME: name}), id_generator=self._ids, shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("appointments")
        self._propagator = TraceContextTextMapPropagator()

    def end(self) -> None:
        """Send what has not been sent."""
        self._provider.force_flush(FLUSH_MILLISECONDS)
        self._provider.shutdown()

    def serve(
        self, name: str, headers: Mapping[str, str], attributes: Attributes
    ) -> AbstractContextManager[Span | None]:
        """A span whose parent is the client's, if ``headers`` name one."""
        parent = self._propagator.extract(headers, _ROOT) if "traceparent" in headers else _ROOT
        caller = get_current_span(parent).get_span_context()
        trace_id = caller.trace_id if caller.is_valid else self._ids.generate_trace_id()
        sampled = self._provider.sampler.should_sample(parent, trace_id, name, SpanKind.SERVER, attributes)
        if sampled.decision is Decision.DROP:
            # Its client may know the trace from elsewhere, so log lines tell it.
            return _Scope(NonRecordingSpan(_not_sampled(caller))) if caller.is_valid else _NOTHING
        self._ids.drawn = 0 if caller.is_valid else trace_id
        return _Scope(self._tracer.start_span(name, parent, SpanKind.SERVER, attributes))

    def query(self, name: str) -> AbstractContextManager[Span | None]:
        """A span of a statement, within the span of whoever runs it."""
        span = _working_in.get()
        if span is None or not span.get_span_context().trace_flags & _SAMPLED:
            return _NOTHING
        attributes = {"db.system.name": "postgresql", "db.query.summary": name}
        parent = set_span_in_context(span, _ROOT)
        return _Scope(self._tracer.start_span(name, parent, SpanKind.CLIENT, attributes, _links.get()))

    def share(self, callers: Sequence[SpanContext | None]) -> AbstractContextManager[Span | None]:
        """Statements are in the trace of the first, so that they are recorded, with links to all who are."""
        known = [caller for caller in callers if caller]
        if not known:
            return _NOTHING
        # In a task of its own, so nobody else sees these links.
        _links.set([Link(each) for each in known] if len(callers) > 1 else None)
        return _Scope(NonRecordingSpan(known[0]))

    def work(self, name: str, attributes: Attributes, cause: str | None) -> "_Scope":
        """A span in a trace of its own, linked to its cause."""
        links = None
        if cause:
            asked = self._propagator.extract({"traceparent": cause}, _ROOT)
            links = [Link(get_current_span(asked).get_span_context())]
        return _Scope(self._tracer.start_span(name, _ROOT, SpanKind.CONSUMER, attributes, links))

    def note(self, attributes: Attributes, *, name: str = "", failed: bool = False) -> None:
        """Say more about the span that is being worked in, if it is recorded."""
        span = _working_in.get()
        if span is None or not span.is_recording():
            return
        span.set_attributes(attributes)
        if name:
            span.update_name(name)
        if failed:
            span.set_status(_ERROR)

    def recorded(self) -> SpanContext | None:
        """The span that is being worked in, if it is recorded."""
        span = _working_in.get()
        context = span.get_span_context() if span else None
        return context if context and context.trace_flags & _SAMPLED else None

    def traceparent(self) -> str | None:
        """The span that is being worked in, if it is recorded, in the words of the header."""
        context = self.recorded()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-01" if context else None

    def trace_id(self) -> str:
        """In hex; "" outside of every span."""
        span = _working_in.get()
        return f"{span.get_span_context().trace_id:032x}" if span else ""


def _not_sampled(context: SpanContext) -> SpanContext:
    return SpanContext(context.trace_id, context.span_id, context.is_remote, TraceFlags(TraceFlags.DEFAULT))


class _Scope:
    """Works in a span, and ends it. An exception's text may hold anything, so none is recorded."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> Span:
        self._token: Token[Span | None] = _working_in.set(self._span)
        return self._span

    def __exit__(self, *exc_info: object) -> None:
        _working_in.reset(self._token)
        self._span.end()

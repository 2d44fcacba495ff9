"""Spans for OpenTelemetry's SDK, which is loaded with this module: see :mod:`appointments.shared.tracing`.

Sampling, batches and the way to the collector are the SDK's. Its span objects are not used: they check, copy and lock
at each step what nobody else can reach here, which was most of what a recorded call cost. A span of this module is
written down once, when it ends. A call that is not sampled costs the sampler's decision and no more: neither it nor
what it does has a span. The span that is being worked in stands in a variable of this module, because OpenTelemetry's
own context would be copied.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar, Token
from time import time_ns

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

FLUSH_MILLISECONDS = 2000
"""How long the process waits at its end for a collector that does not answer."""

Attributes = Mapping[str, str | int]

_ROOT = Context()
_UNSET = Status(StatusCode.UNSET)
_ERROR = Status(StatusCode.ERROR)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_BEGUN_HERE = TraceFlags(TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID)
_SCOPE = InstrumentationScope("appointments")
_NOTHING: AbstractContextManager[None] = nullcontext()


class Place:
    """Where somebody works for the length of a block: in a span of somebody else's, which is not recorded here."""

    __slots__ = ("_token", "context")

    def __init__(self, context: SpanContext) -> None:
        self.context = context

    def __enter__(self) -> None:
        self._token: Token[Place | None] = _working_in.set(self)

    def __exit__(self, *exc_info: object) -> None:
        _working_in.reset(self._token)


class Recording(Place):
    """A span around the block. An exception's text may hold anything, so none is recorded."""

    __slots__ = ("_began", "_kind", "_links", "_parent", "_spans", "attributes", "failed", "name")

    def __init__(
        self,
        spans: "Spans",
        context: SpanContext,
        *,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        parent: SpanContext | None,
        links: Sequence[Link] = (),
    ) -> None:
        self.context = context
        self.name = name
        self.attributes = dict(attributes)
        self.failed = False
        self._spans = spans
        self._parent = parent
        self._kind = kind
        self._links = links
        self._began = time_ns()

    def __exit__(self, *exc_info: object) -> None:
        super().__exit__(*exc_info)
        self._spans.processor.on_end(
            ReadableSpan(
                self.name,
                self.context,
                self._parent,
                self._spans.resource,
                self.attributes,
                links=self._links,
                kind=self._kind,
                status=_ERROR if self.failed else _UNSET,
                start_time=self._began,
                end_time=time_ns(),
                instrumentation_scope=_SCOPE,
            )
        )


_working_in: ContextVar[Place | None] = ContextVar("working_in", default=None)
_links: ContextVar[Sequence[Link]] = ContextVar("links", default=())


class Spans:
    """Makes spans and sends them where ``OTEL_EXPORTER_OTLP_ENDPOINT`` says."""

    def __init__(self) -> None:
        name = os.environ.get("OTEL_SERVICE_NAME", "appointments")
        self.resource = Resource.create({SERVICE_NAME: name})
        self.processor = BatchSpanProcessor(OTLPSpanExporter())
        self._provider = TracerProvider(resource=self.resource, shutdown_on_exit=False)
        self._provider.add_span_processor(self.processor)
        self._sampler = self._provider.sampler
        self._ids = self._provider.id_generator
        self._propagator = TraceContextTextMapPropagator()

    def end(self) -> None:
        """Send what has not been sent."""
        self._provider.force_flush(FLUSH_MILLISECONDS)
        self._provider.shutdown()

    def serve(self, name: str, headers: Mapping[str, str], attributes: Attributes) -> AbstractContextManager[None]:
        """A span whose parent is the client's, if ``headers`` name one."""
        parent, caller = _ROOT, None
        if "traceparent" in headers:
            parent = self._propagator.extract(headers, _ROOT)
            told = get_current_span(parent).get_span_context()
            caller = told if told.is_valid else None
        begun = self._begin(name, parent, SpanKind.SERVER, attributes, caller=caller)
        if begun:
            return begun
        # Its client may know the trace from elsewhere, so log lines tell it.
        return Place(_not_sampled(caller)) if caller else _NOTHING

    def query(self, name: str) -> AbstractContextManager[None]:
        """A span of a statement, within the span of whoever runs it; recorded if that is."""
        place = _working_in.get()
        if place is None or not place.context.trace_flags & TraceFlags.SAMPLED:
            return _NOTHING
        parent = place.context
        context = SpanContext(
            parent.trace_id, self._ids.generate_span_id(), False, parent.trace_flags, parent.trace_state
        )
        attributes = {"db.system.name": "postgresql", "db.query.summary": name}
        return Recording(
            self, context, name=name, kind=SpanKind.CLIENT, attributes=attributes, parent=parent, links=_links.get()
        )

    def share(self, callers: Sequence[SpanContext | None]) -> AbstractContextManager[None]:
        """Statements are in the trace of the first, so that they are recorded, with links to all who are."""
        known = [caller for caller in callers if caller]
        if not known:
            return _NOTHING
        # In a task of its own, so nobody else sees these links.
        _links.set([Link(each) for each in known] if len(callers) > 1 else ())
        return Place(known[0])

    def work(self, name: str, attributes: Attributes, cause: str | None) -> AbstractContextManager[None]:
        """A span in a trace of its own, linked to its cause."""
        links: Sequence[Link] = ()
        if cause:
            asked = self._propagator.extract({"traceparent": cause}, _ROOT)
            links = [Link(get_current_span(asked).get_span_context())]
        return self._begin(name, _ROOT, SpanKind.CONSUMER, attributes, links=links) or _NOTHING

    def note(self, attributes: Attributes, *, name: str = "", failed: bool = False) -> None:
        """Say more about the span that is being worked in, if it is recorded."""
        place = _working_in.get()
        if not isinstance(place, Recording):
            return
        place.attributes.update(attributes)
        place.name = name or place.name
        place.failed = place.failed or failed

    def recorded(self) -> SpanContext | None:
        """The span that is being worked in, if it is recorded."""
        place = _working_in.get()
        return place.context if place and place.context.trace_flags & TraceFlags.SAMPLED else None

    def traceparent(self) -> str | None:
        """The span that is being worked in, if it is recorded, in the words of the header."""
        context = self.recorded()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-01" if context else None

    def trace_id(self) -> str:
        """In hex; "" outside of every span."""
        place = _working_in.get()
        return f"{place.context.trace_id:032x}" if place else ""

    def _begin(
        self,
        name: str,
        parent: Context,
        kind: SpanKind,
        attributes: Attributes,
        *,
        caller: SpanContext | None = None,
        links: Sequence[Link] = (),
    ) -> Recording | None:
        """A span that the sampler wants to have."""
        trace_id = caller.trace_id if caller else self._ids.generate_trace_id()
        sampled = self._sampler.should_sample(parent, trace_id, name, kind, attributes, links)
        if sampled.decision is Decision.DROP:
            return None
        flags = TraceFlags(caller.trace_flags | _SAMPLED) if caller else _BEGUN_HERE
        context = SpanContext(trace_id, self._ids.generate_span_id(), False, flags, sampled.trace_state)
        return Recording(self, context, name=name, kind=kind, attributes=attributes, parent=caller, links=links)


def _not_sampled(context: SpanContext) -> SpanContext:
    return SpanContext(context.trace_id, context.span_id, context.is_remote, TraceFlags(TraceFlags.DEFAULT))

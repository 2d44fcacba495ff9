"""Traces, if an operator asks for them: OpenTelemetry spans of calls, requests, statements and jobs.

Off is the default. Every function here then does nothing and costs next to nothing, and the SDK is not even loaded.
On means that ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set. The other ``OTEL_*`` variables hold as well. A span has names of
the contract and of statements, never a parameter, a path that somebody made up or anything else of a person.
"""

import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

    from appointments.shared.spans import Spans

ENDPOINT_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"

Attributes = Mapping[str, str | int]

_SERVER_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""What OpenTelemetry's conventions count as the server's fault; the others are the client's."""

_NOTHING: AbstractContextManager[None] = nullcontext()


class TracingFault(Exception):
    """Traces are asked for and cannot be made; the message says what is missing."""


class _State:
    spans: "Spans | None" = None


def begin() -> None:
    """Make traces from now on, if the environment asks for them.

    Raises:
        TracingFault: OpenTelemetry is not installed.
    """
    if not wanted():
        return
    try:
        from appointments.shared.spans import Spans  # noqa: PLC0415
    except ImportError as error:
        raise TracingFault(f"{ENDPOINT_VARIABLE}: install appointments[otel] to send traces ({error})") from None
    _State.spans = Spans()


def end() -> None:
    """Send what has not been sent; nothing is made any more."""
    spans, _State.spans = _State.spans, None
    if spans:
        spans.end()


def wanted() -> bool:
    """Whether the environment asks for traces."""
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return bool(os.environ.get(ENDPOINT_VARIABLE)) and not disabled


def enabled() -> bool:
    """Whether spans are made."""
    return _State.spans is not None


def serve(name: str, headers: Mapping[str, str], attributes: Attributes) -> AbstractContextManager[None]:
    """A span around what a client has asked for; its parent is the client's, if ``headers`` name one."""
    return _State.spans.serve(name, headers, attributes) if _State.spans else _NOTHING


def query(name: str) -> AbstractContextManager[None]:
    """A span around a statement, such as ``INSERT bookings``, within the span of whoever runs it."""
    return _State.spans.query(name) if _State.spans else _NOTHING


def share(callers: "Iterable[SpanContext | None]") -> AbstractContextManager[None]:
    """Around what a task does once for several callers: each of its statements is linked to the span of each caller.

    They are in the trace of the first whose trace is recorded; if nobody's is, there are none.
    """
    return _State.spans.share(list(callers)) if _State.spans else _NOTHING


def work(name: str, attributes: Attributes, cause: str | None = None) -> AbstractContextManager[None]:
    """A span around something that nobody waits for, such as a job. It begins a trace.

    ``cause``: the :func:`traceparent` of what has asked for it, which it is linked to.
    """
    return _State.spans.work(name, attributes, cause) if _State.spans else _NOTHING


def ended(status: str) -> None:
    """Note in the span that is being worked in how the call ended: a canonical code of gRPC, by name."""
    if _State.spans:
        _State.spans.note({"rpc.response.status_code": status}, failed=status in _SERVER_FAULTS)


def answered(name: str, route: str, status: int) -> None:
    """Note in the span that is being worked in how an HTTP request ended, and give it the name that is known now."""
    if _State.spans:
        _State.spans.note({"http.route": route, "http.response.status_code": status}, name=name, failed=status >= 500)


def done(outcome: str) -> None:
    """Note in the span that is being worked in what became of a job, such as ``finished`` or ``failed``."""
    if _State.spans:
        _State.spans.note({"appointments.job.outcome": outcome}, failed=outcome == "failed")


def current() -> "SpanContext | None":
    """The span that is being worked in, to link to, if its trace is recorded."""
    return _State.spans.recorded() if _State.spans else None


def traceparent() -> str | None:
    """The span that is being worked in, as W3C Trace Context writes it, if its trace is recorded."""
    return _State.spans.traceparent() if _State.spans else None


def trace_id() -> str:
    """What log lines say of the trace that they belong to, in hex; "" outside of every span."""
    return _State.spans.trace_id() if _State.spans else ""

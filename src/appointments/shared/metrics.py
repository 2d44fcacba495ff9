"""What operators can watch, defined in one place: Prometheus metrics, named as OpenTelemetry's conventions map.

Whoever knows a fact counts it here. Labels are bounded: names of the contract, codes and states, never an id, address
or path that a user makes up. Counting is always on and costs about a microsecond. Whether anybody can read the counts
is up to :mod:`appointments.server.metrics_endpoint`.

Where several workers are one service their counts are kept in files that the parent adds up. The client library decides
that when it is imported, from the environment that the parent has given to the worker.
"""

import os
from collections.abc import Callable

from prometheus_client import Counter, Gauge, Histogram, values

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
WRITER_VARIABLE = "APPOINTMENTS_METRICS_WRITER"
"""The name under which a worker writes. No two living workers share one, and a successor goes on where it finds one."""

if FOLDER_VARIABLE in os.environ and (_writer := os.environ.get(WRITER_VARIABLE)):
    values.ValueClass = values.MultiProcessValue(lambda: _writer)  # type: ignore[no-untyped-call]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""What OpenTelemetry advises for durations, with finer steps below 5 ms, where most calls are."""

RPC_DURATION = Histogram(
    "rpc_server_call_duration_seconds",
    "Duration of RPCs, from the policy's first line to its last",
    ("rpc_service", "rpc_method", "rpc_response_status_code", "door"),
    buckets=_SECONDS,
)
HTTP_DURATION = Histogram(
    "http_server_request_duration_seconds",
    "Duration of HTTP requests that are not RPCs",
    ("http_request_method", "http_route", "http_response_status_code"),
    buckets=_SECONDS,
)
STREAMS = Gauge("appointments_streams", "Streams that are open, on all doors", multiprocess_mode="livesum")
STREAM_LAG = Histogram(
    "appointments_stream_lag_seconds",
    "From a change to when the streams that follow it have it, by the database's and this machine's clocks",
    buckets=_SECONDS,
)
RPC_ACTIVE = Gauge("rpc_server_active_requests", "RPCs in flight", multiprocess_mode="livesum")

_POOL = "db_client_connection_pool_name"
CONNECTIONS = Gauge("db_client_connection_count", "Connections by state", (_POOL, "state"), multiprocess_mode="livesum")
CONNECTIONS_MAX = Gauge(
    "db_client_connection_max", "The most connections there may be", (_POOL,), multiprocess_mode="livesum"
)
CONNECTIONS_PENDING = Gauge(
    "db_client_connection_pending_requests",
    "Requests that wait for a connection",
    (_POOL,),
    multiprocess_mode="livesum",
)
CONNECTION_WAIT = Histogram(
    "db_client_connection_wait_time_seconds", "Wait for a connection, where there was one", buckets=_SECONDS
)
CONNECTION_TIMEOUTS = Counter("db_client_connection_timeouts", "Requests that waited for a connection in vain")

REPLICA_READS = Counter("appointments_replica_reads", "Reads that might go to the replica", ("result",))
REPLICA_LAG = Gauge("appointments_replica_lag_seconds", "How far the replica is behind", multiprocess_mode="livemax")

SHARED_ROWS = Histogram("appointments_statement_rows", "Creates in one statement", buckets=(1, 2, 4, 8, 16, 32, 64))
BOOKINGS = Counter("appointments_bookings", "Appointments that got their time, by what asked for it", ("operation",))
CONFLICTS = Counter("appointments_conflicts", "Requests that were refused because the time is taken")

SIGN_INS = Counter("appointments_sign_ins", "Attempts to sign in or to register", ("result",))
SESSIONS_STOLEN = Counter("appointments_stolen_sessions", "Refresh tokens that somebody used a second time")
LIMITER_REFUSALS = Counter("appointments_limiter_refusals", "Requests that the limiter refused")
PASSWORDS_QUEUED = Gauge(
    "appointments_password_queue", "Passwords that wait for a hash or are being hashed", multiprocess_mode="livesum"
)

JOBS = Gauge("appointments_jobs", "Jobs by kind and state", ("kind", "state"), multiprocess_mode="livemax")
JOBS_OLDEST = Gauge(
    "appointments_jobs_oldest_seconds",
    "How long the oldest job has been due that nobody has taken",
    ("kind",),
    multiprocess_mode="livemax",
)
REMINDER_DELAY = Histogram(
    "appointments_reminder_delay_seconds",
    "How long after its moment a reminder is handed over",
    buckets=(1, 5, 15, 30, 60, 300, 1800),
)
MAIL = Counter("appointments_mail", "Attempts to send a letter, by how they ended", ("result",))
WEBHOOKS = Counter("appointments_webhook_deliveries", "Attempts to deliver to a webhook", ("result",))
for _counter, _results in (
    (MAIL, ("sent", "postponed", "bounced", "failed", "dropped")),
    (WEBHOOKS, ("delivered", "failed")),
):
    for _result in _results:
        # From zero on: an increase from nothing to something is none to Prometheus, and the first failures count too.
        _counter.labels(_result)
WEBHOOKS_DISABLED = Counter("appointments_webhooks_disabled", "Webhooks that were disabled because they fail")


def observed(gauge: Gauge, read: Callable[[], float]) -> None:
    """Have a gauge read whenever :func:`sample` is called: for what is a state already and needs no counting."""
    _observed[gauge] = read


def sample() -> None:
    """Read every observed gauge now."""
    for gauge, read in _observed.items():
        gauge.set(read())


_observed: dict[Gauge, Callable[[], float]] = {}

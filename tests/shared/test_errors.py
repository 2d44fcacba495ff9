"""The table of statuses, walked whole."""

import http
import inspect

import grpc
import pytest

from appointments.shared import errors
from appointments.shared.errors import STATUSES, Fault

FAULTS = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Fault) and kind is not Fault
]


@pytest.mark.parametrize("kind", FAULTS)
def test_every_fault_has_a_status_on_both_doors(kind: type[Fault]) -> None:
    """A known gRPC code and the HTTP status that says the same; only the server's own faults are 5xx."""
    status = STATUSES[kind]
    assert status.grpc in grpc.StatusCode.__members__
    assert status.http in set(http.HTTPStatus)
    assert (status.http >= 500) == (status.grpc in {"UNAVAILABLE", "DEADLINE_EXCEEDED"})


def test_the_table_has_nothing_else() -> None:
    """Every entry is a fault of the module."""
    assert set(FAULTS) == set(STATUSES)


def test_reasons_are_distinct_and_stable() -> None:
    """Clients switch on them: a change here is a change of the contract."""
    assert {kind.__name__: kind.reason for kind in FAULTS} == {
        "Conflict": "TIME_CONFLICT",
        "DeadlineExceeded": "DEADLINE_EXCEEDED",
        "Denied": "PERMISSION_DENIED",
        "Expired": "CURSOR_EXPIRED",
        "Forbidden": "ORIGIN_NOT_ALLOWED",
        "Invalid": "INVALID_FIELD",
        "Malformed": "MALFORMED_REQUEST",
        "NotFound": "NOT_FOUND",
        "SeriesConflict": "TIME_CONFLICT",
        "Stale": "STALE_ETAG",
        "Taken": "ALREADY_EXISTS",
        "TooLarge": "REQUEST_TOO_LARGE",
        "TooMany": "RATE_LIMITED",
        "Unauthenticated": "UNAUTHENTICATED",
        "Unavailable": "UNAVAILABLE",
        "Unmet": "FAILED_PRECONDITION",
    }

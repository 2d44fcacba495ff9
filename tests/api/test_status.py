"""Faults as google.rpc.Status."""

from google.rpc.error_details_pb2 import ErrorInfo

from appointments.api.status import status
from appointments.shared.errors import DOMAIN, Denied, Fault, NotFound


def error_info(fault: Fault | None) -> ErrorInfo:
    """The ErrorInfo of a fault's status."""
    info = ErrorInfo()
    assert status(fault, "an-id").details[0].Unpack(info)
    return info


def test_what_a_program_needs_to_act_on_a_fault_is_metadata() -> None:
    """Beside the reason, in ErrorInfo."""
    fault = Denied("No.", reason="MISSING_SCOPE", metadata={"scope": "admin"})
    assert ErrorInfo(reason="MISSING_SCOPE", domain=DOMAIN, metadata={"scope": "admin"}) == error_info(fault)


def test_most_faults_have_no_metadata() -> None:
    """And what is no fault has none either."""
    assert ErrorInfo(reason="NOT_FOUND", domain=DOMAIN) == error_info(NotFound("Nothing."))
    assert ErrorInfo(reason="INTERNAL", domain=DOMAIN) == error_info(None)

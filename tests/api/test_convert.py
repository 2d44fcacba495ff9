"""Between messages and values: times to the microsecond, ids in one spelling, masks."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from appointments.api import convert, masks
from appointments.calendar.appointment import UNSET
from appointments.calendar.validation import violations
from appointments.shared.errors import Invalid
from appointments.v1 import appointments_pb2 as pb


@pytest.mark.parametrize(
    ("seconds", "nanos", "expected"),
    [
        (0, 0, datetime(1970, 1, 1, tzinfo=UTC)),
        (-1, 999_999_999, datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        (4_102_444_800, 1_999, datetime(2100, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
        (-62_135_596_800, 0, datetime(1, 1, 1, tzinfo=UTC)),
        (253_402_300_799, 999_999_999, datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        (-62_135_596_801, 0, None),
        (253_402_300_800, 0, None),
        (0, -1, None),
        (0, 1_000_000_000, None),
    ],
)
def test_an_instant_is_read_to_the_microsecond(seconds: int, nanos: int, expected: datetime | None) -> None:
    """And what is no Timestamp is None."""
    assert expected == convert.instant(Timestamp(seconds=seconds, nanos=nanos))


def test_a_timestamp_reads_back() -> None:
    """To the microsecond, before 1970 too."""
    for instant in (
        datetime(1969, 7, 20, 20, 17, 40, 1, tzinfo=UTC),
        datetime(2030, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
    ):
        assert instant == convert.instant(convert.timestamp(instant))


def test_an_id_has_one_spelling() -> None:
    """Upper case is the same id; braces, URNs and bare hexadecimal are none."""
    text = "0192f0c1-2345-7abc-8def-0123456789ab"
    assert UUID(text) == convert.identifier(text, "id") == convert.identifier(text.upper(), "id")
    for other in (text.replace("-", ""), f"{{{text}}}", f"urn:uuid:{text}", f" {text}", ""):
        with pytest.raises(Invalid):
            convert.identifier(other, "id")


def test_an_empty_message_is_an_unset_plan() -> None:
    """Nothing is invented for what is missing."""
    spec = convert.spec(pb.Appointment())
    assert (UNSET, UNSET) == (spec.start_at, spec.end_at)
    assert {"appointment.title", "appointment.start_time", "appointment.end_time", "appointment.time_zone"} == {
        violation.field for violation in violations(spec)
    }


def test_a_mask_names_what_to_take() -> None:
    """Named, populated, or all."""
    message = pb.Appointment(id="x", title="t", description="d")
    changeable = ("title", "description", "location")
    assert {"location"} == masks.paths(FieldMask(paths=["location"]), message, changeable)
    assert {"title", "description"} == masks.paths(FieldMask(), message, changeable)
    assert set(changeable) == masks.paths(FieldMask(paths=["*"]), message, changeable)


def test_every_bad_path_of_a_mask_is_named() -> None:
    """Unknown ones and the server's own ones."""
    with pytest.raises(Invalid) as refused:
        masks.paths(FieldMask(paths=["title", "nope", "id"]), pb.Appointment(), ("title",))
    assert ["'nope' is not a field", "'id' cannot be changed"] == [
        violation.description for violation in refused.value.violations
    ]

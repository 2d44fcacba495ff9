"""Update masks (AIP-134): which fields of a message a caller means to change."""

from collections.abc import Sequence

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from appointments.shared.errors import Invalid, Violation


def paths(mask: FieldMask, message: Message, changeable: Sequence[str]) -> set[str]:
    """Return the fields to take from ``message``: those of the mask, the populated ones if it is empty, all for ``*``.

    Raises:
        Invalid: a path is unknown or cannot be changed; each is named.
    """
    if not mask.paths:
        return {field.name for field, _ in message.ListFields() if field.name in changeable}
    if list(mask.paths) == ["*"]:
        return set(changeable)
    known = message.DESCRIPTOR.fields_by_name
    bad = [
        Violation("update_mask", f"{path!r} cannot be changed" if path in known else f"{path!r} is not a field")
        for path in mask.paths
        if path not in changeable
    ]
    if bad:
        raise Invalid(bad)
    return set(mask.paths)

"""Page tokens: where a list goes on, as an opaque string.

A token holds the last row's key, never a count of rows, so that pages neither skip nor repeat while rows are added. It
also holds a fingerprint of the list it belongs to. It is no secret: it only says where to go on within the caller's own
rows.
"""

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from appointments.db.statement import instant, micros

_LAYOUT = struct.Struct(">q16s8s")


@dataclass(frozen=True, slots=True)
class Key:
    """A place in the order of a list."""

    start_at: datetime
    id: UUID


def encode(key: Key, listing: object) -> str:
    """Make the token that goes on after ``key`` in ``listing`` (anything whose str tells it from other lists)."""
    packed = _LAYOUT.pack(micros(key.start_at), key.id.bytes, _fingerprint(listing))
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def decode(token: str, listing: object) -> Key | None:
    """Read a token; None if it is not one of ``listing``'s."""
    try:
        packed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        start, raw_id, fingerprint = _LAYOUT.unpack(packed)
        start_at = instant(start)
    except (binascii.Error, ValueError, OverflowError, struct.error):
        return None
    return Key(start_at, UUID(bytes=raw_id)) if fingerprint == _fingerprint(listing) else None


def _fingerprint(listing: object) -> bytes:
    return hashlib.sha256(str(listing).encode()).digest()[:8]

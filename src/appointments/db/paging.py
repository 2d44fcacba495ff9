"""Page tokens: opaque strings that say where a list goes on.

A token holds the key of the last row. It never holds a count of rows, so pages neither skip nor repeat a row while
others are added. It also holds a fingerprint of its list. It is no secret, because it only says where to go on within
the caller's own rows.
"""

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from appointments.db.statement import instant, micros

_LAYOUT = struct.Struct(">q16s")


@dataclass(frozen=True, slots=True)
class Key:
    """A place in the order of a list."""

    start_at: datetime
    id: UUID


def encode(key: Key, listing: object) -> str:
    """Make the token that goes on after ``key`` in ``listing`` (anything whose str tells it from other lists)."""
    return seal(_LAYOUT.pack(micros(key.start_at), key.id.bytes), listing)


def decode(token: str, listing: object) -> Key | None:
    """Read a token; None if it is not one of ``listing``'s."""
    try:
        start, raw_id = _LAYOUT.unpack(unseal(token, listing) or b"")
        return Key(instant(start), UUID(bytes=raw_id))
    except (OverflowError, struct.error):
        return None


def seal(key: bytes, listing: object) -> str:
    """Make such a token of any other key, given as bytes."""
    return base64.urlsafe_b64encode(_fingerprint(listing) + key).rstrip(b"=").decode()


def unseal(token: str, listing: object) -> bytes | None:
    """Read the key of such a token; None if it is not one of ``listing``'s."""
    try:
        packed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    fingerprint = _fingerprint(listing)
    return packed.removeprefix(fingerprint) if packed.startswith(fingerprint) else None


def seal_name(id_: UUID, name: str, listing: object) -> str:
    """Make the token of a list that is ordered by a name, then by id."""
    return seal(id_.bytes + name.encode(), listing)


def unseal_name(token: str, listing: object) -> tuple[UUID, str] | None:
    """Read the key of such a token; None if it is not one of ``listing``'s, or holds what no name can hold."""
    packed = unseal(token, listing) or b""
    try:
        id_, name = UUID(bytes=packed[:16]), packed[16:].decode()
    except ValueError:
        return None
    return None if "\0" in name else (id_, name)


def _fingerprint(listing: object) -> bytes:
    return hashlib.sha256(str(listing).encode()).digest()[:8]

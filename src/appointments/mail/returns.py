"""The address that a letter is sent from in SMTP, to which mail servers report what they could not deliver (RFC 3464).

Each letter has one of its own (``local+token@domain``). The token names the letter and is signed, so nobody can report
a letter that they have not seen. The header From, which people see, has another address.
"""

import base64
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from email.errors import MessageError
from email.message import Message
from uuid import UUID

from appointments.mail.links import Links, digest_of

_SIGNED = 9
"""Octets of the signature. With the letter's sixteen they are forty characters."""

MOST_LOCAL = 64
"""The most characters of a local part (RFC 5321 §4.5.3.1)."""

MOST_PARTS = 50
_BAD_ADDRESS = ("5.0.", "5.1.", "5.2.0", "5.2.1", "5.4.4")
"""The permanent codes (RFC 3463) that are about the address, and not about the message or the servers."""


class Returns:
    """Return addresses as subaddresses of ``reply_to``. If that is empty there are none."""

    def __init__(self, links: Links, reply_to: str) -> None:
        self._links = links
        self._local, _, self._domain = reply_to.rpartition("@")

    def address(self, letter_id: UUID) -> str | None:
        """The return address of a letter; None if there can be none."""
        if not self._domain:
            return None
        signature = digest_of(self._links.token("return", letter_id))[:_SIGNED]
        local = f"{self._local}+{base64.b32encode(letter_id.bytes + signature).decode().lower()}"
        return f"{local}@{self._domain}" if len(local) <= MOST_LOCAL else None

    def letter(self, addresses: Iterable[str]) -> UUID | None:
        """The letter whose return address is among these; None if none is."""
        for address in addresses:
            local, _, domain = address.lower().rpartition("@")
            prefix = f"{self._local}+".lower()
            if domain == self._domain.lower() and local.startswith(prefix):
                found = self._letter(local.removeprefix(prefix))
                if found is not None:
                    return found
        return None

    def _letter(self, token: str) -> UUID | None:
        try:
            content = base64.b32decode(token.upper().encode())
            letter_id = UUID(bytes=content[:16])
        except ValueError:
            return None
        return letter_id if any(
            hmac.compare_digest(digest_of(each)[:_SIGNED], content[16:])
            for each in self._links.tokens("return", letter_id)
        ) else None  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """What a report says of its letter: it was not delivered, and why."""

    reason: str
    address_is_bad: bool


def read(message: Message) -> Report | None:
    """Read a report of delivery (RFC 3464). None: it is none, or one of a delay or a delivery."""
    try:
        for number, part in enumerate(message.walk()):
            if number >= MOST_PARTS:
                return None
            if part.get_content_type() == "message/delivery-status":
                groups = part.get_payload()
                found = (_of_recipient(each) for each in groups if isinstance(each, Message))
                return next(filter(None, found), None)
    except (MessageError, ValueError, LookupError, AttributeError, TypeError, RecursionError):
        return None
    return None


def _of_recipient(fields: Message) -> Report | None:
    if str(fields.get("Action", "")).strip().lower() != "failed":
        return None
    status = str(fields.get("Status", "")).strip()
    said = str(fields.get("Diagnostic-Code", "")).partition(";")[2]
    reason = " ".join(f"{status} {said}".split())
    return Report(f"reported: {reason or 'failed'}"[:500], status.startswith(_BAD_ADDRESS))

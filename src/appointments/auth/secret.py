"""The secret of a key: ``apt_``, 43 random letters and digits, and a checksum of six.

The prefix and the checksum are for scanners that look for leaked keys, and tell a typo without asking the database. The
checksum is the CRC-32 of what stands before it, as a number to the base 62, like in the tokens of GitHub and npm.
"""

import hashlib
import secrets
import string
import zlib

PREFIX = "apt_"
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_CHARACTERS = 43
"""62 ** 43 is just over 2 ** 256."""

CHECKSUM_CHARACTERS = 6
"""62 ** 6 is more than 2 ** 32."""

LENGTH = len(PREFIX) + RANDOM_CHARACTERS + CHECKSUM_CHARACTERS
_CHARACTERS = frozenset(ALPHABET)


def new() -> str:
    """Make a secret that nobody has."""
    body = PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_CHARACTERS))
    return body + _checksum(body)


def problem(secret: str) -> str | None:
    """Say why a text that begins like a key cannot be one, or None."""
    if len(secret) != LENGTH:
        return f"The key is not one: it must have {LENGTH} characters, and has {len(secret):,}."
    body, checksum = secret[:-CHECKSUM_CHARACTERS], secret[-CHECKSUM_CHARACTERS:]
    if not _CHARACTERS.issuperset(secret[len(PREFIX) :]) or _checksum(body) != checksum:
        return "The key is not one: its checksum is wrong, so there is a typo in it."
    return None


def digest(secret: str) -> bytes:
    """The form in which it is stored. It has 256 random bits, so a plain hash is enough."""
    return hashlib.sha256(secret.encode()).digest()


def _checksum(body: str) -> str:
    rest, digits = zlib.crc32(body.encode()), ""
    for _ in range(CHECKSUM_CHARACTERS):
        rest, digit = divmod(rest, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits

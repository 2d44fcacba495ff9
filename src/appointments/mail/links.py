"""Tokens in links. A token is computed from an id and a secret, so that a message can be put together again.

The database has only digests, so nobody who reads it can follow a link, and a link that was mailed keeps working when
the secret is rotated.
"""

import base64
import hashlib
import hmac
from uuid import UUID


class Links:
    """Makes tokens with the current secret, and finds those of the previous one."""

    def __init__(self, secret: str, *, previous: str | None = None, public_url: str = "") -> None:
        secrets = (each for each in (secret, previous) if each)
        self._keys = [hmac.digest(each.encode(), b"appointments mailed links", "sha256") for each in secrets]
        self.public_url = public_url.rstrip("/")

    def token(self, purpose: str, *ids: UUID | str) -> str:
        """The token for a purpose and what it is about: 256 bits that only this server can compute."""
        return _token(self._keys[0], purpose, ids)

    def tokens(self, purpose: str, *ids: UUID | str) -> list[str]:
        """The tokens for that under the current secret and the previous one."""
        return [_token(key, purpose, ids) for key in self._keys]

    def token_with(self, digest: bytes, purpose: str, *ids: UUID | str) -> str | None:
        """The token that has this digest, under either secret; None if neither secret gives it."""
        candidates = (_token(key, purpose, ids) for key in self._keys)
        return next((each for each in candidates if hmac.compare_digest(digest_of(each), digest)), None)

    def url(self, path: str, token: str) -> str:
        """Where a token leads. The address is the operator's word, never a request's Host header."""
        return f"{self.public_url}/{path}/{token}"


def digest_of(token: str) -> bytes:
    """The form in which a token is stored. It has 256 random bits, so a plain hash is enough."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def _token(key: bytes, purpose: str, ids: tuple[UUID | str, ...]) -> str:
    said = "\x00".join([purpose, *map(str, ids)]).encode()
    return base64.urlsafe_b64encode(hmac.digest(key, said, "sha256")).rstrip(b"=").decode()

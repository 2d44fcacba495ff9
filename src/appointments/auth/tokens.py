"""The two kinds of token: access tokens are signed, refresh tokens are looked up in the database.

An access token is a JWT (RFC 7519, RFC 9068) signed with HS256. It is accepted only with every claim in place, and only
under the current or the previous secret. A refresh token's successor is computed from the token and the secret, so that
a retry can be given the same successor although the database stores only digests.
"""

import base64
import hashlib
import hmac
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import jwt

from appointments.shared.errors import Unauthenticated

Clock = Callable[[], datetime]

ACCESS_LIFETIME = timedelta(minutes=15)
REFRESH_LIFETIME = timedelta(days=7)

ALGORITHM = "HS256"
TYPE = "at+jwt"
ISSUER = AUDIENCE = "appointments"
REQUIRED = ["exp", "iat", "sub", "sid", "jti", "iss", "aud"]

SKEW_SECONDS = 60
"""How far the clocks of two instances may differ: a token issued later than this from now is refused."""

MAX_LENGTH = 2048
"""Ours are under 500 characters; longer ones are refused undecoded."""

MAX_VERIFIED = 16_384


def utc_now() -> datetime:
    """The current time."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Tokens:
    """An access token and a refresh token (RFC 6749 §1.4, §1.5)."""

    access_token: str
    access_expires_at: datetime
    refresh_token: str
    refresh_expires_at: datetime


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified access token says."""

    user_id: UUID
    session_id: UUID
    expires_at: float


class AccessTokens:
    """Signs access tokens with the current secret and verifies those of the current and the previous one."""

    def __init__(self, secret: str, *, previous: str | None = None, now: Clock = utc_now) -> None:
        self._secret = secret
        self._secrets = {_key_id(each): each for each in (previous, secret) if each}
        self._now = now
        self._verified: dict[str, Claims] = {}

    def issue(self, user_id: UUID, session_id: UUID) -> tuple[str, datetime]:
        """Sign a token; return it and when it expires, in whole seconds."""
        issued_at = self._now().replace(microsecond=0)
        expires_at = issued_at + ACCESS_LIFETIME
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(user_id),
            "sid": str(session_id),
            "jti": str(uuid.uuid4()),
            "iat": int(issued_at.timestamp()),
            "exp": int(expires_at.timestamp()),
        }
        headers = {"typ": TYPE, "kid": _key_id(self._secret)}
        return jwt.encode(claims, self._secret, ALGORITHM, headers=headers), expires_at

    def verify(self, token: str) -> Claims:
        """Verify a token and return its claims.

        Raises:
            Unauthenticated: it is not one of ours, or it has expired.
        """
        claims = self._verified.get(token)
        if claims is None:
            claims = self._read(token)
            self._remember(token, claims)
        if claims.expires_at <= self._now().timestamp():
            self._verified.pop(token, None)
            raise _refused()
        return claims

    def _read(self, token: str) -> Claims:
        if len(token) > MAX_LENGTH:
            raise _refused()
        try:
            header = jwt.get_unverified_header(token)
            if header.get("typ") != TYPE:
                raise _refused()
            claims = jwt.decode(
                token,
                self._secrets[header["kid"]],
                algorithms=[ALGORITHM],  # a list: a string would also accept its substrings
                issuer=ISSUER,
                audience=AUDIENCE,
                # Times are checked below, against our own clock.
                options={"require": REQUIRED, "verify_exp": False, "verify_iat": False, "strict_aud": True},
            )
            issued_at, expires_at = claims["iat"], claims["exp"]
            if type(issued_at) is not int or type(expires_at) is not int:
                raise _refused()
            if issued_at > self._now().timestamp() + SKEW_SECONDS:
                raise _refused()
            return Claims(UUID(claims["sub"]), UUID(claims["sid"]), expires_at)
        # Beside its own errors the library lets through what json and base64 raise on a hostile header.
        except (jwt.PyJWTError, KeyError, ValueError, TypeError, AttributeError, RecursionError):
            raise _refused() from None

    def _remember(self, token: str, claims: Claims) -> None:
        if len(self._verified) >= MAX_VERIFIED:
            del self._verified[next(iter(self._verified))]
        self._verified[token] = claims


class RefreshTokens:
    """Makes refresh tokens: random first ones, and the one successor of each."""

    def __init__(self, secret: str, *, previous: str | None = None) -> None:
        self._keys = [_derived_key(each) for each in (secret, previous) if each]

    @staticmethod
    def first() -> str:
        """Make the first token of a new chain."""
        return secrets.token_urlsafe(32)

    def successor(self, token: str) -> str:
        """Compute the token that follows ``token``."""
        return _follow(self._keys[0], token)

    def successor_with(self, token: str, digest: bytes) -> str | None:
        """Compute the successor with this digest, under either secret; None if neither secret gives it."""
        candidates = (_follow(key, token) for key in self._keys)
        return next((each for each in candidates if hmac.compare_digest(digest_of(each), digest)), None)


def digest_of(refresh_token: str) -> bytes:
    """The form in which a refresh token is stored. A token has 256 random bits, so a plain hash is enough."""
    return hashlib.sha256(refresh_token.encode()).digest()


def _follow(key: bytes, token: str) -> str:
    return base64.urlsafe_b64encode(hmac.digest(key, token.encode(), "sha256")).rstrip(b"=").decode()


def _derived_key(secret: str) -> bytes:
    return hmac.digest(secret.encode(), b"appointments refresh token successor", "sha256")


def _key_id(secret: str) -> str:
    return hmac.digest(secret.encode(), b"appointments key id", "sha256").hex()[:8]


def _refused() -> Unauthenticated:
    # The answer is the same for every fault: only a forger would use the knowledge of which check failed.
    return Unauthenticated("The access token is not valid.", reason="INVALID_ACCESS_TOKEN")

"""Access tokens: what forgers try. Refresh tokens: the chain."""

import base64
import hmac
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from appointments.auth.tokens import REQUIRED, AccessTokens, RefreshTokens, digest_of
from appointments.shared.errors import Unauthenticated

SECRET = "a secret of at least thirty-two bytes"
OTHER = "another secret of at least thirty-two bytes"
NOON = datetime(2030, 5, 1, 12, tzinfo=UTC)
USER, SESSION = uuid.uuid4(), uuid.uuid4()


def tokens(secret: str = SECRET, *, previous: str | None = None, now: datetime = NOON) -> AccessTokens:
    """An issuer at a fixed time."""
    return AccessTokens(secret, previous=previous, now=lambda: now)


def forged(key: str = SECRET, algorithm: str = "HS256", headers: dict[str, Any] | None = None, **changes: Any) -> str:
    """A genuine token with its header and claims changed (None: left out), signed anew."""
    genuine, _ = tokens().issue(USER, SESSION)
    header = jwt.get_unverified_header(genuine) | {"alg": algorithm} | (headers or {})
    claims = jwt.decode(genuine, options={"verify_signature": False}) | changes
    signed = ".".join(
        encoded(json.dumps({name: value for name, value in part.items() if value is not None}).encode())
        for part in (header, claims)
    )
    hashes = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
    signature = hmac.digest(key.encode(), signed.encode(), hashes[algorithm]) if algorithm in hashes else b""
    return f"{signed}.{encoded(signature)}"


def encoded(data: bytes) -> str:
    """Base64 as JWTs have it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def with_header(header: Any) -> str:
    """A genuine token under another header; the signature does not fit."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return encoded(text) + "." + tokens().issue(USER, SESSION)[0].split(".", 1)[1]


def assert_refused(token: str, by: AccessTokens | None = None) -> None:
    """Every fault has the same answer."""
    with pytest.raises(Unauthenticated) as caught:
        (by or tokens()).verify(token)
    assert caught.value.reason == "INVALID_ACCESS_TOKEN"


def test_a_genuine_token_tells_user_and_session() -> None:
    """What was issued is believed."""
    token, expires_at = tokens().issue(USER, SESSION)
    claims = tokens().verify(token)
    assert (USER, SESSION, NOON + timedelta(minutes=15)) == (claims.user_id, claims.session_id, expires_at)


def test_what_the_tests_forge_is_believed_if_nothing_is_changed() -> None:
    """So that what follows is refused for its change alone."""
    assert tokens().verify(forged()).user_id == USER


def test_a_token_without_signature_is_refused() -> None:
    """The algorithm none, in the spellings that have slipped past others."""
    for spelling in ("none", "None", "NONE", "HS256,none", ""):
        assert_refused(forged(algorithm=spelling))


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_a_token_of_another_algorithm_is_refused(algorithm: str) -> None:
    """The right secret under another hash."""
    assert_refused(forged(algorithm=algorithm))


def test_a_token_of_another_key_is_refused() -> None:
    """Somebody else's signature, with our key id and with their own."""
    assert_refused(forged(key=OTHER))
    assert_refused(tokens(OTHER).issue(USER, SESSION)[0])


@pytest.mark.parametrize("claim", REQUIRED)
def test_a_token_without_a_claim_is_refused(claim: str) -> None:
    """Every claim is required."""
    without: dict[str, Any] = {claim: None}
    assert_refused(forged(**without))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "somebody"},
        {"aud": "somebody"},
        {"aud": ["appointments", "somebody"]},
        {"sub": "not a uuid"},
        {"sub": 7},
        {"sid": "not a uuid"},
        {"sid": ["x"]},
        {"jti": 7},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": float("inf")},
        {"exp": float("nan")},
        {"iat": "yesterday"},
        {"iat": int(NOON.timestamp()) + 3600},
    ],
)
def test_a_token_with_a_wrong_claim_is_refused(changes: dict[str, Any]) -> None:
    """Properly signed, and still not ours."""
    assert_refused(forged(**changes))


@pytest.mark.parametrize(
    "headers",
    [{"typ": "JWT"}, {"typ": None}, {"typ": ["at+jwt"]}, {"kid": "unknown"}, {"kid": None}, {"crit": ["exp"]}],
)
def test_a_token_with_a_wrong_header_is_refused(headers: dict[str, Any]) -> None:
    """Another kind of JWT, an unknown key, an extension that must be understood."""
    assert_refused(forged(headers=headers))


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "...", "a.b.c", "é.é.é", "\ud800.a.b", "\0", "x" * 100_000, forged()[:-1], forged() + "A"],
)
def test_garbage_is_refused(token: str) -> None:
    """Whatever it is, it is not a token."""
    assert_refused(token)


def test_a_header_of_brackets_is_refused() -> None:
    """Deep nesting must not exhaust the stack."""
    assert_refused(with_header(b"[" * 1200))
    assert_refused(with_header(b'{"kid":' * 200))
    hostile: list[Any] = [[], 7, "x", {"alg": 7}, {"alg": "HS256", "kid": 7}, {"alg": ["HS256"]}]
    for header in hostile:
        assert_refused(with_header(header))


def test_an_expired_token_is_refused_though_it_was_believed_before() -> None:
    """The memory of verified tokens does not outlive them."""
    time = [NOON]
    issuer = AccessTokens(SECRET, now=lambda: time[0])
    token, expires_at = issuer.issue(USER, SESSION)
    issuer.verify(token)
    time[0] = expires_at - timedelta(seconds=1)
    assert issuer.verify(token).user_id == USER
    time[0] = expires_at
    assert_refused(token, issuer)
    assert_refused(token, issuer)


def test_a_rotated_secret_still_verifies_and_no_longer_signs() -> None:
    """Tokens of the previous secret live on, new ones are of the current."""
    old = tokens().issue(USER, SESSION)[0]
    rotated = tokens(OTHER, previous=SECRET)
    assert rotated.verify(old).user_id == USER
    assert_refused(rotated.issue(USER, SESSION)[0], tokens())


def test_a_successor_is_found_again_after_the_secret_was_rotated() -> None:
    """A retry across a rotation of the secret gets the same refresh token."""
    token = RefreshTokens.first()
    successor = RefreshTokens(SECRET).successor(token)
    digest = digest_of(successor)
    assert RefreshTokens(OTHER, previous=SECRET).successor_with(token, digest) == successor
    assert RefreshTokens(OTHER).successor_with(token, digest) is None


def test_first_refresh_tokens_differ() -> None:
    """256 bits of randomness each."""
    assert len({RefreshTokens.first() for _ in range(1000)}) == 1000
    assert len(RefreshTokens.first()) == 43

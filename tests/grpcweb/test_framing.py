"""The framing alone: every way to cut a body into pieces gives the same messages."""

import base64
from itertools import pairwise

import grpc
import pytest

from appointments.api.grpcweb.framing import (
    Deframer,
    Refusal,
    decode_metadata,
    encode_metadata,
    parse_timeout,
    status_trailers,
)
from tests.grpcweb.wire import framed

MESSAGES = [b"", b"a", b"bc", bytes(range(256))]
BODY = b"".join(map(framed, MESSAGES))
ENCODINGS = {
    "one piece of base64": base64.b64encode(BODY),
    "base64 frame by frame, padded in between": b"".join(base64.b64encode(framed(each)) for each in MESSAGES),
}


def deframe(body: bytes, text: bool) -> list[bytes]:
    """The messages of a whole body."""
    deframer = Deframer(text=text, limit=1000)
    messages = deframer.feed(body)
    deframer.end()
    return messages


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 64, 1000])
@pytest.mark.parametrize("text", [None, *ENCODINGS])
def test_pieces_of_any_size_give_the_same_messages(size: int, text: str | None) -> None:
    """A message may be split over pieces, and a piece may hold several messages."""
    body = ENCODINGS[text] if text else BODY
    deframer = Deframer(text=text is not None, limit=1000)
    messages = []
    for start in range(0, len(body), size):
        messages += deframer.feed(body[start : start + size])
    deframer.end()
    assert MESSAGES == messages


def test_any_two_cuts_give_the_same_messages() -> None:
    """No cut is special."""
    body = framed(b"ab") + framed(b"") + framed(b"cde")
    for first in range(len(body) + 1):
        for second in range(first, len(body) + 1):
            deframer = Deframer(text=False, limit=1000)
            cuts = [0, first, second, len(body)]
            assert [b"ab", b"", b"cde"] == [m for start, end in pairwise(cuts) for m in deframer.feed(body[start:end])]
            deframer.end()


@pytest.mark.parametrize(
    ("body", "text", "code"),
    [
        (framed(b"x", flags=1), False, "INTERNAL"),
        (framed(b"x", flags=0x80), False, "INTERNAL"),
        (framed(b"x", flags=0x42), False, "INTERNAL"),
        (framed(bytes(1001)), False, "RESOURCE_EXHAUSTED"),
        (framed(bytes(1001))[:5], False, "RESOURCE_EXHAUSTED"),
        (framed(b"x")[:3], False, "INTERNAL"),
        (framed(b"xyz")[:-1], False, "INTERNAL"),
        (b"!!!!", True, "INTERNAL"),
        (b"AA=A", True, "INTERNAL"),
        (b"A===", True, "INTERNAL"),
        (base64.b64encode(framed(b"xyz"))[:-1], True, "INTERNAL"),
    ],
)
def test_bad_frames_are_refused(body: bytes, text: bool, code: str) -> None:
    """What is not a frame is INTERNAL, what is too large is RESOURCE_EXHAUSTED before it has arrived."""
    with pytest.raises(Refusal) as refused:
        deframe(body, text)
    assert code == refused.value.code.name


@pytest.mark.parametrize(
    ("value", "seconds"), [(b"1S", 1), (b"250m", 0.25), (b"99999999H", 99999999 * 3600), (b"0n", 0)]
)
def test_timeouts_are_read(value: bytes, seconds: float) -> None:
    """At most eight digits and a unit."""
    assert seconds == pytest.approx(parse_timeout(value))


@pytest.mark.parametrize(
    "value", [b"", b"S", b"1", b"1s", b"-1S", b"+1S", b"1.5S", b" 1S", b"1S ", b"100000000S", b"1_0S"]
)
def test_malformed_timeouts_are_refused(value: bytes) -> None:
    """Anything else is INVALID_ARGUMENT."""
    with pytest.raises(Refusal) as refused:
        parse_timeout(value)
    assert grpc.StatusCode.INVALID_ARGUMENT is refused.value.code


def test_binary_metadata_is_read_padded_or_not_and_joined() -> None:
    """One header may hold several values."""
    headers = [(b"a-bin", b"AAEC/w=="), (b"a-bin", b"AAEC/w"), (b"b-bin", b"AA,AQ== ,"), (b"c", b"1, 2")]
    expected = [("a-bin", b"\0\1\2\xff"), ("a-bin", b"\0\1\2\xff"), ("b-bin", b"\0"), ("b-bin", b"\1"), ("b-bin", b"")]
    assert [*expected, ("c", "1, 2")] == decode_metadata(headers)


def test_cookies_are_not_metadata() -> None:
    """A handler sees no credential that it did not ask for."""
    assert [] == decode_metadata([(b"cookie", b"session=1"), (b"content-type", b"x"), (b"grpc-timeout", b"1S")])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("x", "a\r\nset-cookie: b"),
        ("x", "größer"),
        ("X", "a"),
        ("x y", "a"),
        ("", "a"),
        ("grpc-status", "0"),
        ("content-type", "text/html"),
        ("set-cookie", "a=b"),
        ("access-control-allow-origin", "*"),
    ],
)
def test_metadata_that_would_change_the_response_is_refused(key: str, value: str) -> None:
    """A handler cannot smuggle a header in."""
    with pytest.raises(ValueError, match=r"metadata|printable"):
        encode_metadata([(key, value)])


def test_messages_of_errors_keep_printable_ascii() -> None:
    """Only what cannot stand in a header is percent-encoded, and the percent sign."""
    trailers = dict(status_trailers(grpc.StatusCode.NOT_FOUND, 'a/b: "c" 100% ü\n', []))
    assert b'a/b: "c" 100%25 %C3%BC%0A' == trailers[b"grpc-message"]

"""Reading the session's cookies out of raw headers."""

import pytest

from appointments.api.rest import cookies
from appointments.shared.errors import Malformed


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], None),
        (["access_token=a.b-c_d"], "a.b-c_d"),
        (["theme=dark; access_token=a ; x=y"], "a"),
        (["theme=dark", "access_token=a"], "a"),  # HTTP/2 splits the header (RFC 9113 §8.2.3)
        (["access_token="], None),
        (["access_token"], None),
        (["my_access_token=a; access_token2=b; ACCESS_TOKEN=c"], None),
        (["__Host-access_token=a"], None),
        (["access_token=a=b"], "a=b"),
        (["\xff\xfe; =; ;;"], None),
    ],
)
def test_the_access_token_is_found(lines: list[str], expected: str | None) -> None:
    """By its exact name, wherever it stands."""
    headers = [(b"cookie", line.encode("latin-1")) for line in lines]
    assert cookies.access_token(headers, False) == expected


@pytest.mark.parametrize(
    "lines",
    [["access_token=a; access_token=b"], ["access_token=a", "access_token=a"], ["access_token=; access_token=b"]],
)
def test_two_are_refused(lines: list[str]) -> None:
    """Even if they are equal, or one is empty."""
    headers = [(b"cookie", line.encode()) for line in lines]
    with pytest.raises(Malformed):
        cookies.access_token(headers, False)


def test_production_reads_only_names_with_prefixes() -> None:
    """A plain cookie beside them is somebody else's."""
    headers = [(b"cookie", b"access_token=a; __Host-access_token=b; __Secure-refresh_token=c; refresh_token=d")]
    assert (cookies.access_token(headers, True), cookies.refresh_token(headers, True)) == ("b", "c")
    assert (cookies.access_token(headers, False), cookies.refresh_token(headers, False)) == ("a", "d")

"""Whose address counts, behind how many proxies."""

import pytest

from appointments.api.address import client_address


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "hops", "expected"),
    [
        ("192.0.2.1", None, 0, "192.0.2.1"),
        ("192.0.2.1", "203.0.113.9", 0, "192.0.2.1"),  # invented by the client
        ("192.0.2.1", "203.0.113.9", 1, "203.0.113.9"),
        ("192.0.2.1", "198.51.100.7, 203.0.113.9", 1, "203.0.113.9"),  # the left one is invented
        ("192.0.2.1", "198.51.100.7,203.0.113.9", 2, "198.51.100.7"),
        ("192.0.2.1", "203.0.113.9", 2, "192.0.2.1"),  # came past the outer proxy
        ("192.0.2.1", "", 1, "192.0.2.1"),
        ("192.0.2.1", "unknown", 1, "192.0.2.1"),
        ("192.0.2.1", "203.0.113.9:4711", 1, "203.0.113.9"),
        ("192.0.2.1", "[2001:db8::1]:4711", 1, "2001:db8::1"),
        ("192.0.2.1", "2001:DB8::1", 1, "2001:db8::1"),
        ("::ffff:192.0.2.1", None, 0, "192.0.2.1"),
        ("", None, 0, ""),
    ],
)
def test_client_address(peer: str, forwarded_for: str | None, hops: int, expected: str) -> None:
    """Only what a trusted proxy wrote is believed."""
    assert client_address(peer, forwarded_for, hops) == expected

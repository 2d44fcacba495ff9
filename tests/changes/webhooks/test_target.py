"""A webhook leads out, and never into the network that the server stands in."""

import socket
from ipaddress import ip_address

import pytest

from appointments.changes.webhooks.target import Refused, Target, is_public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "fd00:ec2::254", "::ffff:127.0.0.1",
        "::ffff:169.254.169.254", "2002:7f00:1::", "64:ff9b::a9fe:a9fe", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    ],
)  # fmt: skip
async def test_addresses_inside_are_refused(address: str) -> None:
    """Also those that only stand for one: mapped, tunnelled, translated."""
    assert not is_public(ip_address(address))
    host = f"[{address}]" if ":" in address else address
    assert "must lead to a public address" == Target().problem(f"https://{host}/hook")
    with pytest.raises(Refused):
        await Target().address(address, 443)


@pytest.mark.parametrize("address", ["9.9.9.9", "2620:fe::fe"])
async def test_public_addresses_may_be_called(address: str) -> None:
    """By themselves."""
    assert is_public(ip_address(address))
    assert address == await Target().address(address, 443)


@pytest.mark.parametrize("spelling", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost"])
async def test_other_spellings_of_an_address_are_seen_through(spelling: str) -> None:
    """What the resolver makes of a name is what counts."""
    with pytest.raises(Refused):
        await Target().address(spelling, 443)


async def test_a_name_with_one_address_inside_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever comes first: the other one might be taken at the next try."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 443)) for each in ("9.9.9.9", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    class Loop:
        async def getaddrinfo(self, *_: object, **__: object) -> object:
            return found

    monkeypatch.setattr("asyncio.get_running_loop", Loop)
    with pytest.raises(Refused):
        await Target().address("rebinding.example", 443)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "is required"),
        ("https://example.com/" + "x" * 2000, "must be at most 2,000 characters"),
        ("ftp://example.com/", "must be a URL, such as https://example.com/hook"),
        ("https:///hook", "must be a URL, such as https://example.com/hook"),
        ("http://example.com/", "must begin with https://"),
        ("https://me:secret@example.com/", "must have no user, password or fragment"),
        ("https://example.com/#part", "must have no user, password or fragment"),
        ("https://example.com:port/", "must be a URL"),
        ("https://exämple.com/", "must be a URL, in ASCII"),
        ("https://example.com/a b", "must be a URL, in ASCII"),
        ("https://localhost/", "must lead to a public address"),
    ],
)
def test_a_url_that_may_not_be_called_is_refused_at_once(url: str, problem: str) -> None:
    """As far as it can be told without asking for its name."""
    assert problem == Target().problem(url)


def test_a_good_url_has_no_problem() -> None:
    """With a port, a path and a query; http and private addresses where they are allowed."""
    assert Target().problem("https://example.com:8443/hook?key=1") is None
    assert Target(plain=True, private=True).problem("http://127.0.0.1:8000/hook") is None

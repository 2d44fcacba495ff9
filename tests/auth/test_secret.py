"""What a key's secret looks like, and which typos it tells."""

import re

import pytest

from appointments.auth import secret


def test_a_secret_is_as_the_contract_says() -> None:
    """``apt_``, then letters and digits; no two are the same, and each is one."""
    made = {secret.new() for _ in range(1000)}
    assert 1000 == len(made)
    assert all(re.fullmatch(r"apt_[0-9A-Za-z]{49}", each) for each in made)
    assert {None} == {secret.problem(each) for each in made}


def test_the_checksum_never_changes() -> None:
    """Scanners of leaked keys compute it too: CRC-32 of what stands before, as six digits to the base 62."""
    assert secret.problem("apt_" + "0" * 43 + "43BrTZ") is None


def test_any_other_character_is_a_typo() -> None:
    """At every place."""
    good = secret.new()
    for place in range(len(secret.PREFIX), len(good)):
        other = "A" if good[place] != "A" else "B"
        assert "typo" in str(secret.problem(good[:place] + other + good[place + 1 :]))


def test_two_that_changed_places_are_a_typo() -> None:
    """What hands do most."""
    good = secret.new()
    for place in range(len(secret.PREFIX), len(good) - 1):
        swapped = good[:place] + good[place + 1] + good[place] + good[place + 2 :]
        assert swapped == good or secret.problem(swapped)


@pytest.mark.parametrize("bad", ["apt_", "apt_x", "apt_" + "ö" * 49, "apt_" + "x" * 5000, "apt_ " + "x" * 48])
def test_what_cannot_be_one(bad: str) -> None:
    """Too short, too long, of other characters."""
    assert secret.problem(bad)
    assert secret.problem(secret.new()[:-1])
    assert secret.problem(secret.new() + "0")

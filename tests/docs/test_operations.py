"""docs/operations.md tells of every setting, with its default."""

import re
from pathlib import Path

from pydantic import SecretStr

from appointments.server.settings import Settings

OPERATIONS = Path(__file__).parents[2] / "docs/operations.md"
NOT_SETTINGS = {"WORKERS", "APPOINTMENTS_DATA", "APPOINTMENTS_POSTGRES_BIN"}


def documented() -> dict[str, str]:
    """The table's variables and defaults."""
    table = OPERATIONS.read_text().partition("## Settings")[2]
    return {name: default.strip(" `") for name, default in re.findall(r"^\| `(\w+)` \|([^|]*)\|", table, re.MULTILINE)}


def test_every_setting_is_documented() -> None:
    """And nothing that is none."""
    assert {name.upper() for name in Settings.model_fields} | NOT_SETTINGS == set(documented())


def test_the_defaults_are_true() -> None:
    """Numbers and words as they are; what has none is empty."""
    told = documented()
    for name, field in Settings.model_fields.items():
        default = field.default
        if isinstance(default, SecretStr):
            continue  # not to be repeated
        expected = "" if default in (None, frozenset()) else str(default).lower().removesuffix(".0")
        assert expected == told[name.upper()].lower(), name

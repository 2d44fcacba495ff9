"""The README says what the code does."""

import re
from collections import Counter

from appointments.server.settings import Settings
from tests.service import ROOT

NOT_IN_THE_SETTINGS = {"WORKERS", "APPOINTMENTS_DATA", "APPOINTMENTS_POSTGRES_BIN"}


def test_every_setting_is_in_the_table() -> None:
    """None is missing, and none is made up."""
    section = (ROOT / "README.md").read_text().partition("## Settings")[2].partition("\n## ")[0]
    documented = {
        name for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert {field.upper() for field in Settings.model_fields} | NOT_IN_THE_SETTINGS == documented


def test_every_link_leads_somewhere() -> None:
    """Pictures and pages of the repository."""
    pages = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    for page in [*pages, *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_every_decision_has_a_number_of_its_own() -> None:
    """Pages refer to decisions by number."""
    numbers = Counter(path.name[:4] for path in (ROOT / "docs" / "adr").glob("*.md"))
    assert [] == [number for number, count in numbers.items() if count > 1]

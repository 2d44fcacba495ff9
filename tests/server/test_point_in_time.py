"""pgBackRest brings a lost database back as it was at a moment."""

import subprocess
import sys

import pytest

from tests.programs import needed
from tests.service import ROOT


@pytest.mark.timeout(500)
def test_a_lost_database_is_restored_to_a_moment() -> None:
    """Every row as it was before the mistake; sessions go on, cursors have expired, the doctor finds nothing."""
    needed("pgbackrest")
    command = [sys.executable, "scripts/point_in_time.py", "--bookings", "24"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=400)
    assert 0 == done.returncode, done.stdout + done.stderr
    assert "The database is as it was at that moment.\n" == done.stdout[-42:]
    # Four people booked nine hours each, before the backup, during it and after it.
    assert "same    appointments                      36 rows\n" in done.stdout
    assert "DIFFERS" not in done.stdout

"""A feed as Evolution has it: its calendar backend subscribes by HTTP, and works out every occurrence."""

import asyncio
import json
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from appointments.calendar import booking, listing, updating
from appointments.db import Database
from appointments.icalendar.feeds import Feeds
from appointments.mail import Links
from tests import service
from tests.icalendar.readers.test_icaljs import FAR, LENGTH, fill, told
from tests.people import HOUR, spec

READER = Path(__file__).resolve().parent / "evolution.py"
PYTHON = "/usr/bin/python3"
"""Debian's own, which has the bindings."""

SUNDAY = 6

BINDINGS = "import gi; gi.require_version('ECal', '2.0'); gi.require_version('EDataServer', '1.2')"


def is_installed() -> bool:
    """Whether Evolution's backend, its bindings and a session bus are there."""
    if not Path("/usr/libexec/evolution-calendar-factory").exists() or not shutil.which("dbus-run-session"):
        return False
    return subprocess.run([PYTHON, "-c", BINDINGS], capture_output=True, check=False).returncode == 0


def run(home: Path, url: str, since: datetime, until: datetime, newest: str) -> list[dict[str, Any]]:
    """What Evolution, in that home, has of a feed as soon as it has an appointment with that title."""
    folders = {f"XDG_{name}_HOME": str(home / name) for name in ("DATA", "CONFIG", "CACHE")}
    (home / "run").mkdir(mode=0o700, exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run"), **folders}
    # Settings are kept nowhere, and nothing asks for a desktop.
    environment |= {"GSETTINGS_BACKEND": "memory", "GIO_USE_VFS": "local", "LC_ALL": "C.UTF-8"}
    times = [str(int(each.timestamp())) for each in (since, until)]
    done = subprocess.run(
        ["dbus-run-session", "--", PYTHON, READER, url, *times, newest],
        env=environment, capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(
    not is_installed(),
    reason="Evolution is not asked: evolution-data-server, gir1.2-ecal-2.0, python3-gi or dbus is missing",
)
async def test_evolution_finds_each_occurrence_where_the_calendar_has_it(
    db: Database, dsn: str, owner: UUID, tmp_path: Path
) -> None:
    """Title, start and end of each to the second, over both changes of the clocks; and again when some have changed."""
    now = datetime.now(UTC).replace(microsecond=0)
    await fill(db, owner, now)
    # Of every second Sunday that begins on another day libical is a week late (docs/calendars.md).
    late = "Beside, INTERVAL=2" if (now + timedelta(days=4)).weekday() == SUNDAY else None
    end = (now + FAR).replace(hour=12, minute=0, second=0, microsecond=0)
    with service.start(dsn) as server:
        _, url = await Feeds(db, Links("x" * 32, public_url=server.url)).create(owner, "Evolution", is_busy_only=False)
        for newest in ("Newest", "Newer"):
            booked = await booking.create(db, owner, spec(now + 25 * HOUR + LENGTH / 2, LENGTH / 4, newest))
            read = await asyncio.to_thread(run, tmp_path, url, now, end, newest)
            found = [
                (each["title"], each["start"], each["end"])
                for each in read
                if not each["is_off"] and each["title"] != late
            ]
            expected = (await listing.page_ahead(db, db, listing.Window(owner, now, end), size=1000)).appointments
            assert len(expected) > 200
            known = [told(each) for each in expected if each.title != late]
            assert sorted(known, key=str) == sorted(found, key=str)
            await updating.delete(db, owner, booked.id)

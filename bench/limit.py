"""The limit: PostgreSQL's own load generator with the very statement that the service runs."""

import re
import subprocess
import tempfile

from appointments.calendar import booking
from appointments.db.embedded import binaries
from bench import data
from bench.stage import Stage

FIRST_ID = 0x1000
CLIENTS = (1, 16, 64, 256)

# A client books minute after minute for a person of its own.
_VALUES = {
    "id": "uuidv7()",
    "owner_id": f"lpad(to_hex({FIRST_ID} + :client_id), 32, '0')",
    "title": "'Haircut'",
    "description": "'As agreed on the phone'",
    "location": "'Room 1'",
    "start_at": "(timestamptz '2020-01-01 00:00+00' + :minute * interval '1 minute')",
    "end_at": "(timestamptz '2020-01-01 00:01+00' + :minute * interval '1 minute')",
    "time_zone": "'Europe/Zurich'",
    "attendees": "'[]'",
    "request_id": "null",
    "request_digest": "null",
    "buffer_before": "0",
    "buffer_after": "0",
    "all_day": "false",
    "actor_id": "null",
    "x_request_id": "null",
}
_prepared: set[str] = set()


def pgbench(stage: Stage, clients: int, seconds: float) -> float:
    """Creates per second over so many connections, prepared; the time to connect does not count."""
    if stage.dsn not in _prepared:
        data.add_people(stage.dsn, max(CLIENTS), first_id=FIRST_ID)
        _prepared.add(stage.dsn)
    script = f"\\set minute :minute + 1\n{booking.CREATE.sql % _VALUES};\n"
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        minute = stage.minutes(100_000)  # more than one client makes
        # On a busy machine the time may be over before everybody is connected. Then there is no rate, and a longer try.
        for lasting in (max(2, round(seconds)) + clients // 64, 30):
            command = [
                str(binaries.find() / "pgbench"), "--no-vacuum", "--protocol=prepared", f"--client={clients}",
                "--jobs=1", f"--time={lasting}", f"--define=minute={minute}", f"--file={file.name}", stage.dsn,
            ]  # fmt: skip
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            found = re.search(r"tps = ([\d.]+) \(without", result.stdout)
            if found and not result.returncode:
                return float(found[1])
    raise SystemExit(f"pgbench failed:\n{result.stdout}\n{result.stderr}")

"""The README's tour works as pasted."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.service import ROOT, Server, Target


def tour() -> list[str]:
    """The shell blocks of the tour, in order."""
    readme = (ROOT / "README.md").read_text()
    section = readme.partition("## A tour")[2].partition("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def test_an_embedder_books_in_twenty_lines() -> None:
    """A key, three people, a room and their visits, in Python."""
    (program,) = [block.partition("<<'PY'\n")[2].partition("\nPY\n")[0] for block in tour() if "admin grant" in block]
    assert 20 >= len([line for line in program.splitlines() if line.strip()])


def test_the_tour_works_as_pasted(server: Target, tmp_path: Path) -> None:
    """Every block, one after the other; only the ports, the database and the interpreter are the test's own."""
    outputs = []
    dsn = server.dsn if isinstance(server, Server) else None
    for block in tour():
        if "admin grant" in block and not dsn:
            outputs.append("")  # whoever has the database may make somebody an admin; here that is somebody else
            continue
        script = block.replace("127.0.0.1:50051", server.grpc).replace("127.0.0.1:8080", server.http)
        script = script.replace(
            ".venv/bin/python scripts/race.py", f"python scripts/race.py --address {server.grpc} --rounds 2"
        )
        script = script.replace("scripts/", f"'{ROOT}'/scripts/").replace(".venv/bin/python", "python")
        script = re.sub(r"\bpython\b(?= )", f"'{sys.executable}'", script)
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env={**os.environ, **({"DATABASE_URL": dsn} if dsn else {})},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        outputs.append(result.stdout)
    rest, native, embedded, reflected, race = outputs
    assert "HTTP/1.1 201" in rest
    assert "application/problem+json" in rest
    assert "StatusCode.ALREADY_EXISTS" in native
    assert not dsn or ["Bob", "Carol", "Dave"] == re.findall(r'title: "Visit of (\w+)"', embedded)
    assert not dsn or 3 == len(set(re.findall(r'owner_id: "(.+)"', embedded)))
    assert not dsn or 1 == len(set(re.findall(r'actor_id: "(.+)"', embedded)))
    assert "appointments.v1.AuthService" in reflected
    assert "accessToken" in reflected
    assert "NOT FAIR" not in race

"""The build: without Node on the machine, in a path with a space, and only when something changed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service import ROOT

SKIPPED = shutil.ignore_patterns("node_modules", "page", "page.new", "__pycache__")


def run(root: Path, path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script of that checkout on a machine that has a shell and no Node."""
    if not (path / "sh").exists():
        (path / "sh").symlink_to("/bin/sh")
    return subprocess.run(
        [sys.executable, "scripts/build_page.py", *arguments],
        cwd=root,
        env={key: value for key, value in os.environ.items() if key != "PATH"} | {"PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.usefixtures("built")
def test_a_build_in_a_path_with_a_space_and_a_second_one_that_does_nothing(tmp_path: Path) -> None:
    """What is built is complete, says one line, and is built again only after a change."""
    root = tmp_path / "a clone"
    shutil.copytree(ROOT / "web", root / "web", ignore=SKIPPED)
    (root / "web" / "node_modules").symlink_to(ROOT / "web" / "node_modules")
    (root / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "build_page.py", root / "scripts")
    (root / "src" / "appointments").mkdir(parents=True)
    first = run(root, tmp_path)
    assert (0, 1) == (first.returncode, len(first.stdout.splitlines())), first.stdout + first.stderr
    page = root / "src" / "appointments" / "page"
    assert (page / "index.html").is_file()
    assert (page / "favicon.svg").is_file()
    assert "The page is up to date.\n" == run(root, tmp_path).stdout
    css = root / "web" / "src" / "page.css"
    css.write_text(css.read_text() + "\n")
    assert run(root, tmp_path).stdout.startswith("Built the page")


@pytest.mark.usefixtures("built")
def test_the_sources_are_sound(tmp_path: Path) -> None:
    """Strict types, one format, and the unit tests of everything that is arithmetic."""
    checked = run(ROOT, tmp_path, "--check")
    assert 0 == checked.returncode, checked.stdout + checked.stderr


@pytest.mark.usefixtures("built")
def test_the_generated_code_is_what_the_contract_gives(tmp_path: Path) -> None:
    """Whoever changes proto/ generates again."""
    checked = run(ROOT, tmp_path, "--generate", "--check")
    assert 0 == checked.returncode, checked.stdout + checked.stderr

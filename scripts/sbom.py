"""Write a bill of materials (CycloneDX) of what an installed service runs on, with licences.

    python scripts/sbom.py dist/sbom.cdx.json

It lists an environment made of requirements/image.txt, which is what the image has. ``pip-audit --requirement
requirements/image.txt`` looks the same list up in the database of known vulnerabilities.
"""

import json
import subprocess
import sys
import tempfile
import venv
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def write(target: Path) -> dict[str, Any]:
    """Write the bill, and return it."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=False)
        python = Path(folder) / "bin" / "python"
        pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "--no-input"]
        image = ROOT / "requirements" / "image.txt"
        subprocess.run([*pip, "install", "--quiet", "--require-hashes", "--requirement", str(image)], check=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        options = ["--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible", "--output-file", str(target)]
        subprocess.run([sys.executable, "-m", "cyclonedx_py", "environment", *options, str(python)], check=True)
    bill: dict[str, Any] = json.loads(target.read_text())
    return bill


def licences(bill: dict[str, Any]) -> Counter[str]:
    """How many components there are of each licence."""
    said = (map(_name, component.get("licenses", [])) for component in bill["components"])
    return Counter(", ".join(names) or "not said" for names in said)


def _name(entry: dict[str, Any]) -> str:
    said = entry.get("license", {})
    return str(entry.get("expression") or said.get("id") or said.get("name"))


if __name__ == "__main__":
    written = write(Path(sys.argv[1]))
    for licence, components in sorted(licences(written).items()):
        print(f"{components:4}  {licence[:100]}")

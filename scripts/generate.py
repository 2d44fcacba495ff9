"""Generate src/appointments/v1 from proto/: messages, their type stubs and the gRPC registration code.

    python scripts/generate.py            write the code
    python scripts/generate.py --check    exit 1 if what is committed differs
"""

import filecmp
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
GENERATED = ROOT / "src" / "appointments" / "v1"


def generate(out: Path) -> None:
    """Write the generated package below ``out``, at ``appointments/v1``."""
    protos = sorted((ROOT / "proto").rglob("*.proto"))
    arguments = [
        "protoc",
        f"--proto_path={ROOT / 'proto'}",
        f"--proto_path={resources.files('grpc_tools') / '_proto'}",
        f"--python_out={out}",
        f"--grpc_python_out={out}",
        f"--mypy_out={out}",
        f"--mypy_grpc_out={out}",
        *map(str, protos),
    ]
    if protoc.main(arguments):
        sys.exit("protoc failed")
    (out / "appointments" / "v1" / "__init__.py").write_text('"""Generated from proto/appointments/v1. Do not edit."""\n')


def main() -> None:
    """Generate in place, or compare with what is committed."""
    if "--check" not in sys.argv:
        GENERATED.mkdir(parents=True, exist_ok=True)
        generate(ROOT / "src")
        return
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh = Path(scratch) / "appointments" / "v1"
        names = {path.name for folder in (fresh, GENERATED) for path in folder.glob("*.py*")}
        _, differing, missing = filecmp.cmpfiles(fresh, GENERATED, names, shallow=False)
    if differing or missing:
        sys.exit(f"src/appointments/v1 is not what proto/ says: run 'make proto' ({sorted(differing + missing)})")


if __name__ == "__main__":
    main()

"""Generate the messages, their type stubs and the gRPC registration code: src/appointments/v1 from proto/, and the
services of the gRPC-Web tests and the conformance suite beside their own contracts.

    python scripts/generate.py            write the code
    python scripts/generate.py --check    exit 1 if what is committed differs
"""

import filecmp
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = Path(sysconfig.get_path("scripts"))


@dataclass(frozen=True)
class Package:
    """One package of protobuf: where its contract is, and where its code goes."""

    contract: Path  # what the imports between its files, and in its code, are relative to
    code: Path
    folder: str
    docstring: str = ""

    def generate(self, out: Path) -> None:
        """Write the code below ``out``, at the package's folder."""
        arguments = [
            "protoc",
            f"--proto_path={self.contract}",
            f"--proto_path={resources.files('grpc_tools') / '_proto'}",
            f"--python_out={out}",
            f"--grpc_python_out={out}",
            *(f"--plugin=protoc-gen-{name}={SCRIPTS / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")),
            f"--mypy_out=quiet:{out}",
            f"--mypy_grpc_out=quiet:{out}",
            *map(str, sorted((self.contract / self.folder).glob("*.proto"))),
        ]
        if protoc.main(arguments):
            sys.exit("protoc failed")
        if self.docstring:
            (out / self.folder / "__init__.py").write_text(f'"""{self.docstring}"""\n')

    def differing(self) -> Iterator[Path]:
        """Compare what is committed with what would be generated; give the files that are not the same."""
        committed = self.code / self.folder
        with tempfile.TemporaryDirectory() as scratch:
            self.generate(Path(scratch))
            fresh = Path(scratch) / self.folder
            names = {path.name for folder in (fresh, committed) for path in folder.glob("*.py*")}
            _, differing, missing = filecmp.cmpfiles(fresh, committed, names, shallow=False)
        yield from (committed / name for name in sorted(differing + missing))


PACKAGES = (
    Package(ROOT / "proto", ROOT / "src", "appointments/v1", "Generated from proto/appointments/v1. Do not edit."),
    Package(ROOT, ROOT, "tests/grpcweb/echo/v1"),
    Package(ROOT, ROOT, "tests/conformance/v1"),
)


def main() -> None:
    """Generate in place, or compare with what is committed."""
    if "--check" in sys.argv:
        found = [str(path.relative_to(ROOT)) for package in PACKAGES for path in package.differing()]
        if found:
            sys.exit(f"not what its contract says: {', '.join(found)}; run 'make proto'")
        return
    for package in PACKAGES:
        (package.code / package.folder).mkdir(parents=True, exist_ok=True)
        package.generate(package.code)


if __name__ == "__main__":
    main()

"""``make conformance``: the public conformance suite of the Connect project, against both doors, the native one
with both engines.

The suite is a Go program, built once into the virtual environment. Beside this file stand what it is told of each door,
and which cases are known to fail or are left out, each with its reason.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

SUITE = "connectrpc.com/conformance/cmd/connectconformance"
VERSION = "v1.0.7"

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def main() -> int:
    """Run the suite against the front, then against the native port's engines; returns the exit code."""
    go = shutil.which("go")
    if go is None:
        print("make conformance needs Go (https://go.dev/dl): the conformance suite is a Go program.", file=sys.stderr)
        return 1
    program = install(go)
    return max(
        run(program, "gRPC-Web, over HTTP/1.1 and h2c", "web.yaml"),
        run(
            program,
            "gRPC, on the native port, by grpcio",
            "native.yaml",
            *("--known-failing", f"@{HERE / 'native-failing.txt'}"),
            *("--skip", f"@{HERE / 'native-left-out.txt'}"),
        ),
        run(
            program,
            "gRPC, on the native port, by the engine in Rust",
            "native.yaml",
            *("--known-failing", f"@{HERE / 'native-rust-failing.txt'}"),
            engine="native",
        ),
    )


def install(go: str) -> Path:
    """Build the pinned version of the suite, unless it is there."""
    folder = Path(sys.prefix) / f"conformance-{VERSION}"
    program = folder / SUITE.rpartition("/")[2]
    if not program.exists():
        print(f"Building the conformance suite {VERSION} (once) …", flush=True)
        subprocess.run([go, "install", f"{SUITE}@{VERSION}"], env=os.environ | {"GOBIN": str(folder)}, check=True)
    return program


def run(program: Path, name: str, config: str, *options: str, engine: str = "grpcio") -> int:
    """Run the suite against one door; returns its exit code."""
    print(f"== {name}", flush=True)
    server = (sys.executable, "-m", "tests.conformance.server", engine)
    command = (str(program), "--mode", "server", "--conf", str(HERE / config), *options, "--", *server)
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

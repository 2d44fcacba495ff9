"""``make integration``: the black-box tests, against the composed system and against testcontainers."""

import os
import subprocess
import sys

from tests.integration.containers import Composition, NoEngine, check_engine, contained
from tests.service import ROOT, Target

BLACK_BOX = ("tests/api", "tests/integration/test_black_box.py")


def main() -> int:
    """Run every part; returns the exit code."""
    try:
        check_engine()
    except NoEngine as lack:
        print(f"make integration needs Docker: {lack}.", file=sys.stderr)
        return 1
    return max([*against_the_composition(), against_testcontainers()])


def against_the_composition() -> list[int]:
    """One instance, then two behind the proxy."""
    composition = Composition()
    try:
        composition.up("app")
        results = [run("the composed system", composition.app, *BLACK_BOX)]
        if composition.can_scale:
            composition.up("proxy")
            results.append(run("two replicas behind the proxy", composition.proxy, "tests/integration/test_scale.py"))
        else:
            say("Left out: two replicas. What is up now was built without --profile scale.")
        if any(results):
            say(composition.logs())
    finally:
        composition.down()
    return results


def against_testcontainers() -> int:
    """The image by itself."""
    with contained() as target:
        return run("testcontainers", target, *BLACK_BOX)


def run(name: str, target: Target, *tests: str) -> int:
    """Run tests against a target; returns pytest's exit code."""
    say(f"== {name}: gRPC {target.grpc}, HTTP {target.http}")
    env = {**os.environ, "APPOINTMENTS_TARGET_GRPC": target.grpc, "APPOINTMENTS_TARGET_HTTP": target.http}
    return subprocess.run([sys.executable, "-m", "pytest", "-q", *tests], cwd=ROOT, env=env, check=False).returncode


def say(text: str) -> None:
    """Print, in order with what the tests print."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())

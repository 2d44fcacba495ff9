"""The service in containers: as docker-compose.yml composes it, and as testcontainers runs the image."""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from tests.service import ROOT, START_SECONDS, Target, free_ports, is_ready

IMAGE = "appointments"
PROXY_IMAGE = "appointments-proxy"
PASSWORD = "of-no-worth"


class NoEngine(Exception):
    """There is no Docker to be used here; the message says what is missing."""


def check_engine() -> None:
    """Raise NoEngine unless containers can be run and composed."""
    for command, lack in (
        (["docker", "version"], "no Docker engine answers"),
        (["docker", "compose", "version"], "docker has no compose plugin"),
    ):
        try:
            found = subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            raise NoEngine("there is no docker command") from None
        if not found:
            raise NoEngine(lack)


def has_image(name: str) -> bool:
    """Whether an image was built."""
    return subprocess.run(["docker", "image", "inspect", name], capture_output=True, check=False).returncode == 0


class Composition:
    """docker-compose.yml as a project of our own, on free ports, without touching one that a person has up."""

    def __init__(self) -> None:
        ports = dict(zip(("HTTP_PORT", "GRPC_PORT", "SCALE_HTTP_PORT", "SCALE_GRPC_PORT"), free_ports(4), strict=True))
        self.app = Target(grpc=f"127.0.0.1:{ports['GRPC_PORT']}", http=f"127.0.0.1:{ports['HTTP_PORT']}")
        self.proxy = Target(grpc=f"127.0.0.1:{ports['SCALE_GRPC_PORT']}", http=f"127.0.0.1:{ports['SCALE_HTTP_PORT']}")
        self._ports = {name: str(port) for name, port in ports.items()}
        self._project = f"appointments-test-{os.getpid()}"
        # A person who has it up has built it, perhaps where nothing can be built now.
        person_has_it_up = bool(json.loads(self._compose("ps", "--format", "json", project=None) or "[]"))
        self._build = "--no-build" if person_has_it_up else "--build"

    @property
    def can_scale(self) -> bool:
        """Whether the proxy's image is there or may be built."""
        return self._build == "--build" or has_image(PROXY_IMAGE)

    def up(self, *services: str) -> None:
        """Bring services up, with what they depend on, and return when they are healthy."""
        self._compose("--profile", "scale", "up", self._build, "--detach", "--wait", *services)

    def down(self) -> None:
        """Take everything away, data included."""
        self._compose("--profile", "scale", "down", "--volumes", "--timeout", "15")

    def logs(self) -> str:
        """The end of what every container said."""
        return self._compose("--profile", "scale", "logs", "--tail", "40")

    def _compose(self, *arguments: str, project: str | None = "ours") -> str:
        env: Mapping[str, str] = os.environ
        ours: Sequence[str] = ()
        if project:
            ours = ("--project-name", self._project)
            env = {**os.environ, **self._ports, "TRUSTED_PROXY_HOPS": "1", "BCRYPT_COST": "4"}
        command = ["docker", "compose", *ours, *arguments]
        result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        if result.returncode and project:
            raise RuntimeError(f"{' '.join(command)}\n{result.stdout}{result.stderr}")
        # Some versions print a list, others an object a line.
        return result.stdout if project or result.stdout.startswith("[") else json.dumps(result.stdout.split("\n")[:-1])


@contextmanager
def contained() -> Iterator[Target]:
    """The image and a PostgreSQL, by testcontainers."""
    # Its reaper is one more image from elsewhere, for what the exits of these blocks do.
    os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
    with Network() as network:
        database = DockerContainer("postgres:18").with_network(network).with_network_aliases("db")
        database.with_env("POSTGRES_USER", "appointments").with_env("POSTGRES_PASSWORD", PASSWORD)
        app = DockerContainer(IMAGE).with_network(network).with_exposed_ports(50051, 8080)
        app.with_env("ENVIRONMENT", "development").with_env("TRUSTED_PROXY_HOPS", "1").with_env("BCRYPT_COST", "4")
        app.with_env("DATABASE_URL", f"postgresql://appointments:{PASSWORD}@db/appointments")
        with database, app:
            host = app.get_container_host_ip()
            target = Target(grpc=f"{host}:{app.get_exposed_port(50051)}", http=f"{host}:{app.get_exposed_port(8080)}")
            _wait_until_ready(target)
            yield target


def _wait_until_ready(target: Target) -> None:
    until = time.monotonic() + START_SECONDS
    while not is_ready(target.url):
        if time.monotonic() > until:
            raise RuntimeError("the service was not ready in time")
        time.sleep(0.2)

"""nginx, HAProxy and Caddy as Debian has them, in front of one server, with as little configuration as it takes."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from tests.programs import needed
from tests.service import Target, free_ports


def _nginx(folder: Path, port: int, http: str) -> list[str]:
    (folder / "nginx.conf").write_text(
        f"""
        daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
        events {{}}
        http {{
            access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};
            fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
            gzip on; gzip_types text/event-stream;
            server {{
                listen 127.0.0.1:{port};
                location / {{ proxy_pass http://{http}; proxy_set_header Host $http_host; }}
            }}
        }}
        """
    )
    return [needed("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")]


def _haproxy(folder: Path, port: int, http: str) -> list[str]:
    (folder / "haproxy.cfg").write_text(
        f"""
defaults
    mode http
    timeout connect 5000
    timeout client  50000
    timeout server  50000
    compression algo gzip
    compression type text/event-stream
listen front
    bind 127.0.0.1:{port}
    server service {http}
"""
    )
    return [needed("haproxy"), "-q", "-f", str(folder / "haproxy.cfg")]


def _caddy(folder: Path, port: int, http: str) -> list[str]:
    (folder / "Caddyfile").write_text(
        f"""
{{
    admin off
    auto_https off
}}
http://127.0.0.1:{port} {{
    encode gzip
    reverse_proxy {http}
}}
        """
    )
    return [needed("caddy"), "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


PROXIES: dict[str, Callable[[Path, int, str], list[str]]] = {"nginx": _nginx, "haproxy": _haproxy, "caddy": _caddy}


@contextmanager
def in_front(name: str, target: Target) -> Iterator[Target]:
    """Run a proxy until the block ends; the HTTP address is then the proxy's."""
    port, folder = free_ports(1)[0], Path(mkdtemp(prefix="appointments-proxy-"))
    command = PROXIES[name](folder, port, target.http)
    with (folder / "output").open("w+b") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={"HOME": str(folder), "XDG_DATA_HOME": str(folder)}
        )
        try:
            until = time.monotonic() + 30
            while time.monotonic() < until:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                assert process.poll() is None, (folder / "output").read_text()
                time.sleep(0.02)
            yield Target(grpc=target.grpc, http=f"127.0.0.1:{port}")
        finally:
            process.kill()
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)

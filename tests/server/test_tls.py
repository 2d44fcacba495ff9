"""TLS on the native port, with a certificate made for the occasion."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests import service
from tests.certificates import self_signed
from tests.clients import register

PRODUCTION = {"GRPC_SERVER": "grpcio", "ENVIRONMENT": "production", "JWT_SECRET": "s" * 32, "BCRYPT_COST": "10"}


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, and its key."""
    return self_signed(tmp_path)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_native_calls_are_encrypted(dsn: str, certificate: tuple[Path, Path], workers: str) -> None:
    """Production beyond loopback: a client that trusts the certificate is served, one without TLS is not."""
    cert, key = certificate
    port, http = service.free_ports(2)
    environment = PRODUCTION | {
        "GRPC_BIND": f"0.0.0.0:{port}",
        "HTTP_BIND": f"127.0.0.1:{http}",
        "GRPC_TLS_CERT": str(cert),
        "GRPC_TLS_KEY": str(key),
        "WORKERS": workers,
    }
    with service.start(dsn, environment):
        address, roots = f"127.0.0.1:{port}", grpc.ssl_channel_credentials(cert.read_bytes())
        async with grpc.aio.secure_channel(address, roots) as channel:
            assert (await register(channel)).user_id
        async with grpc.aio.insecure_channel(address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await health.Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


def test_production_beyond_loopback_needs_it(dsn: str) -> None:
    """One clear line, exit code 1, before anything listens."""
    with service.start(dsn, PRODUCTION | {"GRPC_BIND": "0.0.0.0:0"}, wait=False) as server:
        assert server.process.wait(60) == 1
        assert server.log().startswith(
            "appointments: GRPC_ALLOW_INSECURE: production serves native gRPC beyond loopback"
        )


def test_a_certificate_that_is_none_is_one_clear_line(dsn: str, tmp_path: Path) -> None:
    """What it is, without a stack trace."""
    broken = tmp_path / "broken.pem"
    broken.write_text("this is no certificate\n")
    environment = {"GRPC_SERVER": "grpcio", "GRPC_TLS_CERT": str(broken), "GRPC_TLS_KEY": str(broken)}
    with service.start(dsn, environment, wait=False) as server:
        assert server.process.wait(60) == 1
        assert "appointments: GRPC_TLS_CERT" in server.log()
        assert "Traceback" not in server.log()


def test_the_engine_without_tls_refuses_a_certificate(dsn: str, certificate: tuple[Path, Path]) -> None:
    """Rather than to serve without it."""
    environment = {"GRPC_SERVER": "native", "GRPC_TLS_CERT": str(certificate[0]), "GRPC_TLS_KEY": str(certificate[1])}
    with service.start(dsn, environment, wait=False) as server:
        assert server.process.wait(60) == 1
        assert server.log().startswith("appointments: GRPC_SERVER: native has no TLS")

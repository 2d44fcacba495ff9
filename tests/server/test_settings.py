"""Settings: defaults for development, none for production's secrets, every fault at once."""

from pathlib import Path

import pytest

from appointments.server import settings
from appointments.server.settings import DEVELOPMENT_SECRET, ConfigFault

GOOD = {
    "ENVIRONMENT": "production",
    "JWT_SECRET": "s" * 32,
    "DATABASE_URL": "postgresql://db/appointments",
}
NAMES = [field.upper() for field in settings.Settings.model_fields]


def load(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> settings.Settings:
    """Load from exactly this environment."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return settings.load()


def faults(monkeypatch: pytest.MonkeyPatch, **environment: str) -> list[str]:
    """The variables that a faulty environment is told of."""
    with pytest.raises(ConfigFault) as refused:
        load(monkeypatch, GOOD | environment)
    return [line.partition(":")[0] for line in str(refused.value).splitlines()]


def test_development_needs_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing set: loopback, the embedded database, a secret that only development has."""
    settings = load(monkeypatch, {})
    assert ("127.0.0.1:50051", "127.0.0.1:8080", None) == (
        settings.grpc_bind,
        settings.http_bind,
        settings.database_url,
    )


def test_production_starts_with_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret of 32 bytes and a database are enough."""
    assert load(monkeypatch, GOOD).production


@pytest.mark.parametrize("secret", ["", "s" * 31, DEVELOPMENT_SECRET])
def test_production_refuses_a_weak_secret(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    """Missing, short or the default."""
    assert ["JWT_SECRET"] == faults(monkeypatch, JWT_SECRET=secret)


def test_every_fault_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One start, one list."""
    found = faults(
        monkeypatch,
        DATABASE_URL="",
        JWT_SECRET="short",
        JWT_SECRET_PREVIOUS="short",
        GRPC_BIND="50051",
        HTTP_BIND="localhost:99999",
        ALLOWED_ORIGINS="https://a.example, b.example",
        TRUSTED_PROXY_HOPS="-1",
    )
    assert {
        "DATABASE_URL",
        "JWT_SECRET",
        "JWT_SECRET_PREVIOUS",
        "GRPC_BIND",
        "HTTP_BIND",
        "ALLOWED_ORIGINS",
        "TRUSTED_PROXY_HOPS",
    } == set(found)


def test_an_unknown_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing mistake must not run as development."""
    assert ["ENVIRONMENT"] == faults(monkeypatch, ENVIRONMENT="prod")


def test_a_secret_is_never_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by the settings nor by a fault."""
    assert "s" * 32 not in repr(load(monkeypatch, GOOD))
    with pytest.raises(ConfigFault) as refused:
        load(monkeypatch, GOOD | {"JWT_SECRET": "hush-hush"})
    assert "hush" not in str(refused.value)


def test_origins_are_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comma-separated, spaces allowed."""
    settings = load(monkeypatch, GOOD | {"ALLOWED_ORIGINS": "https://a.example, https://b.example:8443"})
    assert {"https://a.example", "https://b.example:8443"} == settings.allowed_origins


def test_tls_takes_a_certificate_and_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a pair is a mistake that must not become plain text."""
    assert ["GRPC_TLS_KEY"] == faults(monkeypatch, GRPC_TLS_CERT="/etc/tls/cert.pem")
    assert ["GRPC_TLS_KEY"] == faults(monkeypatch, GRPC_TLS_KEY="/etc/tls/key.pem")
    settings = load(monkeypatch, GOOD | {"GRPC_TLS_CERT": "/etc/tls/cert.pem", "GRPC_TLS_KEY": "/etc/tls/key.pem"})
    assert (Path("/etc/tls/cert.pem"), Path("/etc/tls/key.pem")) == settings.grpc_tls
    assert load(monkeypatch, GOOD | {"GRPC_TLS_CERT": "", "GRPC_TLS_KEY": ""}).grpc_tls is None


@pytest.mark.parametrize("address", ["0.0.0.0:50051", "[::]:50051", "192.0.2.1:50051", "grpc.example.com:50051"])
def test_production_refuses_plain_grpc_beyond_loopback(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Tokens cross that port: TLS, or a word that a proxy brings it."""
    exposed = GOOD | {"GRPC_BIND": address}
    assert ["GRPC_ALLOW_INSECURE"] == faults(monkeypatch, GRPC_BIND=address)
    assert load(monkeypatch, exposed | {"GRPC_ALLOW_INSECURE": "true"}).grpc_bind == address
    assert load(monkeypatch, exposed | {"GRPC_TLS_CERT": "cert.pem", "GRPC_TLS_KEY": "key.pem"}).grpc_tls
    assert load(monkeypatch, {"GRPC_BIND": address}).grpc_bind == address  # development


@pytest.mark.parametrize("address", ["127.0.0.1:50051", "127.8.8.8:1", "[::1]:50051", "localhost:50051"])
def test_production_serves_plain_grpc_on_loopback(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """A sidecar reaches it; the network does not."""
    assert load(monkeypatch, GOOD | {"GRPC_BIND": address}).grpc_tls is None


def test_a_session_goes_past_the_pooler(monkeypatch: pytest.MonkeyPatch) -> None:
    """DATABASE_DIRECT_URL, or the one that there is."""
    assert load(monkeypatch, GOOD).direct("postgresql://pooler") == "postgresql://pooler"
    settings = load(monkeypatch, GOOD | {"DATABASE_DIRECT_URL": "postgresql://db"})
    assert settings.direct("postgresql://pooler") == "postgresql://db"


def test_redis_is_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Redis; empty is none."""
    assert ["REDIS_URL"] == faults(monkeypatch, REDIS_URL="localhost:6379")
    assert load(monkeypatch, GOOD | {"REDIS_URL": ""}).redis_url is None
    assert load(monkeypatch, GOOD | {"REDIS_URL": "rediss://cache.example.com"}).redis_url

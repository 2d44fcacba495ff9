"""Settings: defaults for development, none for production's secrets, every fault at once."""

import pytest

from appointments import config
from appointments.config import DEVELOPMENT_SECRET, ConfigFault

GOOD = {
    "ENVIRONMENT": "production",
    "JWT_SECRET": "s" * 32,
    "DATABASE_URL": "postgresql://db/appointments",
}
NAMES = [field.upper() for field in config.Settings.model_fields]


def load(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> config.Settings:
    """Load from exactly this environment."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return config.load()


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

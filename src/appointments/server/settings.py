"""The settings, read from the environment once at start-up.

All faults are reported at once, each with its variable's name. Development has a default for everything. Production has
none for secrets, nor for what an operator must choose.
"""

from email.utils import parseaddr
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from appointments.mail.relay import Server
from appointments.shared.validation import email_problem

DEVELOPMENT_SECRET = "development-only-secret-never-use-it-elsewhere"  # noqa: S105 - refused in production
MIN_SECRET_BYTES = 32
"""RFC 7518 §3.2: an HS256 key is at least as long as the hash."""

MIN_PRODUCTION_COST = 10
"""OWASP's Password Storage Cheat Sheet: the least that bcrypt should cost."""


class ConfigFault(Exception):
    """The environment cannot be used. The message has a line for each fault."""


class Settings(BaseSettings):
    """What an operator decides. Each field is the environment variable of the same name in capitals."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", validate_default=True)

    environment: Literal["development", "production"] = "development"
    database_url: SecretStr | None = Field(None, description="PostgreSQL DSN; embedded in development if unset")
    database_direct_url: SecretStr | None = Field(
        None, description="the same database without the pooler, for migrations and whatever else needs a session"
    )
    database_replica_url: SecretStr | None = Field(None, description="a streaming replica, which reads may go to")
    database_pool_mode: Literal["session", "transaction"] = Field(
        "session",
        description="of the pooler that DATABASE_URL leads to, if it does; transaction prepares no statements",
    )
    database_pool_size: int = Field(10, ge=1, le=1000, description="connections per process")
    database_wait_seconds: float = Field(30.0, ge=0, description="how long to wait for it at start-up")
    jwt_secret: SecretStr = Field(SecretStr(DEVELOPMENT_SECRET), description="signs access tokens")
    jwt_secret_previous: SecretStr | None = Field(None, description="still accepted while secrets rotate")
    bcrypt_cost: int = Field(12, ge=4, le=16, description="power of two of the rounds of a password's hash")
    grpc_bind: str = Field("127.0.0.1:50051", description="HOST:PORT of native gRPC")
    grpc_tls_cert: Path | None = Field(None, description="PEM file: the native port's certificate chain")
    grpc_tls_key: Path | None = Field(None, description="PEM file: its private key")
    grpc_server: Literal["grpcio", "native"] = Field(
        "grpcio", description="the native port's engine; native is faster, for a port that only trusted peers reach"
    )
    grpc_allow_insecure: bool = Field(
        False, description="production may serve native gRPC without TLS beyond loopback: behind a proxy that has it"
    )
    http_bind: str = Field("127.0.0.1:8080", description="HOST:PORT of gRPC-Web, REST and the calendar")
    metrics_bind: str | None = Field(None, description="HOST:PORT of Prometheus metrics; unset, they are not served")
    allowed_origins: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(), description="other sites that may call with the session cookie, comma-separated"
    )
    resource_creation: Literal["everyone", "admins"] = Field("everyone", description="who may add rooms and equipment")
    free_busy: Literal["users", "none"] = Field(
        "users", description="who may see when people are taken: anyone who has signed in, or only they themselves"
    )
    webhook_allow_private: bool = Field(
        False,
        description="webhooks may lead to addresses that are not public, such as the machine itself",
    )
    changes_days: int = Field(30, ge=1, le=3650, description="how long the log of changes is kept")
    audit_days: int = Field(365, ge=30, le=3650, description="how long what happened to accounts stays recorded")
    series_horizon_days: int = Field(
        120, ge=1, le=3650, description="how far ahead the occurrences of series without an end are appointments"
    )
    trusted_proxy_hops: int = Field(0, ge=0, le=10, description="proxies whose X-Forwarded-For entry is believed")
    drain_seconds: float = Field(3.0, ge=0, le=600, description="seconds that calls in flight get at shutdown")
    lame_duck_seconds: float = Field(
        0.0, ge=0, le=600, description="seconds that everything is still served at shutdown after readiness has turned"
    )
    redis_url: SecretStr | None = Field(None, description="where several processes share the limiter's state")
    jobs: Literal["inside", "off"] = Field(
        "inside", description="whether serve runs jobs too (mail, sweeps); off leaves them to `appointments jobs`"
    )
    public_url: str | None = Field(
        None, description="where people reach the service, for links in mail; HTTP_BIND in development if unset"
    )
    mail_from: str | None = Field(None, description="who mail is from: an address, or NAME <ADDRESS>")
    smtp_url: SecretStr | None = Field(
        None,
        description="the mail server: smtp:// (STARTTLS, unless on loopback) or smtps://, USER:PASSWORD@HOST:PORT;"
        " if unset, development keeps mail for /dev/mail and production sends none",
    )
    invitations_per_day: int = Field(
        100, ge=0, description="how many people from outside one account may invite in a day"
    )
    invitations_per_day_new: int = Field(20, ge=0, description="the same for accounts that are younger than a day")
    invitation_reply_to: str | None = Field(
        None,
        description="an address whose subaddresses (name+…@) `appointments receive-mail` gets: calendars answer there,"
        " and mail servers report there what cannot be delivered; unset, to the organizer and to MAIL_FROM",
    )
    invitation_delay_seconds: int = Field(
        30, ge=0, le=3600, description="how long changes of an appointment are gathered into one message"
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def production(self) -> bool:
        """Whether this is production."""
        return self.environment == "production"

    @property
    def grpc_tls(self) -> tuple[Path, Path] | None:
        """Certificate and key of the native port."""
        return (self.grpc_tls_cert, self.grpc_tls_key) if self.grpc_tls_cert and self.grpc_tls_key else None

    def direct(self, dsn: str) -> str:
        """The DSN for whatever needs a session. ``dsn`` is the one for everything else."""
        return self.database_direct_url.get_secret_value() if self.database_direct_url else dsn

    @field_validator(
        *("database_url", "database_direct_url", "database_replica_url", "jwt_secret_previous"),
        *("grpc_tls_cert", "grpc_tls_key", "metrics_bind", "redis_url", "public_url", "mail_from", "smtp_url"),
        "invitation_reply_to",
        mode="before",
    )
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return value or None

    @field_validator("grpc_bind", "http_bind", "metrics_bind")
    @classmethod
    def _host_and_port(cls, value: str | None) -> str | None:
        if value is None:
            return None
        host, colon, port = value.rpartition(":")
        if not (host and colon and port.isascii() and port.isdigit() and int(port) <= 65535):
            raise ValueError("must be HOST:PORT, such as 127.0.0.1:8080")
        return value

    @field_validator("grpc_tls_key")
    @classmethod
    def _is_a_pair(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if (value is None) != (info.data.get("grpc_tls_cert") is None):
            raise ValueError("goes with GRPC_TLS_CERT: set both or none")
        return value

    @field_validator("grpc_server")
    @classmethod
    def _can_do_it(cls, value: str, info: ValidationInfo) -> str:
        if value == "native" and info.data.get("grpc_tls_cert"):
            raise ValueError("native has no TLS: take grpcio, or unset GRPC_TLS_CERT and GRPC_TLS_KEY behind a proxy")
        return value

    @field_validator("grpc_allow_insecure")
    @classmethod
    def _is_protected(cls, value: bool, info: ValidationInfo) -> bool:
        data = info.data
        exposed = "grpc_bind" in data and not _is_loopback(data["grpc_bind"])
        if exposed and data.get("environment") == "production" and not (value or data.get("grpc_tls_cert")):
            raise ValueError(
                "production serves native gRPC beyond loopback only with GRPC_TLS_CERT and GRPC_TLS_KEY,"
                " or with this set to true where a proxy brings the TLS"
            )
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value and urlsplit(value.get_secret_value()).scheme not in {"redis", "rediss"}:
            raise ValueError("must be redis://HOST:PORT/NUMBER, or rediss:// for TLS")
        return value

    @field_validator("public_url")
    @classmethod
    def _is_public(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("must be the address of the page, such as https://calendar.example.com")
        return value.rstrip("/")

    @field_validator("mail_from")
    @classmethod
    def _is_mailbox(cls, value: str | None) -> str | None:
        if value is not None and (email_problem(parseaddr(value)[1]) or not value.isprintable()):
            raise ValueError("must be an address, or NAME <ADDRESS>")
        return value

    @field_validator("invitation_reply_to")
    @classmethod
    def _has_room_for_a_token(cls, value: str | None) -> str | None:
        # A token and its plus sign have 33 characters, and the local part may have 64 (RFC 5321 §4.5.3.1.1).
        if value is not None and (email_problem(value) or not value.isascii() or len(value.rpartition("@")[0]) > 31):
            raise ValueError("must be an address with at most 31 ASCII characters before the @")
        return value

    @field_validator("smtp_url")
    @classmethod
    def _is_relay(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None:
            return None
        Server.of(value.get_secret_value())
        needed = ["mail_from"] if info.data.get("environment") == "development" else ["mail_from", "public_url"]
        if missing := [name.upper() for name in needed if name in info.data and info.data[name] is None]:
            raise ValueError(f"goes with {' and '.join(missing)}")
        return value

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        return frozenset(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, value: frozenset[str]) -> frozenset[str]:
        for origin in value:
            parts = urlsplit(origin)
            if parts.scheme not in {"http", "https"} or origin != f"{parts.scheme}://{parts.netloc}":
                raise ValueError(f"{origin!r} is not an origin, such as https://calendar.example.com")
        return value

    @field_validator("jwt_secret", "jwt_secret_previous")
    @classmethod
    def _is_secret(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        secret = value.get_secret_value() if value else ""
        if secret == DEVELOPMENT_SECRET and info.data.get("environment") == "production":
            raise ValueError("must be set in production, to a secret of its own")
        if value is not None and len(secret.encode()) < MIN_SECRET_BYTES:
            raise ValueError(f"must be at least {MIN_SECRET_BYTES} bytes")
        return value

    @field_validator("bcrypt_cost")
    @classmethod
    def _is_costly(cls, value: int, info: ValidationInfo) -> int:
        if value < MIN_PRODUCTION_COST and info.data.get("environment") == "production":
            raise ValueError(f"must be at least {MIN_PRODUCTION_COST} in production")
        return value

    @field_validator("database_url")
    @classmethod
    def _is_chosen(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None and info.data.get("environment") == "production":
            raise ValueError("must be set in production")
        return value


def secret_of(value: SecretStr | None) -> str:
    """A secret itself; empty if there is none."""
    return value.get_secret_value() if value else ""


def load() -> Settings:
    """Read the environment.

    Raises:
        ConfigFault: with every fault in one message, a line each.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise ConfigFault("\n".join(_line(fault["loc"], fault["msg"]) for fault in error.errors())) from None


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _line(location: tuple[int | str, ...], message: str) -> str:
    text = message.removeprefix("Value error, ")
    return f"{str(location[0]).upper()}: {text}" if location else text

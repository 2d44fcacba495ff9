"""``appointments admin doctor``: is everything as it has to be? One finding for each thing that is looked at.

It only reads. What it says of bookings is worked out from the rows, as if there were no constraint, so run it after a
restore. It reads all bookings and appointments, which takes a while where there are millions.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, LiteralString

import psycopg
from psycopg.rows import TupleRow
from redis.asyncio import Redis
from redis.exceptions import RedisError

from appointments.db.migrate import MigrationFault, pending
from appointments.mail.relay import NotNow, Relay, Server
from appointments.server.settings import Settings

OLDEST_POSTGRESQL = 150000
MOST_SKEW = 1.0
"""Seconds that the clocks of this machine and the database may differ: tokens are dated here, rows there."""

MOST_LAG = 10.0
MOST_UNNUMBERED = 60.0
"""Seconds after which a change that no follower has seen means that nobody numbers them."""

Verdict = Literal["ok", "warning", "fault"]
Connection = psycopg.AsyncConnection[TupleRow]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, and what was found."""

    name: str
    verdict: Verdict
    text: str


async def examine(settings: Settings, dsn: str) -> AsyncIterator[Finding]:
    """Look at everything, one thing after the other."""
    for finding in _settings(settings):
        yield finding
    try:
        connection = await psycopg.AsyncConnection.connect(settings.direct(dsn), autocommit=True, connect_timeout=5)
    except psycopg.Error as error:
        yield Finding("database", "fault", f"does not answer: {error}")
    else:
        async with connection:
            for check in (_version, _extension, _migrations, _clock):
                yield await check(connection)
            for name, ask, fault in _COUNTS:
                yield await _count(connection, name, ask, fault)
            yield await _log_of_changes(connection)
    services = (
        (settings.database_replica_url, _replica),
        (settings.redis_url, _redis),
        (settings.smtp_url, _mail_server),
    )
    for url, check_service in services:
        if url:
            yield await check_service(url.get_secret_value())


def _settings(settings: Settings) -> list[Finding]:
    findings = [Finding("settings", "ok", settings.environment)]
    if settings.production and settings.trusted_proxy_hops == 0:
        text = "TRUSTED_PROXY_HOPS is 0: behind a proxy all clients would share one limit"
        findings.append(Finding("proxy", "warning", text))
    if settings.production and not settings.metrics_bind:
        findings.append(Finding("metrics", "warning", "METRICS_BIND is not set: nobody can watch this service"))
    if settings.production and not settings.smtp_url:
        findings.append(Finding("mail", "warning", "SMTP_URL is not set: no mail is sent"))
    return findings


async def _one(connection: Connection, query: LiteralString) -> Any:
    row = await (await connection.execute(query)).fetchone()
    return row[0] if row else None


async def _version(connection: Connection) -> Finding:
    number = connection.info.server_version
    text = f"PostgreSQL {number // 10000}.{number % 10000}"
    return Finding("database", "ok" if number >= OLDEST_POSTGRESQL else "fault", text)


async def _extension(connection: Connection) -> Finding:
    version = await _one(connection, "SELECT extversion FROM pg_extension WHERE extname = 'btree_gist'")
    return Finding("extension", "ok" if version else "fault", f"btree_gist {version or 'is missing'}")


async def _migrations(connection: Connection) -> Finding:
    try:
        missing = await pending(connection)
    except MigrationFault as fault:
        return Finding("migrations", "fault", str(fault))
    if missing:
        return Finding("migrations", "fault", f"{len(missing)} are missing, from {missing[0]} on")
    return Finding("migrations", "ok", "all are applied")


async def _clock(connection: Connection) -> Finding:
    before = datetime.now(UTC)
    there = await _one(connection, "SELECT clock_timestamp()")
    after = datetime.now(UTC)
    skew = max((there - after).total_seconds(), (before - there).total_seconds(), 0.0)
    return Finding("clock", "ok" if skew <= MOST_SKEW else "fault", f"differs by {skew:.1f} s from the database's")


# Each counts what must not be. The overlaps are found by order alone: within a subject the next must not begin earlier
# than the latest end so far.
_COUNTS: tuple[tuple[str, LiteralString, str], ...] = (
    (
        "constraints",
        "SELECT count(*) FROM pg_constraint WHERE connamespace = current_schema()::regnamespace AND NOT convalidated",
        "are not validated",
    ),
    (
        "indexes",
        "SELECT count(*) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
        " WHERE relnamespace = current_schema()::regnamespace AND NOT indisvalid",
        "are not valid",
    ),
    (
        "promise",
        "SELECT count(*) FROM (SELECT 1) AS one WHERE NOT EXISTS ("
        " SELECT FROM pg_constraint WHERE conname = 'bookings_no_overlap' AND contype = 'x')",
        "constraint is missing: bookings_no_overlap, which refuses double bookings",
    ),
    (
        "overlaps",
        """
        SELECT count(*) FROM (
            SELECT lower(during) < max(upper(during)) OVER (
                PARTITION BY subject_id ORDER BY lower(during), upper(during)
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS begins_too_early FROM bookings
        ) AS ordered WHERE begins_too_early
        """,
        "bookings begin before an earlier one of the same subject has ended",
    ),
    (
        "unbooked",
        """
        SELECT count(*) FROM appointments
        WHERE deleted_at IS NULL AND NOT transparent AND (expires_at IS NULL OR expires_at > now()) AND NOT EXISTS (
            SELECT FROM bookings WHERE subject_id = owner_id AND (
                appointment_id = appointments.id
                -- The tail of an endless series stands for it.
                OR appointment_id IS NULL AND series_id IS NOT NULL AND lower(during) <= start_at
            )
        )
        """,
        "live appointments do not take their owner's time",
    ),
    (
        "tails",
        """
        SELECT count(*) FROM series_subjects JOIN series ON series.id = series_id
        WHERE endless AND NOT EXISTS (
            SELECT FROM bookings WHERE appointment_id IS NULL AND bookings.subject_id = series_subjects.subject_id
        )
        """,
        "subjects of endless series are open beyond their rows",
    ),
    (
        "stray bookings",
        """
        SELECT count(*) FROM bookings JOIN appointments ON appointments.id = appointment_id
        WHERE deleted_at IS NOT NULL OR transparent
        """,
        "bookings are of appointments that take no time",
    ),
)


async def _count(connection: Connection, name: str, ask: LiteralString, fault: str) -> Finding:
    try:
        found = await _one(connection, ask)
    except psycopg.errors.UndefinedTable:
        return Finding(name, "fault", "cannot be looked at before the migrations")
    return Finding(name, "fault" if found else "ok", f"{found:,} {fault}" if found else "none")


async def _log_of_changes(connection: Connection) -> Finding:
    try:
        age = await _one(connection, "SELECT extract(epoch FROM now() - min(changed_at)) FROM new_changes")
    except psycopg.errors.UndefinedTable:
        return Finding("log of changes", "fault", "cannot be looked at before the migrations")
    if age is not None and age > MOST_UNNUMBERED:
        return Finding("log of changes", "warning", f"the oldest change without a position is {age:.0f} s old")
    return Finding("log of changes", "ok", "every change has its position")


async def _replica(dsn: str) -> Finding:
    try:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True, connect_timeout=5) as connection:
            if not await _one(connection, "SELECT pg_is_in_recovery()"):
                return Finding("replica", "fault", "is no replica, or not any more")
            lag = await _one(
                connection,
                "SELECT CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0"
                " ELSE extract(epoch FROM now() - pg_last_xact_replay_timestamp()) END",
            )
    except psycopg.Error as error:
        return Finding("replica", "warning", f"does not answer, the primary is read instead: {error}")
    return Finding("replica", "ok" if (lag or 0) <= MOST_LAG else "warning", f"is {lag or 0:.1f} s behind")


async def _redis(url: str) -> Finding:
    client: Any = Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3)
    try:
        await client.ping()
    except (RedisError, OSError, TimeoutError) as error:
        return Finding("redis", "warning", f"does not answer, each process limits by itself: {error}")
    finally:
        await client.aclose()
    return Finding("redis", "ok", "answers")


async def _mail_server(url: str) -> Finding:
    try:
        await Relay(Server.of(url), step_seconds=5.0).greet()
    except NotNow as refusal:
        return Finding("mail", "fault", f"the mail server does not take anything: {refusal}")
    return Finding("mail", "ok", "the mail server answers and lets this service in")

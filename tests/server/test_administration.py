"""``appointments admin``: users and the doctor, by the command itself on a real database."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from appointments.db.migrate import migrate, read
from tests import service
from tests.clients import Person, person
from tests.conftest import database_dsn
from tests.postbox import postbox
from tests.service import ROOT


def admin(dsn: str, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command."""
    env = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    return subprocess.run(
        [sys.executable, "-m", "appointments", "admin", *arguments],
        env=env | {"DATABASE_URL": dsn} | environment,
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def verdicts(dsn: str, **environment: str) -> tuple[int, dict[str, str]]:
    """What the doctor says of each thing, and its exit code."""
    done = admin(dsn, "doctor", "--json", **environment)
    assert done.stderr == ""
    return done.returncode, {each["name"]: each["verdict"] for each in json.loads(done.stdout)}


async def can_call(who: Person) -> bool:
    """Whether the person is let in."""
    try:
        await who.create()
    except Exception:  # noqa: BLE001 - whatever it is, it is a no
        return False
    return True


async def test_a_user_from_list_to_deletion(dsn: str) -> None:
    """Listed, shown, disabled, let in again, signed out, deleted: each seen from outside."""
    with service.start(dsn, {"TRUSTED_PROXY_HOPS": "1"}) as server:
        async with person(server.grpc) as somebody:
            listed: list[dict[str, Any]] = json.loads(admin(dsn, "users", "list", "--json").stdout)
            assert [(somebody.user_id, somebody.email)] == [(each["id"], each["email"]) for each in listed]
            assert somebody.email in admin(dsn, "users", "list").stdout
            shown = json.loads(admin(dsn, "users", "show", somebody.email.upper(), "--json").stdout)
            assert (somebody.user_id, False, 1) == (shown["id"], shown["disabled"], len(shown["sessions"]))
            assert 0 == admin(dsn, "users", "disable", somebody.user_id).returncode
            assert "(disabled)" in admin(dsn, "users", "list").stdout
            assert 0 == admin(dsn, "users", "enable", somebody.email).returncode
            assert "0 sessions have ended.\n" == admin(dsn, "users", "end-sessions", somebody.email).stdout
            asked = admin(dsn, "users", "delete", somebody.email, stdin="n\n")
            assert (1, 1) == (asked.returncode, len(json.loads(admin(dsn, "users", "list", "--json").stdout)))
            assert 0 == admin(dsn, "users", "delete", somebody.email, "--yes").returncode
            assert [] == json.loads(admin(dsn, "users", "list", "--json").stdout)


async def test_ended_sessions_are_noticed(dsn: str) -> None:
    """By a service that runs, which did not end them itself."""
    with service.start(dsn, {"TRUSTED_PROXY_HOPS": "1"}) as server:
        async with person(server.grpc) as somebody:
            assert "1 sessions have ended.\n" == admin(dsn, "users", "end-sessions", somebody.email).stdout
        with psycopg.connect(dsn) as connection:
            assert [(1,)] == connection.execute("SELECT count(*) FROM sessions WHERE revoked_at IS NOT NULL").fetchall()


def test_a_user_that_is_none_is_one_clear_line(dsn: str) -> None:
    """No stack trace."""
    done = admin(dsn, "users", "show", "nobody@example.com")
    assert (1, "appointments: There is no user nobody@example.com.\n") == (done.returncode, done.stderr)


def test_migrations_are_told(dsn: str) -> None:
    """Applied or missing, each by its name."""
    assert {True} == {each["applied"] for each in json.loads(admin(dsn, "migrations", "--json").stdout)}
    with psycopg.connect(dsn) as connection:
        connection.execute("DELETE FROM schema_migrations WHERE version = (SELECT max(version) FROM schema_migrations)")
    assert 1 == admin(dsn, "migrations").stdout.count("missing")
    code, found = verdicts(dsn)
    assert (1, "fault") == (code, found["migrations"])


async def test_the_doctor_finds_a_healthy_database_healthy(dsn: str) -> None:
    """With data in it, and no warning in development."""
    with service.start(dsn, {"TRUSTED_PROXY_HOPS": "1"}) as server:
        async with person(server.grpc) as somebody:
            await somebody.create()
    code, found = verdicts(dsn)
    assert (0, {"ok"}) == (code, set(found.values()) - {"warning"})
    assert "overlaps" in admin(dsn, "doctor").stdout


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("promise", "ALTER TABLE bookings DROP CONSTRAINT bookings_no_overlap"),
        ("unbooked", "DELETE FROM bookings"),
        ("stray bookings", "UPDATE appointments SET deleted_at = now()"),
        (
            "overlaps",
            """
            ALTER TABLE bookings DROP CONSTRAINT bookings_no_overlap;
            UPDATE appointments SET request_id = NULL, request_digest = NULL;
            INSERT INTO appointments SELECT (jsonb_populate_record(appointments, jsonb_build_object('id', owner_id))).*
            FROM appointments;
            INSERT INTO bookings
            SELECT (jsonb_populate_record(bookings, jsonb_build_object('appointment_id', subject_id))).* FROM bookings
            """,
        ),
        ("constraints", "ALTER TABLE bookings ADD CONSTRAINT bookings_late CHECK (true) NOT VALID"),
    ],
)
async def test_the_doctor_finds_what_is_wrong(dsn: str, name: str, harm: str) -> None:
    """Each kind of harm, done by hand behind the service's back."""
    with service.start(dsn, {"TRUSTED_PROXY_HOPS": "1"}) as server:
        async with person(server.grpc) as somebody:
            await somebody.create()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(harm.encode())
    code, found = verdicts(dsn)
    assert (1, "fault") == (code, found[name])


def test_the_doctor_warns_of_what_a_service_can_live_with(dsn: str) -> None:
    """A Redis that is away, a replica that does not answer; and a database that is away is a fault."""
    [port] = service.free_ports(1)
    environment = {"REDIS_URL": f"redis://127.0.0.1:{port}", "DATABASE_REPLICA_URL": f"postgresql://127.0.0.1:{port}/x"}
    code, found = verdicts(dsn, **environment)
    assert (0, "warning", "warning") == (code, found["redis"], found["replica"])
    code, found = verdicts(f"postgresql://127.0.0.1:{port}/x")
    assert (1, "fault") == (code, found["database"])


def test_the_doctor_calls_on_the_mail_server(dsn: str) -> None:
    """It is greeted, and nothing is sent; one that is away is a fault."""
    with postbox() as box:
        code, found = verdicts(dsn, SMTP_URL=box.url, MAIL_FROM="calendar@example.com")
        assert (0, "ok", []) == (code, found["mail"], box.taken)
    code, found = verdicts(dsn, SMTP_URL=box.url, MAIL_FROM="calendar@example.com")
    assert (1, "fault") == (code, found["mail"])


async def test_an_upgrade_says_what_it_would_lock(postgres_dsn: str, tmp_path: Path) -> None:
    """Of what is missing: the tables that are there, and their rows. What is applied locks nothing any more."""
    for migration in read()[:22]:
        (tmp_path / f"{migration.name}.sql").write_text(migration.sql, encoding="utf-8")
    name = "an_upgrade"
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        try:
            older = database_dsn(postgres_dsn, name)
            await migrate(older, folder=tmp_path)
            found = {each["name"]: each for each in json.loads(admin(older, "migrations", "--json").stdout)}
            told = admin(older, "migrations").stdout
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
    assert (True, {}) == (found["0022_invitees"]["applied"], found["0022_invitees"]["locks"])
    assert (False, {"appointments": 0, "series": 0, "users": 0}) == (
        found["0025_imports"]["applied"],
        found["0025_imports"]["locks"],
    )
    assert "locks for a moment: appointments (0 rows), series (0 rows), users (0 rows); who writes waits" in told
    assert "SHARE ROW EXCLUSIVE" == found["0025_imports"]["modes"]["users"]
    assert "in the background, 4 s at ten million appointments: nobody waits for it" in told


def audited(dsn: str, *arguments: str) -> list[dict[str, Any]]:
    """What ``appointments audit`` has recorded, the earliest first."""
    done = subprocess.run(
        [sys.executable, "-m", "appointments", "audit", "--json", *arguments],
        env={key: value for key, value in os.environ.items() if key != "DATABASE_URL"} | {"DATABASE_URL": dsn},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found[::-1]


async def test_an_operator_has_an_address_written_to_again(dsn: str) -> None:
    """After three bounces, once somebody has agreed; unsubscribing stays, and it is recorded for the account."""
    with service.start(dsn, {"TRUSTED_PROXY_HOPS": "1"}) as server:
        async with person(server.grpc) as somebody:
            pass
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO mail_addresses (address, hard_bounces, reported_bounces, bounced_at, unsubscribed_at)"
            " VALUES (%s, 2, 1, now(), NULL), ('stranger@example.org', 3, 0, now(), now())",
            [somebody.email],
        )
        forget = "mail", "forget-bounces"
        refused = admin(dsn, *forget, somebody.email)
        assert (1, True) == (refused.returncode, "--yes" in refused.stderr)
        done = admin(dsn, *forget, f" {somebody.email.upper()} ", "--json", stdin="y\n")
        assert somebody.email.upper() == json.loads(done.stdout)["address"].strip()
        assert 3 == json.loads(done.stdout)["forgotten"]
        assert "is written to again" in admin(dsn, *forget, "stranger@example.org", "--yes").stdout
        again = admin(dsn, *forget, somebody.email, "--yes")
        assert (1, True) == (again.returncode, "nothing has bounced" in again.stderr)
        rows = connection.execute(
            "SELECT address, hard_bounces + reported_bounces, bounced_at, unsubscribed_at IS NULL FROM mail_addresses"
            " ORDER BY address = 'stranger@example.org'"
        ).fetchall()
    assert [(somebody.email, 0, None, True), ("stranger@example.org", 0, None, False)] == rows
    events = [(each["user_id"], each["detail"]["bounces"]) for each in audited(dsn, "--event", "mail.resumed")]
    assert [(somebody.user_id, 3), (None, 3)] == events


async def test_what_an_operator_does_is_recorded(dsn: str) -> None:
    """As an operator's doing, with who ran the command; and it is found by the account's id for good."""
    with service.start(dsn, {"TRUSTED_PROXY_HOPS": "1"}) as server:
        async with person(server.grpc) as somebody, person(server.grpc) as other:
            assert 0 == admin(dsn, "grant", other.email).returncode
            (session,) = json.loads(admin(dsn, "sessions", "list", somebody.email, "--json").stdout)
            ended = json.loads(admin(dsn, "sessions", "end", session["id"], "--json").stdout)
            assert {"session": session["id"], "ended": True} == ended
            again = admin(dsn, "sessions", "end", session["id"])
            assert (1, f"appointments: There is no live session {session['id']}.\n") == (again.returncode, again.stderr)
            reset = ("users", "reset-password", somebody.email, "--temporary", "--json")
            unanswered = admin(dsn, *reset)
            assert (1, "") == (unanswered.returncode, unanswered.stdout)
            assert "use --yes" in unanswered.stderr
            refused = admin(dsn, *reset, stdin="n\n")
            assert (1, "") == (refused.returncode, refused.stdout)
            assert 12 <= len(json.loads(admin(dsn, *reset, "--yes").stdout)["password"])
            assert 12 <= len(json.loads(admin(dsn, *reset, stdin="y\n").stdout)["password"])
            assert {"user": somebody.email, "role": "admin"} == json.loads(
                admin(dsn, "grant", somebody.email, "--json").stdout
            )
            assert 0 == admin(dsn, "users", "delete", somebody.user_id, "--yes", "--json").returncode
    found = audited(dsn, "--user", somebody.user_id)
    assert [
        ("account.created", "rpc"),
        ("sign_in", "rpc"),
        ("session.ended", "command"),
        ("password.changed", "command"),
        ("password.changed", "command"),
        ("role.changed", "command"),
        ("account.deleted", "command"),
    ] == [(each["event"], each["source"]) for each in found]
    operators = [each["detail"].get("operator") for each in found]
    assert operators[:2] == [None, None]
    assert all(operators[2:])
    assert ["role.changed"] * 2 == [each["event"] for each in audited(dsn, "--event", "role.changed")]


def test_jobs_are_seen_repeated_and_cancelled(dsn: str) -> None:
    """Those that were given up run again; those that wait are forgotten; those that recur stay."""
    with service.start(dsn, {}):
        pass  # the schema, and the jobs that recur
    with psycopg.connect(dsn, autocommit=True) as connection:
        add = (
            "INSERT INTO jobs (kind, key, payload, due_at, deferred_at, failed_at, error)"
            " VALUES ('some.kind', %s, '{}', now(), now(), %s, %s) RETURNING id"
        )
        failed, waiting = (
            str(connection.execute(add, values).fetchone()[0])  # type: ignore[index]
            for values in (("a", "2026-01-01", "no luck"), ("b", None, None))
        )
        (recurring,) = connection.execute("SELECT id FROM jobs WHERE key = '' LIMIT 1").fetchone() or (0,)
    listed = json.loads(admin(dsn, "jobs", "status", "--failed", "--json").stdout)
    assert [(failed, "no luck")] == [(str(each["id"]), each["error"]) for each in listed]
    assert 0 == admin(dsn, "jobs", "retry", failed, "--json").returncode
    assert [] == json.loads(admin(dsn, "jobs", "status", "--failed", "--json").stdout)
    assert 1 == admin(dsn, "jobs", "cancel", waiting, stdin="n\n").returncode
    assert 0 == admin(dsn, "jobs", "cancel", waiting, "--yes").returncode
    assert 1 == admin(dsn, "jobs", "cancel", str(recurring), "--yes").returncode
    left = json.loads(admin(dsn, "jobs", "status", "--kind", "some.kind", "--json").stdout)
    assert [failed] == [str(each["id"]) for each in left]

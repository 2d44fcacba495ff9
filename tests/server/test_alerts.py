"""Each alert fires because its fault has been caused: a real Prometheus with the real rules, against a real service.

What the rules count in minutes the test counts in seconds: the windows, how long a fault has to last, and the
threshold of late jobs. That of late reminders is half a minute. Whatever else is compared with is as in production.
`promtool` plays the rules at their own pace (tests/docs/test_monitoring.py). `make alerts` causes every fault, the
suite one of them.
"""

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
import psycopg
import pytest

from appointments.db import embedded
from appointments.v1 import appointments_pb2 as pb
from appointments.v1 import auth_pb2, auth_pb2_grpc, webhooks_pb2, webhooks_pb2_grpc
from tests import service
from tests.changes.webhooks.receiver import receiving
from tests.clients import PASSWORD, Person, new_address, person, register
from tests.docs.test_monitoring import RULES
from tests.postbox import Postbox, postbox
from tests.server.test_failover import kill
from tests.service import Server

ALL = bool(os.environ.get("ALERTS"))
PROMETHEUS = shutil.which("prometheus")
MOST_SECONDS = 90.0
LATE_SECONDS = 30.0
"""How late a reminder has to be here: longer than the pause between two looks for them."""
REMINDER_RATE = "rate(appointments_reminder_delay_seconds_bucket[15s])"


@dataclass
class Place:
    """Where a fault is caused."""

    postgres: embedded.Server
    server: Server
    ada: Person


async def stop_the_service(place: Place) -> None:
    """It is killed."""
    place.server.process.kill()
    await asyncio.Event().wait()


async def stop_postgresql(place: Place) -> None:
    """It is killed, and people go on calling."""
    kill(place.postgres)
    await call(place)


async def change_the_schema(place: Place) -> None:
    """Somebody renames a column by hand."""
    with psycopg.connect(place.postgres.dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE appointments RENAME COLUMN location TO place")
    await call(place)


async def lock_for_moments(place: Place) -> None:
    """Somebody locks a table for a second and a half, again and again; calls wait for it."""
    await asyncio.gather(call(place), lock(place, 1.5))


async def lock_for_long(place: Place) -> None:
    """Somebody locks a table for longer than anybody waits, while many call."""
    await asyncio.gather(*(call(place) for _ in range(40)), lock(place, 20.0))


async def queue_for_passwords(place: Place) -> None:
    """More people sign in than there is CPU for."""
    await asyncio.gather(*(sign_in(place, PASSWORD) for _ in range(15)))


async def guess_passwords(place: Place) -> None:
    """Somebody tries passwords, from many addresses."""
    await sign_in(place, "a wrong password")


async def steal_a_session(place: Place) -> None:
    """A refresh token is used again after its successor."""
    first = auth_pb2.RefreshRequest(refresh_token=place.ada.tokens.refresh_token)
    second = await place.ada.auth.Refresh(first)
    await place.ada.auth.Refresh(auth_pb2.RefreshRequest(refresh_token=second.tokens.refresh_token))
    with suppress(grpc.aio.AioRpcError):
        await place.ada.auth.Refresh(first)
    await asyncio.Event().wait()


async def run_no_jobs(place: Place) -> None:
    """Mail is to be sent, and nobody runs jobs."""
    await register(place.ada.channel)
    await asyncio.Event().wait()


async def refuse_mail(place: Place) -> None:
    """The mail server knows nobody any more."""
    while True:
        await register(place.ada.channel)
        await asyncio.sleep(0.2)


async def hold_reminders_up(place: Place) -> None:
    """Somebody locks what the search for reminders begins with, while one becomes due."""
    with psycopg.connect(place.postgres.dsn, autocommit=True) as connection:
        connection.execute("UPDATE users SET email_verified_at = now()")
    await place.ada.create(datetime.now(UTC) + timedelta(seconds=62), reminders=[1])
    async with await psycopg.AsyncConnection.connect(place.postgres.dsn) as connection:
        await connection.execute("LOCK TABLE reminder_scan IN ACCESS EXCLUSIVE MODE")
        await asyncio.sleep(LATE_SECONDS + 5)
    await asyncio.Event().wait()


async def end_a_receiver(place: Place) -> None:
    """The receiver of a webhook says that it is gone."""
    async with receiving() as receiver:
        receiver.answer = lambda _: 410
        wanted = webhooks_pb2.Webhook(url=receiver.url, kinds=["appointment.created"])
        stub = webhooks_pb2_grpc.WebhookServiceStub(place.ada.channel)
        await stub.CreateWebhook(webhooks_pb2.CreateWebhookRequest(webhook=wanted), metadata=place.ada.metadata)
        await place.ada.create()
        await asyncio.Event().wait()


async def call(place: Place) -> None:
    """List appointments without end, whatever comes back."""
    while True:
        with suppress(grpc.aio.AioRpcError):
            await place.ada.appointments.ListAppointments(
                pb.ListAppointmentsRequest(), metadata=place.ada.metadata, timeout=20
            )
        await asyncio.sleep(0.05)


async def lock(place: Place, seconds: float) -> None:
    """Keep a table to oneself for so long, again and again."""
    while True:
        async with await psycopg.AsyncConnection.connect(place.postgres.dsn) as connection:
            await connection.execute("LOCK TABLE appointments IN ACCESS EXCLUSIVE MODE")
            await asyncio.sleep(seconds)
        await asyncio.sleep(0.1)


async def sign_in(place: Place, password: str) -> None:
    """Sign in without end, each time from another address."""
    stub = auth_pb2_grpc.AuthServiceStub(place.ada.channel)
    request = auth_pb2.LoginRequest(email=place.ada.email, password=password)
    while True:
        with suppress(grpc.aio.AioRpcError):
            await stub.Login(request, metadata=new_address(), timeout=30)
        await asyncio.sleep(0.1)


@dataclass(frozen=True)
class Fault:
    """How an alert is made to fire. The suite causes those that are ``quick``."""

    cause: Callable[[Place], Awaitable[None]]
    settings: dict[str, str] = field(default_factory=dict)
    quick: bool = False


FAULTS = {
    "AppointmentsDown": Fault(stop_the_service),
    "AppointmentsInternalErrors": Fault(change_the_schema),
    "AppointmentsUnavailable": Fault(stop_postgresql, quick=True),
    "AppointmentsSlow": Fault(lock_for_moments),
    "AppointmentsWaitForConnections": Fault(lock_for_long),
    "AppointmentsPasswordQueue": Fault(queue_for_passwords, {"BCRYPT_COST": "13"}),
    "AppointmentsPasswordGuessing": Fault(guess_passwords),
    "AppointmentsStolenSession": Fault(steal_a_session),
    "AppointmentsJobsLate": Fault(run_no_jobs, {"JOBS": "off"}),
    "AppointmentsRemindersLate": Fault(hold_reminders_up),
    "AppointmentsMailRefused": Fault(refuse_mail),
    "AppointmentsWebhookDisabled": Fault(end_a_receiver, {"WEBHOOK_ALLOW_PRIVATE": "true"}),
}


def in_seconds(rules: str) -> str:
    """The rules with a minute as a second."""
    rules = re.sub(r"\[(\d+)m\]|\[1h\]", lambda found: f"[{found[1] or 60}s]", rules)
    rules = re.sub(r"for: (\d+)m", r"for: \1s", rules)
    for threshold, ours in (
        ("appointments_jobs_oldest_seconds) > 300", "appointments_jobs_oldest_seconds) > 5"),
        (f"{REMINDER_RATE}\n          )) > 60", f"{REMINDER_RATE}\n          )) > {LATE_SECONDS:.0f}"),
    ):
        assert threshold in rules
        rules = rules.replace(threshold, ours)
    return rules


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[str]:
    """Scrape ``target`` four times a second; return where the API is."""
    assert PROMETHEUS
    (folder / "alerts.yml").write_text(in_seconds(RULES))
    job = {"job_name": "appointments", "static_configs": [{"targets": [target]}]}
    often = {"scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "250ms"}
    (folder / "prometheus.yml").write_text(
        json.dumps({"global": often, "rule_files": ["alerts.yml"], "scrape_configs": [job]})
    )
    address = f"127.0.0.1:{service.free_ports(1)[0]}"
    command = [PROMETHEUS, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=log)
        try:
            yield f"http://{address}/api/v1"
        finally:
            process.kill()
            process.wait()


async def ask(api: httpx.AsyncClient, path: str, **parameters: str) -> Any:
    """What the API says; None while it does not answer."""
    with suppress(httpx.TransportError):
        answer = await api.get(path, params=parameters)
        if answer.status_code == httpx.codes.OK:
            return answer.json()["data"]
    return None


async def firing(api: httpx.AsyncClient) -> set[str]:
    """The alerts that fire now."""
    found = await ask(api, "/alerts") or {"alerts": []}
    return {each["labels"]["alertname"] for each in found["alerts"] if each["state"] == "firing"}


@asynccontextmanager
async def watched(folder: Path, target: str) -> AsyncIterator[httpx.AsyncClient]:
    """A Prometheus that has seen the service."""
    with prometheus(folder, target) as url:
        async with httpx.AsyncClient(base_url=url) as api, asyncio.timeout(MOST_SECONDS):
            while not ((found := await ask(api, "/query", query="up == 1")) and found["result"]):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            yield api


@pytest.fixture
def refusing() -> Iterator[Postbox]:
    """A mail server that takes nothing."""
    with postbox(Postbox(decide=lambda _recipient, _attempt: "5xx at RCPT")) as box:
        yield box


def test_every_alert_has_a_fault() -> None:
    """And every fault an alert."""
    assert sorted(re.findall(r"- alert: (\w+)", RULES)) == sorted(FAULTS)


@pytest.mark.parametrize("alert", [name for name, fault in FAULTS.items() if ALL or fault.quick])
async def test_an_alert_fires(alert: str, refusing: Postbox, tmp_path: Path) -> None:
    """Not before its fault, and then it does."""
    if PROMETHEUS is None:
        if os.environ.get("CI"):
            pytest.fail("prometheus is missing: apt-get install prometheus")
        pytest.skip("prometheus is missing")
    fault = FAULTS[alert]
    target = f"127.0.0.1:{service.free_ports(1)[0]}"
    mail = {"SMTP_URL": refusing.url, "MAIL_FROM": "calendar@example.com", "PUBLIC_URL": "http://127.0.0.1"}
    settings = {"METRICS_BIND": target, "TRUSTED_PROXY_HOPS": "1"} | mail | fault.settings
    with embedded.scratch() as postgres, service.start(postgres.dsn, settings) as server:
        async with person(server.grpc) as ada, watched(tmp_path, target) as api:
            assert alert not in await firing(api)
            causing = asyncio.ensure_future(fault.cause(Place(postgres, server, ada)))
            while alert not in await firing(api):
                assert not causing.done(), causing.exception()
                await asyncio.sleep(0.1)
            causing.cancel()
            with suppress(asyncio.CancelledError):
                await causing

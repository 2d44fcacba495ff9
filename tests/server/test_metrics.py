"""What a scrape tells: of one process, and of several that are rolled, killed and replaced meanwhile."""

import asyncio
import os
import signal
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import service
from tests.clients import HOUR, TEN, person
from tests.server.test_workers import children
from tests.service import Server

CALLS = "rpc_server_call_duration_seconds_count"


@contextmanager
def measured(dsn: str, **environment: str) -> Iterator[tuple[Server, str]]:
    """A service, and where its metrics are."""
    address = f"127.0.0.1:{service.free_ports(1)[0]}"
    with service.start(dsn, {"METRICS_BIND": address, "TRUSTED_PROXY_HOPS": "1", **environment}) as server:
        yield server, f"http://{address}/metrics"


def scrape(url: str) -> dict[str, Counter[tuple[tuple[str, str], ...]]]:
    """Every sample by its name and its labels."""
    with urllib.request.urlopen(url, timeout=10) as response:
        text = response.read().decode()
    samples: dict[str, Counter[tuple[tuple[str, str], ...]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            samples.setdefault(sample.name, Counter())[labels] += sample.value  # type: ignore[assignment]
    return samples


def calls(samples: dict[str, Counter[tuple[tuple[str, str], ...]]], method: str) -> dict[str, int]:
    """How often a method was called, by status."""
    return {
        known["rpc_response_status_code"]: int(times)
        for labels, times in samples.get(CALLS, Counter()).items()
        if (known := dict(labels))["rpc_method"] == method
    }


async def test_a_scrape_tells_what_happened(dsn: str) -> None:
    """Calls by method, status and door; bookings and conflicts; requests by route; and nothing of a person."""
    with measured(dsn) as (server, url):
        async with person(server.grpc) as somebody:
            await somebody.create()
            with pytest.raises(grpc.aio.AioRpcError):
                await somebody.create()
        async with httpx.AsyncClient(base_url=server.url) as browser:
            for path in ("/auth/nothing", "/no/such/page", "/readyz"):
                await browser.get(path)
        samples = await asyncio.to_thread(scrape, url)
    assert {"OK": 1, "ALREADY_EXISTS": 1} == calls(samples, "CreateAppointment")
    assert 1 == samples["appointments_bookings_total"][(("operation", "create"),)]
    assert 1 == samples["appointments_conflicts_total"][()]
    assert 1 == samples["appointments_sign_ins_total"][(("result", "registered"),)]
    routes = {dict(labels)["http_route"] for labels in samples["http_server_request_duration_seconds_count"]}
    assert {"", "/readyz"} == routes
    assert {"native"} == {dict(labels)["door"] for labels in samples[CALLS]}
    text = str(samples)
    assert not [secret for secret in (somebody.email, somebody.user_id, "no/such") if secret in text]


async def test_counters_never_fall_with_several_workers(dsn: str) -> None:
    """One scrape tells of all workers, also of those that were rolled or killed since."""
    with measured(dsn, WORKERS="2") as (server, url):
        server.wait_for_line("workers=2")
        seen = 0
        for number in range(4):
            async with person(server.grpc) as somebody:
                for hour in range(5):
                    await somebody.create(TEN + hour * HOUR)
            booked = calls(await asyncio.to_thread(scrape, url), "CreateAppointment")
            seen += 5
            assert {"OK": seen} == booked
            if number % 2:
                server.process.send_signal(signal.SIGHUP)
                await asyncio.to_thread(server.wait_for_line, "rolled", number // 2 + 1)
            else:
                os.kill(children(server.process.pid)[0], signal.SIGKILL)
                await asyncio.to_thread(server.wait_for_line, "worker ready", 3 + number * 3 // 2)
        assert {"OK": seen} == calls(await asyncio.to_thread(scrape, url), "CreateAppointment")
        assert 0 == server.stop()


def test_a_taken_port_is_told(dsn: str) -> None:
    """In one line, before anything is served."""
    with service.start(dsn) as first, service.start(dsn, {"METRICS_BIND": first.http}, wait=False) as second:
        assert 1 == second.process.wait(30)
        assert "METRICS_BIND: cannot listen" in second.log()
        assert "Traceback" not in second.log()

"""Two hundred sign-ins at once, at the cost of production: whoever does not sign in notices nothing."""

import asyncio
import http.client
import multiprocessing
import multiprocessing.synchronize
import time
from collections import Counter

import httpx

from tests import server as servers
from tests.api.rest import browser, problem, sign_up
from tests.clients import PASSWORD
from tests.server import Server


def slowest_health_check(
    address: str, started: multiprocessing.synchronize.Event, stop: multiprocessing.synchronize.Event
) -> float:
    """Ask for health until told to stop; from a process of its own, so that only the server's time counts."""
    connection = http.client.HTTPConnection(address)
    slowest = 0.0
    while not stop.is_set():
        began = time.perf_counter()
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        response.read()
        slowest = max(slowest, time.perf_counter() - began)
        assert response.status == 200
        started.set()
        time.sleep(0.01)
    return slowest


async def storm(server: Server, email: str) -> Counter[int]:
    """Sign in two hundred times at once, right and wrong, from twenty-five addresses; counts the statuses."""

    async def login(client: httpx.AsyncClient, number: int) -> int:
        password = PASSWORD if number % 2 else "wrong horse"
        response = await client.post("/auth/login", json={"email": email, "password": password})
        if response.status_code == 503:
            assert problem(response) == (503, "PASSWORD_QUEUE_FULL")
            assert int(response.headers["retry-after"]) > 0
        return response.status_code

    clients = [browser(server.url) for _ in range(25)]
    statuses = await asyncio.gather(*(login(clients[number % 25], number) for number in range(200)))
    await asyncio.gather(*(client.aclose() for client in clients))
    return Counter(statuses)


async def test_health_stays_prompt_under_two_hundred_logins(dsn: str) -> None:
    """Under 100 ms, in the best of five rounds: a machine that others use may take longer for its own reasons."""
    spawn = multiprocessing.get_context("spawn")
    environment = {"BCRYPT_COST": "12", "TRUSTED_PROXY_HOPS": "1"}
    with servers.start(dsn, environment) as server, spawn.Manager() as manager, spawn.Pool(1) as pool:
        async with browser(server.url) as client:
            email = await sign_up(client)
        slowest = []
        for _ in range(5):
            started, stop = manager.Event(), manager.Event()
            probe = pool.apply_async(slowest_health_check, (server.http, started, stop))
            await asyncio.to_thread(started.wait, 30)
            statuses = await storm(server, email)
            stop.set()
            slowest.append(await asyncio.to_thread(probe.get, 30))
            # One at work and sixteen waiting, and those that came when one was done; the rest was told to come back.
            assert set(statuses) == {200, 401, 503}
            assert statuses[200] + statuses[401] >= 10
            if min(slowest) < 0.1:
                break
        assert min(slowest) < 0.1

"""Memory that a server holds, and how long it takes to start."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from statistics import median
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from appointments.db import embedded
from bench.machine import usage
from bench.results import Row
from bench.server import Server, serve, wait_until_ready
from bench.stage import Stage, new_database

MIB = 2**20
STREAMS = 500
MIX = ("get", "create", "list 20", "update")


def memory(stage: Stage, *, calls: int, engine: str) -> Iterator[Row]:
    """The resident set of a new server: at the beginning, after many calls, with open streams."""
    name = f"memory, {engine}"
    with serve(stage.dsn, engine=engine) as server:
        fresh = replace(stage, server=server)
        yield Row(f"{name}: idle", _resident(server), "MiB")
        warm_up, part = calls // 10, min(5000, calls // 4)
        for index in range(warm_up // part + 1):
            fresh.drive(MIX[index % len(MIX)], part, in_flight=64)
        warm = _resident(server)
        yield Row(f"{name}: warm", warm, "MiB")
        for index in range(-(-calls // part)):
            fresh.drive(MIX[index % len(MIX)], part, in_flight=64)
        stage.minute = fresh.minute
        full = _resident(server)
        yield Row(f"{name}: {calls:,} calls later", full, "MiB", f"{name}: warm", full / warm)
        streams = asyncio.run(_with_streams(server))
        yield Row(f"{name}: per open stream, of {STREAMS}", (streams - full) * 1024 / STREAMS, "KiB")


def _resident(server: Server) -> float:
    return usage(server.pid).resident_bytes / MIB


async def _with_streams(server: Server) -> float:
    async with AsyncExitStack() as stack:
        for index in range(STREAMS):
            if index % 50 == 0:
                options = [("grpc.use_local_subchannel_pool", 1)]
                channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.grpc, options=options))
            stub: Any = health_pb2_grpc.HealthStub(channel)
            call = stub.Watch(health_pb2.HealthCheckRequest())
            await call.read()
            stack.callback(call.cancel)
        return _resident(server)


def start(postgres: embedded.Server, warm_dsn: str, *, rounds: int, processes: int) -> Iterator[Row]:
    """From the command to ready."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        with serve(warm_dsn, program="appointments"):
            times.append(time.perf_counter() - started)
    yield Row("start: serve to ready, warm database", median(times), "s")
    dsn = new_database(postgres, "bench_start")
    started = time.perf_counter()
    with ExitStack() as stack:
        servers = [stack.enter_context(serve(dsn, program="appointments", wait=False)) for _ in range(processes)]
        for server in servers:
            wait_until_ready(server)
        yield Row(f"start: {processes} processes, empty database", time.perf_counter() - started, "s")

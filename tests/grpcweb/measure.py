"""Measure the gRPC-Web door beside the native one, on this machine, in one run.

    python -m tests.grpcweb.measure

Prints the p50 and the server's CPU of an echo call on both doors, the memory that one request of 300 MB takes, and the
memory of each of 1,000 idle server streams. The server runs in a process of its own.
"""

# ruff: noqa: T201 - it is a program, and these are its results

import asyncio
import os
import statistics
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import uvloop

from tests.grpcweb.echo.v1 import echo_pb2_grpc
from tests.grpcweb.echo.v1.echo_pb2 import EchoRequest
from tests.grpcweb.server import doors
from tests.grpcweb.wire import framed, raw_post

ROUNDS, CALLS = 8, 400
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
STREAMS = 1000
BIG = 300 * 1024 * 1024


async def serve() -> None:
    """Be the server; the ports go to standard output."""
    async with doors() as running:
        print(running.port, running.native_port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory(pid: int) -> int:
    """Bytes that a process has resident."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


async def answer(reader: asyncio.StreamReader) -> bytes:
    """Read a response that has a content-length."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    return head + await reader.readexactly(length)


async def sample(call: Callable[[], Awaitable[object]], pid: int) -> tuple[list[float], float]:
    """Call again and again: seconds of each, and the server's CPU for all."""
    before, seconds = cpu(pid), []
    for _ in range(CALLS):
        began = time.perf_counter()
        await call()
        seconds.append(time.perf_counter() - began)
    return seconds, cpu(pid) - before


async def compare(pid: int, port: int, native_port: int) -> None:
    """Echo on both doors by turns."""
    request = EchoRequest(text="a short text, as a person writes it")
    body = framed(request)
    payload = raw_post("Unary", len(body)) + body
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def web() -> None:
        writer.write(payload)
        assert b"grpc-status: 0" in await answer(reader)

    async with grpc.aio.insecure_channel(f"127.0.0.1:{native_port}") as channel:
        stub = echo_pb2_grpc.EchoServiceStub(channel)

        async def native() -> None:
            await stub.Unary(request)

        calls = {"native": native, "gRPC-Web": web}
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        used = dict.fromkeys(calls, 0.0)
        for warm in (True, *[False] * ROUNDS):
            for name, call in calls.items():
                taken, spent = await sample(call, pid)
                if not warm:
                    seconds[name] += taken
                    used[name] += spent
    writer.close()
    for name in calls:
        p50, each = statistics.median(seconds[name]), used[name] / (ROUNDS * CALLS)
        print(f"{name:>9}: p50 {p50 * 1e6:.0f} us, server CPU {each * 1e6:.0f} us a call")
    ratio = statistics.median(seconds["gRPC-Web"]) / statistics.median(seconds["native"])
    print(f"    ratio: p50 {ratio:.2f} (at most 1.6), CPU {used['gRPC-Web'] / used['native']:.2f} (at most 2.5)")


async def upload(pid: int, port: int) -> None:
    """Send one enormous request, watching the server's memory."""
    before = peak = memory(pid)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw_post("Unary", BIG + 5) + struct.pack(">BI", 0, BIG))
    piece = bytes(1024 * 1024)
    for _ in range(BIG // len(piece)):
        writer.write(piece)
        await writer.drain()
        peak = max(peak, memory(pid))
    assert b"grpc-status: 8" in await reader.readuntil(b"\r\n\r\n")
    writer.close()
    print(f"300 MB request: memory grew by {(peak - before) / 2**20:.1f} MB (less than 32)")


async def hold(pid: int, port: int) -> None:
    """Hold idle server streams."""
    body = framed(EchoRequest(count=-1, pause_ms=600_000))
    before = memory(pid)
    writers = []
    for _ in range(STREAMS):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(raw_post("ServerStream", len(body)) + body)
        writers.append(writer)
    await asyncio.sleep(3)
    print(f"{STREAMS} idle streams: {(memory(pid) - before) / STREAMS / 1024:.1f} KB each (less than 40)")
    for writer in writers:
        writer.close()


async def main() -> None:
    """Start the server, and measure."""
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.grpcweb.measure", "serve"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    port, native_port = map(int, (await server.stdout.readline()).split())
    await compare(server.pid, port, native_port)
    await upload(server.pid, port)
    await hold(server.pid, port)
    server.stdin.close()
    await server.wait()


if __name__ == "__main__":
    uvloop.run(serve() if sys.argv[1:] == ["serve"] else main())

"""``python -m bench.traces [--engine native] [--rounds 9] [--calls 4000] [--before CHECKOUT]``: what traces cost.

Three servers of one database take turns: one without traces, one that records a tenth of all calls, one that records
all. They send what they record to a collector beside them, which throws it away. ``--before`` adds a server without
traces of another checkout, with its own .venv; the others are compared with that one then.

Processor time is the server's alone. Throughput is with the collector on the same cores.
"""

import argparse
import multiprocessing
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from statistics import median, quantiles

from appointments.db import embedded
from bench.load import Generator, Job, generator
from bench.machine import usage
from bench.server import Server, serve
from bench.stage import POSTGRES, Stage, stage

KINDS = ("empty", "get", "create", "list 20")
IN_FLIGHT = (16, 64)
Figures = tuple[float, float]


@contextmanager
def collector() -> Iterator[tuple[str, "Synchronized[int]"]]:
    """An OTLP endpoint in a process of its own, and how many bytes it was sent."""
    context = multiprocessing.get_context("spawn")
    received: Synchronized[int] = context.Value("q", 0)
    ours, theirs = context.Pipe()
    process = context.Process(target=_collect, args=(theirs, received), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}", received
    finally:
        process.terminate()
        process.join()


def _collect(pipe: "multiprocessing.connection.Connection[int, int]", received: "Synchronized[int]") -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with received.get_lock():
                received.value += len(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        pipe.send(server.server_port)
        server.serve_forever()


def measure(stage: Stage, clients: Generator, server: Server, kind: str, in_flight: int, calls: int) -> Figures:
    """Microseconds of the server's processor and of the clock, for each call."""
    people = stage.writers if kind in {"create", "empty"} else stage.readers
    callers = tuple((person, person.token()) for person in people)
    before = usage(server.pid).cpu_seconds
    outcome = clients.run(Job(server.grpc, kind, callers, calls, in_flight, stage.minutes(calls * 8)))
    if outcome.ok != calls:
        raise SystemExit(f"{kind}: not every call succeeded: {dict(outcome.ended)}")
    return (usage(server.pid).cpu_seconds - before) / calls * 1e6, outcome.seconds / calls * 1e6


def main() -> None:
    """Print medians, and the ratios to the first server of each round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="grpcio", choices=("grpcio", "native"))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--before", type=Path)
    given = parser.parse_args()
    with ExitStack() as stack:
        postgres = stack.enter_context(embedded.scratch(settings=POSTGRES))
        clients = stack.enter_context(generator())
        place = stack.enter_context(stage(postgres, clients, "bench_traces"))
        endpoint, received = stack.enter_context(collector())
        on = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}
        settings = {
            "off": {},
            "a tenth": on | {"OTEL_TRACES_SAMPLER_ARG": "0.1"},
            "all": on | {"OTEL_TRACES_SAMPLER_ARG": "1"},
        }
        servers = {}
        if given.before:
            servers["before"] = stack.enter_context(serve(place.dsn, engine=given.engine, root=given.before))
        for name, setting in settings.items():
            servers[name] = stack.enter_context(serve(place.dsn, engine=given.engine, setting=setting))
        cases = [(kind, in_flight) for kind in given.kinds.split(",") for in_flight in IN_FLIGHT]
        found: dict[tuple[str, int, str], list[Figures]] = {}
        for number in range(-1, given.rounds):
            for kind, in_flight in cases:
                for name in random.sample(list(servers), len(servers)):
                    figures = measure(place, clients, servers[name], kind, in_flight, given.calls)
                    if number >= 0:  # the first round warms up
                        found.setdefault((kind, in_flight, name), []).append(figures)
        base = next(iter(servers))
        for kind, in_flight in cases:
            for name in servers:
                told = [
                    _told(label, [each[index] for each in found[kind, in_flight, name]],
                          [each[index] for each in found[kind, in_flight, base]])
                    for index, label in enumerate(("CPU", "wall"))
                ]  # fmt: skip
                print(f"{kind}, {in_flight}".ljust(14), name.ljust(9), *told, flush=True)
        print(f"{received.value / 2**20:.1f} MiB of spans")


def _told(label: str, values: list[float], bases: list[float]) -> str:
    ratios = [value / base for value, base in zip(values, bases, strict=True)]
    low, _, high = quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return f"{label} {median(values):7.1f} µs, {median(ratios):.3f} [{low:.3f} {high:.3f}]"


if __name__ == "__main__":
    main()

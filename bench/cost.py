"""Cost: processor time per call, of the server and of PostgreSQL. And what bounds it: throughput and latency."""

from collections.abc import Iterator
from functools import partial

from bench.limit import CLIENTS, pgbench
from bench.results import Row, interleaved
from bench.stage import Stage

KINDS = ("empty", "empty with a key", "get", "create", "create with 3 rooms", "update", "move", "list 20", "list 200")
DOORS = ("native", "rust", "web")
"""The native port by grpcio, by the engine in Rust, and gRPC-Web."""

IN_FLIGHT = CLIENTS


def cost(stage: Stage, *, rounds: int, calls: int) -> Iterator[Row]:
    """Per call at 16 in flight, from the operating system's accounting; each kind against the empty call."""
    postgres: dict[str, list[float]] = {}

    def case(kind: str, door: str) -> float:
        count = max(calls // 4, 100) if kind == "list 200" else calls
        before = stage.usage(door)
        stage.drive(kind, count, door=door)
        server, database = (
            (after.cpu_seconds - start.cpu_seconds) / count * 1e6
            for start, after in zip(before, stage.usage(door), strict=True)
        )
        postgres.setdefault(f"{door} {kind}", []).append(database)
        return server

    for door in DOORS:
        for kind in KINDS:  # connections, prepared statements, caches
            stage.drive(kind, 200, door=door)
    cases = {f"{door} {kind}": partial(case, kind, door) for door in DOORS for kind in KINDS}
    medians = interleaved(rounds, cases)
    for name, value in medians.items():
        door, _, kind = name.partition(" ")
        floor = f"{door} create" if name.endswith("rooms") else f"{door} empty"
        yield Row(f"server CPU: {name}", value, "µs/call", floor, value / medians[floor])
        if door == "rust":
            yield Row(
                "  the same, by grpcio", medians[f"native {kind}"], "µs/call", name, medians[f"native {kind}"] / value
            )
    for name, values in postgres.items():
        if "empty" not in name:
            yield Row(f"PostgreSQL CPU: {name}", sorted(values)[len(values) // 2], "µs/call")


def throughput(stage: Stage, *, rounds: int, seconds: float) -> Iterator[Row]:
    """Calls per second by one worker of either engine and by two workers, beside pgbench's; latencies."""
    latencies: dict[str, list[tuple[float, float]]] = {}

    def case(kind: str, in_flight: int, door: str, rate: float = 0.0) -> float:
        name = _case(kind, in_flight, door)
        guess = peaks.get(name) or 1000.0
        outcome = stage.drive(kind, max(400, int((rate or guess) * seconds)), in_flight=in_flight, door=door, rate=rate)
        peaks[name] = outcome.ok / outcome.seconds
        key = f"{name}, open loop" if rate else name
        latencies.setdefault(key, []).append((outcome.percentile(0.5), outcome.percentile(0.99)))
        return outcome.ok / outcome.seconds

    peaks: dict[str, float] = {}
    shapes = [(kind, in_flight, "native") for kind in ("create", "get") for in_flight in IN_FLIGHT]
    beside = [(kind, in_flight) for kind in ("create", "get", "move", "list 20") for in_flight in (16, 64)]
    shapes += [(kind, in_flight, "native") for kind, in_flight in beside if kind in {"move", "list 20"}]
    shapes += [(kind, in_flight, "rust") for kind, in_flight in beside]
    shapes += [("create", in_flight, "workers") for in_flight in (16, 64)]
    for shape in shapes:
        case(*shape)
    latencies.clear()
    limits = {_limit(clients): partial(pgbench, stage, clients, seconds) for clients in IN_FLIGHT}
    cases = {_case(*shape): partial(case, *shape) for shape in shapes}
    medians = interleaved(rounds, limits | cases)
    for name in limits:
        yield Row(name, medians[name], "calls/s")
    for kind, in_flight, door in shapes:
        name = _case(kind, in_flight, door)
        against = _limit(in_flight) if kind == "create" else ""
        if door == "rust":
            against = _case(kind, in_flight, "native")
        yield Row(name, medians[name], "calls/s", against, medians[name] / medians[against] if against else None)
        yield from _latency_rows(name, latencies[name])
    best = max(IN_FLIGHT, key=lambda in_flight: medians[_case("create", in_flight, "native")])
    name = _case("create", best, "native")
    rate = 0.7 * medians[name]
    for _ in range(rounds):
        case("create", best, "native", rate)
    yield Row("create, open loop at 70% of the peak", rate, "calls/s", name, 0.7)
    yield from _latency_rows("create, open loop at 70% of the peak", latencies[f"{name}, open loop"])


def _latency_rows(name: str, found: list[tuple[float, float]]) -> Iterator[Row]:
    for index, label in enumerate(("p50", "p99")):
        yield Row(f"  {label}: {name}", sorted(each[index] for each in found)[len(found) // 2] * 1000, "ms")


def _case(kind: str, in_flight: int, door: str) -> str:
    where = {"native": "1 worker", "rust": "1 worker, engine in Rust", "workers": "2 workers"}[door]
    return f"{kind}, {in_flight} in flight, {where}"


def _limit(clients: int) -> str:
    return f"pgbench, the same create, {clients} client{'s' if clients > 1 else ''}"

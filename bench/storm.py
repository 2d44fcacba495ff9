"""Storm: everybody wants the same slot."""

from collections import Counter
from collections.abc import Iterator
from functools import partial

from bench.load import Job, Outcome
from bench.results import Row, interleaved
from bench.stage import Stage


def storm(stage: Stage, *, rounds: int) -> Iterator[Row]:
    """The time to all answers, against that of as many creates that are in nobody's way; one winner per slot."""
    ended: dict[str, Counter[str]] = {}

    def case(name: str, clients: int, slots: int) -> float:
        person = stage.writers[0]
        job = Job(
            stage.server.grpc, "create", ((person, person.token()),), clients, clients,
            stage.minutes(clients), slots=slots, connections=16, statuses=True,
        )  # fmt: skip
        outcome: Outcome = stage.generator.run(job)
        ended.setdefault(name, Counter()).update(outcome.ended)
        return outcome.seconds * 1000

    shapes = {
        "1,000 clients, each its own slot": (1000, 0),
        "1,000 clients on one slot": (1000, 1),
        "200 clients, each its own slot": (200, 0),
        "200 clients on 20 slots": (200, 20),
    }
    medians = interleaved(rounds, {name: partial(case, name, *shape) for name, shape in shapes.items()})
    for name, (clients, slots) in shapes.items():
        against = f"{clients:,} clients, each its own slot" if slots else ""
        yield Row(f"storm: {name}", medians[name], "ms", against, medians[name] / medians[against] if against else None)
        winners, losers = ended[name]["OK"] / rounds, ended[name]["ALREADY_EXISTS"] / rounds
        yield Row(f"  winners: {name}", winners, "a round")
        yield Row(f"  other than OK and ALREADY_EXISTS: {name}", clients - winners - losers, "a round")

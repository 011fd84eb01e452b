"""Servers in turn under the same load: rounds in which each is started, checked, loaded and stopped."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.serving import loop
from benchmarks.serving.load import Load, load, median
from benchmarks.serving.servers import (
    BODIES,
    OURS,
    SERVERS,
    VARIANTS,
    Running,
    ServerError,
    ask,
    missing,
    probabilities,
    running,
)
from benchmarks.serving.setup import Setup

CLIENTS = (1, 8, 32)
MANY = 64

_TOLERANCE = 1e-3
_CHECKED = 3
_WARM_S = 1.0
_MANY_S = 1.0
_ONE_CLIENT_S = 2.0


@dataclass(frozen=True)
class Row:
    """A server in one of its VARIANTS with one of the models."""

    server: str
    variant: str
    model: str

    def __str__(self) -> str:
        return " ".join(
            part for part in (self.server, self.variant, "" if self.model == "fp32" else self.model) if part
        )


@dataclass
class Measured:
    """What was measured of a server in all rounds; `failure` says why it could not be."""

    loads: dict[int, list[Load]] = field(default_factory=dict)
    ready_s: list[float] = field(default_factory=list)
    idle: list[float] = field(default_factory=list)
    processes: int = 0
    failure: str = ""

    def at(self, clients: int) -> Load:
        """Return the medians of all rounds with so many clients."""
        return median(self.loads[clients])

    @property
    def peak(self) -> float:
        """The most memory that was seen, MiB."""
        return max(one.pss for loads in self.loads.values() for one in loads)


@dataclass
class Ceiling:
    """The loops of the same run: a decoder and a model -> images per second and processor time of an image, in ms."""

    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """The median rate."""
        return statistics.median(self.rates)

    @property
    def cpu_ms(self) -> float:
        """The median processor time."""
        return statistics.median(self.cpu)


def compare(
    setup: Setup, rows: Sequence[Row], loops: Sequence[tuple[str, str]], *, rounds: int, seconds: float, many: bool
) -> tuple[dict[Row, Measured], dict[tuple[str, str], Ceiling]]:
    """Measure servers and loops (decoder, model) in `rounds` rounds; each round begins with another server.

    With `many` the first round also has a short stretch of MANY clients, for its errors.
    """
    results = {row: Measured() for row in rows}
    ceilings = {one: Ceiling() for one in loops}
    for number in range(rounds):
        for decoder, model in loops:
            seen = loop.measured(setup.models[model], setup.folder / "pictures", decoder, 2, seconds)
            ceilings[decoder, model].rates.append(seen["per_second"])
            ceilings[decoder, model].cpu.append(seen["cpu_ms"])
        first = number * len(rows) // rounds
        for row in (*rows[first:], *rows[:first]):
            if not results[row].failure:
                _measure(setup, row, results[row], seconds=seconds, many=many and number == 0)
    return results, ceilings


def _measure(setup: Setup, row: Row, result: Measured, *, seconds: float, many: bool) -> None:
    server = SERVERS[row.server]
    content_type = BODIES[server.body][0]
    try:
        if lacking := missing(row.server):
            raise ServerError(lacking)
        with started(setup, row) as one:
            check(one, setup, row)
            result.ready_s.append(one.ready_s)
            result.idle.append(one.pss())
            result.processes = len(one.processes)

            def stretch(clients: int, length: float) -> Load:
                return load(one, setup.bodies(server.body), clients=clients, seconds=length, content_type=content_type)

            stretch(8, _WARM_S)
            for clients in CLIENTS:
                length = min(seconds, _ONE_CLIENT_S) if clients == 1 else seconds
                result.loads.setdefault(clients, []).append(stretch(clients, length))
            if many:
                result.loads[MANY] = [stretch(MANY, min(seconds, _MANY_S))]
            print(f"  {row}: {result.loads[8][-1].per_second:.1f} requests/s with 8 clients", flush=True)
    except (ServerError, RuntimeError) as error:
        result.failure = str(error)
        print(f"  {row}: {str(error).splitlines()[0]}", flush=True)


@contextmanager
def started(setup: Setup, row: Row, *, more: Sequence[str] = (), model: Path | str = "") -> Iterator[Running]:
    """Run the server of a row until the block ends."""
    server = SERVERS[row.server]
    with running(
        server,
        setup.run / row.server,
        environment=setup.environment(row.server),
        model=model or setup.models[row.model].resolve(),
        body=BODIES[server.body][1](setup.pictures[0].read_bytes()),
        variables=VARIANTS[row.variant],
        more=more,
    ) as one:
        yield one


def check(one: Running, setup: Setup, row: Row) -> None:
    """Raise ServerError when a server's probabilities are not those of the model after the decoder that it has."""
    content_type, encode = BODIES[SERVERS[row.server].body]
    decoder = "own" if row.server == OURS else "pillow"
    for picture in setup.pictures[:_CHECKED]:
        expected = loop.probabilities(setup.models[row.model], decoder, picture.read_bytes())
        answer = ask(one.url, encode(picture.read_bytes()), content_type)
        difference = np.abs(np.subtract(probabilities(answer, len(expected)), expected)).max()
        if not difference < _TOLERANCE:
            raise ServerError(f"{row} answers wrongly: a probability of {picture.name} differs by {difference:.3g}")


def best(results: Mapping[Row, Measured], clients: int, variant: str, *, latency: bool = False) -> tuple[Row, Load]:
    """Return the peer of a variant that answers most in a second, or with `latency` the one that answers earliest.

    Raises ServerError when none was measured.
    """
    peers = [
        (row, result.at(clients))
        for row, result in results.items()
        if row.server != OURS and row.variant == variant and not result.failure
    ]
    if not peers:
        raise ServerError(f"no {variant or 'default'} peer was measured, so there is nothing to compare with")
    return min(peers, key=lambda peer: peer[1].p50_ms if latency else -peer[1].per_second)

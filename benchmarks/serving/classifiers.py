"""A model alone: ours and the peers with ResNet-18 (fp32, and int8 of ours), and with a light model."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from benchmarks.benchmark import Benchmark
from benchmarks.serving.compare import MANY, Measured, Row, best, compare
from benchmarks.serving.servers import OURS, VARIANTS, ServerError
from benchmarks.serving.setup import Section, Setup
from benchmarks.serving.tables import comparison

_LIGHT_ROUNDS = 2


def _rows(setup: Setup, model: str) -> list[Row]:
    return [Row(OURS, "", model), *(Row(peer, variant, model) for variant in VARIANTS for peer in setup.peers)]


def fp32(setup: Setup) -> Section:
    """ResNet-18 at 224 px: ours, ours with its int8 version, and the peers."""
    rows = [*_rows(setup, "fp32"), Row(OURS, "", "int8")]
    loops = [("own", "fp32"), ("pillow", "fp32"), ("own", "int8")]
    results, ceilings = compare(setup, rows, loops, rounds=setup.rounds, seconds=setup.seconds, many=True)
    section = Section("ResNet-18, 224 px", comparison(results, ceilings))
    section.failures += [f"{row}: {result.failure}" for row, result in results.items() if result.failure]
    ours, int8, ceiling = results[rows[0]], results[rows[-1]], ceilings["own", "fp32"]
    if ours.failure or int8.failure:
        return section
    section.figures += _rates("serving_fp32", ours, results, {"": 1.15, "tuned": 1.05})
    for clients in (8, 32):
        cost = ours.at(clients).cpu_ms
        section.figures.append(
            Benchmark.compared(f"serving_fp32: CPU and loop, {clients}", cost, ceiling.cpu_ms, "ms", 1 / 1.05)
        )
    at_8 = ours.at(8)
    tail = at_8.p99_ms / at_8.p50_ms
    section.figures.append(Benchmark.absolute("serving_fp32: p99 / p50 at 8", tail, "", "< 1.5", tail < 1.5))
    errors = ours.at(MANY).errors
    section.figures.append(Benchmark.absolute(f"serving_fp32: errors at {MANY}", errors, "", "0", errors == 0))
    section.figures += against_peers("serving_one_client", ours.at(1).p50_ms, results, 1, "", "ms", 1.0)
    section.figures += _rates("serving_int8", int8, results, {"": 3.0})
    peers = [result for row, result in results.items() if row.server != OURS and not result.failure]
    if peers:
        leanest = [min(median(result.idle) for result in peers), min(result.peak for result in peers)]
        for name, own, other in zip(("idle", "peak"), (median(ours.idle), ours.peak), leanest, strict=True):
            section.figures.append(Benchmark.compared(f"serving_memory: {name}", own, other, "MiB", 1.0))
    return section


def light(setup: Setup) -> Section:
    """MobileNetV3-small at 64 px, where what a server adds shows."""
    rows = _rows(setup, "light")
    rounds = min(setup.rounds, _LIGHT_ROUNDS)
    loops = [("own", "light"), ("pillow", "light")]
    results, ceilings = compare(setup, rows, loops, rounds=rounds, seconds=min(setup.seconds, 2.0), many=False)
    section = Section("MobileNetV3-small, 64 px", comparison(results, ceilings))
    section.failures += [f"{row}: {result.failure}" for row, result in results.items() if result.failure]
    ours, ceiling = results[rows[0]], ceilings["own", "light"]
    if ours.failure:
        return section
    section.figures += _rates("serving_light", ours, results, {"": 3.0, "tuned": 2.0})
    added = ours.at(8).cpu_ms - ceiling.cpu_ms
    section.figures.append(Benchmark.absolute("serving_light: added CPU", added, "ms", "< 1 ms", added < 1))
    return section


def _rates(name: str, ours: Measured, results: dict[Row, Measured], bars: Mapping[str, float]) -> Iterator[Benchmark]:
    """Compare requests a second with 8 and 32 clients; `bars` are the lowest ratios, by variant of the peers."""
    for clients in (8, 32):
        of_clients = name if clients == 8 else f"{name}: {clients} clients"
        for variant, least in bars.items():
            full = f"{of_clients}, tuned peers" if variant else of_clients
            yield from against_peers(full, ours.at(clients).per_second, results, clients, variant, "requests/s", least)


def against_peers(
    name: str, own: float, results: dict[Row, Measured], clients: int, variant: str, unit: str, least: float
) -> Sequence[Benchmark]:
    """Compare a figure of ours with the best peer of a variant: its rate, or its p50 where `unit` is ms."""
    try:
        _, peer = best(results, clients, variant, latency=unit == "ms")
    except ServerError:
        return []
    return [Benchmark.compared(name, own, peer.p50_ms if unit == "ms" else peer.per_second, unit, least)]

"""One measurement, and how it is taken: ours and a baseline in turn, medians of both."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One measurement: our figure, what it is compared with, and whether it holds the bar."""

    name: str
    ours: float
    baseline: float
    ratio: float
    unit: str
    bar: str
    holds: bool


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes on the wall clock."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def medians(ours: Callable[[], object], baseline: Callable[[], object], *, repeats: int) -> tuple[float, float]:
    """Median seconds of both, measured in turn so that a slow minute of the machine meets both."""
    pairs = [(seconds(ours), seconds(baseline)) for _ in range(repeats)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)

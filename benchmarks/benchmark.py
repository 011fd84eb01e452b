"""One measurement, and how it is taken: ours and a baseline in turn, medians of both."""

import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Self

from serving.runtime.machine import resident_memory


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One measurement: our figure, what it is compared with, and whether it holds the bar.

    `baseline` and `ratio` are None where the bar is set on our figure alone.
    """

    name: str
    ours: float
    baseline: float | None
    ratio: float | None
    unit: str
    bar: str
    holds: bool

    @classmethod
    def absolute(cls, name: str, ours: float, unit: str, bar: str, holds: bool) -> Self:
        """A measurement that is compared with nothing."""
        return cls(name, ours, None, None, unit, bar, holds)

    @classmethod
    def compared(cls, name: str, ours: float, baseline: float, unit: str, least: float = 0) -> Self:
        """A measurement whose ratio to the baseline, where larger is better, must be at least `least`."""
        ratio = ours / baseline if unit.endswith("/s") else baseline / ours
        return cls(name, ours, baseline, ratio, unit, f"ratio >= {least:g}" if least else "", ratio >= least)


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes on the wall clock."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def resident_mb() -> float:
    """Resident memory of this process in MB."""
    return resident_memory() / 2**20


def cpu_seconds(work: Callable[[], object]) -> float:
    """How much CPU time one call takes in this process."""
    started = time.process_time()
    work()
    return time.process_time() - started


def own_process() -> ProcessPoolExecutor:
    """A process for a measurement alone."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def medians(ours: Callable[[], object], baseline: Callable[[], object], *, repeats: int) -> tuple[float, float]:
    """Median seconds of both, measured in turn so that a slow minute of the machine meets both."""
    pairs = [(seconds(ours), seconds(baseline)) for _ in range(repeats)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)

"""A loaded graph that runs as suits the machine: on all cores, a thread for each lane, or in batches."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from serving.runtime.architecture import architecture
from serving.runtime.batcher import Arrays, Batcher
from serving.runtime.card import INPUT_NAME
from serving.runtime.execution import Execution, Provider, accelerated, open_graph
from serving.runtime.machine import release_memory, usable_cpus, usable_memory
from serving.runtime.work import Work

# What one thread must gain to replace the session of all threads.
_GAIN = 1.05
# Beside that one, a session with one thread must not lose: lanes that share threads wait for each other. ResNet-18 with
# 8 clients on 2 cores: 89 to 91 requests/s, not 83 to 84; CPU 20.8 to 21.4 ms, not 22.7 to 23.0; p99 1.14 to 1.20 times
# p50, not 1.22 to 1.31.
_SECOND_GAIN = 0.97
# Joined calls wait for each other, and measured alone they decode nothing meanwhile. On a CPU they gain 1 to 20 %.
_JOINED_GAIN = 1.3
# Memory of a session for each byte of its file, at its peak while it is loaded.
_LOADED = 3
# Measuring takes about as long, and each way is tried so many times, in turn.
_MEASURING_S = 0.3
_ROUNDS = 3
# Architectures whose plans are kept.
_MAX_KEPT = 256

# Operators that quantize by the range of a whole batch: an image's answer would depend on the others in it.
_DYNAMIC = b"DynamicQuantize"

Run = Callable[[NDArray[np.uint8]], Arrays]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a graph runs.

    Attributes:
        provider: what computes.
        way: `shared` (one session with all threads), `single` (one with one thread), `both` (with all threads for a
            call that is alone, else with one) or `batch` (calls are joined).
        speeds: of each way that was tried: with all lanes at work, and `alone` with one. Empty where nothing was.
    """

    provider: Provider
    way: str
    speeds: dict[str, "Speed"]

    def __str__(self) -> str:
        measured = ", ".join(f"{name} {speed}" for name, speed in self.speeds.items())
        return f"{self.provider}, {self.way}" + (f" ({measured})" if measured else "")


class Speed(NamedTuple):
    """Images per second, and seconds of CPU time for each, of this process."""

    rate: float
    cpu_s: float

    def __str__(self) -> str:
        return f"{self.rate:.0f}/s {1000 * self.cpu_s:.2f} ms CPU"


# What was measured, by all that it depends on: a model that is trained again runs as the one that it replaces.
_kept: OrderedDict[tuple[object, ...], Plan] = OrderedDict()


class Graph:
    """A graph in memory; several threads may run it at once.

    Attributes:
        session: onnxruntime's.
        plan: how it runs.
        max_rows: images of one run.

    Args:
        content: of the ONNX file.
        execution: how to run it.
        max_rows: images of one run; 1 where an image's answer would depend on the others.
        source: names the file in errors.

    Raises:
        InputError: the file is not ONNX, or has weights outside.
    """

    def __init__(self, content: bytes, execution: Execution, max_rows: int, source: str) -> None:
        self._threads = execution.threads or usable_cpus()
        self._execution = execution
        self._source = source
        self.session, provider = open_graph(content, execution.provider, self._threads, source)
        self._single: onnxruntime.InferenceSession | None = None
        self._batcher: Batcher | None = None
        self.joins = _DYNAMIC not in content
        self.max_rows = max_rows if self.joins else 1
        self.plan = Plan(provider, "shared", {})

    def run(self, names: list[str], rows: NDArray[np.uint8], work: Work | None) -> tuple[Arrays, int]:
        """Return the outputs of these names, and how many runs this thread has made for that."""
        if self._batcher is not None:
            return self._batcher.run(rows, work)
        crowded = work is not None and not work.alone()
        session = self._single if crowded and self._single is not None else self.session
        return session.run(names, {INPUT_NAME: rows}), 1

    def settle(self, content: bytes, names: list[str], image: NDArray[np.uint8]) -> None:
        """Choose how to run, where there is a choice: by measuring with one image (1, height, width, 3).

        What was measured for the same architecture is kept. Beside requests nothing is measured: the choice is what
        serves many of them best wherever memory allows.
        """
        execution, provider = self._execution, self.plan.provider
        if execution.mode == "batch" and self.joins:
            self._join(names)
            return
        if execution.lanes == 1:
            return
        joins = execution.mode == "auto" and self.joins
        one_thread = provider == "cpu" and self._threads > 1 and len(content) * _LOADED < usable_memory() // 4
        if not joins and not one_thread:
            return
        key = (architecture(content), image.shape, provider, self._threads, execution.lanes, joins, one_thread)
        plan = _kept.get(key)
        single = None
        if one_thread and (plan is None or plan.way in ("single", "both")):
            single, _ = open_graph(content, "cpu", 1, self._source)
        if plan is None:
            plan = self._measured(single, joins, names, image)
            if plan is None:
                way = "both" if single is not None else "batch" if accelerated(provider) else "shared"
                plan = Plan(provider, way, {})
            else:
                _kept[key] = plan
                if len(_kept) > _MAX_KEPT:
                    _kept.popitem(last=False)
        if plan.way == "batch":
            self._join(names)
        elif plan.way == "single" and single is not None:
            self.session = single
        elif plan.way == "both":
            self._single = single
        del single
        release_memory()
        self.plan = plan

    def _measured(
        self, single: onnxruntime.InferenceSession | None, joins: bool, names: list[str], image: NDArray[np.uint8]
    ) -> Plan | None:
        """Return the best plan of those that are possible; None when requests were computed meanwhile."""
        lanes, provider = self._execution.lanes, self.plan.provider
        shared = _runner(self.session, names)
        ways: dict[str, tuple[Run, int]] = {"shared": (shared, lanes)}
        if single is not None:
            one = _runner(single, names)
            ways |= {"single": (one, lanes), "shared alone": (shared, 1), "single alone": (one, 1)}
        if joins:
            batcher = Batcher(shared)
            ways["batch"] = (lambda rows: batcher.run(rows)[0], lanes)
        rounds = _measure(ways, image, self._execution.busy)
        if rounds is None:
            return None
        speeds = {name: Speed(*map(median, zip(*of_way, strict=True))) for name, of_way in rounds.items()}
        way = "shared"
        if single is not None:
            pair = rounds["single"], rounds["shared"], provider
            if _gains(*pair) and speeds["single alone"].rate * _GAIN >= speeds["shared alone"].rate:
                way = "single"
            elif _gains(*pair, _SECOND_GAIN):
                way = "both"
        if joins:
            others = [rounds[name] for name in ("shared", "single") if name in rounds]
            if all(_gains(rounds["batch"], other, provider, _JOINED_GAIN) for other in others):
                way = "batch"
        return Plan(provider, way, speeds)

    def _join(self, names: list[str]) -> None:
        self._batcher = Batcher(_runner(self.session, names))
        self.plan = Plan(self.plan.provider, "batch", {})


def _runner(session: onnxruntime.InferenceSession, names: list[str]) -> Run:
    def run(rows: NDArray[np.uint8]) -> Arrays:
        outputs: list[NDArray[Any]] = session.run(names, {INPUT_NAME: rows})
        return outputs

    return run


def _gains(ours: list[Speed], theirs: list[Speed], provider: Provider, gain: float = _GAIN) -> bool:
    """Tell whether a way is so many times as good as another, and where it must be better, in no round worse.

    On a CPU what takes less of its time is better: busy lanes fill the cores, and other processes disturb the clock.
    """
    on_device = accelerated(provider)
    ratios = [
        one.rate / other.rate if on_device else other.cpu_s / one.cpu_s for one, other in zip(ours, theirs, strict=True)
    ]
    return median(ratios) > gain and (gain < 1 or min(ratios) > 1)


def _measure(
    ways: dict[str, tuple[Run, int]], image: NDArray[np.uint8], busy: Callable[[], bool]
) -> dict[str, list[Speed]] | None:
    """Return the speed of every way in every round; None when requests take time from it, or count as its own.

    A single request between two looks spoils one round of three, which changes no choice.
    """
    if busy():
        return None
    for run, _ in ways.values():
        run(image)
    seconds = _MEASURING_S / _ROUNDS / len(ways)
    rounds: dict[str, list[Speed]] = {name: [] for name in ways}
    for _ in range(_ROUNDS):
        for name, (run, lanes) in ways.items():
            rounds[name].append(_speed(partial(run, image), lanes, seconds))
            if busy():
                return None
    return rounds


def _speed(run: Callable[[], object], lanes: int, seconds: float) -> Speed:
    """Let so many threads call a function for some seconds, each once or more."""
    rates: list[float] = []
    counts: list[int] = []

    def lane() -> None:
        count, began = 0, time.perf_counter()
        while (past := time.perf_counter() - began) < seconds or count == 0:
            run()
            count += 1
        rates.append(count / past)
        counts.append(count)

    threads = [threading.Thread(target=lane) for _ in range(lanes)]
    began = time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Speed(sum(rates), (time.process_time() - began) / sum(counts))

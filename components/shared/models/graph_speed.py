"""How fast graphs are in ONNX Runtime on this machine's CPUs."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from serving.runtime.card import INPUT_NAME, InputSize
from serving.runtime.machine import usable_cpus

_RUNS = 15
_BATCH = 8


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a graph is on this machine, medians.

    Attributes:
        cpu_ms: milliseconds of CPU time for one face, in one thread.
        images_per_second: in batches of 8, with as many threads as this process has CPUs.
    """

    cpu_ms: float
    images_per_second: float


def speeds(graphs: Sequence[bytes], size: InputSize) -> list[Speed]:
    """Measure how fast graphs are on noise, in turns: all see the same load of the machine."""
    images = np.random.default_rng(0).integers(0, 256, (_BATCH, size.height, size.width, 3), dtype=np.uint8)
    cpu = cpu_seconds(graphs, images[:1])
    wall = _in_turns([open_session(graph, usable_cpus()) for graph in graphs], images, time.perf_counter, _RUNS)
    return [Speed(1000 * one, _BATCH / batch) for one, batch in zip(cpu, wall, strict=True)]


def cpu_seconds(
    graphs: Sequence[bytes], images: NDArray[np.uint8], *, threads: int = 1, runs: int = _RUNS
) -> list[float]:
    """Return the median CPU time of a run of each graph on images (N, height, width, 3), measured in turns.

    Of several threads it is that of this process, which should do nothing else; they sleep while they wait.
    """
    clock = time.thread_time if threads == 1 else time.process_time
    return _in_turns([open_session(graph, threads, spinning=False) for graph in graphs], images, clock, runs)


def open_session(graph: bytes, threads: int, *, spinning: bool = True) -> onnxruntime.InferenceSession:
    """Open a graph on the CPU; with `spinning` its threads wait for work as they do by default, at full load."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _in_turns(
    sessions: Sequence[onnxruntime.InferenceSession],
    images: NDArray[np.uint8],
    clock: Callable[[], float],
    runs: int,
) -> list[float]:
    """Return the median seconds of a run of each session; the first round does not count."""
    taken: list[list[float]] = [[] for _ in sessions]
    for _ in range(runs + 1):
        for session, times in zip(sessions, taken, strict=True):
            start = clock()
            session.run(None, {INPUT_NAME: images})
            times.append(clock() - start)
    return [float(np.median(times[1:])) for times in taken]

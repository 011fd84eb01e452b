"""Calls that come together share a run of the graph, and each gets exactly its own rows."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.runtime.batcher import MAX_ROWS, Arrays, Batcher
from serving.runtime.work import AbandonedError, Work


class SlowGraph:
    """Doubles its rows, and holds its first run until it is released."""

    def __init__(self) -> None:
        self.runs: list[tuple[int, ...]] = []
        self.began = threading.Event()
        self.released = threading.Event()

    def __call__(self, rows: NDArray[np.uint8]) -> Arrays:
        self.runs.append(rows.shape)
        self.began.set()
        assert self.released.wait(20)
        if (rows == 99).any():
            raise ValueError("99 is refused")
        return [rows.astype(np.float32) * 2, rows[:, 0, 0, 0]]


def images(value: int, count: int = 1, side: int = 2) -> NDArray[np.uint8]:
    return np.full((count, side, side, 3), value, np.uint8)


def gathered(graph: SlowGraph, batcher: Batcher, calls: list[NDArray[np.uint8]], work: Work | None = None) -> list:
    """Run a call, and while it runs let others gather, in order; return the outcome of all."""

    def outcome(rows: NDArray[np.uint8], work: Work | None = None) -> object:
        try:
            return batcher.run(rows, work)
        except (ValueError, AbandonedError) as error:
            return error

    with ThreadPoolExecutor(len(calls) + 1) as pool:
        futures = [pool.submit(outcome, images(1))]
        assert graph.began.wait(20)
        for count, rows in enumerate(calls, 1):
            futures.append(pool.submit(outcome, rows, work if count == 1 else None))
            while len(batcher._waiting) < count:
                time.sleep(0.001)
        if work is not None:
            work.abandoned = True
        graph.released.set()
        return [future.result(20) for future in futures]


def test_calls_that_gather_share_a_run_in_which_rows_are_counted() -> None:
    graph = SlowGraph()
    batcher = Batcher(graph)
    calls = [images(value, count) for value, count in ((2, 10), (3, 20), (4, MAX_ROWS), (5, 2), (6, 1))]
    results = gathered(graph, batcher, calls)
    assert [shape[0] for shape in graph.runs] == [1, MAX_ROWS, MAX_ROWS, 1]
    for rows, (outputs, _) in zip([images(1), *calls], results, strict=True):
        np.testing.assert_array_equal(outputs[0], rows * 2.0)
        np.testing.assert_array_equal(outputs[1], rows[:, 0, 0, 0])
    assert sum(runs for _, runs in results) == 4


def test_only_images_of_one_size_are_joined() -> None:
    graph = SlowGraph()
    batcher = Batcher(graph)
    calls = [images(2, side=2), images(3, side=4), images(4, side=2), images(5, side=4)]
    results = gathered(graph, batcher, calls)
    assert graph.runs[1:] == [(2, 2, 2, 3), (2, 4, 4, 3)]
    for rows, (outputs, _) in zip(calls, results[1:], strict=True):
        np.testing.assert_array_equal(outputs[0], rows * 2.0)


def test_an_error_is_that_of_the_call_that_causes_it() -> None:
    graph = SlowGraph()
    results = gathered(graph, Batcher(graph), [images(2), images(99), images(4)])
    assert isinstance(results[2], ValueError)
    for value, (outputs, _) in ((2, results[1]), (4, results[3])):
        np.testing.assert_array_equal(outputs[0], images(value) * 2.0)


@pytest.mark.parametrize("others", [0, 2])
def test_what_nobody_waits_for_is_not_run(others: int) -> None:
    graph, work = SlowGraph(), Work()
    batcher = Batcher(graph)
    results = gathered(graph, batcher, [images(7, 3), *[images(2)] * others], work)
    assert isinstance(results[1], AbandonedError)
    assert graph.runs == [(1, 2, 2, 3), (others, 2, 2, 3)][: 1 + bool(others)]
    np.testing.assert_array_equal(batcher.run(images(8))[0][0], images(8) * 2.0)

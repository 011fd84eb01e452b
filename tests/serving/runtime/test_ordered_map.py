import threading
import time

import pytest

from serving.runtime.ordered_map import ordered_map


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("ahead", [0, 1, 2, 7, 100])
def test_results_come_in_order_and_few_are_started_ahead(workers, ahead):
    started = []

    def work(item):
        started.append(item)
        time.sleep(0.001 * (item % 3))
        return item * item

    taken = 0
    for item, result in ordered_map(work, range(20), workers=workers, ahead=ahead):
        assert (item, result) == (taken, taken * taken)
        taken += 1
        assert len(started) <= taken + max(ahead, 1)
    assert taken == 20


def test_items_count_by_their_cost():
    most = 0
    active = 0
    lock = threading.Lock()

    def work(size):
        nonlocal active, most
        with lock:
            active += size
            most = max(most, active)
        time.sleep(0.002)
        with lock:
            active -= size

    sizes = [1, 5, 9, 2, 2, 30, 1, 1]
    assert [size for size, _ in ordered_map(work, sizes, workers=8, ahead=10, cost=lambda size: size)] == sizes
    assert most == 30


def test_an_error_is_raised_in_turn_and_ends_the_threads():
    def work(item):
        if item == 3:
            raise ValueError("three")
        return item

    given = []
    with pytest.raises(ValueError, match="three"):
        for item, _ in ordered_map(work, range(1000), workers=2, ahead=4):
            given.append(item)
    assert given == [0, 1, 2]


def test_nothing_runs_any_more_when_a_caller_has_stopped_early():
    running, started, ended = threading.Event(), [], []

    def work(item):
        started.append(item)
        if item:
            running.set()
            time.sleep(0.1)
        ended.append(item)

    results = ordered_map(work, range(1000), workers=1, ahead=50)
    next(results)
    running.wait()
    results.close()
    assert started == ended


def test_a_caller_that_stops_early_does_not_wait_for_what_was_not_started():
    calls = []
    results = ordered_map(lambda item: calls.append(item), range(1000), workers=1, ahead=50)
    next(results)
    results.close()
    assert len(calls) < 60

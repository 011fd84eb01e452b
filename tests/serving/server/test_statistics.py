"""What models have done, counted from calls."""

from concurrent.futures import ThreadPoolExecutor

from serving.server.exchange import Call
from serving.server.statistics import Statistics


def call(rows: int = 2, failed: bool = False, version: str = "1") -> Call:
    return Call("tiny", version, rows, 0.5, 0.25, 0.125, 0.0625, executions=1, failed=failed)


def test_calls_are_added_up_and_failed_ones_apart() -> None:
    statistics = Statistics()
    for one in (call(), call(), call(rows=3), call(failed=True), call(version="2")):
        statistics.add(one)
    first, second, third = statistics.of([("tiny", "1"), ("tiny", "2"), ("other", "1")])
    assert (first.rows, first.executions, first.success.count, first.fail.count) == (7, 3, 3, 1)
    assert (first.success.seconds, first.queue.seconds, first.input.seconds) == (2.8125, 1.5, 0.75)
    assert (first.infer.seconds, first.output.seconds, first.fail.seconds) == (0.375, 0.1875, 0.9375)
    assert {rows: batch.infer.count for rows, batch in first.batches.items()} == {2: 2, 3: 1}
    assert first.last_ms > 1.6e12 and second.success.count == 1
    assert (third.rows, third.success.count, third.last_ms) == (0, 0, 0)


def test_no_call_of_several_threads_is_lost() -> None:
    statistics = Statistics()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: statistics.add(call()), range(4000)))
    (model,) = statistics.of([("tiny", "1")])
    assert (model.success.count, model.rows) == (4000, 8000)

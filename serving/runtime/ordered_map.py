"""Work on several threads whose results come in the order of the items, with few of them in memory."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def ordered_map(
    function: Callable[[ItemT], ResultT],
    items: Iterable[ItemT],
    *,
    workers: int,
    ahead: int,
    cost: Callable[[ItemT], int] = lambda _: 1,
) -> Generator[tuple[ItemT, ResultT], None, None]:
    """Yield (item, function(item)) in the order of `items`.

    When it ends, is closed or raises, no call is running any more: those that run are waited for, at most `workers`.

    Args:
        function: called on `workers` threads; its exception is raised when the turn of its item comes.
        items: read as results are taken, on the caller's thread.
        workers: number of threads.
        ahead: the most that is started and not yet yielded, in units of `cost`; one item is always started.
        cost: what an item counts for.
    """
    waiting: deque[tuple[ItemT, int, Future[ResultT]]] = deque()
    total = 0
    pool = ThreadPoolExecutor(workers, thread_name_prefix="ordered-map")
    try:
        for item in items:
            price = cost(item)
            while waiting and total + price > ahead:
                done, paid, result = waiting.popleft()
                yield done, result.result()
                total -= paid
            waiting.append((item, price, pool.submit(function, item)))
            total += price
        while waiting:
            done, _, result = waiting.popleft()
            yield done, result.result()
    finally:
        pool.shutdown(cancel_futures=True)

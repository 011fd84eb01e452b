"""The threads of a server that decode and compute, and the bounded queue in front of them."""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from serving.runtime.predictor import Predictor
from serving.runtime.work import Work
from serving.server.limits import Limits

T = TypeVar("T")


class BusyError(RuntimeError):
    """The server has too much to do; the request may be sent again later."""


@dataclass(frozen=True, slots=True)
class Call:
    """What became of one call of a function in a lane; times in seconds.

    Attributes:
        model: for which it was.
        version: of that model.
        rows: images that the model saw.
        queue_s: from asking for a lane to having one.
        input_s: reading and decoding.
        infer_s: in the graph.
        output_s: writing the answer.
        executions: runs of the graph.
        failed: it raised an error, or nobody waited for it any longer.
    """

    model: str
    version: str
    rows: int
    queue_s: float
    input_s: float
    infer_s: float
    output_s: float
    executions: int
    failed: bool


class Lanes:
    """As many threads as requests may compute at the same time; the others wait, first come, first served.

    A thread cannot be interrupted: a lane is free when its work has ended, also when nobody waits for the result.

    Args:
        limits: their number, and that of the requests that wait.
        ended: called with every call that had a lane, in the lane, when it has ended.
    """

    def __init__(self, limits: Limits, ended: Callable[[Call], None]) -> None:
        self._limits = limits
        self._ended = ended
        self._pool = ThreadPoolExecutor(limits.lanes, thread_name_prefix="lane")
        self._free = asyncio.Semaphore(limits.lanes)
        self._running: set[Work] = set()
        # Seconds that a call takes, the last ones counting most.
        self._seconds = 0.0
        self.waiting = 0

    @property
    def busy(self) -> bool:
        """Whether any lane is at work."""
        return bool(self._running)

    @property
    def blocked(self) -> bool:
        """Whether every lane is at work for nobody: no request can be answered until one of them has ended."""
        return len(self._running) == self._limits.lanes and all(work.abandoned for work in self._running)

    def check_queue(self) -> None:
        """Raise BusyError when no more requests may wait, or when one more would wait for too long."""
        expected = self.waiting * self._seconds / self._limits.lanes
        if self.waiting >= self._limits.max_waiting or expected > self._limits.wait_s:
            raise BusyError(f"the server is busy: {self.waiting} requests wait already; try again soon")

    async def run(self, function: Callable[[Work], T], model: Predictor, rows: int = 1) -> T:
        """Call a function in a lane. Cancellation frees the queue at once, and the lane at the next `Work.check`.

        Args:
            function: what to do, for one request.
            model: for which it is.
            rows: how many images the model sees.

        Raises:
            BusyError: too many wait already, or no lane became free in time.
        """
        self.check_queue()
        loop = asyncio.get_running_loop()
        asked = loop.time()
        self.waiting += 1
        try:
            async with asyncio.timeout(self._limits.wait_s):
                await self._free.acquire()
        except TimeoutError:
            raise BusyError(f"the server is busy: no turn within {self._limits.wait_s:g} s; try again soon") from None
        finally:
            self.waiting -= 1
        work, began = Work(self._limits.decode_memory), loop.time()

        def free(done: Future[T]) -> None:
            self._running.discard(work)
            seconds = loop.time() - began
            self._seconds += (seconds - self._seconds) / 8
            input_s = max(0.0, seconds - work.infer_s - work.output_s)
            times = (began - asked, input_s, work.infer_s, work.output_s)
            failed = work.abandoned or done.exception() is not None
            self._ended(Call(model.name, model.version, rows, *times, work.executions, failed))
            with contextlib.suppress(RuntimeError):  # the loop has ended, this lane had not
                loop.call_soon_threadsafe(self._free.release)

        self._running.add(work)
        result = self._pool.submit(function, work)
        result.add_done_callback(free)
        try:
            return await asyncio.wrap_future(result)
        except asyncio.CancelledError:
            work.abandoned = True
            raise

"""The threads of a server that decode and compute, and the bounded queue in front of them."""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from serving.runtime.work import Work
from serving.server.limits import Limits

T = TypeVar("T")


class BusyError(RuntimeError):
    """The server has too much to do; the request may be sent again later."""


class Lanes:
    """As many threads as requests may compute at the same time; the others wait, first come, first served.

    A thread cannot be interrupted: a lane is free when its work has ended, also when nobody waits for the result.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
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

    async def run(self, function: Callable[[Work], T]) -> T:
        """Call a function in a lane. Cancellation frees the queue at once, and the lane at the next `Work.check`.

        Raises:
            BusyError: too many wait already, or no lane became free in time.
        """
        self.check_queue()
        self.waiting += 1
        try:
            async with asyncio.timeout(self._limits.wait_s):
                await self._free.acquire()
        except TimeoutError:
            raise BusyError(f"the server is busy: no turn within {self._limits.wait_s:g} s; try again soon") from None
        finally:
            self.waiting -= 1
        work, loop = Work(self._limits.decode_memory), asyncio.get_running_loop()

        began = loop.time()

        def free(done: Future[T]) -> None:
            self._running.discard(work)
            self._seconds += (loop.time() - began - self._seconds) / 8
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

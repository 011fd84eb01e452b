"""The threads of a server that decode and compute, and the bounded queue in front of them."""

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

from serving.runtime.predictor import Predictor
from serving.runtime.work import Work
from serving.server.exchange import CURRENT, Call, Exchange
from serving.server.fair_queue import DEFAULT_PRIORITY, PRIORITIES, FairQueue
from serving.server.limits import Limits

T = TypeVar("T")

_log = logging.getLogger(__name__)


class BusyError(RuntimeError):
    """The server has too much to do.

    Attributes:
        retry_after_s: whole seconds after which there is probably room again, at least 1.
    """

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineError(TimeoutError):
    """The time that a request had was over before its result was there."""


@dataclass(eq=False, slots=True)
class _Request:
    """A call that waits for a lane or has one; see `Waiting` of the queue."""

    function: Callable[[Work], Any]
    model: str
    version: str
    rows: int
    priority: int
    work: Work
    future: "asyncio.Future[Any]"
    asked: float
    deadline: float
    exchange: Exchange | None
    timer: asyncio.TimerHandle | None = None
    seconds: float = 0.0


class Lanes:
    """As many threads as requests may compute at the same time; the others wait, see `FairQueue`.

    A thread cannot be interrupted: a lane is free when its work has ended, also when nobody waits for the result.
    All methods but `close` belong to the event loop.

    Args:
        limits: their number, and what may wait.
        ended: called with every call that had a lane, in the lane, when it has ended.
    """

    def __init__(self, limits: Limits, ended: Callable[[Call], None]) -> None:
        self._limits = limits
        self._ended = ended
        # For the queue and the set below, which the lanes change too.
        self._lock = threading.Lock()
        self._queue: FairQueue[_Request] = FairQueue()
        self._running: set[Work] = set()
        # True for each request that was pushed, also for those that have left since; False ends a lane.
        self._turns: SimpleQueue[bool] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    @property
    def waiting(self) -> int:
        """How many requests wait for a lane."""
        return len(self._queue)

    @property
    def busy(self) -> bool:
        """Whether any lane is at work; may be asked in any thread."""
        return bool(self._running)

    @property
    def blocked(self) -> bool:
        """Whether every lane is at work for nobody: no request can be answered until one of them has ended."""
        with self._lock:
            return len(self._running) == self._limits.lanes and all(work.abandoned for work in self._running)

    def pending(self) -> Counter[tuple[str, str]]:
        """Return how many requests wait for a lane, by the name and version of their model."""
        with self._lock:
            return Counter((request.model, request.version) for request in self._queue.items())

    def check_queue(self, model: Predictor | None = None, rows: int = 1, deadline: float = math.inf) -> None:
        """Raise BusyError when a request of a model could not wait, as `run` would; without a model, when none could.

        Costs nothing, so that it is asked before a body is received.
        """
        with self._lock:
            names = [model.name] if model else list(self._queue)
            if names and all(self._full(name, rows, deadline) for name in names):
                raise self._busy(names[0])

    async def run(
        self,
        function: Callable[[Work], T],
        model: Predictor,
        rows: int = 1,
        *,
        deadline: float = math.inf,
        priority: int = 0,
    ) -> T:
        """Call a function in a lane. Cancellation frees the queue at once, and the lane at the next `Work.check`.

        Args:
            function: what to do, for one request.
            model: for which it is.
            rows: how many images the model sees.
            deadline: when nobody needs the result any longer, by the clock of `time.monotonic`.
            priority: lower ones come first among the requests of a model: 1 to PRIORITIES, larger ones count as the
                last. 0 is DEFAULT_PRIORITY.

        Raises:
            BusyError: too much waits already, or no lane became free within the limit.
            DeadlineError: there was no result before the deadline. A request that had no lane until then gets none.
        """
        loop = asyncio.get_running_loop()
        now = time.monotonic()
        rows = max(1, rows)
        request = _Request(
            function=function,
            model=model.name,
            version=model.version,
            rows=rows,
            priority=min(max(priority, 0), PRIORITIES) or DEFAULT_PRIORITY,
            work=Work(self._limits.decode_memory, alone=self._alone),
            future=loop.create_future(),
            asked=now,
            deadline=deadline,
            exchange=CURRENT.get(),
        )
        with self._lock:
            if self._full(model.name, rows, deadline):
                raise self._busy(model.name)
            self._queue.push(request)
        if not self._threads:
            self._start()
        self._turns.put(True)
        self._watch(request, loop)
        try:
            return await request.future  # type: ignore[no-any-return]
        finally:
            if request.timer is not None:
                request.timer.cancel()
            # Without effect unless this is a cancellation.
            request.work.abandoned = True
            with self._lock:
                self._queue.remove(request)

    def close(self) -> None:
        """End the lanes, each after its work."""
        for _ in self._threads:
            self._turns.put(False)
        self._threads = []

    def _start(self) -> None:
        # Daemons: a lane that still decodes for nobody does not keep the process from ending.
        self._threads = [
            threading.Thread(target=self._work, name=f"lane-{number}", daemon=True)
            for number in range(self._limits.lanes)
        ]
        for thread in self._threads:
            thread.start()

    def _alone(self) -> bool:
        return len(self._running) <= 1

    def _full(self, name: str, rows: int, deadline: float) -> bool:
        """Tell whether so many rows of a model may not wait. When none of it waits they may, however many.

        A model whose calls are hardly known is not refused by the time that they seem to take.
        """
        waiting = self._queue.rows(name)
        # A lane that is free has not taken its next request yet.
        most = self._limits.max_waiting + self._limits.lanes - len(self._running)
        allowed = min(self._limits.wait_s, deadline - time.monotonic())
        late = self._queue.knows(name) and self._expected_s(name) > allowed
        return bool(waiting) and (waiting + rows > most or late)

    def _expected_s(self, name: str) -> float:
        return self._queue.expected_s(name) / self._limits.lanes

    def _busy(self, name: str) -> BusyError:
        expected = self._expected_s(name)
        text = f"the server is busy: {len(self._queue)} requests wait already, about {expected:.1f} s; try again then"
        return BusyError(text, max(1, math.ceil(expected)))

    def _watch(self, request: _Request, loop: asyncio.AbstractEventLoop) -> None:
        """Look at a request again when it may wait no longer, and then at its deadline."""
        now = time.monotonic()
        until = min(self._last_turn(request), request.deadline)
        until = until if until > now else request.deadline
        request.timer = loop.call_later(until - now, self._expire, request, loop) if until < math.inf else None

    def _last_turn(self, request: _Request) -> float:
        return min(request.asked + self._limits.wait_s, request.deadline)

    def _expire(self, request: _Request, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            waits = self._queue.remove(request)
        if waits or time.monotonic() >= request.deadline:
            request.work.abandoned = True
            _resolve(request.future, None, self._late(request))
        else:
            self._watch(request, loop)

    def _late(self, request: _Request) -> Exception:
        if time.monotonic() >= request.deadline:
            seconds = max(0.0, request.deadline - request.asked)
            return DeadlineError(f"no result before the deadline, {seconds:.3f} s after the request came")
        with self._lock:
            expected = self._expected_s(request.model)
        text = f"the server is busy: no turn within {self._limits.wait_s:g} s; try again soon"
        return BusyError(text, max(1, math.ceil(expected)))

    def _work(self) -> None:
        """Serve requests, one after the other; a lane that waits holds no body and no answer."""
        while self._turns.get():
            with self._lock:
                request = self._queue.pop()
                in_time = request is not None and time.monotonic() < self._last_turn(request)
                if request is not None and in_time:
                    self._running.add(request.work)
                elif request is not None:
                    self._queue.skip(request)
            if request is not None:
                result, error = self._serve(request) if in_time else (None, self._late(request))
                _hand_over(request.future, result, error)
                del request, result, error

    def _serve(self, request: _Request) -> tuple[object, BaseException | None]:
        """Call the function of a request; return its result, or its error."""
        work, began = request.work, time.monotonic()
        result, error = None, None
        try:
            result = request.function(work)
        except BaseException as raised:  # whoever waits for the result gets it, whatever it is
            error = raised
        seconds = time.monotonic() - began
        with self._lock:
            self._running.discard(work)
            self._queue.took(request, seconds)
        input_s = max(0.0, seconds - work.infer_s - work.output_s)
        times = (began - request.asked, input_s, work.infer_s, work.output_s)
        failed = work.abandoned or error is not None
        try:
            counted = (request.model, request.version, request.rows, *times, work.executions, failed)
            self._ended(Call(*counted, seen=work.seen, exchange=request.exchange))
        except Exception:
            _log.exception("a call of %s could not be counted", request.model)
        return result, error


def _hand_over(future: "asyncio.Future[Any]", result: object, error: BaseException | None) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended, this lane had not
        future.get_loop().call_soon_threadsafe(_resolve, future, result, error)


def _resolve(future: "asyncio.Future[Any]", result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)

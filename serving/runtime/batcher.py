"""Joins calls of a graph that come at the same time into one run."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.runtime.work import AbandonedError, Work

Arrays = Sequence[NDArray[Any]]

MAX_ROWS = 32
"""Images of one run that several calls share."""


def _held() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(eq=False, slots=True)
class _Call:
    """A call that waits; `turn` is released when it has its result, or when it is to run the next batch."""

    rows: NDArray[np.uint8]
    work: Work | None
    turn: threading.Lock = field(default_factory=_held)
    result: Arrays | None = None
    error: BaseException | None = None

    @property
    def done(self) -> bool:
        return self.result is not None or self.error is not None


class Batcher:
    """Runs one batch at a time. While it runs, calls gather; the first of them runs the next batch with all that fit.

    Nobody waits for others to come. Calls are joined in the order of their arrival when their images have one size.
    The thread of a call runs its batch, so that an idle server hands nothing over.

    Args:
        run: the graph, from images (N, height, width, 3) to its outputs, each with N rows.
    """

    def __init__(self, run: Callable[[NDArray[np.uint8]], Arrays]) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._waiting: deque[_Call] = deque()
        self._running = False

    def run(self, rows: NDArray[np.uint8], work: Work | None = None) -> tuple[Arrays, int]:
        """Return the outputs of some images, and how many runs of the graph this thread has made for that.

        Raises:
            AbandonedError: nobody waits for the result any longer.
            Exception: what the graph raises for these images alone.
        """
        call = _Call(rows, work)
        with self._lock:
            self._waiting.append(call)
            leads = not self._running
            self._running = True
        if not leads:
            call.turn.acquire()
        runs = 0
        if not call.done:
            runs = self._lead()
        if call.error is not None:
            raise call.error
        assert call.result is not None
        return call.result, runs

    def _lead(self) -> int:
        """Run the next batch, which the call of this thread is the first of, and let another go on."""
        with self._lock:
            batch = self._take()
        runs = 0
        try:
            runs = self._serve([call for call in batch if not call.done])
        finally:
            with self._lock:
                self._running = bool(self._waiting)
                following = self._waiting[0] if self._waiting else None
            for call in batch[1:]:
                call.turn.release()
            if following is not None:
                following.turn.release()
        return runs

    def _take(self) -> list[_Call]:
        """Take the first call that waits and those of its size that fit in one run, in their order."""
        batch: list[_Call] = []
        rows = 0
        for _ in range(len(self._waiting)):
            call = self._waiting.popleft()
            first = batch[0] if batch else call
            if call.work is not None and call.work.abandoned:
                call.error = AbandonedError()
                batch.append(call)
            elif call is first or (call.rows.shape[1:] == first.rows.shape[1:] and rows + len(call.rows) <= MAX_ROWS):
                rows += len(call.rows)
                batch.append(call)
            else:
                self._waiting.append(call)
        return batch

    def _serve(self, batch: list[_Call]) -> int:
        """Run the graph for some calls and give each its rows; returns the number of runs."""
        if not batch:
            return 0
        if len(batch) > 1:
            try:
                outputs = self._run(np.concatenate([call.rows for call in batch]))
            except Exception:  # such as no memory for so many; whose fault it is shows when each runs alone
                return 1 + sum(self._serve([call]) for call in batch)
            start = 0
            for call in batch:
                end = start + len(call.rows)
                call.result = [output[start:end] for output in outputs]
                start = end
            return 1
        try:
            batch[0].result = self._run(batch[0].rows)
        except BaseException as error:
            batch[0].error = error
        return 1

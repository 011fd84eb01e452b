"""What one request may take, and whether its result is still wanted."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


class AbandonedError(Exception):
    """Nobody waits for this result: the client has left, or its time is over."""


def _always() -> bool:
    return True


@dataclass(eq=False, slots=True)
class Work:
    """The bounds of one request's work; threads that compute for it look here.

    Attributes:
        max_memory: bytes that decoding one picture may take; no limit by default.
        alone: tells whether no other request is computed at this moment, so that this one may use all cores.
        abandoned: nobody waits for the result any longer.
        infer_s: seconds that it has spent in graphs.
        output_s: seconds that it has spent on writing its answer.
        executions: how many times it has run a graph.
        seen: what it has answered, for those who count and keep answers.
    """

    max_memory: int | None = None
    alone: Callable[[], bool] = _always
    abandoned: bool = False
    infer_s: float = 0.0
    output_s: float = 0.0
    executions: int = 0
    seen: list[Any] = field(default_factory=list)

    @contextmanager
    def output(self) -> Iterator[None]:
        """Count the seconds of a block as those of writing the answer."""
        began = time.perf_counter()
        yield
        self.output_s += time.perf_counter() - began

    def check(self) -> None:
        """Raise AbandonedError when nobody waits any longer; to be called wherever work can be left undone."""
        if self.abandoned:
            raise AbandonedError

"""What each model has done so far, as Triton's statistics extension counts it."""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from serving.server.exchange import Call


@dataclass(slots=True)
class Total:
    """How often something happened and how many seconds it took in all."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Count it once more."""
        self.count += 1
        self.seconds += seconds


@dataclass(slots=True)
class Batch:
    """Calls of one number of rows, with their times."""

    rows: int
    input: Total = field(default_factory=Total)
    infer: Total = field(default_factory=Total)
    output: Total = field(default_factory=Total)


@dataclass(slots=True)
class ModelStatistics:
    """What one version of a model has done. But for `fail` only calls that succeeded count.

    Attributes:
        name: of the model.
        version: of the model.
        rows: images that the model saw.
        executions: runs of the graph.
        last_ms: when the last call ended, in milliseconds since 1970; 0 before the first.
        success: calls, from asking for a lane to the written answer.
        fail: calls that raised an error or that nobody waited for any longer.
        queue: waiting for a lane.
        input: reading and decoding.
        infer: in the graph.
        output: writing the answer.
        batches: number of rows -> calls with so many.
    """

    name: str
    version: str
    rows: int = 0
    executions: int = 0
    last_ms: int = 0
    success: Total = field(default_factory=Total)
    fail: Total = field(default_factory=Total)
    queue: Total = field(default_factory=Total)
    input: Total = field(default_factory=Total)
    infer: Total = field(default_factory=Total)
    output: Total = field(default_factory=Total)
    batches: dict[int, Batch] = field(default_factory=dict)


class Statistics:
    """The statistics of all models of a server; lanes add to them from their threads."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], ModelStatistics] = {}
        self._lock = threading.Lock()

    def add(self, call: Call) -> None:
        """Count a call that has ended."""
        with self._lock:
            self._add(call, self._of(call.model, call.version))

    def keep(self, models: Iterable[tuple[str, str]]) -> None:
        """Forget all models but these, by name and version."""
        kept = set(models)
        with self._lock:
            self._models = {key: model for key, model in self._models.items() if key in kept}

    def of(self, models: Iterable[tuple[str, str]]) -> list[ModelStatistics]:
        """Return the statistics of models, by name and version; zeros for one that has done nothing yet."""
        with self._lock:
            return [self._of(name, version) for name, version in models]

    def _of(self, name: str, version: str) -> ModelStatistics:
        key = (name, version)
        if key not in self._models:
            self._models[key] = ModelStatistics(name, version)
        return self._models[key]

    def _add(self, call: Call, model: ModelStatistics) -> None:
        seconds = call.queue_s + call.input_s + call.infer_s + call.output_s
        model.last_ms = time.time_ns() // 1_000_000
        if call.failed:
            model.fail.add(seconds)
            return
        model.rows += call.rows
        model.executions += call.executions
        model.success.add(seconds)
        model.queue.add(call.queue_s)
        # A request has a bounded number of rows, and so has this table.
        batch = model.batches.setdefault(call.rows, Batch(call.rows))
        for totals in (model, batch):
            totals.input.add(call.input_s)
            totals.infer.add(call.infer_s)
            totals.output.add(call.output_s)

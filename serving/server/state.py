"""The state of a running server, shared by all requests and protocols."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter

from serving.runtime.cpus import usable_cpus
from serving.server.metrics import Metrics
from serving.server.repository import ModelRepository

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class ServerState:
    """Shared by all requests.

    Attributes:
        max_body: the largest request body in bytes.
        models: the loaded models.
        failure: why loading failed; "" while it has not.
        draining: a stop was requested; requests are still answered, but no more should come.
        metrics: Prometheus metrics.
        workers: how many requests may decode and compute at the same time; the others wait.
    """

    max_body: int
    models: ModelRepository = field(default_factory=ModelRepository)
    failure: str = ""
    draining: bool = False
    metrics: Metrics = field(default_factory=Metrics)
    workers: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(usable_cpus()))

    @property
    def unready(self) -> str:
        """Why this server wants no requests; "" when it is ready."""
        if self.draining:
            return "the server is stopping"
        return "a model is still loading" if self.models.loading else ""

    async def compute(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that decodes or computes in a worker thread, so that other requests are not held up."""
        return await anyio.to_thread.run_sync(lambda: function(*args, **kwargs), limiter=self.workers)

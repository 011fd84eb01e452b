"""The state of a running server, shared by all requests and protocols: its models, by name and version, and more."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from serving.server.drift import Drift
from serving.server.exchange import CURRENT, Call, Exchange, log_exchange
from serving.server.keys import Keys
from serving.server.lanes import Lanes
from serving.server.limits import Limits
from serving.server.metrics import Metrics
from serving.server.repository.models import ModelRepository
from serving.server.sampling import Sampling
from serving.server.statistics import ModelStatistics
from serving.server.tracing import Tracing


@dataclass(slots=True)
class ServerState:
    """Shared by all requests.

    Attributes:
        limits: what bounds requests.
        models: the loaded models.
        draining: a stop was requested; requests are still answered, but no more should come.
        closed: what comes from now on is refused; what has begun is still answered.
        stopping: the time for that is over; what is not answered is refused.
        metrics: Prometheus metrics.
        keys: who may ask.
        cors_origins: pages of these origins may ask from a browser.
        drain_s: seconds after a stop signal in which new requests are still expected.
        sampling: keeps a share of the pictures; None keeps none.
        drift: what the classifiers see and say.
        calls: the tasks of calls that came otherwise than over HTTP and have no answer yet.
        tracing: sends a trace of each request; None where nobody has configured it.
        body_bytes: bytes of the bodies that are held at this moment.
        lanes: where requests are decoded and computed.
    """

    limits: Limits = field(default_factory=Limits)
    models: ModelRepository = field(default_factory=ModelRepository)
    draining: bool = False
    closed: bool = False
    stopping: bool = False
    metrics: Metrics = field(default_factory=Metrics)
    keys: Keys = field(default_factory=Keys)
    cors_origins: tuple[str, ...] = ()
    drain_s: float = 0.0
    sampling: Sampling | None = None
    drift: Drift = field(init=False)
    calls: set[asyncio.Task[Any]] = field(default_factory=set)
    tracing: Tracing | None = None
    body_bytes: int = 0
    lanes: Lanes = field(init=False)

    def __post_init__(self) -> None:
        self.lanes = Lanes(self.limits, self._ended)
        self.drift = Drift(lambda: self.models.models)
        self.metrics.add(self.drift)
        if self.sampling is not None:
            self.metrics.add(self.sampling)

    def _ended(self, call: Call) -> None:
        self.metrics.inference(call)
        if call.exchange is not None:
            call.exchange.add(call)
        if call.failed:
            return
        for seen in call.seen:
            if self.sampling is not None:
                self.sampling.offer(seen.model, seen.data, seen.faces)
            self.drift.observe(seen.model, seen.faces)

    def refused(self, reason: str) -> None:
        """Count that the request of this task is refused, and note it for its line in the log."""
        self.metrics.refused(reason)
        if exchange := CURRENT.get():
            exchange.reason = reason

    def begin(self, exchange: Exchange) -> None:
        """Begin with a request, in its task."""
        CURRENT.set(exchange)
        self.metrics.begin(exchange.endpoint)

    def finish(self, exchange: Exchange) -> None:
        """Count, log and trace a request that has been answered, or whose client has left."""
        exchange.seconds = time.perf_counter() - exchange.began
        exchange.status = exchange.status or 500
        self.metrics.end(exchange.endpoint, exchange.status, exchange.seconds)
        log_exchange(exchange)
        if self.tracing is not None:
            self.tracing.add(exchange)
        exchange.calls.clear()  # they name it, and would keep it

    def statistics(self, name: str = "", version: str = "") -> list[ModelStatistics]:
        """Return what a model has done, a version of it, or with "" all of them.

        Raises:
            InputError: there is no such model or version.
        """
        if name or version:
            self.models.get(name, version)
        loaded = [(one.name, one.version) for one in self.models.models]
        wanted = [(one, number) for one, number in loaded if name in ("", one) and version in ("", number)]
        return self.metrics.statistics.of(wanted)

    @property
    def failure(self) -> str:
        """Why the server must end: a model that it was told to serve cannot be loaded. "" for no reason."""
        return self.models.failure

    @property
    def hindered(self) -> str:
        """Why no model here answers at this moment; "" when they do."""
        if self.draining:
            return "the server is stopping"
        return "every lane still computes for a request that is over" if self.lanes.blocked else ""

    @property
    def unready(self) -> str:
        """Why this server wants no requests; "" when it is ready."""
        return self.hindered or self.models.unready

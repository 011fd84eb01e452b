"""Prometheus metrics: requests by endpoint and status, what models have done, and the served models."""

from collections.abc import Mapping, Sequence
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.registry import Collector

from serving.server.exchange import Call
from serving.server.histogram import BOUNDS
from serving.server.model_metrics import ModelMetrics, Version, as_counters
from serving.server.statistics import Statistics


class Metrics:
    """The metrics of one server, with those of its process (memory, CPU, open files).

    Attributes:
        statistics: what each model has done.
    """

    def __init__(self) -> None:
        self.statistics = Statistics()
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        requests = Counter("facet_requests", "Answered requests", ["endpoint", "code"], registry=registry)
        seconds = Histogram(
            "facet_request_seconds",
            "From the end of a request's headers to the last byte of its answer",
            ["endpoint"],
            buckets=BOUNDS,
            registry=registry,
        )
        progress = Gauge("facet_requests_in_progress", "Requests that wait or compute", ["endpoint"], registry=registry)
        refused = Counter("facet_refused", "Requests without an answer", ["reason"], registry=registry)
        # Looking up a label takes longer than counting.
        self._requests, self._seconds = cache(requests.labels), cache(seconds.labels)
        self._in_progress, self._refused = cache(progress.labels), cache(refused.labels)
        self._ready = Gauge("facet_ready", "1 while the server wants requests, else 0", registry=registry)
        self._info = Gauge("facet_model_info", "1 for each loaded model", ["name", "version"], registry=registry)
        self._failures = Gauge(
            "facet_model_failures",
            "Sources of models that cannot be read and versions that cannot be loaded",
            registry=registry,
        )
        self._models = ModelMetrics(self.statistics)
        registry.register(self._models)

    def begin(self, endpoint: str) -> None:
        """Count a request as in progress."""
        self._in_progress(endpoint).inc()

    def end(self, endpoint: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._in_progress(endpoint).dec()
        self._requests(endpoint, str(status)).inc()
        self._seconds(endpoint).observe(seconds)

    def inference(self, call: Call) -> None:
        """Count what a model has done for a request."""
        self.statistics.add(call)
        self._models.add(call)

    def refused(self, reason: str) -> None:
        """Count a request that was refused; there are few reasons."""
        self._refused(reason).inc()

    def add(self, collector: Collector) -> None:
        """Add the metrics of something else."""
        self._registry.register(collector)

    def text(self, *, ready: bool, models: Sequence[Version], failures: int, pending: Mapping[Version, int]) -> bytes:
        """Return all metrics in Prometheus' text format.

        Args:
            ready: whether the server wants requests.
            models: names and versions of what is loaded; the series of others are gone.
            failures: sources that cannot be read and versions that cannot be loaded.
            pending: how many requests wait for each.
        """
        self._ready.set(ready)
        self._failures.set(failures)
        self._info.clear()
        for name, version in models:
            self._info.labels(name, version).set(1)
        self._models.keep(models, pending)
        return as_counters(generate_latest(self._registry))


def endpoint_of(path: str) -> str:
    """Return a path's label; with the path itself, callers could create any number of time series."""
    if path in ("/predict", "/invocations"):
        return path[1:]
    if path.startswith("/v2/models/") and path.endswith("/infer"):
        return "infer"
    if path.startswith("/v1/models/") and path.endswith(":predict"):
        return "v1_predict"
    return "predictions" if path.startswith("/predictions/") else "other"

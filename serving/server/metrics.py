"""Prometheus metrics: requests by endpoint and status, their durations, and the served models."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.registry import Collector

from serving.server.lanes import Call
from serving.server.statistics import Statistics

# Seconds, from a tiny model on an idle CPU to the timeout of a client.
_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """The metrics of one server, with those of its process (memory, CPU, open files).

    Attributes:
        statistics: what each model has done.
    """

    def __init__(self) -> None:
        self.statistics = Statistics()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter("facet_requests", "Answered requests", ["endpoint", "code"], registry=self._registry)
        self._seconds = Histogram(
            "facet_request_seconds",
            "From the first byte of a request to the last of its answer",
            ["endpoint"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._in_progress = Gauge(
            "facet_requests_in_progress", "Requests that wait or compute", ["endpoint"], registry=self._registry
        )
        self._calls = Counter(
            "facet_model_calls",
            "Requests that a model worked for",
            ["model", "version", "failed"],
            registry=self._registry,
        )
        self._refused = Counter(
            "facet_refused", "Requests that got no answer, by reason", ["reason"], registry=self._registry
        )
        self._ready = Gauge("facet_ready", "1 while the server wants requests, else 0", registry=self._registry)
        self._model = Gauge("facet_model_info", "1 for each loaded model", ["name", "version"], registry=self._registry)

    def begin(self, path: str) -> None:
        """Count a request for this path as in progress."""
        self._in_progress.labels(_endpoint(path)).inc()

    def end(self, path: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        endpoint = _endpoint(path)
        self._in_progress.labels(endpoint).dec()
        self._requests.labels(endpoint, str(status)).inc()
        self._seconds.labels(endpoint).observe(seconds)

    def inference(self, call: Call) -> None:
        """Count what a model has done for a request."""
        self.statistics.add(call)
        self._calls.labels(call.model, call.version, str(call.failed).lower()).inc()

    def refused(self, reason: str) -> None:
        """Count a request that was refused; there are few reasons."""
        self._refused.labels(reason).inc()

    def add(self, collector: Collector) -> None:
        """Add the metrics of something else."""
        self._registry.register(collector)

    def text(self, *, ready: bool, models: Iterable[tuple[str, str]]) -> bytes:
        """Return all metrics in Prometheus' text format; `models` are the names and versions of what is loaded."""
        self._ready.set(ready)
        for name, version in models:
            self._model.labels(name, version).set(1)
        return generate_latest(self._registry)


def _endpoint(path: str) -> str:
    """Return a request's label; with the path itself, callers could create any number of time series."""
    if path == "/predict":
        return "predict"
    return "infer" if path.startswith("/v2/models/") and path.endswith("/infer") else "other"

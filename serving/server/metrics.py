"""What Prometheus reads: requests by endpoint and status, how long they took, and which model is served."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

# From a tiny model on an idle CPU to the patience of a client, in seconds.
_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """The figures of one server, with those of its process (memory, CPU, open files)."""

    def __init__(self) -> None:
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
        self._ready = Gauge("facet_ready", "1 while the server wants requests, else 0", registry=self._registry)
        self._model = Gauge("facet_model_info", "1 for the loaded model", ["name", "version"], registry=self._registry)

    def begin(self, path: str) -> None:
        """Note that a request for this path has come."""
        self._in_progress.labels(_endpoint(path)).inc()

    def end(self, path: str, status: int, seconds: float) -> None:
        """Note that the request was answered."""
        endpoint = _endpoint(path)
        self._in_progress.labels(endpoint).dec()
        self._requests.labels(endpoint, str(status)).inc()
        self._seconds.labels(endpoint).observe(seconds)

    def text(self, *, ready: bool, model: tuple[str, str] | None) -> bytes:
        """Give everything in Prometheus' text format; `model` is the name and version of what is loaded."""
        self._ready.set(ready)
        if model:
            self._model.labels(*model).set(1)
        return generate_latest(self._registry)


def _endpoint(path: str) -> str:
    """Give a request's label; paths themselves are the callers' choice and would make series without end."""
    if path == "/predict":
        return "predict"
    return "infer" if path.startswith("/v2/models/") and path.endswith("/infer") else "other"

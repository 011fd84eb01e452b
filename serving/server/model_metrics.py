"""What models have done, for Prometheus: our names, Triton's and KServe's, of the models that are loaded."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from serving.server.exchange import Call
from serving.server.histogram import Histogram, buckets, summed
from serving.server.statistics import ModelStatistics, Statistics, Total

Version = tuple[str, str]
"""The name and the version of a model."""

_LABELS = ["model", "version"]
# Ours, KServe's, and what it is.
_TIMES = {
    "request": ("", "From asking for a lane to the written answer"),
    "queue": ("", "Waiting for a lane"),
    "input": ("preprocess", "Reading and decoding"),
    "infer": ("predict", "In the graph"),
    "output": ("postprocess", "Writing the answer"),
}


# Triton's counters.
_TRITON: dict[str, tuple[str, Callable[[ModelStatistics], float]]] = {
    "nv_inference_request_success": ("Requests that were answered", lambda model: model.success.count),
    "nv_inference_request_failure": ("Requests that failed in a model", lambda model: model.fail.count),
    "nv_inference_count": ("Images that the model saw", lambda model: model.rows),
    "nv_inference_exec_count": ("Runs of the graph", lambda model: model.executions),
    "nv_inference_request_duration_us": ("Microseconds in all", lambda model: _us(model.success)),
    "nv_inference_queue_duration_us": ("Microseconds of waiting", lambda model: _us(model.queue)),
    "nv_inference_compute_input_duration_us": ("Microseconds of reading", lambda model: _us(model.input)),
    "nv_inference_compute_infer_duration_us": ("Microseconds in the graph", lambda model: _us(model.infer)),
    "nv_inference_compute_output_duration_us": ("Microseconds of writing", lambda model: _us(model.output)),
}

_Times = dict[str, Histogram]


def _no_times() -> _Times:
    return {name: Histogram() for name in _TIMES}


class ModelMetrics(Collector):
    """The metrics of all models of a server; lanes add to them from their threads.

    Args:
        statistics: what each model has done in all.
    """

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics
        self._times: dict[Version, _Times] = {}
        self._lock = threading.Lock()
        self._loaded: tuple[Version, ...] = ()
        self._pending: Mapping[Version, int] = {}

    def add(self, call: Call) -> None:
        """Count the times of a call that has ended; those of one that failed say nothing about the model."""
        if call.failed:
            return
        took = (call.queue_s, call.input_s, call.infer_s, call.output_s)
        with self._lock:
            times = self._times.get((call.model, call.version))
            if times is None:
                times = self._times[call.model, call.version] = _no_times()
            for histogram, seconds in zip(times.values(), (sum(took), *took), strict=True):
                histogram.add(seconds)

    def keep(self, loaded: Iterable[Version], pending: Mapping[Version, int]) -> None:
        """Forget models that are gone, and note how many requests wait for each of the others."""
        self._loaded, self._pending = tuple(loaded), pending
        self._statistics.keep(self._loaded)
        with self._lock:
            self._times = {version: self._times.get(version) or _no_times() for version in self._loaded}

    def collect(self) -> Iterator[Metric]:
        """Make the families of metrics that a scrape shows."""
        statistics = self._statistics.of(self._loaded)
        calls = CounterMetricFamily(
            "facet_model_calls", "Requests that a model worked for", labels=[*_LABELS, "failed"]
        )
        for model in statistics:
            calls.add_metric([model.name, model.version, "false"], model.success.count)
            calls.add_metric([model.name, model.version, "true"], model.fail.count)
        yield calls
        yield from self._histograms()
        yield from self._triton(statistics)

    def _histograms(self) -> Iterator[Metric]:
        with self._lock:
            for name, (kserve, text) in _TIMES.items():
                family = HistogramMetricFamily(f"facet_model_{name}_seconds", text, labels=_LABELS)
                by_name: dict[str, list[Histogram]] = {}
                for (model, version), times in self._times.items():
                    histogram = times[name]
                    family.add_metric([model, version], buckets(histogram), histogram.seconds)
                    by_name.setdefault(model, []).append(histogram)
                yield family
                if not kserve:
                    continue
                same = HistogramMetricFamily(
                    f"request_{kserve}_seconds", f"{text} (KServe's name)", labels=["model_name"]
                )
                for model, histograms in by_name.items():
                    total = summed(histograms)
                    same.add_metric([model], buckets(total), total.seconds)
                yield same

    def _triton(self, statistics: list[ModelStatistics]) -> Iterator[Metric]:
        pending = GaugeMetricFamily(
            "nv_inference_pending_request_count", "Requests that wait for a lane", labels=_LABELS
        )
        for model in statistics:
            pending.add_metric([model.name, model.version], self._pending.get((model.name, model.version), 0))
        yield pending
        for name, (text, value) in _TRITON.items():
            family = Metric(name, text, "unknown")
            for model in statistics:
                family.add_sample(name, {"model": model.name, "version": model.version}, value(model))
            yield family


def _us(total: Total) -> float:
    return 1e6 * total.seconds


def as_counters(exposition: bytes) -> bytes:
    """Give Triton's counters their type, which prometheus_client has only for names that end in `_total`."""
    return exposition.replace(b" untyped\n", b" counter\n")

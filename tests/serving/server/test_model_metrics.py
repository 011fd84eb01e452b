"""The metrics of models: sums and histograms of calls, under all names, for the models that are loaded."""

import random
from collections.abc import Iterable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.server.exchange import Call
from serving.server.histogram import BOUNDS
from serving.server.metrics import Metrics, endpoint_of

STEPS = ("queue", "input", "infer", "output")


def scrape(metrics: Metrics, models: Iterable[tuple[str, str]], **pending: int) -> dict[tuple[str, ...], float]:
    """Values by name and the labels' values, sorted by their names.

    The parser appends `_total` to every counter's name, which Prometheus does not.
    """
    waiting = {(name, "1"): count for name, count in pending.items()}
    text = metrics.text(ready=True, failures=0, models=list(models), pending=waiting).decode()
    return {
        (
            sample.name if sample.name in text else sample.name.removesuffix("_total"),
            *(value for _, value in sorted(sample.labels.items())),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def call(model: str, version: str, seconds: list[float], rows: int = 2, **more: Any) -> Call:
    return Call(model, version, rows, *seconds, executions=3, failed=more.get("failed", False))


def test_each_time_is_counted_once_under_every_name() -> None:
    draw, metrics = random.Random(0), Metrics()
    calls = [
        call("faces", draw.choice("12"), [draw.choice([0.0004, 0.0005, 0.003, 0.2, 20.0]) for _ in STEPS])
        for _ in range(200)
    ]
    for one in calls:
        metrics.inference(one)
    metrics.inference(call("faces", "1", [9.0] * 4, failed=True))
    values = scrape(metrics, [("faces", "1"), ("faces", "2"), ("idle", "1")], faces=4)
    for version in ("1", "2"):
        own = [one for one in calls if one.version == version]
        times = {step: [getattr(one, f"{step}_s") for one in own] for step in STEPS}
        times["request"] = [sum(one) for one in zip(*times.values(), strict=True)]
        for name, seconds in times.items():
            family = f"facet_model_{name}_seconds"
            assert values[f"{family}_sum", "faces", version] == pytest.approx(sum(seconds))
            assert values[f"{family}_count", "faces", version] == len(own)
            for bound in BOUNDS:
                expected = sum(one <= bound for one in seconds)
                assert values[f"{family}_bucket", str(bound), "faces", version] == expected
            triton = "request" if name == "request" else "queue" if name == "queue" else f"compute_{name}"
            assert values[f"nv_inference_{triton}_duration_us", "faces", version] == pytest.approx(1e6 * sum(seconds))
        assert values["nv_inference_request_success", "faces", version] == len(own)
        assert values["nv_inference_count", "faces", version] == 2 * len(own)
        assert values["nv_inference_exec_count", "faces", version] == 3 * len(own)
        assert values["facet_model_calls_total", "false", "faces", version] == len(own)
    for name, step in {"preprocess": "input", "predict": "infer", "postprocess": "output"}.items():
        assert values[f"request_{name}_seconds_count", "faces"] == len(calls)
        assert values[f"request_{name}_seconds_sum", "faces"] == pytest.approx(
            sum(getattr(one, f"{step}_s") for one in calls)
        )
    assert values["nv_inference_request_failure", "faces", "1"] == 1
    assert values["facet_model_calls_total", "true", "faces", "1"] == 1
    assert values["nv_inference_pending_request_count", "faces", "1"] == 4
    assert values["nv_inference_count", "idle", "1"] == values["request_predict_seconds_count", "idle"] == 0


def test_series_of_a_model_end_with_it() -> None:
    metrics = Metrics()
    for version in range(50):
        metrics.inference(call("faces", str(version), [0.1] * 4))
        values = scrape(metrics, [("faces", str(version))])
        seen = {key for key in values if "faces" in key}
        assert {version_ for key in seen for version_ in key[-1:] if version_ != "faces"} == {str(version)}
        assert values["facet_model_info", "faces", str(version)] == 1
    assert not any("faces" in key for key in scrape(metrics, []))


def test_tritons_counters_have_their_names_and_types() -> None:
    text = Metrics().text(ready=True, failures=0, models=[("m", "1")], pending={}).decode()
    for name in ("request_success", "request_failure", "count", "exec_count", "queue_duration_us"):
        assert f"# TYPE nv_inference_{name} counter\n" in text
        assert f'nv_inference_{name}{{model="m",version="1"}} 0.0\n' in text
    assert "# TYPE nv_inference_pending_request_count gauge\n" in text


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/predict", "predict"),
        ("/v2/models/m/infer", "infer"),
        ("/v2/models/m/versions/3/infer", "infer"),
        ("/v1/models/m:predict", "v1_predict"),
        ("/predictions/m", "predictions"),
        ("/invocations", "invocations"),
        ("/v2/models/m", "other"),
        ("/predictx", "other"),
        ("/", "other"),
    ],
)
def test_endpoints(path: str, endpoint: str) -> None:
    assert endpoint_of(path) == endpoint

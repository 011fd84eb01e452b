"""Numbers as metrics of a pipeline step."""

import json
import math
from pathlib import Path

import pytest
from kfp import dsl

from components.shared.metrics.step import log_metrics


def test_a_number_that_json_lacks_is_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    artifact = dsl.Metrics()
    log_metrics(artifact, {"a": 1, "b": math.nan, "c": math.inf, "d": -math.inf, "e": 0.5}, prefix="val/")
    assert artifact.metadata == {"val/a": 1.0, "val/e": 0.5}
    assert [record.args[0] for record in caplog.records if isinstance(record.args, tuple)] == [
        "val/b",
        "val/c",
        "val/d",
    ]
    json.dumps(artifact.metadata, allow_nan=False)


def test_every_component_logs_its_metrics_here() -> None:
    for file in Path("components").glob("*/component.py"):
        assert "log_metric(" not in file.read_text(), file

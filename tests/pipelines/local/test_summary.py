"""What is said at the end of a local run, from what its steps returned."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.face_detection import FaceDetectionConfig
from pipelines.local import summary
from pipelines.local.run import Run
from pipelines.local.run_folder import OUTPUTS


def put(folder: Path, task: str, values: Mapping[str, Any]) -> None:
    """Write what a task returned, as KFP does."""
    (folder / task).mkdir()
    (folder / task / OUTPUTS).write_text(json.dumps({"parameterValues": values}))


def test_a_metric_without_a_value_does_not_hold_its_floor(tmp_path: Path) -> None:
    """A detector that finds nothing has no precision; no face of 24 pixels leaves `map50_from_24` without a value."""
    metrics = {"map50": 0.0, "recall": 0.0}
    put(tmp_path, "evaluate", {"Output": False, "metrics_json": json.dumps(metrics)})
    put(tmp_path, "register", {"version": "1"})
    floors = {"map50": 0.0, "map50_from_24": 0.0, "precision": 0.0}
    config = FaceDetectionConfig(format="coco", detector_floors=floors)
    lines = list(summary.success(Run(tmp_path, "", "", "", "", {}), config))
    assert [line.split() for line in lines[:4]] == [
        ["map50", "0.0000", "floor", "0.000"],
        ["map50_from_24", "no", "value", "floor", "0.000"],
        ["precision", "no", "value", "floor", "0.000"],
        ["recall", "0.0000"],
    ]
    missed = "map50_from_24 (no value), precision (no value)"
    assert f"               not the champion: below the floor of {missed}" in lines

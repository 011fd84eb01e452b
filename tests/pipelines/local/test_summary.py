"""What is said at the end of a local run, from what its steps returned and wrote."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipelines.classification import ClassificationConfig
from pipelines.emotion import EmotionConfig
from pipelines.face_detection import FaceDetectionConfig
from pipelines.local import summary
from pipelines.local.run import Run
from pipelines.local.run_folder import OUTPUTS
from pipelines.parameters.batch_prediction import BatchPredictionConfig
from pipelines.parameters.pipeline import PipelineConfig

INDENT = " " * 15
STAYS = "Not promoted: the floors do not hold; version 1 stays the champion."
FIRST = "Promoted: '{}' had no champion yet."
QUANTIZED = {
    "macro_f1": 0.91, "macro_f1_fp32": 0.95, "speedup": 3.12, "megabytes": 11.3, "megabytes_fp32": 45.0,
}  # fmt: skip


def put(folder: Path, task: str, metrics: Mapping[str, float] = {}, **values: Any) -> None:
    """Write what a task returned, as KFP does, and its scalars."""
    (folder / task).mkdir()
    written = {"metrics": {"artifacts": [{"name": "metrics", "metadata": metrics}]}} if metrics else {}
    (folder / task / OUTPUTS).write_text(json.dumps({"parameterValues": values, "artifacts": written}))


def evaluated(folder: Path, task: str, metrics: Mapping[str, float]) -> None:
    put(folder, task, Output=True, metrics_json=json.dumps(metrics))


def said(folder: Path, config: PipelineConfig) -> list[str]:
    return list(summary.success(Run(folder, "", "", "", "", {}), config))


def test_a_metric_without_a_value_does_not_hold_its_floor(tmp_path: Path) -> None:
    """A detector that finds nothing has no precision; no face of 24 pixels leaves `map50_from_24` without a value."""
    evaluated(tmp_path, "evaluate", {"map50": 0.0, "recall": 0.0})
    put(tmp_path, "register", version="1")
    put(tmp_path, "promote", promoted=False, reason=STAYS)
    floors = {"map50": 0.0, "map50_from_24": 0.0, "precision": 0.0}
    lines = said(tmp_path, FaceDetectionConfig(format="coco", detector_floors=floors))
    assert [line.split() for line in lines[:4]] == [
        ["map50", "0.0000", "floor", "0.000"],
        ["map50_from_24", "no", "value", "floor", "0.000"],
        ["precision", "no", "value", "floor", "0.000"],
        ["recall", "0.0000"],
    ]
    at = lines.index("model          face_detector, version 1 (candidate)")
    assert lines[at + 1 : at + 4] == [
        f"{INDENT}{STAYS}",
        f"{INDENT}below its floor: map50_from_24 of face_detector, no value, floor 0.000",
        f"{INDENT}below its floor: precision of face_detector, no value, floor 0.000",
    ]
    assert "next: make serve MODEL=models:/face_detector@candidate" in lines


def test_intervals_the_worst_group_and_why_the_champion_moved(tmp_path: Path) -> None:
    evaluated(tmp_path, "evaluate", {"accuracy": 0.9, "macro_f1": 0.85, "mask_f1_worn": 0.9, "top_2_accuracy": 1.0})
    details = tmp_path / "evaluate/details"
    details.mkdir()
    bounds = {"accuracy": 0.9, "accuracy_low": 0.87, "accuracy_high": 0.93, "macro_f1": 0.85}
    worst = {"dimension": "gender", "value": "female", "faces": 90, "accuracy": 0.8, "macro_f1": 0.7}
    (details / "metrics.json").write_text(json.dumps({"metrics": bounds, "without_value": [], "worst_group": worst}))
    put(tmp_path, "register", version="2")
    reason = "Promoted: version 2 is better than the champion, version 1: " + "macro F1 0.8500 against 0.8000, " * 5
    put(tmp_path, "promote", promoted=True, reason=reason.strip())
    lines = said(tmp_path, ClassificationConfig(floors={"macro_f1": 0.8}))
    assert lines[:3] == [
        "  macro_f1  0.8500   floor 0.800",
        "  accuracy  0.9000 (0.8700 to 0.9300)",
        "  worst group: gender female: accuracy 0.8000 of 90 faces",
    ]
    assert f"details        {details}" in lines
    at = lines.index("model          faces, version 2 (candidate and champion)")
    end = lines.index("", at)
    assert " ".join(line.removeprefix(INDENT) for line in lines[at + 1 : end]) == reason.strip()
    assert all(len(line) <= 120 for line in lines[at:end]), "wrapped"
    assert "next: make serve" in lines


def test_a_version_in_another_precision_is_a_model_of_its_own(tmp_path: Path) -> None:
    """Its size, speed and macro F1 are said beside those of the model that it is made of, and it may not be kept."""
    for task in ("evaluate", "evaluate-2"):
        evaluated(tmp_path, task, {"macro_f1": 0.9})
    put(tmp_path, "register", version="1")
    put(tmp_path, "register-2", version="3")
    put(tmp_path, "promote", promoted=True, reason=FIRST.format("faces"))
    put(tmp_path, "promote-2", promoted=False, reason=STAYS)
    put(tmp_path, "quantize", QUANTIZED, Output=False)
    lines = said(tmp_path, ClassificationConfig(precision="int8", max_f1_drop=0.02))
    at = lines.index("model          faces, version 1 (candidate and champion)")
    assert lines[at + 1 : at + 3] == [
        f"{INDENT}Promoted: 'faces' had no champion yet.",
        "int8           faces_int8, version 3 (candidate)",
    ]
    told = " ".join(line.removeprefix(INDENT) for line in lines[at + 3 : at + 6])
    assert told == (
        "macro F1 0.9100 on val against 0.9500 in fp32, a fall by more than max_f1_drop; 3.1 times as fast here, "
        f"11.3 MB against 45.0 {STAYS}"
    )
    assert "next: make serve" in lines, "the model in fp32"


def test_a_detector_is_decided_about_with_its_classifier(tmp_path: Path) -> None:
    evaluated(tmp_path, "evaluate", {"map50": 0.4})
    evaluated(tmp_path, "evaluate-2", {"macro_f1": 0.9})
    put(tmp_path, "register", version="4")
    put(tmp_path, "register-2", version="5", composite_version="6")
    put(tmp_path, "promote", promoted=False, reason=STAYS)
    lines = said(tmp_path, EmotionConfig(format="aihub"))
    at = lines.index("detector       face_detector, version 4 (candidate)")
    assert lines[at : at + 5] == [
        "detector       face_detector, version 4 (candidate)",
        f"{INDENT}below its floor: map50 of face_detector, 0.4000, floor 0.500",
        "model          emotions, version 5 (candidate)",
        "with detector  emotion_photos, version 6 (candidate)",
        f"{INDENT}{STAYS}",
    ]
    assert "next: make serve MODEL=models:/emotion_photos@candidate" in lines


@pytest.mark.parametrize(("format", "command"), [("csv", "next: head "), ("parquet", "read_parquet")])
def test_a_batch_prediction_says_how_much_and_where(format: str, command: str, tmp_path: Path) -> None:  # noqa: A002
    put(tmp_path, "gather-predictions", {"photos": 21, "rows": 20, "failed": 1})
    lines = said(tmp_path, BatchPredictionConfig.model_validate({"table_format": format}))
    assert "predicted      21 photos, 20 rows, 1 failed" in lines
    assert f"table          {tmp_path}/predictions.{format}" in lines
    assert command in lines[-1] and "make" not in lines[-1]

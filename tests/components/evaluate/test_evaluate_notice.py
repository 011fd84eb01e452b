"""Misses and false alarms of the notice about masks, as the endpoint gives it."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from kfp import dsl
from labeled_faces import write_faces
from tiny_model import HEADS, build_model, card_facts

from components.evaluate.component import evaluate as door
from components.evaluate.evaluate import evaluate
from components.shared.dataset.annotations import read_annotations
from components.shared.dataset.predictions import Predictions, read_predictions
from serving.runtime.errors import InputError
from serving.runtime.notice import judge, mask_rule


def faces(
    folder: Path, confidences: Sequence[float], states: Sequence[str], model: Path | None = None
) -> tuple[Path, Path]:
    """Faces of a mask model that says `incorrect` or `absent` with these probabilities in sum, `worn` else."""
    predictions, annotations = write_faces(
        folder, "mask", [{"mask": state} for state in states], [0] * len(states),
        probabilities=[1 - one for one in confidences], person=[f"p{n // 2}" for n in range(len(states))],
        model=model,
    )  # fmt: skip
    return predictions, annotations


def write_model(folder: Path, threshold: float | None) -> Path:
    facts = card_facts(label_space="mask", heads=[{"name": "mask", "labels": HEADS["mask"]}])
    if threshold is not None:
        reasons = {"incorrect": ["incorrect"], "absent": ["absent"]}
        facts["notify"] = {"head": "mask", "reasons": reasons, "threshold": threshold}
    folder.mkdir()
    (folder / "model.onnx").write_bytes(build_model(facts))
    return folder


@pytest.mark.parametrize("threshold", [None, 0.25, 0.5, 0.8])
def test_rates_at_the_threshold_of_the_card(threshold: float | None, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    states = ["worn", "incorrect", "absent", "worn"] * 25
    confidences = np.clip(rng.normal([0.2 if state == "worn" else 0.6 for state in states], 0.2), 0.01, 0.99).tolist()
    model = write_model(tmp_path / "model", threshold)
    predictions, annotations = faces(tmp_path, confidences, states, model)
    result = evaluate(predictions, annotations, tmp_path / "report", details=tmp_path / "details", model=model)
    table = read_predictions(predictions)
    assert isinstance(table, Predictions)
    rule = mask_rule(table.space.heads, 0.5 if threshold is None else threshold)
    assert rule is not None
    noticed = [
        judge(rule, {"mask": dict(zip(HEADS["mask"], row.tolist(), strict=True))}).notify for row in table.heads["mask"]
    ]
    pairs = list(zip(states, noticed, strict=True))
    missed = sum(state != "worn" and not said for state, said in pairs)
    alarms = sum(state == "worn" and said for state, said in pairs)
    assert (result.metrics["notify_miss_rate"], result.metrics["notify_false_alarm_rate"]) == (missed / 50, alarms / 50)
    values = json.loads((tmp_path / "details/metrics.json").read_text())["metrics"]
    assert values["notify_miss_rate_low"] <= missed / 50 <= values["notify_miss_rate_high"]
    curve = result.roc
    assert curve is not None and np.isfinite(curve.thresholds).all() and len(curve.x) == len(set(confidences)) + 1
    at = np.flatnonzero(curve.thresholds >= rule.threshold)[-1]
    assert (curve.x[at], curve.y[at]) == (pytest.approx(alarms / 50), pytest.approx(1 - missed / 50))
    page = (tmp_path / "report").read_text()
    assert f"At the threshold {rule.threshold:g}, the model&#39;s:" in page and f"{missed} of 50" in page


def test_without_a_model_the_default_is_said(tmp_path: Path) -> None:
    evaluate(*faces(tmp_path, [0.5, 0.4, 0.6], ["absent", "absent", "worn"]), tmp_path / "report")
    assert "At the threshold 0.5, the default, since no model was given:" in (tmp_path / "report").read_text()


def test_rates_without_a_face_have_no_value_and_no_curve(tmp_path: Path) -> None:
    result = evaluate(*faces(tmp_path, [0.5, 0.4], ["worn", "worn"]), tmp_path / "report", details=tmp_path / "details")
    assert result.metrics["notify_false_alarm_rate"] == 0.5 and "notify_miss_rate" not in result.metrics
    assert "notify_miss_rate" in json.loads((tmp_path / "details/metrics.json").read_text())["without_value"]
    assert "There is no curve" in (tmp_path / "report").read_text() and result.roc is None


def test_a_model_of_other_labels_is_refused(tmp_path: Path) -> None:
    predictions, annotations = write_faces(tmp_path, "gender", [{"gender": "male"}, {"gender": "female"}], [0, 1])
    with pytest.raises(InputError, match="not a classifier of 'gender'"):
        evaluate(predictions, annotations, tmp_path / "report", model=write_model(tmp_path / "model", None))
    (tmp_path / "folds").mkdir()
    result = evaluate(predictions, annotations, tmp_path / "report", model=tmp_path / "folds")
    assert "notify_miss_rate" not in result.metrics and result.roc is not None, "two classes are a decision too"


def test_kfp_takes_the_curve_beside_the_matrix(tmp_path: Path) -> None:
    """Of a decision between two; its thresholds are numbers, where scikit-learn begins with infinity."""
    states = ["worn", "absent"] * 10
    predictions, annotations = faces(tmp_path, np.linspace(0.1, 0.9, 20).tolist(), states)
    assert len(read_annotations(annotations).images) == 20
    confusion = dsl.ClassificationMetrics(uri="")
    door.python_func(
        predictions=dsl.Dataset(uri=str(predictions)),
        annotations=dsl.Dataset(uri=str(annotations)),
        metrics=dsl.Metrics(uri=""),
        confusion=confusion,
        report=dsl.HTML(uri=str(tmp_path / "report")),
        details=dsl.Artifact(uri=str(tmp_path / "details")),
    )
    assert len(confusion.metadata["confusionMatrix"]["rows"]) == 3
    points = confusion.metadata["confidenceMetrics"]
    assert points[0]["recall"] == 0 and points[-1] == {
        "confidenceThreshold": pytest.approx(0.1), "recall": 1.0, "falsePositiveRate": 1.0
    }  # fmt: skip
    json.dumps(confusion.metadata, allow_nan=False)

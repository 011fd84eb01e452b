"""Predictions and annotations in; metrics, a report and a verdict on the floors out."""

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from components.evaluate.join import Joined, join
from components.evaluate.report import EvaluationReport, render_report
from components.evaluate.scores import Scores, score_predictions
from components.shared.dataset.annotations import Annotations, digest, read_annotations
from components.shared.dataset.predictions import Predictions, read_predictions
from components.shared.output_file import write_whole
from components.shared.tracking.runs import resume_run
from serving.runtime.errors import InputError

_LOWER_IS_BETTER = ("log_loss", "calibration_error")


@dataclass(frozen=True, slots=True)
class FloorMiss:
    """A metric that is below its floor."""

    metric: str
    value: float
    floor: float


@dataclass(frozen=True)
class Evaluation:
    """Scalar metrics by name; `confusion` has a row per true and a column per predicted class of `labels`."""

    metrics: dict[str, float]
    labels: tuple[str, ...]
    confusion: list[list[int]]
    passed: bool
    failed_floors: tuple[FloorMiss, ...]


def evaluate(
    predictions: Path,
    annotations: Path,
    report: Path,
    *,
    floors: Mapping[str, float] | None = None,
    run_id: str = "",
    max_missing: int = 0,
) -> Evaluation:
    """Score predictions against the labels in the annotations and write an HTML report.

    Faces without a label are left out and counted. The metrics and the report also go to the
    MLflow run `run_id`, when there is one.

    Args:
        predictions: CSV of the predict step.
        annotations: the annotations that were predicted.
        report: the HTML file to write.
        floors: lowest accepted value by metric name; all of them must hold. None set is a pass.
        run_id: MLflow run to log to; "" for none.
        max_missing: how many faces of the predicted splits may lack a prediction.

    Raises:
        InputError: rows are missing, extra or double; a floor's metric is unknown or its value is no number.
    """
    if report.resolve() in (predictions.resolve(), annotations.resolve()):
        raise InputError(f"{report}: the report would replace an input; name another file")
    table, truth_file = read_predictions(predictions), read_annotations(annotations)
    joined = join(table, truth_file, max_missing=max_missing)
    scores = score_predictions(table, joined)
    metrics = scores.scalars()
    limits = _checked_floors(floors or {}, metrics)
    missed = tuple(FloorMiss(name, metrics[name], floor) for name, floor in limits.items() if metrics[name] < floor)

    text = render_report(_report(table, truth_file, joined, digest(annotations), limits, scores))
    write_whole(report, text)
    _log(run_id, joined.splits, metrics, text)
    return Evaluation(metrics, table.space.class_labels, scores.classes.confusion.tolist(), not missed, missed)


def _checked_floors(floors: Mapping[str, float], metrics: Mapping[str, float]) -> dict[str, float]:
    known = sorted(name for name in metrics if name not in _LOWER_IS_BETTER)
    checked = {}
    for name, floor in sorted(floors.items()):
        if name not in known:
            raise InputError(f"floors: no metric '{name}' can have a floor; known: {', '.join(known)}")
        if isinstance(floor, bool) or not isinstance(floor, int | float) or not math.isfinite(floor):
            raise InputError(f"floors: the floor of '{name}' must be a number such as 0.8, got {floor!r}")
        checked[name] = float(floor)
    return checked


def _report(
    table: Predictions,
    annotations: Annotations,
    joined: Joined,
    dataset: str,
    floors: Mapping[str, float],
    scores: Scores,
) -> EvaluationReport:
    return EvaluationReport(
        model=table.model,
        version=table.version,
        space=table.space,
        splits=joined.splits,
        faces=len(joined.rows),
        images=joined.images,
        unlabeled=joined.unlabeled,
        missing=joined.missing,
        dataset=dataset,
        leaks=bool(annotations.info.get("leaks", False)),
        floors=floors,
        scores=scores,
    )


def _log(run_id: str, splits: tuple[str, ...], metrics: Mapping[str, float], text: str) -> None:
    run = resume_run(run_id)
    if not run.run_id:
        return
    prefix = "+".join(split.capitalize() for split in splits) or "Test"
    run.metrics({f"{prefix}/{name}": value for name, value in metrics.items()})
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "report.html")
        page.write_text(text, encoding="utf-8")
        run.artifact(page, "evaluation")

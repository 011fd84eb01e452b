"""Evaluation of predictions: metrics, an HTML report, and whether the floors hold."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from components.evaluate.detectors import score_detections
from components.evaluate.join import join
from components.evaluate.report import Evaluated, render_report
from components.evaluate.same_pictures import check_pictures
from components.evaluate.scored import Scored, Truth
from components.evaluate.scores import score_predictions
from components.evaluate.truth_table import is_truth_table, read_truth_table
from components.shared.dataset.annotations import digest, read_annotations
from components.shared.dataset.marginal import marginal
from components.shared.dataset.predictions import Predictions, read_predictions
from components.shared.metrics.classification import metric_names
from components.shared.tracking.runs import resume_run
from serving.runtime.errors import InputError
from serving.runtime.output import check_output, write_text
from serving.runtime.validation import known

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        metrics: scalar metrics by name.
        labels: the classes.
        confusion: a row per true and a column per predicted class of `labels`.
        missed: the metrics that are below their floor, sorted.
        others_hold: whether the floors of the models hold that this one is served with.
    """

    metrics: dict[str, float]
    labels: tuple[str, ...]
    confusion: list[list[int]]
    missed: tuple[str, ...]
    others_hold: bool = True

    @property
    def passed(self) -> bool:
        """Whether all floors hold, those of the others too."""
        return not self.missed and self.others_hold


def evaluate(
    predictions: Path,
    annotations: Path,
    report: Path,
    *,
    floors: Mapping[str, float] | None = None,
    run_id: str = "",
    max_missing: int = 0,
    images: Path | None = None,
    others_hold: bool = True,
) -> Evaluation:
    """Score predictions against the labels in the annotations and write an HTML report.

    Faces without a label are left out and counted. A detector is scored against the boxes that were annotated. The
    metrics and the report also go to the MLflow run `run_id`, when there is one; a server or store that fails then is a
    warning.

    Args:
        predictions: CSV of the predict step.
        annotations: the annotations that were predicted, or a table of class numbers (see `read_truth_table`).
        report: the HTML file to write.
        floors: lowest accepted value by metric name; all of them must hold. without floors it passes. A metric that has
            no value, such as the precision of a detector that finds nothing, does not hold its floor.
        run_id: MLflow run to log to; "" for none.
        max_missing: how many faces of the predicted splits may lack a prediction; of a detector how many images.
        images: the image archives, for the pictures in the report of a detector; None shows none.
        others_hold: whether the floors of the models hold that this one is served with, such as its detector.

    Raises:
        InputError: the predictions are of other pictures; rows are missing, extra or double; a floor's metric is
            unknown or its value is not a number; there is no such MLflow run.
        StorageError: the MLflow server refuses the credentials.
    """
    check_output(report, predictions, annotations, *([images] if images else []))
    run = resume_run(run_id, tolerant=True)
    table = read_predictions(predictions)
    data = read_truth_table(annotations, table) if is_truth_table(annotations) else read_annotations(annotations)
    pictures = check_pictures(table, data, predictions, annotations)
    truth = Truth(data, digest(annotations), pictures, max_missing, images)
    scored = SCORERS[table.task](table, truth)
    metrics = scored.metrics
    limits = _checked_floors(floors or {}, scored.floor_names)
    missed = tuple(name for name, floor in limits.items() if not metrics.get(name, -math.inf) >= floor)
    for name in missed:
        value = f"{metrics[name]:.4f}" if name in metrics else "has no value, which"
        _log.warning("floor missed: %s %s is below %g", name, value, limits[name])
    if not others_hold:
        own = "" if missed else "its own floors hold, but "
        _log.warning("not passed: %sthe floors of a model that it is served with do not hold", own)
    page = scored.page(limits, missed)
    write_text(report, page)
    prefix = "+".join(split.capitalize() for split in scored.splits) or "Test"
    run.metrics({f"{prefix}/{name}": value for name, value in metrics.items()})
    run.params({"floors": limits})
    run.text(page, "evaluation/report.html")
    return Evaluation(metrics, scored.labels, scored.confusion, missed, others_hold)


def _score_classification(table: Predictions, truth: Truth) -> Scored:
    table = marginal(table, truth.annotations)
    joined = join(table, truth.annotations, max_missing=truth.max_missing)
    scores = score_predictions(table, joined)
    leaks = truth.annotations.info.leaks
    page = partial(render_report, Evaluated(table, joined, scores, truth.dataset, leaks, truth.pictures))
    confusion = scores.classes.confusion.tolist()
    return Scored(scores.scalars(), metric_names(table.space), joined.splits, table.space.class_labels, confusion, page)


SCORERS: Mapping[str, Callable[[Any, Truth], Scored]] = {
    "classification": _score_classification,
    "detection": score_detections,
}
"""Task of the predictions -> function of them and of the truth."""


def _checked_floors(floors: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    checked = {}
    for name, floor in sorted(floors.items()):
        if name not in names:
            raise InputError(f"floors: no metric '{name}' can have a floor{known(name, names)}")
        if isinstance(floor, bool) or not isinstance(floor, int | float) or not math.isfinite(floor):
            raise InputError(f"floors: the floor of '{name}' must be a number such as 0.8, got {floor!r}")
        checked[name] = float(floor)
    return checked

"""Evaluation of predictions: metrics, an HTML report, files of details, and whether the floors hold."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.evaluate.answers import certain_predictions
from components.evaluate.classifiers import score_classification
from components.evaluate.detectors import score_detections
from components.evaluate.scored import Scored, Truth
from components.evaluate.truth_table import DEFAULT, is_truth_table, read_truth_table
from components.shared.dataset.annotations import digest, read_annotations
from components.shared.dataset.answers import is_answer_table
from components.shared.dataset.predictions import read_predictions
from components.shared.dataset.same_pictures import check_pictures
from components.shared.metrics.bootstrap import RESAMPLES
from components.shared.metrics.classification import LOWER_IS_BETTER
from components.shared.metrics.ranking import Curve
from components.shared.tracking.runs import resume_run
from serving.runtime.errors import InputError
from serving.runtime.output import check_outputs, whole_folder, write_text
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
        roc: the ROC curve of a decision between two; None where there is none.
    """

    metrics: dict[str, float]
    labels: tuple[str, ...]
    confusion: list[list[int]]
    missed: tuple[str, ...]
    others_hold: bool = True
    roc: Curve | None = None

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
    details: Path | None = None,
    model: Path | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    label_space: str = DEFAULT,
) -> Evaluation:
    """Score predictions against the labels in the annotations, write an HTML report and the details.

    Faces without a label are left out and counted. A detector is scored against the boxes that were annotated. The
    metrics and the report also go to the MLflow run `run_id`, when there is one; a server or store that fails then is a
    warning.

    Args:
        predictions: CSV of the predict step; with a table of class numbers as truth also such a table (see
            `read_class_numbers`), which has no probabilities.
        annotations: the annotations that were predicted, or a table of class numbers (see `read_truth_table`).
        report: the HTML file to write.
        floors: lowest accepted value by metric name; all of them must hold. without floors it passes. A metric that has
            no value, such as the precision of a detector that finds nothing, does not hold its floor.
        run_id: MLflow run to log to; "" for none.
        max_missing: how many faces of the predicted splits may lack a prediction; of a detector how many images.
        images: the image archives, for the pictures in the report; None shows none.
        others_hold: whether the floors of the models hold that this one is served with, such as its detector.
        details: the folder for metrics, tables, curves and pictures; None writes none. It must not exist, or be empty.
        model: folder of the exported model, for its threshold of notices and for where it looked; None does without.
        resamples: how often persons are drawn anew for the intervals; 0 for no intervals.
        seed: of these draws.
        label_space: of the numbers where the predictions are a table of class numbers; any others have their own.

    Raises:
        InputError: the predictions are of other pictures; rows are missing, extra or double; a floor's metric is
            unknown or its value is not a number; there is no such MLflow run.
        StorageError: the MLflow server refuses the credentials.
    """
    given = [predictions, annotations, *(path for path in (images, model) if path is not None)]
    check_outputs([report, *([details] if details else [])], *given)
    if resamples < 0:
        raise InputError(f"resamples must be 0 or more, got {resamples}")
    run = resume_run(run_id, tolerant=True)
    answers, numbers = is_answer_table(predictions), is_truth_table(annotations)
    if answers and not numbers:
        raise InputError(
            f"{predictions}: a table of class numbers is scored against a table of class numbers such as gt.csv, and "
            f"{annotations} is none; predict with `facet step predict` to score against annotations"
        )
    with whole_folder(details) if details is not None else nullcontext() as folder:
        table = certain_predictions(predictions, label_space) if answers else read_predictions(predictions)
        if numbers:
            data = read_truth_table(annotations, table, predictions, max_missing=max_missing)
            pictures = "joined by their names"
        else:
            data = read_annotations(annotations)
            pictures = check_pictures(table, data, predictions, annotations)
        truth = Truth(
            data, digest(annotations), pictures, max_missing, images, model, resamples, seed, answers,
            answer_table=numbers,
        )  # fmt: skip
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
        if folder is not None:
            scored.write_details(folder)
        write_text(report, page)
    prefix = "+".join(split.capitalize() for split in scored.splits) or "Test"
    run.metrics({f"{prefix}/{name}": value for name, value in metrics.items()})
    run.params({"floors": limits})
    run.text(page, "evaluation/report.html")
    return Evaluation(metrics, scored.labels, scored.confusion, missed, others_hold, scored.roc)


SCORERS: Mapping[str, Callable[[Any, Truth], Scored]] = {
    "classification": score_classification,
    "detection": score_detections,
}
"""Task of the predictions -> function of them and of the truth."""


def _checked_floors(floors: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    checked = {}
    for name, floor in sorted(floors.items()):
        if name in LOWER_IS_BETTER:
            raise InputError(f"floors: less of '{name}' is better, so no lowest value fits it{known(name, names)}")
        if name not in names:
            raise InputError(f"floors: no metric '{name}' can have a floor{known(name, names)}")
        if isinstance(floor, bool) or not isinstance(floor, int | float) or not math.isfinite(floor):
            raise InputError(f"floors: the floor of '{name}' must be a number such as 0.8, got {floor!r}")
        checked[name] = float(floor)
    return checked

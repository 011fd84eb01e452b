"""Scores of the predictions of a classifier against the labels of its faces."""

import json
import logging
from functools import partial
from pathlib import Path

from components.evaluate.answers import result_of
from components.evaluate.details import CLASSES, METRICS, RESULT, write_confusion, write_json, write_table
from components.evaluate.join import join
from components.evaluate.report import Evaluated, render_report
from components.evaluate.scored import Scored, Truth
from components.evaluate.scores import score_predictions
from components.evaluate.subjects import person_numbers, subjects
from components.shared.dataset.marginal import marginal
from components.shared.dataset.predictions import Predictions
from components.shared.metrics.classification import metric_names

_log = logging.getLogger(__name__)


def score_classification(predicted: Predictions, truth: Truth) -> Scored:
    """Score classes and probabilities."""
    table = marginal(predicted, truth.annotations)
    joined = join(table, truth.annotations, max_missing=truth.max_missing)
    faces = subjects(table, joined, truth.annotations)
    scores = score_predictions(
        table, joined, person_numbers(faces), answers=truth.answers, resamples=truth.resamples, seed=truth.seed
    )
    metrics = scores.scalars()
    if scores.undefined():
        _log.warning("no value, for want of such faces: %s", ", ".join(scores.undefined()))
    if truth.table_of_numbers:
        _log.info("result: %s", json.dumps(result_of(scores.classes)))
    leaks = truth.annotations.info.leaks
    evaluated = Evaluated(table, joined, scores, truth.dataset, leaks, truth.pictures)

    def write_details(folder: Path) -> None:
        intervals = {name: {"low": one.low, "high": one.high} for name, one in scores.intervals.items()}
        flat = {f"{name}_{end}": value for name, ends in intervals.items() for end, value in ends.items()}
        write_json(folder / METRICS, {**metrics, **flat})
        labels = table.space.class_labels
        write_table(
            folder / CLASSES,
            ("class", "label", "faces", "predicted", "precision", "recall", "f1"),
            [
                (number, label, one.support, one.predicted, one.precision, one.recall, one.f1)
                for number, (label, one) in enumerate(zip(labels, scores.classes.classes, strict=True))
            ],
        )
        write_confusion(folder, labels, scores.classes.confusion.tolist())
        if truth.table_of_numbers:
            write_json(folder / RESULT, result_of(scores.classes))

    return Scored(
        metrics,
        metric_names(table.space),
        joined.splits,
        table.space.class_labels,
        scores.classes.confusion.tolist(),
        partial(render_report, evaluated),
        write_details,
    )

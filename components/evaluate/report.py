"""The pages of the evaluation and of the cross-validation, rendered from the templates beside this file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.evaluate.join import Joined
from components.evaluate.scores import Scores, Spread
from components.shared.dataset.predictions import Predictions
from components.shared.report.plots import reliability_diagram
from components.shared.report.rendering import render

_CONFUSIONS = 10
_MAIN_METRICS = ("macro_f1", "accuracy", "log_loss", "calibration_error")


@dataclass(frozen=True)
class Evaluated:
    """Predictions, their join with the annotations, and their scores.

    `dataset` is the digest of the annotations; with `leaks` their splits do not keep persons apart; `pictures` says how
    the pictures of both were compared.
    """

    table: Predictions
    joined: Joined
    scores: Scores
    dataset: str
    leaks: bool
    pictures: str = ""


@dataclass(frozen=True)
class Fold:
    """An evaluated fold: its number, its faces, and its metrics by name."""

    number: int
    faces: int
    metrics: Mapping[str, float]


def render_report(evaluated: Evaluated, floors: Mapping[str, float], missed: Sequence[str]) -> str:
    """Return the page of an evaluation; equal arguments give equal text.

    Args:
        evaluated: the scores and what they are about.
        floors: the lowest accepted value by metric.
        missed: the metrics below their floor.
    """
    probabilities = evaluated.scores.probabilities
    return _render(
        "evaluate/report.html.jinja",
        evaluated,
        metrics=evaluated.scores.scalars(),
        tiles=[*_MAIN_METRICS, *(name for name in floors if name not in _MAIN_METRICS)],
        floors=floors,
        missed=missed,
        reliability=probabilities and reliability_diagram(probabilities.calibration),
    )


def render_folds_report(evaluated: Evaluated, folds: Sequence[Fold], total: int, spreads: Mapping[str, Spread]) -> str:
    """Return the page of a cross-validation; equal arguments give equal text.

    Args:
        evaluated: the scores of all faces together.
        folds: the evaluated folds.
        total: how many folds the annotations have.
        spreads: mean and spread over the folds by metric.
    """
    return _render(
        "evaluate/folds_report.html.jinja", evaluated, tiles=_MAIN_METRICS, folds=folds, total=total, spreads=spreads
    )


def _render(template: str, evaluated: Evaluated, **context: object) -> str:
    confusions = most_confused(evaluated.table.space.class_labels, evaluated.scores.classes.confusion)
    return render(template, evaluated=evaluated, metric_name=metric_name, most_confused=confusions, **context)


def metric_name(metric: str) -> str:
    """Return the name of a metric for people: Macro F1 for macro_f1."""
    words = metric.replace("_", " ").replace(" f1", " F1")
    return words[0].upper() + words[1:]


@dataclass(frozen=True)
class Confusion:
    """How many faces of the class `truth` were given to the class `predicted`, of all its faces."""

    truth: str
    predicted: str
    count: int
    of: int


def most_confused(labels: Sequence[str], matrix: NDArray[np.int64]) -> list[Confusion]:
    """Return the ten largest off-diagonal entries of a confusion matrix (K, K), rows truth, largest first."""
    errors = matrix * ~np.eye(len(labels), dtype=bool)
    order = np.argsort(-errors, axis=None, kind="stable")[:_CONFUSIONS]
    cells = [divmod(index, len(labels)) for index in order.tolist()]
    return [
        Confusion(labels[truth], labels[predicted], int(errors[truth, predicted]), int(matrix[truth].sum()))
        for truth, predicted in cells
        if errors[truth, predicted]
    ]

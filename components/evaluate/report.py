"""The evaluation report, rendered from report.html.jinja."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.evaluate.scores import Scores
from components.shared.dataset.label_spaces import LabelSpace
from components.shared.report.plots import reliability_diagram
from components.shared.report.rendering import render

_CONFUSIONS = 10
MAIN_METRICS = ("macro_f1", "accuracy", "log_loss", "calibration_error")


@dataclass(frozen=True)
class EvaluationReport:
    """What the report is about.

    Attributes:
        model: the name of the model, and likewise `version`, the start of its file's sha256; may be "".
        space: the label space.
        splits: the splits that were evaluated; none for images without a split.
        faces: the faces that were scored, and `images` that they are in.
        unlabeled: the faces left out without a label, and likewise `missing` those without a prediction.
        dataset: the digest of the annotations.
        leaks: the splits do not keep persons apart.
        floors: the lowest accepted value by metric.
        scores: all scores.
    """

    model: str
    version: str
    space: LabelSpace
    splits: tuple[str, ...]
    faces: int
    images: int
    unlabeled: int
    missing: int
    dataset: str
    leaks: bool
    floors: Mapping[str, float]
    scores: Scores


def render_report(report: EvaluationReport) -> str:
    """Return the HTML page; equal arguments give equal text."""
    metrics = report.scores.scalars()
    return render(
        "evaluate/report.html.jinja",
        report=report,
        metrics=metrics,
        tiles=[*MAIN_METRICS, *(name for name in report.floors if name not in MAIN_METRICS)],
        missed=[name for name, floor in report.floors.items() if metrics[name] < floor],
        metric_name=metric_name,
        most_confused=most_confused(report.space.class_labels, report.scores.classes.confusion),
        reliability=reliability_diagram(report.scores.calibration),
    )


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

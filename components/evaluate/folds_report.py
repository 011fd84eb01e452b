"""The cross-validation report, rendered from folds_report.html.jinja."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.evaluate.report import MAIN_METRICS, metric_name, most_confused
from components.evaluate.scores import Scores
from components.evaluate.spread import Spread
from components.shared.dataset.label_spaces import LabelSpace
from components.shared.report.rendering import render


@dataclass(frozen=True)
class Fold:
    """An evaluated fold: its number, its faces, and its metrics by name."""

    number: int
    faces: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class FoldsReport:
    """What the report is about.

    Attributes:
        model: the name of the model.
        space: the label space.
        total: how many folds the annotations have; `folds` are those that were evaluated.
        faces: the faces of all evaluated folds, and `images` that they are in.
        dataset: the digest of the annotations.
        leaks: the folds do not keep persons apart.
        spreads: mean and spread over the folds by metric.
        scores: the scores of all faces together.
    """

    model: str
    space: LabelSpace
    total: int
    folds: Sequence[Fold]
    faces: int
    images: int
    dataset: str
    leaks: bool
    spreads: Mapping[str, Spread]
    scores: Scores


def render_folds_report(report: FoldsReport) -> str:
    """Return the HTML page; equal arguments give equal text."""
    return render(
        "evaluate/folds_report.html.jinja",
        report=report,
        tiles=MAIN_METRICS,
        metric_name=metric_name,
        most_confused=most_confused(report.space.class_labels, report.scores.classes.confusion),
    )

"""The pages of the evaluation and of the cross-validation, rendered from the templates beside this file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from components.evaluate.fairness import Fairness
from components.evaluate.mistakes import Mistake
from components.evaluate.notify import NoticeScores
from components.evaluate.scores import Scores, Spread
from components.evaluate.slices import Slices
from components.shared.dataset.join import Joined
from components.shared.dataset.predictions import Predictions
from components.shared.metrics.bootstrap import Interval
from components.shared.metrics.ranking import Curve
from components.shared.report.notice import misses_by_false_alarms
from components.shared.report.plots import Plot, lines, reliability_diagram
from components.shared.report.rendering import printable, render
from components.shared.report.thumbnails import Thumbnail

_CONFUSIONS = 10
_MAIN_METRICS = ("macro_f1", "accuracy", "weighted_f1", "macro_roc_auc", "log_loss", "calibration_error")
_POINTS = 80
_CURVES, _PERFECT = 5, 0.9995
"""Curves of one plot, and the average precision from which they lie on its edge."""
_WORDS = {"f1": "F1", "roc": "ROC", "auc": "AUC"}


@dataclass(frozen=True, slots=True)
class Mistakes:
    """The worst mistakes of `total`, the pictures that cannot be shown, and why there are none at all, if so.

    `features` says that where the model looked is its feature map.
    """

    worst: Sequence[Mistake] = ()
    total: int = 0
    failed: Sequence[tuple[str, str]] = ()
    without: str = ""
    features: bool = False

    @property
    def explained(self) -> bool:
        """Whether some are shown with where the model looked."""
        return any(one.looked is not None for one in self.worst)

    def thumbnails(self) -> list[Thumbnail]:
        """Return the pictures of the page with their captions."""
        return [
            Thumbnail(
                one.uri,
                printable(one.subject.image.file_name, 120),
                [
                    f"is {printable(one.truth, 40)}",
                    f"got {printable(one.guess, 40)}, {one.probability:.2f}",
                    printable(one.subject.image.file_name, 40),
                ],
            )
            for one in self.worst
        ]


@dataclass(frozen=True)
class Evaluated:
    """Predictions, their join with the annotations, and their scores.

    Attributes:
        table: the predictions.
        joined: their rows that have a label.
        scores: the scores of these.
        dataset: the digest of the annotations.
        leaks: their splits do not keep persons apart.
        pictures: how the pictures of both were compared.
        slices: the scores of groups of faces.
        fairness: how even they are.
        notices: those of notices about masks; None where the model gives none.
        mistakes: the worst mistakes.
    """

    table: Predictions
    joined: Joined
    scores: Scores
    dataset: str
    leaks: bool
    pictures: str = ""
    slices: Slices = field(default_factory=lambda: Slices([], []))
    fairness: Fairness = field(default_factory=lambda: Fairness((), ()))
    notices: NoticeScores | None = None
    mistakes: Mistakes = field(default_factory=Mistakes)

    def intervals(self) -> dict[str, Interval]:
        """Return the confidence intervals that there are by metric name."""
        return {**self.scores.intervals, **(self.notices.rates.intervals() if self.notices is not None else {})}


@dataclass(frozen=True)
class Fold:
    """An evaluated fold: its number, its faces, and its metrics by name."""

    number: int
    faces: int
    metrics: Mapping[str, float]


def render_report(
    evaluated: Evaluated, metrics: Mapping[str, float], floors: Mapping[str, float], missed: Sequence[str]
) -> str:
    """Return the page of an evaluation; equal arguments give equal text.

    Args:
        evaluated: the scores and what they are about.
        metrics: the scalar metrics that have a value.
        floors: the lowest accepted value by metric.
        missed: the metrics below their floor.
    """
    probabilities = evaluated.scores.probabilities
    main = [name for name in _MAIN_METRICS if name in metrics]
    roc, precision, drawn = _class_curves(evaluated)
    return _render(
        "evaluate/report.html.jinja",
        evaluated,
        metrics=metrics,
        tiles=[*main, *(name for name in floors if name not in main)],
        floors=floors,
        missed=missed,
        reliability=probabilities and reliability_diagram(probabilities.calibration),
        roc=roc,
        precision=precision,
        drawn=drawn,
        notice=evaluated.notices and misses_by_false_alarms(evaluated.notices.rates, evaluated.notices.roc),
        photos=evaluated.mistakes.thumbnails(),
    )


def render_folds_report(evaluated: Evaluated, folds: Sequence[Fold], total: int, spreads: Mapping[str, Spread]) -> str:
    """Return the page of a cross-validation; equal arguments give equal text.

    Args:
        evaluated: the scores of all faces together.
        folds: the evaluated folds.
        total: how many folds the annotations have.
        spreads: mean and spread over the folds by metric.
    """
    tiles = [name for name in _MAIN_METRICS if name in spreads]
    lacking = sorted({name for fold in folds for name in fold.metrics} - set(spreads))
    return _render(
        "evaluate/folds_report.html.jinja",
        evaluated,
        tiles=tiles,
        folds=folds,
        total=total,
        spreads=spreads,
        lacking=lacking,
        metrics=evaluated.scores.scalars(),
    )


def _render(template: str, evaluated: Evaluated, **context: object) -> str:
    confusions = most_confused(evaluated.table.space.class_labels, evaluated.scores.classes.confusion)
    return render(template, evaluated=evaluated, metric_name=metric_name, most_confused=confusions, **context)


def _class_curves(evaluated: Evaluated) -> tuple[Plot | None, Plot | None, list[str]]:
    """Return the ROC and the precision-recall curves, and the classes drawn: the worst, and none that rounds to 1."""
    if evaluated.scores.probabilities is None:
        return None, None, []
    ranked = list(zip(evaluated.table.space.class_labels, evaluated.scores.probabilities.ranking.classes, strict=True))
    drawn = [(one.average_precision, number) for number, (_, one) in enumerate(ranked) if one.roc is not None]
    drawn = [one for one in drawn if (one[0] or 0.0) < _PERFECT]
    numbers = sorted(number for _, number in sorted(drawn, key=lambda one: (one[0] or 0.0, one[1]))[:_CURVES])
    if not numbers:
        return None, None, []
    roc = {ranked[number][0]: _points(ranked[number][1].roc) for number in numbers}
    precision = {ranked[number][0]: _points(ranked[number][1].precision_recall) for number in numbers}
    return (
        lines("false-positive rate", "true-positive rate", roc),
        lines("recall", "precision", precision),
        list(roc),
    )


def _points(curve: Curve | None) -> tuple[list[float], list[float]]:
    assert curve is not None
    thin = curve.thinned(_POINTS)
    return thin.x.tolist(), thin.y.tolist()


def metric_name(metric: str) -> str:
    """Return the name of a metric for people: Macro F1 for macro_f1."""
    words = " ".join(_WORDS.get(word, word) for word in metric.split("_"))
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

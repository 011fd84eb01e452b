"""Metrics of how class probabilities rank the faces: ROC and precision-recall curves, their areas, top-k accuracy.

They are scikit-learn's, one class against the others. It takes seconds to import, which evaluation alone pays.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics
from sklearn.exceptions import UndefinedMetricWarning

TOP = (2, 3, 5)
"""The k of top-k accuracy, where there are more classes than k."""

_POINTS = 200


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Points of a curve by falling threshold: `x`, `y` and the lowest score that counts as the class, each (N,).

    The threshold of a point at which nothing counts as the class is above every score, and finite.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    thresholds: NDArray[np.float64]

    def thinned(self, points: int = _POINTS) -> "Curve":
        """Return at most about so many of the points, the first and the last among them, evenly along the line."""
        if len(self.x) <= points:
            return self
        length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(self.x)) + np.abs(np.diff(self.y)))])
        kept = np.unique(np.searchsorted(length, np.linspace(0, length[-1], points)).clip(0, len(length) - 1))
        kept = np.union1d(kept, [0, len(length) - 1])
        return Curve(self.x[kept], self.y[kept], self.thresholds[kept])


@dataclass(frozen=True, slots=True, eq=False)
class ClassRanking:
    """How the probability of one class ranks its faces before the others; None where it is not defined.

    Attributes:
        roc_auc: area under the ROC curve; needs faces of the class and others.
        average_precision: the sum of precision over steps of recall; needs faces of the class.
        roc: true-positive rate by false-positive rate.
        precision_recall: precision by recall.
    """

    roc_auc: float | None
    average_precision: float | None
    roc: Curve | None
    precision_recall: Curve | None


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The ranking of every class, and top-k accuracy by k."""

    classes: tuple[ClassRanking, ...]
    top: Mapping[int, float]

    def scalars(self) -> dict[str, float | None]:
        """Return the scalar metrics by name, None where one is not defined for any class.

        The macro means are over the classes for which there is a value.
        """
        values: dict[str, float | None] = {f"top_{k}_accuracy": value for k, value in self.top.items()}
        for name in ("roc_auc", "average_precision"):
            defined = [value for one in self.classes if (value := getattr(one, name)) is not None]
            values[f"macro_{name}"] = float(np.mean(defined)) if defined else None
        return values


def ranking(truth: NDArray[np.integer], probabilities: NDArray[np.floating]) -> Ranking:
    """Score class probabilities (N, K) against true class indices (N,), N at least 1."""
    count = probabilities.shape[1]
    top = {
        k: float(metrics.top_k_accuracy_score(truth, probabilities, k=k, labels=np.arange(count)))
        for k in TOP
        if k < count
    }
    return Ranking(tuple(binary_ranking(truth == k, probabilities[:, k]) for k in range(count)), top)


def binary_ranking(positive: NDArray[np.bool_], scores: NDArray[np.floating]) -> ClassRanking:
    """Rank faces by a score (N,) against whether each is positive (N,)."""
    if not positive.any():
        return ClassRanking(None, None, None, None)
    values = scores.astype(np.float64)
    precision, recall, thresholds = metrics.precision_recall_curve(positive, values)
    # scikit-learn ends this curve with a point at which nothing is positive, without a threshold.
    thresholds = np.append(thresholds, _above(values))
    line = Curve(recall[::-1], precision[::-1], thresholds[::-1])
    average = float(metrics.average_precision_score(positive, values))
    if positive.all():
        return ClassRanking(None, average, None, line)
    return ClassRanking(float(metrics.roc_auc_score(positive, values)), average, roc_curve(positive, values), line)


def roc_curve(positive: NDArray[np.bool_], scores: NDArray[np.floating]) -> Curve:
    """Return the true-positive rate by the false-positive rate; there must be positive and other faces."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UndefinedMetricWarning)
        false, true, thresholds = metrics.roc_curve(positive, scores.astype(np.float64))
    return Curve(false, true, np.where(np.isfinite(thresholds), thresholds, _above(scores)))


def _above(scores: NDArray[np.floating]) -> float:
    return float(np.nextafter(np.float64(scores.max()), np.inf))

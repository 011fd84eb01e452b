"""Metrics of how class probabilities rank the faces: ROC and precision-recall curves, their areas, top-k accuracy.

They equal scikit-learn's, one class against the others. Importing scikit-learn for them would cost an evaluation
3.5 s of CPU time.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    # Of equal probabilities scikit-learn ranks the later class first.
    order = np.argsort(probabilities, axis=1, kind="stable")[:, ::-1]
    top = {k: float((order[:, :k] == truth[:, None]).any(axis=1).mean()) for k in TOP if k < count}
    return Ranking(tuple(binary_ranking(truth == k, probabilities[:, k]) for k in range(count)), top)


def binary_ranking(positive: NDArray[np.bool_], scores: NDArray[np.floating]) -> ClassRanking:
    """Rank faces by a score (N,) against whether each is positive (N,)."""
    if not positive.any():
        return ClassRanking(None, None, None, None)
    thresholds, true, called = _counts(positive, scores)
    precision, recall = true / called, true / true[-1]
    average = float((np.diff(recall, prepend=0.0) * precision).sum())
    # The curve begins where nothing is called positive, with a precision of 1.
    line = Curve(_after(0.0, recall), _after(1.0, precision), _after(_above(scores), thresholds))
    if positive.all():
        return ClassRanking(None, average, None, line)
    roc = roc_curve(positive, scores)
    return ClassRanking(float(np.trapezoid(roc.y, roc.x)), average, roc, line)


def roc_curve(positive: NDArray[np.bool_], scores: NDArray[np.floating]) -> Curve:
    """Return the true-positive rate by the false-positive rate; there must be positive and other faces."""
    thresholds, true, called = _counts(positive, scores)
    false = called - true
    return Curve(_after(0.0, false / false[-1]), _after(0.0, true / true[-1]), _after(_above(scores), thresholds))


def _counts(
    positive: NDArray[np.bool_], scores: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the different scores, falling, and how many positive faces and faces have at least each."""
    values = scores.astype(np.float64)
    order = np.argsort(-values, kind="stable")
    last = np.flatnonzero(np.diff(values[order], append=-np.inf))
    return values[order][last], np.cumsum(positive[order], dtype=np.int64)[last], last + 1


def _after(first: float, rest: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([[first], rest])


def _above(scores: NDArray[np.floating]) -> float:
    return float(np.nextafter(np.float64(scores.max()), np.inf))

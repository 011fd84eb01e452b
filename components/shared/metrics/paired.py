"""Two models on the same faces or photos: how sure is it that the first one is better?

The paired bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993) draws groups that belong together,
such as all faces of a person, with replacement, and scores both models on each draw. McNemar's exact test (1947) asks
whether one of them is right more often where they disagree.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.shared.metrics.bootstrap import Score, drawn_counts, draws
from components.shared.metrics.drawn_precision import precision_score
from components.shared.metrics.matching import Matches

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Paired:
    """A metric of two models on the same data, and its difference, first minus second, over resamples.

    Attributes:
        first: the metric of the first model on all data.
        second: that of the second one.
        low: the 2.5th percentile of the difference over the resamples; `high`: the 97.5th.
        better: the share of the resamples in which the first one scores higher.
        worse: the share in which it scores lower.
        groups: how many groups were drawn from.
        resamples: how many times.
    """

    first: float
    second: float
    low: float
    high: float
    better: float
    worse: float
    groups: int
    resamples: int


@dataclass(frozen=True, slots=True)
class McNemar:
    """Where two models disagree: how often the first or the second alone is right, and the two-sided exact p-value."""

    only_first: int
    only_second: int
    p_value: float


def fewest_groups(confidence: float) -> int:
    """Return how many groups it takes to show a difference: at least so many that an exact sign test can show it.

    Of n groups all are in favor of one of two equal models, named beforehand, with a probability of 0.5^n. That must
    not be more than 1 - confidence, or than one in RESAMPLES for a confidence of 1: 5 groups for 0.95.
    """
    return math.ceil(-math.log2(max(1 - confidence, 1 / RESAMPLES)))


def mcnemar(first_right: NDArray[np.bool_], second_right: NDArray[np.bool_]) -> McNemar:
    """Compare what is right, bool (N,) of each model. The p-value is 1 where they never disagree."""
    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    return McNemar(only_first, only_second, _sign_test(only_first, only_second))


def _sign_test(first: int, second: int) -> float:
    """Return the two-sided exact p-value of two counts that are equally probable; SciPy's takes 1.8 s to import."""
    tail = ways = 1
    for number in range(min(first, second)):
        ways = ways * (first + second - number) // (number + 1)
        tail += ways
    return float(min(1.0, 2 * tail / 2 ** (first + second)))


def paired_macro_f1(
    truth: NDArray[np.integer],
    first: NDArray[np.integer],
    second: NDArray[np.integer],
    groups: NDArray[np.integer],
    classes: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Paired:
    """Compare two models by macro F1, which counts the classes as `label_scores` does.

    Args:
        truth: class indices, (N,), N > 0.
        first: those that the first model predicts.
        second: those that the second one predicts.
        groups: the group of each face, 0 to G-1, such as its person.
        classes: how many classes there are.
        resamples: draws of G groups.
        seed: of the draws.
    """
    count = int(groups.max()) + 1

    def score(guesses: NDArray[np.integer]) -> Score:
        return lambda weights: drawn_counts(weights, groups, truth, guesses, classes).macro_f1s()

    return _paired(score(first), score(second), count, max(len(truth), classes), resamples, seed)


def paired_average_precision(
    first: Matches, second: Matches, labels: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> Paired:
    """Compare two detectors by average precision at the first IoU of the matches, the mean over the labels.

    Args:
        first: matches of the first model.
        second: those of the second one in the same photos, which are the groups.
        labels: how many labels there are.
        resamples: draws of as many photos as there are.
        seed: of the draws.
    """
    widest = max(len(first.found), len(second.found))
    scores = precision_score(first, labels), precision_score(second, labels)
    return _paired(*scores, first.photos, widest, resamples, seed)


def _paired(first: Score, second: Score, groups: int, width: int, resamples: int, seed: int) -> Paired:
    once = np.ones((1, groups))
    parts = [first(weights) - second(weights) for weights in draws(groups, width, resamples, seed)]
    differences = np.concatenate(parts)
    valid = differences[~np.isnan(differences)]
    low, high = np.percentile(valid, (2.5, 97.5)).tolist() if len(valid) else (0.0, 0.0)
    return Paired(
        first=float(first(once)[0]),
        second=float(second(once)[0]),
        low=low,
        high=high,
        better=float((valid > 0).sum() / resamples),
        worse=float((valid < 0).sum() / resamples),
        groups=groups,
        resamples=resamples,
    )

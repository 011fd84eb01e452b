"""Two models on the same faces or photos: how sure is it that the first one is better?

The paired bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993) draws groups that belong together,
such as all faces of a person, with replacement, and scores both models on each draw. McNemar's exact test (1947) asks
whether one of them is right more often where they disagree.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.shared.metrics.matching import Matches

RESAMPLES = 2000
_LEVELS = np.linspace(0, 1, 101)
_CELLS = 4_000_000
"""Numbers of one array while resamples are scored: 32 MB."""

Numbers = NDArray[np.float64]
Score = Callable[[Numbers], Numbers]
"""Weights of the groups, (R, G), how often each is drawn -> R scores; NaN where there is none."""


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
    from scipy.stats import binomtest

    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    differing = only_first + only_second
    return McNemar(only_first, only_second, float(binomtest(only_first, differing).pvalue) if differing else 1.0)


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
    scores = [_macro_f1_score(truth, predicted, groups, count, classes) for predicted in (first, second)]
    return _paired(scores[0], scores[1], count, 4 * classes, resamples, seed)


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
    widest = max(len(first.found), len(second.found), first.photos)
    return _paired(
        _precision_score(first, labels), _precision_score(second, labels), first.photos, widest, resamples, seed
    )


def _paired(first: Score, second: Score, groups: int, width: int, resamples: int, seed: int) -> Paired:
    once = np.ones((1, groups))
    parts = [first(weights) - second(weights) for weights in _draws(groups, max(width, groups), resamples, seed)]
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


def _draws(groups: int, width: int, resamples: int, seed: int) -> Iterator[Numbers]:
    """Yield how often each group is drawn, (R, G), as many draws at a time as fit into memory."""
    generator = np.random.default_rng(seed)
    most = max(1, _CELLS // width)
    for start in range(0, resamples, most):
        rows = min(most, resamples - start)
        drawn = generator.integers(groups, size=(rows, groups)) + groups * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * groups).reshape(rows, groups).astype(np.float64)


def _macro_f1_score(
    truth: NDArray[np.integer],
    predicted: NDArray[np.integer],
    groups: NDArray[np.integer],
    count: int,
    classes: int,
) -> Score:
    def tally(indices: NDArray[np.integer], members: NDArray[np.integer]) -> Numbers:
        cells = np.bincount(members.astype(np.int64) * classes + indices, minlength=count * classes)
        return cells.reshape(count, classes).astype(np.float64)

    right = truth == predicted
    hits, both = tally(truth[right], groups[right]), tally(truth, groups) + tally(predicted, groups)

    def score(weights: Numbers) -> Numbers:
        whole = weights @ both
        f1 = np.divide(2 * (weights @ hits), whole, out=np.zeros_like(whole), where=whole > 0)
        means: Numbers = f1.sum(axis=1) / (whole > 0).sum(axis=1)
        return means

    return score


def _precision_score(matches: Matches, labels: int) -> Score:
    order = np.argsort(-matches.scores, kind="stable")
    found, right = matches.found[order], matches.right[order].astype(np.float64)
    parts = []
    for label in range(labels):
        own = found[:, 2] == label
        faces = np.bincount(matches.truths[matches.truths[:, 2] == label, 0], minlength=matches.photos)
        parts.append((found[own, 0], right[own], faces.astype(np.float64)))

    def score(weights: Numbers) -> Numbers:
        values = np.stack([_average_precision(weights, *part) for part in parts])
        there = ~np.isnan(values)
        counts = there.sum(axis=0)
        means: Numbers = np.divide(
            np.where(there, values, 0).sum(axis=0), counts, out=np.full(len(weights), np.nan), where=counts > 0
        )
        return means

    return score


def _average_precision(weights: Numbers, photos: NDArray[np.intp], right: Numbers, faces: Numbers) -> Numbers:
    """Return COCO's AP of one label for each row of weights, NaN where no drawn photo has a face of it.

    `photos` are those of the found boxes by falling score, (M,), `right` whether each is a face, and `faces` the true
    faces of each photo. A photo that is drawn twice counts as two photos with equal boxes.
    """
    drawn = weights[:, photos]
    hits, shown = np.cumsum(drawn * right, axis=1), np.cumsum(drawn, axis=1)
    precision = np.divide(hits, shown, out=np.zeros_like(hits), where=shown > 0)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    values = np.full(len(weights), np.nan)
    for row, total in enumerate(weights @ faces):
        if total:
            at = np.searchsorted(hits[row] / total, _LEVELS, side="left")
            reached = at < len(photos)
            values[row] = envelope[row, at[reached]].sum() / len(_LEVELS)
    return values

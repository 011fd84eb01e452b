"""Confidence intervals by the bootstrap over persons: faces of one person are alike, so whole persons are drawn.

The percentile interval of Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13, of statistics
that are functions of counts, such as the cells of a confusion matrix.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

LEVEL = 0.95
_LARGEST = 4_000_000
"""Weights of persons that are in memory at once."""


class Interval(NamedTuple):
    """The bounds of a confidence interval of the level `LEVEL`."""

    low: float
    high: float


def resampled_counts(
    persons: NDArray[np.integer], cells: NDArray[np.integer], size: int, *, resamples: int, seed: int
) -> NDArray[np.int64]:
    """Return how many faces are in each cell when as many persons as there are are drawn with replacement.

    Args:
        persons: (N,), the number of the person of each face, from 0 on without a gap.
        cells: (N,), the cell of each face, 0 to size - 1.
        size: how many cells there are.
        resamples: how often persons are drawn.
        seed: of the draws: equal persons are drawn alike, whatever the cells are.

    Returns:
        int64 (resamples, size).
    """
    count = int(persons.max()) + 1
    ones = np.ones(len(cells), np.int64)
    of_person = sparse.coo_array((ones, (persons, cells)), shape=(count, size)).tocsr()
    random = np.random.default_rng(seed)
    result = np.empty((resamples, size), np.int64)
    step = max(1, _LARGEST // count)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = random.integers(0, count, (rows, count)) + np.arange(rows)[:, None] * count
        weights = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        result[start : start + rows] = (of_person.T @ weights.T).T
    return result


def interval(values: NDArray[np.floating]) -> Interval | None:
    """Return the percentile interval of a statistic over the resamples; None where no resample defines it.

    A resample in which it is not defined is NaN and left out.
    """
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return Interval(low, high)


def accuracies(confusions: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the accuracy of confusion matrices (R, K, K), rows truth; NaN for an empty one."""
    return _ratio(np.trace(confusions, axis1=1, axis2=2), confusions.sum(axis=(1, 2)))


def class_f1s(confusions: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return F1 of every class (R, K) of confusion matrices (R, K, K); NaN where it is neither true nor predicted."""
    return _ratio(2 * np.diagonal(confusions, axis1=1, axis2=2), confusions.sum(axis=1) + confusions.sum(axis=2))


def macro_f1s(confusions: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the macro F1 of confusion matrices (R, K, K), as `label_scores` defines it; NaN for an empty one."""
    f1 = class_f1s(confusions)
    return _ratio(np.nan_to_num(f1).sum(axis=1), (~np.isnan(f1)).sum(axis=1))


def weighted_f1s(confusions: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the F1 weighted by the faces of each class of confusion matrices (R, K, K); NaN for an empty one."""
    support = confusions.sum(axis=2)
    return _ratio((np.nan_to_num(class_f1s(confusions)) * support).sum(axis=1), support.sum(axis=1))


def _ratio(part: NDArray[np.number], whole: NDArray[np.integer]) -> NDArray[np.float64]:
    ratios = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=ratios, where=whole > 0)
    return ratios

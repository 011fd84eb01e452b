"""Confidence intervals by the bootstrap over persons: faces of one person are alike, so whole persons are drawn.

The percentile interval of Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13. All metrics draw
with `draws`, so that equal groups and seeds give equal draws.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
LEVEL = 0.95
_LARGEST = 4_000_000
"""Numbers of one array while resamples are scored: 32 MB."""

Numbers = NDArray[np.float64]
Score = Callable[[Numbers], Numbers]
"""Weights of the groups, (R, G), how often each is drawn -> R scores; NaN where there is none."""


class Interval(NamedTuple):
    """The bounds of a confidence interval of the level `LEVEL`."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class LabelCounts:
    """How often each class is predicted rightly, is true, and is predicted: (R, K) each, a row for each draw."""

    hits: Numbers
    support: Numbers
    predicted: Numbers

    def accuracies(self) -> Numbers:
        """Return the accuracies (R,); NaN where no face is drawn."""
        return _ratio(self.hits.sum(axis=1), self.support.sum(axis=1))

    def recalls(self) -> Numbers:
        """Return the recall of every class (R, K); NaN for one that is not true."""
        return _ratio(self.hits, self.support)

    def f1s(self) -> Numbers:
        """Return F1 of every class (R, K); NaN for one that is neither true nor predicted."""
        return _ratio(2 * self.hits, self.support + self.predicted)

    def macro_f1s(self) -> Numbers:
        """Return macro F1 (R,) as `label_scores` defines it; NaN where no face is drawn."""
        f1 = self.f1s()
        return _ratio(np.nan_to_num(f1).sum(axis=1), (~np.isnan(f1)).sum(axis=1))

    def weighted_f1s(self) -> Numbers:
        """Return F1 weighted by the faces of each class (R,); NaN where no face is drawn."""
        return _ratio((np.nan_to_num(self.f1s()) * self.support).sum(axis=1), self.support.sum(axis=1))


def draws(groups: int, width: int, resamples: int, seed: int) -> Iterator[Numbers]:
    """Yield how often each group is drawn, (R, G), when as many are drawn with replacement as there are.

    As many draws come at a time as fit into memory with arrays of `width` columns; the draws do not depend on that.
    """
    generator = np.random.default_rng(seed)
    most = max(1, _LARGEST // max(width, groups))
    for start in range(0, resamples, most):
        rows = min(most, resamples - start)
        drawn = generator.integers(groups, size=(rows, groups)) + groups * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * groups).reshape(rows, groups).astype(np.float64)


def drawn_counts(
    weights: Numbers,
    groups: NDArray[np.integer],
    truth: NDArray[np.integer],
    predicted: NDArray[np.integer],
    classes: int,
) -> LabelCounts:
    """Count the faces of draws.

    Args:
        weights: (R, G), how often each group is drawn.
        groups: the group of each face, (N,), 0 to G-1.
        truth: class indices, (N,).
        predicted: predicted ones, (N,).
        classes: how many classes there are.
    """
    rows = np.arange(len(weights))[:, None] * classes

    def count(labels: NDArray[np.integer], members: NDArray[np.integer]) -> Numbers:
        cells = (rows + labels).ravel()
        counts = np.bincount(cells, weights[:, members].ravel(), minlength=len(weights) * classes)
        return counts.reshape(len(weights), classes).astype(np.float64)

    right = truth == predicted
    return LabelCounts(count(truth[right], groups[right]), count(truth, groups), count(predicted, groups))


def resampled_counts(
    groups: NDArray[np.integer],
    truth: NDArray[np.integer],
    predicted: NDArray[np.integer],
    classes: int,
    *,
    resamples: int,
    seed: int,
) -> LabelCounts:
    """Count the faces of `resamples` draws of the groups, such as persons; see `drawn_counts`."""
    parts = [
        drawn_counts(weights, groups, truth, predicted, classes)
        for weights in draws(int(groups.max()) + 1, max(len(truth), classes), resamples, seed)
    ]
    return LabelCounts(
        np.concatenate([part.hits for part in parts]),
        np.concatenate([part.support for part in parts]),
        np.concatenate([part.predicted for part in parts]),
    )


def interval(values: NDArray[np.floating]) -> Interval | None:
    """Return the percentile interval of a statistic over the resamples; None where no resample defines it.

    A resample in which it is not defined is NaN and left out.
    """
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return Interval(low, high)


def share_interval(values: NDArray[np.floating], persons: int) -> Interval | None:
    """Return the interval of a share over the resamples, see `interval`; the exact one where all say 0 or all say 1.

    Without a failure, or a success, every draw says the same, which is no interval. The exact one of Clopper and
    Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial" (1934), of `persons`
    that all agree then ends at 0 or at 1.
    """
    found = interval(values)
    if found is None or found.low != found.high or found.low not in (0.0, 1.0):
        return found
    most = 1 - ((1 - LEVEL) / 2) ** (1 / persons)
    return Interval(0.0, most) if found.high == 0 else Interval(1 - most, 1.0)


def score_interval(values: NDArray[np.floating]) -> Interval | None:
    """Return the interval of a score that is no share, as F1; None, not estimable, where all resamples say 0 or 1."""
    found = interval(values)
    return None if found is not None and found.low == found.high and found.low in (0.0, 1.0) else found


def _ratio(part: NDArray[np.number], whole: NDArray[np.number]) -> Numbers:
    ratios = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=ratios, where=whole > 0)
    return ratios

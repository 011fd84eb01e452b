"""Average precision of a detector over draws of photos."""

import numpy as np
from numpy.typing import NDArray

from components.shared.metrics.bootstrap import Interval, Numbers, Score, draws, score_interval
from components.shared.metrics.matching import Matches

_LEVELS = np.linspace(0, 1, 101)


def precision_interval(matches: Matches, labels: int, *, resamples: int, seed: int) -> Interval | None:
    """Return the interval of average precision, see `precision_score`, by the bootstrap over photos.

    None where there are no two photos, no resamples, or no resample has a face.
    """
    if matches.photos < 2 or not resamples:
        return None
    score = precision_score(matches, labels)
    blocks = draws(matches.photos, len(matches.found), resamples, seed)
    return score_interval(np.concatenate([score(weights) for weights in blocks]))


def precision_score(matches: Matches, labels: int) -> Score:
    """Return a function of draws of the photos: AP at the first IoU of the matches, the mean over the labels."""
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

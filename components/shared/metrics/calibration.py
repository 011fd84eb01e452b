"""Calibration: how well the confidence of predictions agrees with their accuracy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Bin:
    """Faces whose highest probability lies in (low, high]; means are None for an empty bin."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """Reliability bins and the expected calibration error, a fraction (0 is perfect)."""

    bins: tuple[Bin, ...]
    error: float


def calibration(truth: NDArray[np.integer], probabilities: NDArray[np.floating], bins: int = 10) -> Calibration:
    """Compare confidence with accuracy in equally wide bins.

    `truth` is int (N,), `probabilities` (N, K). The expected calibration error is the mean over
    faces of |accuracy - confidence| of their bin (Guo et al., "On Calibration of Modern Neural
    Networks", 2017).
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == truth
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    rows, error = [], 0.0
    for k in range(bins):
        inside = index == k
        count = int(inside.sum())
        mean = float(confidence[inside].mean()) if count else None
        right = float(correct[inside].mean()) if count else None
        if mean is not None and right is not None:
            error += count / len(truth) * abs(right - mean)
        rows.append(Bin(k / bins, (k + 1) / bins, count, mean, right))
    return Calibration(tuple(rows), error)

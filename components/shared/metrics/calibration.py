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
    counts = np.bincount(index, minlength=bins).tolist()
    confidences, hits = (np.bincount(index, values, bins) for values in (confidence, correct))
    rows = [
        Bin(k / bins, (k + 1) / bins, count, total / count if count else None, right / count if count else None)
        for k, (count, total, right) in enumerate(zip(counts, confidences.tolist(), hits.tolist(), strict=True))
    ]
    return Calibration(tuple(rows), float(np.abs(hits - confidences).sum() / len(truth)))

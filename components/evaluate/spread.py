"""Mean and spread of a metric over folds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Spread:
    """`deviation` is that of a sample, with n - 1 below the sum of squares; None for a single value."""

    mean: float
    deviation: float | None
    lowest: float
    highest: float

    def named(self, metric: str) -> Iterator[tuple[str, float]]:
        """The figures as metrics; a deviation that does not exist is absent."""
        yield f"{metric}_mean", self.mean
        if self.deviation is not None:
            yield f"{metric}_std", self.deviation
        yield f"{metric}_min", self.lowest
        yield f"{metric}_max", self.highest


def spread_of(values: Sequence[float]) -> Spread:
    """Mean and spread of one value or more."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), deviation, float(np.min(values)), float(np.max(values)))

"""Mean and spread of a metric over folds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean, sample standard deviation (n - 1; None for a single value), minimum and maximum."""

    mean: float
    deviation: float | None
    lowest: float
    highest: float

    def named(self, metric: str) -> Iterator[tuple[str, float]]:
        """Yield the values as metrics by name, without the deviation where there is none."""
        yield f"{metric}_mean", self.mean
        if self.deviation is not None:
            yield f"{metric}_std", self.deviation
        yield f"{metric}_min", self.lowest
        yield f"{metric}_max", self.highest


def spread_of(values: Sequence[float]) -> Spread:
    """Return the mean and spread of at least one value."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), deviation, float(np.min(values)), float(np.max(values)))

"""How long something took: a histogram that lanes fill, in the form that Prometheus reads."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

# Seconds, from a tiny model on an idle CPU to the timeout of a client.
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Histogram:
    """Counts of durations up to each bound, and their sum; whoever adds holds a lock.

    prometheus_client's own takes a lock for each bucket and cannot be summed over labels.
    """

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


def summed(histograms: Iterable[Histogram]) -> Histogram:
    """Return one histogram of all durations of several."""
    total = Histogram()
    for histogram in histograms:
        total.counts = [a + b for a, b in zip(total.counts, histogram.counts, strict=True)]
        total.seconds += histogram.seconds
    return total


def buckets(histogram: Histogram) -> Sequence[tuple[str, float]]:
    """Return (upper bound, number of durations up to it), as an exposition has them."""
    bounds = [*map(str, BOUNDS), "+Inf"]
    return list(zip(bounds, map(float, accumulate(histogram.counts)), strict=True))

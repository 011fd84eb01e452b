"""A heatmap of landmarks against a loop over pixels and points."""

import math

import numpy as np

from benchmarks.benchmark import Benchmark, medians
from components.shared.drawing import SIGMA, Points, heatmap

SIDE = 1024
POINTS = 68
LOOP_ROWS = 32


def heatmap_speed() -> list[Benchmark]:
    """A picture of 1024 x 1024 pixels with 68 points: ours, colors included, and the sum alone in a loop.

    The loop takes as long for every row, so it is measured on a part of the rows.
    """
    points = np.random.default_rng(0).uniform(0, SIDE, (POINTS, 2))
    rows = range(0, SIDE, SIDE // LOOP_ROWS)
    heatmap(points, SIDE, SIDE)
    here, there = medians(lambda: heatmap(points, SIDE, SIDE), lambda: _loop(points, rows), repeats=5)
    return [Benchmark.compared("heatmap", here, there * SIDE / LOOP_ROWS, "s", 100)]


def _loop(points: Points, rows: range) -> list[list[float]]:
    """The values of some rows, pixel by pixel and point by point."""
    centers = points.tolist()
    scale = -1 / (2 * SIGMA**2)
    return [
        [sum(math.exp(((x - at) ** 2 + (y - down) ** 2) * scale) for at, down in centers) for x in range(SIDE)]
        for y in rows
    ]

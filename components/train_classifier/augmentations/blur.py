"""Random blur of a picture, uint8 (h,w,3) RGB; beyond the border the picture is mirrored."""

from collections.abc import Iterable
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.train_classifier.augmentations.ranges import Kernel, Pixels
from components.train_classifier.augmentations.sampling_grid import reflect

Offset = tuple[int, int]
Sums = NDArray[np.unsignedinteger[Any]]


def blur(pixels: Pixels, rng: np.random.Generator, *, kernel: Kernel = 7) -> Pixels:
    """Give every pixel the mean of a square around it, whose side is an odd number from 3 to `kernel`."""
    side = _draw_side(rng, kernel)
    padded = _padded(pixels, side)
    height, width = pixels.shape[:2]
    rows = _sum(padded[at : at + height] for at in range(side))
    return _divided(_sum(rows[:, at : at + width] for at in range(side)), side * side)


def motion_blur(pixels: Pixels, rng: np.random.Generator, *, kernel: Kernel = 7) -> Pixels:
    """Give every pixel the mean along a line, as if the camera had moved.

    The line joins two different random places of a square whose side is an odd number from 3 to `kernel`.
    """
    side = _draw_side(rng, kernel)
    start, end = rng.choice(side * side, 2, replace=False)
    places = line((int(start) // side, int(start) % side), (int(end) // side, int(end) % side))
    padded = _padded(pixels, side)
    height, width = pixels.shape[:2]
    return _divided(_sum(padded[row : row + height, column : column + width] for row, column in places), len(places))


def line(start: Offset, end: Offset) -> list[Offset]:
    """Return the places of a straight line between two places, one for each step along its longer side."""
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
    return [
        (
            start[0] + (2 * step * (end[0] - start[0]) + steps) // (2 * steps),
            start[1] + (2 * step * (end[1] - start[1]) + steps) // (2 * steps),
        )
        for step in range(steps + 1)
    ]


def _draw_side(rng: np.random.Generator, largest: int) -> int:
    return 2 * int(rng.integers(1, largest // 2 + 1)) + 1


def _padded(pixels: Pixels, side: int) -> Sums:
    margin = side // 2
    rows = reflect(np.arange(-margin, pixels.shape[0] + margin), pixels.shape[0])
    columns = reflect(np.arange(-margin, pixels.shape[1] + margin), pixels.shape[1])
    kind = np.uint16 if 256 * side * side < 1 << 16 else np.uint32
    wide: Sums = pixels.astype(kind)
    return wide.take(rows, axis=0).take(columns, axis=1)


def _sum(parts: Iterable[Sums]) -> Sums:
    return reduce(np.add, parts)


def _divided(total: Sums, count: int) -> Pixels:
    return ((total + count // 2) // count).astype(np.uint8)

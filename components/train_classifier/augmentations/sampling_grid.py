"""Bilinear reading of a picture at any coordinates.

Coordinates count pixel centers: (0, 0) is the middle of the first pixel. They are rounded to 1/64 pixel, and the rest
is integer arithmetic, so that equal coordinates give equal bytes on every machine.
"""

import numpy as np
from numpy.typing import NDArray

from components.train_classifier.augmentations.ranges import STRIP, Color, Pixels

Coordinates = NDArray[np.float32] | NDArray[np.float64]
Packed = NDArray[np.uint64]

_FRACTION_BITS = 6
_ONE = 1 << _FRACTION_BITS
# A pixel is one 64-bit number with a channel in every 21 bits: room for a sum of 255 * 64 * 64, so that one
# multiplication weighs all three channels.
_LANES = (0, 21, 42)
_HALF = np.uint64(sum(_ONE * _ONE // 2 << lane for lane in _LANES))


def reflect(positions: NDArray[np.int32] | NDArray[np.int64], length: int) -> NDArray[np.intp]:
    """Mirror positions outside 0..length-1 back inside, without repeating the border (dcb|abcd|cba)."""
    if length == 1:
        return np.zeros(len(positions), np.intp)
    period = 2 * (length - 1)
    folded = np.abs(positions) % period
    inside: NDArray[np.intp] = np.minimum(folded, period - folded).astype(np.intp)
    return inside


def read_grid(pixels: Pixels, x: Coordinates, y: Coordinates, fill: Color | None = None) -> Pixels:
    """Read the picture at all (x, y).

    Args:
        pixels: uint8 (h,w,3).
        x: columns, (H,W).
        y: rows, (H,W).
        fill: the color beyond the picture; None mirrors it there.

    Returns:
        uint8 (H,W,3).
    """
    first_row, last_row = _reach(y)
    first_column, last_column = _reach(x)
    packed = _around(_packed(pixels), (first_row, last_row), (first_column, last_column), fill)
    stride = packed.shape[1]
    flat = packed.reshape(-1)
    corners = [flat[start:] for start in (0, 1, stride, stride + 1)]
    grid = np.empty((*x.shape, 3), np.uint8)
    rows = max(1, STRIP // x.shape[1])
    for start in range(0, len(x), rows):
        strip = slice(start, start + rows)
        column, x_fraction = _split(x[strip])
        row, y_fraction = _split(y[strip])
        at = ((row - first_row) * stride + (column - first_column)).astype(np.intp)
        upper = _between(corners[0][at], corners[1][at], x_fraction)
        lower = _between(corners[2][at], corners[3][at], x_fraction)
        _unpack(_between(upper, lower, y_fraction), grid[strip])
    return grid


def read_axes(pixels: Pixels, x: Coordinates, y: Coordinates) -> Pixels:
    """Read the picture, mirrored beyond its border, where every row reads the columns `x` (W,) and so for `y` (H,)."""
    packed = _packed(pixels)
    (row, y_fraction), (column, x_fraction) = _split(y), _split(x)
    above, below = (reflect(row + step, packed.shape[0]) for step in (0, 1))
    before, after = (reflect(column + step, packed.shape[1]) for step in (0, 1))
    grid = np.empty((len(y), len(x), 3), np.uint8)
    rows = max(1, STRIP // len(x))
    for start in range(0, len(y), rows):
        strip = slice(start, start + rows)
        between = _between(packed[above[strip]], packed[below[strip]], y_fraction[strip, None])
        left, right = (between.take(columns, axis=1, mode="clip") for columns in (before, after))
        _unpack(_between(left, right, x_fraction), grid[strip])
    return grid


def _reach(positions: Coordinates) -> tuple[int, int]:
    """Return the first and the last pixel that are read along an axis."""
    first, last = (int(np.rint(bound * _ONE)) >> _FRACTION_BITS for bound in (positions.min(), positions.max()))
    return first, last + 1


def _split(positions: Coordinates) -> tuple[NDArray[np.int32], Packed]:
    """Return the pixel before each position, and how far it is to the next one, 0 to 63."""
    steps = np.rint(positions * np.float32(_ONE)).astype(np.int32)
    return steps >> _FRACTION_BITS, (steps & (_ONE - 1)).astype(np.uint64)


def _packed(pixels: Pixels) -> Packed:
    packed = pixels[..., 2].astype(np.uint64)
    for channel in (1, 0):
        packed <<= np.uint64(_LANES[1])
        packed |= pixels[..., channel]
    return packed


def _around(packed: Packed, rows: tuple[int, int], columns: tuple[int, int], fill: Color | None) -> Packed:
    """Return the part of an endless picture from the first to the last row and column."""
    height, width = packed.shape
    row, column = np.arange(rows[0], rows[1] + 1), np.arange(columns[0], columns[1] + 1)
    if fill is None:
        return packed[reflect(row, height)].take(reflect(column, width), axis=1, mode="clip")
    part = np.full(
        (len(row), len(column)), sum(value << lane for value, lane in zip(fill, _LANES, strict=True)), np.uint64
    )
    top, left = max(rows[0], 0), max(columns[0], 0)
    seen = packed[top : max(rows[1] + 1, 0), left : max(columns[1] + 1, 0)]
    part[top - rows[0] :, left - columns[0] :][: seen.shape[0], : seen.shape[1]] = seen
    return part


def _between(first: Packed, second: Packed, fraction: Packed) -> Packed:
    """Weigh the two; a lane that is negative on the way borrows from the next one and gives back in the sum."""
    second -= first
    second *= fraction
    first <<= np.uint64(_FRACTION_BITS)
    second += first
    return second


def _unpack(packed: Packed, pixels: Pixels) -> None:
    packed += _HALF
    for channel, lane in enumerate(_LANES):
        pixels[..., channel] = packed >> np.uint64(lane + 2 * _FRACTION_BITS)

"""CLAHE: histogram equalization in tiles, with limited contrast (Zuiderveld, 1994)."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from components.train_classifier.augmentations.lightness import put_lightness, take_lightness
from components.train_classifier.augmentations.ranges import STRIP, Pixels, Positive
from components.train_classifier.augmentations.sampling_grid import reflect

Tiles = Annotated[int, Field(ge=1, le=32)]


def clahe(
    pixels: Pixels, rng: np.random.Generator, *, clip: Positive = (1.0, 4.0), tiles: tuple[Tiles, Tiles] = (8, 8)
) -> Pixels:
    """Equalize the lightness of a picture, uint8 (h,w,3) RGB, in `tiles` (down, across); its colors stay.

    `clip` is the range of the limit, a multiple of a flat histogram's count.
    """
    lab = take_lightness(pixels)
    return put_lightness(lab, equalize(lab.lightness, rng.uniform(*clip), tiles))


def equalize(plane: Pixels, clip: float, tiles: tuple[int, int]) -> Pixels:
    """Equalize one plane, uint8 (h,w).

    Each tile's histogram is cut off at `clip` times the count that every level would have in a flat one, rounded down
    to a whole count of at least 1; what was cut off is given to all levels alike, its remainder to levels at equal
    distances. The tile's curve is the running sum, scaled to end at 255. A pixel gets the value of the four curves of
    the nearest tile centers, weighed bilinearly. A picture that the tiles do not divide is mirrored beyond its border.
    """
    height, width = plane.shape
    down, across = tiles
    tile_height, tile_width = -(-height // down), -(-width // across)
    padded = plane.take(reflect(np.arange(down * tile_height), height), axis=0)
    padded = padded.take(reflect(np.arange(across * tile_width), width), axis=1)
    curves = _curves(padded, tiles, clip).ravel()
    above, below, y_weight = _nearest(height, tile_height, down)
    left, right, x_weight = _nearest(width, tile_width, across)
    first, second = 256 * left, 256 * right
    equal = np.empty_like(plane)
    rows = max(1, STRIP // width)
    for start in range(0, height, rows):
        strip = slice(start, start + rows)
        level = plane[strip].astype(np.intp)
        upper = _blend(curves, level + (256 * across * above[strip])[:, None], first, second, x_weight)
        lower = _blend(curves, level + (256 * across * below[strip])[:, None], first, second, x_weight)
        lower -= upper
        lower *= y_weight[strip, None]
        upper += lower
        upper += np.float32(0.5)  # rounds when the fraction is cut off
        equal[strip] = upper
    return equal


def _blend(
    curves: NDArray[np.float32],
    at: NDArray[np.intp],
    first: NDArray[np.intp],
    second: NDArray[np.intp],
    weight: NDArray[np.float32],
) -> NDArray[np.float32]:
    left: NDArray[np.float32] = curves[at + first]
    right = curves[at + second]
    right -= left
    right *= weight
    left += right
    return left


def _curves(padded: Pixels, tiles: tuple[int, int], clip: float) -> NDArray[np.float32]:
    """Return the curve of each tile, (tiles down * across, 256) from 0 to 255."""
    down, across = tiles
    height, width = padded.shape[0] // down, padded.shape[1] // across
    area = height * width
    tile = np.repeat(np.arange(down) * across, height)[:, None] + np.repeat(np.arange(across), width)
    counts = np.bincount((tile * 256 + padded).ravel(), minlength=down * across * 256).reshape(-1, 256)
    limit = max(1, int(clip * area / 256))
    excess = np.maximum(counts - limit, 0).sum(axis=1)
    counts = np.minimum(counts, limit) + (excess // 256)[:, None]
    for row, remainder in zip(counts, excess % 256, strict=True):
        if remainder:
            step = 256 // remainder
            row[: step * remainder : step] += 1
    curves: NDArray[np.float32] = np.rint(counts.cumsum(axis=1) * (255 / area)).astype(np.float32)
    return curves


def _nearest(length: int, tile: int, tiles: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return for each pixel of a side the tiles whose centers lie before and after it, and the weight of the second."""
    place = (np.arange(length) + 0.5) / tile - 0.5
    before = np.floor(place).astype(np.intp)
    weight = (place - before).astype(np.float32)
    return np.maximum(before, 0), np.minimum(before + 1, tiles - 1), weight

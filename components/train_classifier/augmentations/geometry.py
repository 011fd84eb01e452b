"""Random changes of where things are in a picture, uint8 (h,w,3) RGB; the size stays.

What comes in from beyond the border is the picture mirrored there, unless a color is named.
"""

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from components.train_classifier.augmentations.ranges import Color, Pixels, Positive, Span, Zoom
from components.train_classifier.augmentations.sampling_grid import read_axes, read_grid

Matrix = NDArray[np.float64]


def horizontal_flip(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Mirror left and right."""
    return np.ascontiguousarray(pixels[:, ::-1])


def shift_scale_rotate(
    pixels: Pixels,
    rng: np.random.Generator,
    *,
    shift: Span = (-0.0625, 0.0625),
    scale: Zoom = (-0.1, 0.1),
    rotate: Span = (-45.0, 45.0),
) -> Pixels:
    """Turn and zoom around the middle, then shift.

    Args:
        pixels: the picture.
        rng: where the draws come from.
        shift: range of the shift to the right, as a share of the width, and downwards, of the height; two draws.
        scale: range of the zoom s, which makes things 1 + s times as large.
        rotate: range of the turn in degrees, counterclockwise.
    """
    angle, zoom = rng.uniform(*rotate), 1 + rng.uniform(*scale)
    right, down = rng.uniform(*shift), rng.uniform(*shift)
    height, width = pixels.shape[:2]
    return _warp(pixels, similarity(pixels.shape[:2], angle, zoom, (right * width, down * height)))


def rotate(
    pixels: Pixels, rng: np.random.Generator, *, rotate: Span = (-10.0, 10.0), fill: Color = (0, 0, 0)
) -> Pixels:
    """Turn around the middle by a range of degrees, counterclockwise; the corners get the color `fill`."""
    return _warp(pixels, similarity(pixels.shape[:2], rng.uniform(*rotate), 1.0, (0.0, 0.0)), fill)


def similarity(size: tuple[int, ...], angle: float, zoom: float, shift: tuple[float, float]) -> Matrix:
    """Return the (2,3) matrix from places (x, y, 1) in the changed picture to places in the given one.

    It turns by `angle` degrees counterclockwise and zooms around the middle, then shifts by pixels right and down.
    """
    middle = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2])
    cos, sin = math.cos(math.radians(angle)) / zoom, math.sin(math.radians(angle)) / zoom
    turn = np.array([[cos, -sin], [sin, cos]])
    offset = middle - turn @ (middle + np.array(shift))
    return np.column_stack([turn, offset])


def _warp(pixels: Pixels, matrix: Matrix, fill: Color | None = None) -> Pixels:
    height, width = pixels.shape[:2]
    across, down = np.arange(width), np.arange(height)[:, None]
    x, y = (
        (from_x * across).astype(np.float32) + (from_y * down + offset).astype(np.float32)
        for from_x, from_y, offset in matrix
    )
    return read_grid(pixels, x, y, fill)


def grid_distortion(
    pixels: Pixels,
    rng: np.random.Generator,
    *,
    steps: Annotated[int, Field(ge=1, le=64)] = 5,
    limit: Zoom = (-0.3, 0.3),
) -> Pixels:
    """Divide width and height into `steps` equal parts and let each read 1 + u times its length, u from `limit`.

    The parts follow each other without gaps, so that a part which reads more pushes the following ones along.
    """
    x = stretched_positions(pixels.shape[1], 1 + rng.uniform(*limit, size=steps))
    y = stretched_positions(pixels.shape[0], 1 + rng.uniform(*limit, size=steps))
    return read_axes(pixels, x, y)


def stretched_positions(length: int, factors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what each of `length` pixels reads when equal parts of the length read `factors` times their own."""
    edges = np.linspace(0, length, len(factors) + 1)
    read_edges = np.concatenate([[0.0], np.cumsum(np.diff(edges) * factors)])
    positions: NDArray[np.float64] = np.interp(np.arange(length), edges, read_edges)
    return positions


def optical_distortion(
    pixels: Pixels, rng: np.random.Generator, *, limit: Span = (-0.05, 0.05), shift: Span = (-0.05, 0.05)
) -> Pixels:
    """Bend the picture like a lens, with radial coefficients k1 = k2 = k of the Brown-Conrady model.

    A place at (u, v) from the optical axis, in shares of width and height, reads (1 + k r^2 + k r^4) (u, v) with
    r^2 = u^2 + v^2.

    Args:
        pixels: the picture.
        rng: where the draws come from.
        limit: range of k.
        shift: range of the axis' distance from the middle, in pixels, right and down; two draws.
    """
    k = rng.uniform(*limit)
    height, width = pixels.shape[:2]
    middle_x, middle_y = (width - 1) / 2 + rng.uniform(*shift), (height - 1) / 2 + rng.uniform(*shift)
    across = np.arange(width, dtype=np.float32) - np.float32(middle_x)
    down = (np.arange(height, dtype=np.float32) - np.float32(middle_y))[:, None]
    square = (across / np.float32(width)) ** 2 + (down / np.float32(height)) ** 2
    bend = np.float32(k) * square * (1 + square)
    x, y = across * bend, down * bend
    x += np.arange(width, dtype=np.float32)
    y += np.arange(height, dtype=np.float32)[:, None]
    return read_grid(pixels, x, y)


def perspective(pixels: Pixels, rng: np.random.Generator, *, scale: Positive = (0.05, 0.1)) -> Pixels:
    """Look at the picture from the side: a four-sided part of it is stretched to the whole.

    Each corner of the part is drawn in by the share |n| of width and height, n normal with a deviation from `scale`,
    at most 0.4, so that the corners keep their order.
    """
    inwards = np.minimum(np.abs(rng.normal(0.0, rng.uniform(*scale), (4, 2))), 0.4)
    height, width = pixels.shape[:2]
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    drawn = np.where(corners == 0, inwards, 1 - inwards)
    matrix = homography(corners * (width, height), drawn * (width, height))
    # The corners are those of the outer pixels, half a pixel away from their centers.
    across, down = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    x, y, depth = (
        (from_x * across).astype(np.float32) + (from_y * down + offset).astype(np.float32)
        for from_x, from_y, offset in matrix
    )
    return read_grid(pixels, x / depth - np.float32(0.5), y / depth - np.float32(0.5))


def homography(places: Matrix, images: Matrix) -> Matrix:
    """Return the (3,3) matrix with last entry 1 that maps four points (4,2) to four others."""
    rows = []
    for (x, y), (u, v) in zip(places, images, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
    solved = np.linalg.solve(np.array(rows), images.reshape(8))
    return np.append(solved, 1.0).reshape(3, 3)

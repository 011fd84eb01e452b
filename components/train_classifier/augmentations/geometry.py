"""Random geometric transforms of pictures, uint8 (h,w,3) RGB; the size stays. Sampling is bilinear, by OpenCV.

Beyond the border the picture is mirrored (dcb|abcd|cba), unless a transform has a fill color.
"""

from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from components.train_classifier.augmentations.ranges import Color, Pixels, Positive, Span, Zoom

Matrix = NDArray[np.float64]

_HALF_PIXEL = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])


def horizontal_flip(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Mirror left and right."""
    return np.asarray(cv2.flip(pixels, 1), np.uint8)


def shift_scale_rotate(
    pixels: Pixels,
    rng: np.random.Generator,
    *,
    shift: Span = (-0.0625, 0.0625),
    scale: Zoom = (-0.1, 0.1),
    rotate: Span = (-45.0, 45.0),
) -> Pixels:
    """Rotate and zoom around the center, then shift.

    Args:
        pixels: the picture.
        rng: the source of all draws.
        shift: range of the shift to the right, as a share of the width, and downwards, of the height; two draws.
        scale: range of the zoom s, which makes things 1 + s times as large.
        rotate: range of the rotation in degrees, counterclockwise.
    """
    angle, zoom = rng.uniform(*rotate), 1 + rng.uniform(*scale)
    matrix = rotation(pixels, angle, zoom)
    for axis, length in enumerate(pixels.shape[1::-1]):
        matrix[axis, 2] += rng.uniform(*shift) * length
    return warp(pixels, matrix)


def rotate(
    pixels: Pixels, rng: np.random.Generator, *, rotate: Span = (-10.0, 10.0), fill: Color = (0, 0, 0)
) -> Pixels:
    """Rotate around the center by a range of degrees, counterclockwise; the corners get the color `fill`."""
    return warp(pixels, rotation(pixels, rng.uniform(*rotate)), fill)


def rotation(pixels: Pixels, angle: float, zoom: float = 1.0) -> Matrix:
    """Return the (2,3) matrix that rotates `pixels` by degrees counterclockwise and zooms, around the center."""
    height, width = pixels.shape[:2]
    return np.asarray(cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, zoom), np.float64)


def warp(pixels: Pixels, matrix: Matrix, fill: Color | None = None) -> Pixels:
    """Move every pixel (x, y) to `matrix` (2,3) times (x, y, 1); `fill` is the color beyond the border."""
    border = cv2.BORDER_REFLECT_101 if fill is None else cv2.BORDER_CONSTANT
    size = pixels.shape[1::-1]
    return np.asarray(cv2.warpAffine(pixels, matrix, size, borderMode=border, borderValue=fill or (0,)), np.uint8)


def grid_distortion(
    pixels: Pixels,
    rng: np.random.Generator,
    *,
    steps: Annotated[int, Field(ge=1, le=64)] = 5,
    limit: Zoom = (-0.3, 0.3),
) -> Pixels:
    """Divide width and height into `steps` equal parts and let each read 1 + u times its length, u from `limit`.

    The parts follow each other without gaps, so that a part which reads more shifts the following ones.
    """
    x = stretched_positions(pixels.shape[1], 1 + rng.uniform(*limit, size=steps))
    y = stretched_positions(pixels.shape[0], 1 + rng.uniform(*limit, size=steps))
    return _remap(pixels, *np.meshgrid(x, y))


def stretched_positions(length: int, factors: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return what each of `length` pixels reads when equal parts of the length read `factors` times their own."""
    edges = np.linspace(0, length, len(factors) + 1)
    source_edges = np.concatenate([[0.0], np.cumsum(np.diff(edges) * factors)])
    return np.asarray(np.interp(np.arange(length), edges, source_edges), np.float32)


def optical_distortion(
    pixels: Pixels, rng: np.random.Generator, *, limit: Span = (-0.05, 0.05), shift: Span = (-0.05, 0.05)
) -> Pixels:
    """Distort the picture as a lens does, with radial coefficients k1 = k2 = k of the Brown-Conrady model.

    The pixel at (u, v) from the optical axis, in shares of width and height, reads (1 + k r^2 + k r^4) (u, v) with
    r^2 = u^2 + v^2.

    Args:
        pixels: the picture.
        rng: the source of all draws.
        limit: range of k.
        shift: range of the distance of the optical axis from the center, in pixels, right and down; two draws.
    """
    k = rng.uniform(*limit)
    height, width = pixels.shape[:2]
    x, y = (width - 1) / 2 + rng.uniform(*shift), (height - 1) / 2 + rng.uniform(*shift)
    camera = np.array([[width, 0, x], [0, height, y], [0, 0, 1.0]])
    coefficients = np.array([k, k, 0, 0])
    maps = cv2.initUndistortRectifyMap(camera, coefficients, np.eye(3), camera, (width, height), cv2.CV_32FC1)
    return _remap(pixels, *(np.asarray(axis, np.float32) for axis in maps))


def _remap(pixels: Pixels, x: NDArray[np.float32], y: NDArray[np.float32]) -> Pixels:
    """Read the picture at all (x, y), columns and rows (h,w)."""
    return np.asarray(cv2.remap(pixels, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def perspective(pixels: Pixels, rng: np.random.Generator, *, scale: Positive = (0.05, 0.1)) -> Pixels:
    """Stretch a quadrilateral part of the picture to the whole, as if seen from the side.

    Each corner of the part is moved inwards by the share |n| of width and height, n normal with a deviation from
    `scale`, at most 0.4, so that the corners keep their order.
    """
    inwards = np.minimum(np.abs(rng.normal(0.0, rng.uniform(*scale), (4, 2))), 0.4)
    size = pixels.shape[1::-1]
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    part = np.where(corners == 0, inwards, 1 - inwards)
    matrix = cv2.getPerspectiveTransform((part * size).astype(np.float32), (corners * size).astype(np.float32))
    # The corners are those of the outer pixels, half a pixel away from their centers.
    matrix = np.linalg.inv(_HALF_PIXEL) @ matrix @ _HALF_PIXEL
    return np.asarray(cv2.warpPerspective(pixels, matrix, size, borderMode=cv2.BORDER_REFLECT_101), np.uint8)

"""Points of faces as pictures: filled circles, and heatmaps."""

import numpy as np
from cmap import Colormap
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Points = NDArray[np.float64]
"""Points (N, 2), x and y: 0 is the middle of the first pixel, 1 that of the second."""

RADIUS = 2
SIGMA = 5.0
_VIRIDIS = (Colormap("viridis").lut(256)[:, :3] * 255).round().astype(np.uint8)
_SMALLEST = np.float32(1e-18)
_ROWS = 256


def draw_circles(picture: Image.Image, points: Points, fill: int | tuple[int, int, int]) -> Image.Image:
    """Return a copy of a picture with a filled circle of RADIUS around the nearest pixel of every point."""
    drawn = picture.copy()
    pen = ImageDraw.Draw(drawn)
    for x, y in np.rint(points).tolist():
        pen.ellipse((x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS), fill=fill)
    return drawn


def gaussian_sum(points: Points, height: int, width: int, sigma: float = SIGMA) -> NDArray[np.float32]:
    """Return the sum of a Gaussian of peak 1 around every point, float32 (height, width).

    A Gaussian of two dimensions is the outer product of two of one dimension, so the sum over all points is one matrix
    product. What is below 1e-18 in one dimension is 0.
    """
    columns = _gaussians(points[:, 0], width, sigma)
    rows = _gaussians(points[:, 1], height, sigma)
    total: NDArray[np.float32] = rows.T @ columns
    return total


def _gaussians(centers: NDArray[np.float64], length: int, sigma: float) -> NDArray[np.float32]:
    """Return exp(-(i - center)^2 / 2 sigma^2) for i below `length`, float32 (N, length)."""
    distance = np.arange(length) - centers[:, None]
    values = np.exp(distance**2 / (-2 * sigma**2)).astype(np.float32)
    values[values < _SMALLEST] = 0  # numbers below the smallest normal one are slow to multiply
    return values


def heatmap(points: Points, height: int, width: int) -> NDArray[np.uint8]:
    """Return the sum of Gaussians of SIGMA pixels in the colors of viridis, from its least to its largest value.

    RGB, uint8 (height, width, 3); all in the first color where every value is the same.
    """
    values = gaussian_sum(points, height, width)
    low, high = values.min(), values.max()
    scale = np.float32(len(_VIRIDIS) / (high - low) if high > low else 0)
    colors = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _ROWS):
        steps = ((values[top : top + _ROWS] - low) * scale).astype(np.intp)
        np.take(_VIRIDIS, steps, axis=0, out=colors[top : top + _ROWS], mode="clip")
    return colors

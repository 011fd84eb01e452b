"""CIELAB lightness of sRGB pictures (D65 white): taken out, changed, put back."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from components.train_classifier.augmentations.ranges import STRIP, Pixels

Plane = NDArray[np.float32]

# sRGB primaries and D65 white, IEC 61966-2-1; each row is divided by its white, so that white is (1, 1, 1).
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_TO_XYZ = _TO_XYZ / _TO_XYZ.sum(axis=1, keepdims=True)
_FROM_XYZ = np.linalg.inv(_TO_XYZ)
_EDGE = 6 / 29
_LINEAR_STEPS = 1 << 14


def _linear(levels: NDArray[np.float64]) -> Plane:
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _encoded(linear: NDArray[np.float64]) -> Pixels:
    levels = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    rounded: Pixels = np.rint(255 * levels).astype(np.uint8)
    return rounded


def _compressed(linear: NDArray[np.float64]) -> Plane:
    return np.where(linear > _EDGE**3, np.cbrt(linear), linear / (3 * _EDGE**2) + 4 / 29).astype(np.float32)


_STEPS = (np.arange(_LINEAR_STEPS) + 0.5) / _LINEAR_STEPS
_LINEAR = _linear(np.arange(256) / 255)
_ENCODED = _encoded(_STEPS)
_COMPRESSED = _compressed(_STEPS)


class Lab(NamedTuple):
    """A picture's lightness, uint8 (h,w) with 255 for white, and the cube roots it came from, float32 (3,h*w)."""

    lightness: Pixels
    roots: Plane


def take_lightness(pixels: Pixels) -> Lab:
    """Take the lightness out of a picture, uint8 (h,w,3) RGB."""
    source = pixels.reshape(-1, 3)
    lightness, roots = np.empty(len(source), np.uint8), np.empty((3, len(source)), np.float32)
    for start in range(0, len(source), STRIP):
        strip = slice(start, start + STRIP)
        linear = [_LINEAR[levels] for levels in source[strip].T.astype(np.intp, order="C")]
        for root, at in zip(roots, _indices(_TO_XYZ, linear), strict=True):
            root[strip] = _COMPRESSED.take(at, mode="clip")
        lightness[strip] = (116 * roots[1, strip] - 16) * np.float32(2.55) + np.float32(0.5)
    return Lab(lightness.reshape(pixels.shape[:2]), roots)


def put_lightness(lab: Lab, lightness: Pixels) -> Pixels:
    """Return the picture with another lightness, uint8 (h,w), and the same a* and b*; uint8 (h,w,3) RGB."""
    # Equal a* and b* mean that all three roots move by the same amount.
    steps = (np.arange(-255, 256) / (2.55 * 116)).astype(np.float32)
    difference = (lightness.astype(np.intp) - lab.lightness + 255).ravel()
    pixels = np.empty((lightness.size, 3), np.uint8)
    for start in range(0, len(pixels), STRIP):
        strip = slice(start, start + STRIP)
        linear = [_expanded(root) for root in lab.roots[:, strip] + steps[difference[strip]]]
        for channel, at in enumerate(_indices(_FROM_XYZ, linear)):
            pixels[strip, channel] = _ENCODED.take(at, mode="clip")
    return pixels.reshape(*lightness.shape, 3)


def _expanded(root: Plane) -> Plane:
    line = (root - np.float32(4 / 29)) * np.float32(3 * _EDGE**2)
    np.copyto(line, root * root * root, where=root > _EDGE)
    return line


def _indices(matrix: NDArray[np.float64], planes: Sequence[Plane]) -> Iterator[NDArray[np.intp]]:
    """Yield the rows of the matrix times the planes as indices into a table of `_STEPS`, not yet cut off.

    The product is written out because its bits may depend on the number of threads.
    """
    first, second, third = planes
    for row in (matrix * _LINEAR_STEPS).astype(np.float32):
        yield (row[0] * first + row[1] * second + row[2] * third).astype(np.intp)

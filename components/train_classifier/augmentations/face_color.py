"""Random colors and holes of training pictures. Every draw comes from the generator that is passed in."""

import math

import numpy as np
from numpy.typing import NDArray

from components.train_classifier.augmentations.ranges import Color, Pixels
from components.train_classifier.config.augmentation import Augment

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_TO_YIQ = np.array([_LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_ERASED_AREA = (0.02, 0.2)
_ERASED_ASPECT = 3.0


def recolor(pixels: Pixels, rng: np.random.Generator, *, augment: Augment, fill: Color) -> Pixels:
    """Return a picture, uint8 (h,w,3) RGB, with other colors and maybe a hole of the color `fill`."""
    pixels = jitter_colors(pixels, augment, rng)
    if rng.random() < augment.erasing:
        erase(pixels, fill, rng)
    return pixels


def jitter_colors(pixels: Pixels, augment: Augment, rng: np.random.Generator) -> Pixels:
    """Return a new picture with changed brightness, contrast, saturation and hue.

    All four together are one affine map of RGB: hue turns it around the gray axis of YIQ, which keeps the luma,
    saturation pulls each pixel toward its luma, contrast toward the picture's mean luma, brightness scales it.
    """
    brightness, contrast, saturation = (
        rng.uniform(1 - strength, 1 + strength)
        for strength in (augment.brightness, augment.contrast, augment.saturation)
    )
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype(np.float32)
    if augment.hue > 0:
        angle = 2 * math.pi * rng.uniform(-augment.hue, augment.hue)
        cos, sin = math.cos(angle), math.sin(angle)
        turn = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
        planes = np.stack([_weighted(planes, weights) for weights in np.linalg.inv(_TO_YIQ) @ turn @ _TO_YIQ])
    gain = brightness * contrast
    gray = _weighted(planes, _LUMA)
    offset = (1 - contrast) * brightness * float(gray.mean()) + 0.5  # the half rounds when the fraction is cut off
    gray *= np.float32(gain * (1 - saturation))
    gray += np.float32(offset)
    changed = np.empty(pixels.shape, np.uint8)
    for channel, plane in enumerate(planes):
        plane *= np.float32(gain * saturation)
        plane += gray
        # What strengths below 1 make of 255 is far from the limits of int16, where clipping is faster than in float32.
        changed[..., channel] = np.clip(plane.astype(np.int16), 0, 255).astype(np.uint8)
    return changed


def _weighted(planes: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """Sum three planes; written out because the bits of a matrix product may depend on the number of BLAS threads."""
    red, green, blue = planes
    from_red, from_green, from_blue = weights.astype(np.float32)
    total: NDArray[np.float32] = red * from_red
    part = green * from_green
    total += part
    total += np.multiply(blue, from_blue, out=part)
    return total


def erase(pixels: Pixels, fill: Color, rng: np.random.Generator) -> None:
    """Paint a random rectangle of `pixels` in place (random erasing, Zhong et al., 2020)."""
    height, width = pixels.shape[:2]
    area = rng.uniform(*_ERASED_AREA) * height * width
    aspect = math.exp(rng.uniform(-math.log(_ERASED_ASPECT), math.log(_ERASED_ASPECT)))
    hole_height = min(round(math.sqrt(area / aspect)), height)
    hole_width = min(round(math.sqrt(area * aspect)), width)
    top = int(rng.integers(height - hole_height + 1))
    left = int(rng.integers(width - hole_width + 1))
    pixels[top : top + hole_height, left : left + hole_width] = fill

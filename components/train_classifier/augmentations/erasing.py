"""Random rectangles of pictures, uint8 (h,w,3) RGB, that are painted over."""

import math
from typing import Annotated

import numpy as np
from pydantic import Field

from components.train_classifier.augmentations.ranges import Color, Pixels, Positive, Shares
from serving.runtime.card import Normalization

Count = Annotated[int, Field(ge=1)]

_TRIES = 10


def coarse_dropout(
    pixels: Pixels,
    rng: np.random.Generator,
    *,
    holes: Count = 8,
    height: Count = 8,
    width: Count = 8,
    fill: Color = (0, 0, 0),
) -> Pixels:
    """Paint `holes` rectangles of `height` x `width` pixels at random positions; they may overlap (DeVries, 2017)."""
    height, width = min(height, pixels.shape[0]), min(width, pixels.shape[1])
    painted = pixels.copy()
    for _ in range(holes):
        _paint(painted, height, width, fill, rng)
    return painted


def random_erasing(
    pixels: Pixels,
    rng: np.random.Generator,
    *,
    normalization: Normalization,
    area: Shares = (0.02, 0.33),
    aspect: Positive = (0.3, 3.3),
) -> Pixels:
    """Paint one rectangle in the mean color, which is 0 after normalization (Zhong et al., 2020).

    Args:
        pixels: the picture.
        rng: the source of all draws.
        normalization: its mean is the color.
        area: range of the rectangle's share of the picture.
        aspect: range of its height divided by its width, drawn evenly on a logarithmic scale.

    Returns:
        A new picture; `pixels` itself where ten draws gave no rectangle that fits inside.
    """
    for _ in range(_TRIES):
        erased = rng.uniform(*area) * pixels.shape[0] * pixels.shape[1]
        shape = math.exp(rng.uniform(math.log(aspect[0]), math.log(aspect[1])))
        height, width = round(math.sqrt(erased * shape)), round(math.sqrt(erased / shape))
        if 0 < height < pixels.shape[0] and 0 < width < pixels.shape[1]:
            painted = pixels.copy()
            _paint(painted, height, width, mean_color(normalization), rng)
            return painted
    return pixels


def mean_color(normalization: Normalization) -> Color:
    """Return the color that normalization maps to 0, rounded to whole levels."""
    red, green, blue = (round(255 * mean) for mean in normalization.mean)
    return red, green, blue


def _paint(pixels: Pixels, height: int, width: int, fill: Color, rng: np.random.Generator) -> None:
    """Paint a rectangle of this size at a random position, in place."""
    top = int(rng.integers(pixels.shape[0] - height + 1))
    left = int(rng.integers(pixels.shape[1] - width + 1))
    pixels[top : top + height, left : left + width] = fill

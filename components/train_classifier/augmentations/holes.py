"""Random rectangles of a picture, uint8 (h,w,3) RGB, that are painted over."""

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
    """Paint `holes` rectangles of `height` x `width` pixels at random places, which may overlap (DeVries, 2017)."""
    painted = pixels.copy()
    hole_height, hole_width = min(height, pixels.shape[0]), min(width, pixels.shape[1])
    for _ in range(holes):
        top = int(rng.integers(pixels.shape[0] - hole_height + 1))
        left = int(rng.integers(pixels.shape[1] - hole_width + 1))
        painted[top : top + hole_height, left : left + hole_width] = fill
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
        rng: where the draws come from.
        normalization: its mean is the color.
        area: range of the rectangle's share of the picture.
        aspect: range of its height divided by its width, drawn evenly on a logarithmic scale.

    Returns:
        A new picture; the given one where ten draws gave no rectangle that fits inside.
    """
    for _ in range(_TRIES):
        pixels_erased = rng.uniform(*area) * pixels.shape[0] * pixels.shape[1]
        shape = math.exp(rng.uniform(math.log(aspect[0]), math.log(aspect[1])))
        height, width = round(math.sqrt(pixels_erased * shape)), round(math.sqrt(pixels_erased / shape))
        if 0 < height < pixels.shape[0] and 0 < width < pixels.shape[1]:
            top = int(rng.integers(pixels.shape[0] - height + 1))
            left = int(rng.integers(pixels.shape[1] - width + 1))
            painted = pixels.copy()
            painted[top : top + height, left : left + width] = [round(255 * mean) for mean in normalization.mean]
            return painted
    return pixels

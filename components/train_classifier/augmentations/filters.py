"""Random blur, noise and painted rectangles, for pictures uint8 (h,w,3) RGB; blur mirrors the picture at its border."""

import math
from functools import cache
from statistics import NormalDist
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from components.train_classifier.augmentations.ranges import Color, Kernel, Pixels, Positive, Shares
from serving.runtime.card import Normalization

Count = Annotated[int, Field(ge=1)]

_DRAWS = 1 << 16
_TRIES = 10


def blur(pixels: Pixels, rng: np.random.Generator, *, kernel: Kernel = 7) -> Pixels:
    """Box blur: every pixel gets the mean of a square whose side is an odd number from 3 to `kernel`."""
    side = _draw_side(rng, kernel)
    return np.asarray(cv2.blur(pixels, (side, side)), np.uint8)


def motion_blur(pixels: Pixels, rng: np.random.Generator, *, kernel: Kernel = 7) -> Pixels:
    """Every pixel gets the mean along a line, as if the camera had moved.

    The line joins two different random cells of a square whose side is an odd number from 3 to `kernel`.
    """
    side = _draw_side(rng, kernel)
    start, end = (divmod(int(cell), side) for cell in rng.choice(side * side, 2, replace=False))
    line = cv2.line(np.zeros((side, side), np.float32), start[::-1], end[::-1], (1,))
    return np.asarray(cv2.filter2D(pixels, -1, line / line.sum()), np.uint8)


def _draw_side(rng: np.random.Generator, largest: int) -> int:
    return 2 * int(rng.integers(1, largest // 2 + 1)) + 1


def gauss_noise(pixels: Pixels, rng: np.random.Generator, *, variance: Positive = (10.0, 50.0)) -> Pixels:
    """Add normal noise to every value of every channel; `variance` is a range, in squared levels of 0 to 255."""
    return _add_noise(pixels, rng, [float(np.sqrt(rng.uniform(*variance)))])


def normalized_noise(
    pixels: Pixels,
    rng: np.random.Generator,
    *,
    normalization: Normalization,
    deviation: Annotated[float, Field(ge=0.0, le=10.0)] = 1.0,
) -> Pixels:
    """Add normal noise of the `deviation` after normalization, that is 255 * std times as much in pixel levels.

    Unlike noise that is added behind the normalization, the sum is clipped at black and white.
    """
    return _add_noise(pixels, rng, [255 * deviation * std for std in normalization.std])


def _add_noise(pixels: Pixels, rng: np.random.Generator, deviations: list[float]) -> Pixels:
    """Add noise of one deviation for all channels or one for each.

    A draw chooses one of 65536 equally likely normal numbers in whole levels: a fifth of the time of exact ones.
    """
    draws = rng.integers(0, _DRAWS, pixels.shape, np.uint16)
    table = np.rint(np.multiply.outer(_normal_quantiles(), np.array(deviations, np.float32))).astype(np.int16)
    return np.asarray(cv2.add(pixels, cv2.LUT(draws, table[None]), dtype=cv2.CV_8U), np.uint8)


@cache
def _normal_quantiles() -> NDArray[np.float32]:
    """The middles of 65536 equally likely parts of the normal distribution."""
    upper = [NormalDist().inv_cdf(0.5 + (index + 0.5) / _DRAWS) for index in range(_DRAWS // 2)]
    return np.concatenate([-np.array(upper[::-1]), upper]).astype(np.float32)


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

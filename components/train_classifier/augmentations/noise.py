"""Random noise on a picture, uint8 (h,w,3) RGB."""

from functools import cache
from statistics import NormalDist
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from components.train_classifier.augmentations.ranges import Pixels, Positive
from serving.runtime.card import Normalization

_DRAWS = 1 << 16


def gauss_noise(pixels: Pixels, rng: np.random.Generator, *, variance: Positive = (10.0, 50.0)) -> Pixels:
    """Add normal noise to every value of every channel; `variance` is a range, in squared levels of 0 to 255."""
    return _add_noise(pixels, rng, (float(np.sqrt(rng.uniform(*variance))),) * 3)


def normalized_noise(
    pixels: Pixels,
    rng: np.random.Generator,
    *,
    normalization: Normalization,
    deviation: Annotated[float, Field(ge=0.0, le=10.0)] = 1.0,
) -> Pixels:
    """Add normal noise whose `deviation` is meant after normalization: 255 * std times as much in pixel levels.

    Other than noise that is added behind the normalization, the sum is cut off at black and white.
    """
    red, green, blue = (255 * deviation * std for std in normalization.std)
    return _add_noise(pixels, rng, (red, green, blue))


def _add_noise(pixels: Pixels, rng: np.random.Generator, deviations: tuple[float, float, float]) -> Pixels:
    # A table of 65536 equally likely normal numbers, already in whole levels, is ten times faster than exact ones.
    draws = rng.integers(0, _DRAWS, pixels.shape, np.uint16)
    if len(set(deviations)) == 1:
        noise = _rounded(deviations[0])[draws]
    else:
        noise = np.stack([_rounded(sigma)[draws[..., at]] for at, sigma in enumerate(deviations)], axis=-1)
    noise += pixels
    noisy: Pixels = np.clip(noise, 0, 255, out=noise).astype(np.uint8)
    return noisy


def _rounded(deviation: float) -> NDArray[np.int16]:
    levels: NDArray[np.int16] = np.rint(_normal_quantiles() * np.float32(deviation)).astype(np.int16)
    return levels


@cache
def _normal_quantiles() -> NDArray[np.float32]:
    """The middles of 65536 equally likely parts of the normal distribution."""
    quantile = NormalDist().inv_cdf
    upper = [quantile(0.5 + (at + 0.5) / _DRAWS) for at in range(_DRAWS // 2)]
    return np.concatenate([-np.array(upper[::-1]), upper]).astype(np.float32)

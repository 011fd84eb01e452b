"""Random changes of a picture's colors, uint8 (h,w,3) RGB."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from components.train_classifier.augmentations.ranges import STRIP, Pixels, Positive, Span

_LEVELS = np.arange(256, dtype=np.float64)
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_FULL_CIRCLE = 180  # hues are counted in steps of two degrees

Strength = Annotated[float, Field(ge=0.0, le=1.0)]
HueStrength = Annotated[float, Field(ge=0.0, le=0.5)]


def random_brightness_contrast(
    pixels: Pixels, rng: np.random.Generator, *, brightness: Span = (-0.2, 0.2), contrast: Span = (-0.2, 0.2)
) -> Pixels:
    """Turn every value v into (1 + c) v + 255 b, with c from `contrast` and b from `brightness`."""
    factor = 1 + rng.uniform(*contrast)
    return _by_table(pixels, factor * _LEVELS + 255 * rng.uniform(*brightness))


def random_gamma(pixels: Pixels, rng: np.random.Generator, *, gamma: Positive = (80.0, 120.0)) -> Pixels:
    """Turn every value v into 255 (v / 255)^g, with 100 g from `gamma`."""
    return _by_table(pixels, 255 * (_LEVELS / 255) ** (rng.uniform(*gamma) / 100))


def rgb_shift(
    pixels: Pixels,
    rng: np.random.Generator,
    *,
    red: Span = (-20.0, 20.0),
    green: Span = (-20.0, 20.0),
    blue: Span = (-20.0, 20.0),
) -> Pixels:
    """Add a number from its range to each channel."""
    return _by_table(pixels, *(_LEVELS + rng.uniform(*limit) for limit in (red, green, blue)))


def hue_saturation_value(
    pixels: Pixels,
    rng: np.random.Generator,
    *,
    hue: Span = (-20.0, 20.0),
    saturation: Span = (-30.0, 30.0),
    value: Span = (-20.0, 20.0),
) -> Pixels:
    """Shift hue, saturation and value of the HSV hexcone (Smith, 1978).

    `hue` is a range of steps of two degrees; saturation and value run from 0 to 255 and are cut off there. Gray has
    the hue of red.
    """
    return shift_hsv(pixels, rng.uniform(*hue), rng.uniform(*saturation), rng.uniform(*value))


def color_jitter(
    pixels: Pixels,
    rng: np.random.Generator,
    *,
    brightness: Strength = 0.1,
    contrast: Strength = 0.1,
    saturation: Strength = 0.1,
    hue: HueStrength = 0.1,
) -> Pixels:
    """Change brightness, contrast, saturation and hue, one after the other in random order.

    The first three blend the picture with black, its mean gray and its own gray copy: the picture's share is drawn
    from 1 - strength to 1 + strength. The hue turns by up to `hue` of the full circle.
    """
    ranges = ((1 - brightness, 1 + brightness), (1 - contrast, 1 + contrast), (1 - saturation, 1 + saturation))
    brighter, sharper, richer = (rng.uniform(*limits) for limits in ranges)
    turn = rng.uniform(-hue, hue)
    for change in rng.permutation(4):
        if change == 0:
            pixels = _by_table(pixels, brighter * _LEVELS)
        elif change == 1:
            pixels = _by_table(pixels, sharper * _LEVELS + (1 - sharper) * _mean_luma(pixels))
        elif change == 2:
            pixels = _saturate(pixels, richer)
        elif turn != 0:
            pixels = shift_hsv(pixels, turn * _FULL_CIRCLE, 0.0, 0.0)
    return pixels


def _by_table(pixels: Pixels, *levels: NDArray[np.float64]) -> Pixels:
    """Look every value up in one table (256,) for all channels or three, one for each; rounded and cut off."""
    tables = np.clip(np.rint(np.broadcast_to(levels, (3, 256))), 0, 255).astype(np.uint8)
    return np.array(Image.fromarray(pixels).point(tables.ravel().tolist()))


def _mean_luma(pixels: Pixels) -> float:
    counts = np.array(Image.fromarray(pixels).histogram()).reshape(3, 256)
    means = counts @ _LEVELS / (pixels.shape[0] * pixels.shape[1])
    return float(np.dot(_LUMA, means))


def _saturate(pixels: Pixels, factor: float) -> Pixels:
    rows = [[(1 - factor) * luma + factor * (row == column) for column, luma in enumerate(_LUMA)] for row in range(3)]
    matrix = tuple(entry for row in rows for entry in (*row, 0.0))
    return np.array(Image.fromarray(pixels).convert("RGB", matrix))


def shift_hsv(pixels: Pixels, hue: float, saturation: float, value: float) -> Pixels:
    """Shift hue (steps of two degrees), saturation and value (0 to 255); see `hue_saturation_value`."""
    turn = np.float32(hue * 6 / _FULL_CIRCLE % 6)
    changed = np.empty(pixels.shape, np.uint8)
    source, target = pixels.reshape(-1, 3), changed.reshape(-1, 3)
    for start in range(0, len(source), STRIP):
        strip = slice(start, start + STRIP)
        red, green, blue = source[strip].T.astype(np.float32, order="C")
        top = np.maximum(np.maximum(red, green), blue)
        chroma = top - np.minimum(np.minimum(red, green), blue)
        step = 1 / np.maximum(chroma, 1)  # where chroma is 0, so are all differences
        sextant = (red - green) * step + 4
        np.copyto(sextant, (blue - red) * step + 2, where=top == green)
        np.copyto(sextant, (green - blue) * step, where=top == red)
        new_top = np.clip(top + np.float32(value), 0, 255)
        new_chroma = new_top * np.clip(chroma / np.maximum(top, 1) + np.float32(saturation / 255), 0, 1)
        new_top += np.float32(0.5)  # rounds when the fraction is cut off
        sextant += turn
        for channel, offset in enumerate((5, 3, 1)):
            place = sextant + np.float32(offset)
            place -= 6 * np.floor(place * np.float32(1 / 6))
            distance = np.minimum(np.abs(place - 2), 2)  # from the middle of the channel's dark third
            target[strip, channel] = new_top - new_chroma * np.minimum(2 - distance, 1)
    return changed

"""Random color transforms of pictures, uint8 (h,w,3) RGB.

Brightness, contrast, saturation and the hue of `jitter` are affine maps of RGB, the others tables of 256 values or
conversions to another color space; all are applied by OpenCV.
"""

import math
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from components.train_classifier.augmentations.ranges import Pixels, Positive, Span

Matrix = NDArray[np.float64]
Strength = Annotated[float, Field(ge=0.0, le=1.0)]
Tiles = Annotated[int, Field(ge=1, le=32)]

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_TO_YIQ = np.array([_LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_LEVELS = np.arange(256, dtype=np.float64)


def random_brightness_contrast(
    pixels: Pixels, rng: np.random.Generator, *, brightness: Span = (-0.2, 0.2), contrast: Span = (-0.2, 0.2)
) -> Pixels:
    """Map every value v to (1 + c) v + 255 b, with c from `contrast` and b from `brightness`."""
    factor = 1 + rng.uniform(*contrast)
    return look_up(pixels, factor * _LEVELS + 255 * rng.uniform(*brightness))


def random_gamma(pixels: Pixels, rng: np.random.Generator, *, gamma: Positive = (80.0, 120.0)) -> Pixels:
    """Map every value v to 255 (v / 255)^g, with 100 g from `gamma`."""
    return look_up(pixels, 255 * (_LEVELS / 255) ** (rng.uniform(*gamma) / 100))


def rgb_shift(
    pixels: Pixels,
    rng: np.random.Generator,
    *,
    red: Span = (-20.0, 20.0),
    green: Span = (-20.0, 20.0),
    blue: Span = (-20.0, 20.0),
) -> Pixels:
    """Add a number from its range to each channel."""
    return look_up(pixels, *(_LEVELS + rng.uniform(*limit) for limit in (red, green, blue)))


def hue_saturation_value(
    pixels: Pixels,
    rng: np.random.Generator,
    *,
    hue: Span = (-20.0, 20.0),
    saturation: Span = (-30.0, 30.0),
    value: Span = (-20.0, 20.0),
) -> Pixels:
    """Shift hue, saturation and value of HSV (Smith, 1978).

    `hue` is a range of steps of two degrees; saturation and value run from 0 to 255 and are clipped. Gray has the hue
    of red.
    """
    return shift_hsv(pixels, rng.uniform(*hue), rng.uniform(*saturation), rng.uniform(*value))


def color_jitter(
    pixels: Pixels,
    rng: np.random.Generator,
    *,
    brightness: Strength = 0.1,
    contrast: Strength = 0.1,
    saturation: Strength = 0.1,
    hue: Annotated[float, Field(ge=0.0, le=0.5)] = 0.1,
) -> Pixels:
    """Change brightness, contrast, saturation and hue one after the other in random order, as torchvision does.

    The first three blend the picture with black, its mean gray and its own gray copy: the picture's share is drawn
    from 1 - strength to 1 + strength. The hue of HSV turns by up to `hue` of the full circle.
    """
    factors = [rng.uniform(1 - strength, 1 + strength) for strength in (brightness, contrast, saturation)]
    turn = rng.uniform(-hue, hue)
    for change in rng.permutation(4):
        if change == 0:
            pixels = look_up(pixels, factors[0] * _LEVELS)
        elif change == 1:
            pixels = scale_contrast(pixels, factors[1])
        elif change == 2:
            pixels = scale_saturation(pixels, factors[2])
        elif turn != 0:
            pixels = shift_hsv(pixels, 180 * turn, 0.0, 0.0)
    return pixels


def jitter(
    pixels: Pixels, rng: np.random.Generator, *, brightness: float, contrast: float, saturation: float, hue: float
) -> Pixels:
    """Change hue, brightness, contrast and saturation by one affine map of RGB, without rounding between them.

    The factors are drawn from 1 - strength to 1 + strength. Hue rotates around the gray axis of YIQ by up to `hue` of
    the full circle, which keeps the luma; contrast scales around the picture's mean luma.
    """
    bright, contrasted, saturated = (rng.uniform(1 - part, 1 + part) for part in (brightness, contrast, saturation))
    matrix = bright * contrasted * _saturation(saturated)
    if hue > 0:
        angle = 2 * math.pi * rng.uniform(-hue, hue)
        cos, sin = math.cos(angle), math.sin(angle)
        matrix = matrix @ np.linalg.inv(_TO_YIQ) @ [[1, 0, 0], [0, cos, -sin], [0, sin, cos]] @ _TO_YIQ
    return _transform(pixels, matrix, (1 - contrasted) * bright * _mean_luma(pixels))


def scale_saturation(pixels: Pixels, factor: float) -> Pixels:
    """Scale the distance of every pixel from its own luma."""
    return _transform(pixels, _saturation(factor))


def scale_contrast(pixels: Pixels, factor: float) -> Pixels:
    """Scale the distance of every value from the picture's mean luma."""
    return look_up(pixels, factor * _LEVELS + (1 - factor) * _mean_luma(pixels))


def shift_hsv(pixels: Pixels, hue: float, saturation: float, value: float) -> Pixels:
    """Shift hue (steps of two degrees), saturation and value (0 to 255); see `hue_saturation_value`."""
    hsv = pixels.astype(np.float32, order="C")  # changed in place: new memory would take longer than the arithmetic
    cv2.cvtColor(hsv, cv2.COLOR_RGB2HSV, hsv)  # 0 to 360 degrees, 0 to 1, 0 to 255
    shift: Any = (2 * hue % 360, saturation / 255, value, 0)  # Any, since the stubs of OpenCV lack scalars
    low: Any = (0, 0, 0, 0)
    high: Any = (720, 1, 255, 0)  # hue is taken modulo 360
    cv2.max(cv2.min(cv2.add(hsv, shift, hsv), high, hsv), low, hsv)
    return np.asarray(cv2.convertScaleAbs(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, hsv)), np.uint8)


def clahe(
    pixels: Pixels, rng: np.random.Generator, *, clip: Positive = (1.0, 4.0), tiles: tuple[Tiles, Tiles] = (8, 8)
) -> Pixels:
    """Equalize the lightness in `tiles` (down, across) with limited contrast: CLAHE (Zuiderveld, 1994).

    `clip` is the range of the limit, a multiple of a flat histogram's count. Lightness is that of CIELAB, whose three
    channels OpenCV rounds to 8 bits on the way: pixels differ by 1.3 levels on average from exact arithmetic.
    """
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
    equalizer = cv2.createCLAHE(rng.uniform(*clip), tiles[::-1])
    lab[..., 0] = equalizer.apply(np.ascontiguousarray(lab[..., 0]))
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)


def look_up(pixels: Pixels, *levels: NDArray[Any]) -> Pixels:
    """Replace every value by that of a table (256,), one for all channels or one for each; rounded and clipped."""
    table = np.clip(np.rint(np.stack(levels, axis=-1)), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(pixels, table[None]), np.uint8)


def _transform(pixels: Pixels, matrix: Matrix, offset: float = 0.0) -> Pixels:
    """Apply an affine map of RGB: `matrix` (3,3) times the pixel plus `offset`; rounded and clipped.

    OpenCV computes in fixed point: about a tenth of the values are a level off, in a quarter of the time.
    """
    return np.asarray(cv2.transform(pixels, np.column_stack([matrix, np.full(3, offset)])), np.uint8)


def _saturation(factor: float) -> Matrix:
    return factor * np.eye(3) + (1 - factor) * _LUMA


def _mean_luma(pixels: Pixels) -> float:
    return float(np.dot(_LUMA, cv2.mean(pixels)[:3]))

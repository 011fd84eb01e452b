"""AutoAugment with the policy that was found for ImageNet (Cubuk et al., 2019), for uint8 (h,w,3) RGB pictures."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from components.train_classifier.augmentations.ranges import Color, Pixels

Change = tuple[str, float, int]  # name, probability, magnitude from 0 to 10

_POSTERIZE, _ROTATE, _SOLARIZE, _COLOR = "posterize", "rotate", "solarize", "color"
_EQUALIZE, _AUTOCONTRAST, _INVERT = "equalize", "autocontrast", "invert"
_CONTRAST, _SHARPNESS, _SHEAR_X = "contrast", "sharpness", "shear_x"

POLICY: tuple[tuple[Change, Change], ...] = (
    ((_POSTERIZE, 0.4, 8), (_ROTATE, 0.6, 9)),
    ((_SOLARIZE, 0.6, 5), (_AUTOCONTRAST, 0.6, 5)),
    ((_EQUALIZE, 0.8, 8), (_EQUALIZE, 0.6, 3)),
    ((_POSTERIZE, 0.6, 7), (_POSTERIZE, 0.6, 6)),
    ((_EQUALIZE, 0.4, 7), (_SOLARIZE, 0.2, 4)),
    ((_EQUALIZE, 0.4, 4), (_ROTATE, 0.8, 8)),
    ((_SOLARIZE, 0.6, 3), (_EQUALIZE, 0.6, 7)),
    ((_POSTERIZE, 0.8, 5), (_EQUALIZE, 1.0, 2)),
    ((_ROTATE, 0.2, 3), (_SOLARIZE, 0.6, 8)),
    ((_EQUALIZE, 0.6, 8), (_POSTERIZE, 0.4, 6)),
    ((_ROTATE, 0.8, 8), (_COLOR, 0.4, 0)),
    ((_ROTATE, 0.4, 9), (_EQUALIZE, 0.6, 2)),
    ((_EQUALIZE, 0.0, 7), (_EQUALIZE, 0.8, 8)),
    ((_INVERT, 0.6, 4), (_EQUALIZE, 1.0, 8)),
    ((_COLOR, 0.6, 4), (_CONTRAST, 1.0, 8)),
    ((_ROTATE, 0.8, 8), (_COLOR, 1.0, 2)),
    ((_COLOR, 0.8, 8), (_SOLARIZE, 0.8, 7)),
    ((_SHARPNESS, 0.4, 7), (_INVERT, 0.6, 8)),
    ((_SHEAR_X, 0.6, 5), (_EQUALIZE, 1.0, 9)),
    ((_COLOR, 0.4, 0), (_EQUALIZE, 0.6, 3)),
    ((_EQUALIZE, 0.4, 7), (_SOLARIZE, 0.2, 4)),
    ((_SOLARIZE, 0.6, 5), (_AUTOCONTRAST, 0.6, 5)),
    ((_INVERT, 0.6, 4), (_EQUALIZE, 1.0, 8)),
    ((_COLOR, 0.6, 4), (_CONTRAST, 1.0, 8)),
    ((_EQUALIZE, 0.8, 8), (_EQUALIZE, 0.6, 3)),
)
"""Two changes, one after the other; the published policy moves nothing sideways."""


def auto_augment(pixels: Pixels, rng: np.random.Generator, *, fill: Color = (124, 116, 104)) -> Pixels:
    """Make the two changes of a random entry of the policy, each with its probability; new corners get `fill`."""
    picture = Image.fromarray(pixels)
    for name, probability, magnitude in POLICY[int(rng.integers(len(POLICY)))]:
        if rng.random() < probability:
            picture = CHANGES[name](picture, magnitude / 10, rng, fill)
    return np.array(picture)


def _signed(size: float, rng: np.random.Generator) -> float:
    return size if rng.random() < 0.5 else -size


def _rotate(picture: Image.Image, strength: float, rng: np.random.Generator, fill: Color) -> Image.Image:
    return picture.rotate(_signed(30 * strength, rng), Image.Resampling.BILINEAR, fillcolor=fill)


def _shear_x(picture: Image.Image, strength: float, rng: np.random.Generator, fill: Color) -> Image.Image:
    matrix = (1, _signed(0.3 * strength, rng), 0, 0, 1, 0)
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=fill)


def _enhanced(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Callable[..., Image.Image]:
    def enhance(picture: Image.Image, strength: float, rng: np.random.Generator, fill: Color) -> Image.Image:
        return kind(picture).enhance(0.1 + 1.8 * strength)

    return enhance


CHANGES: dict[str, Callable[[Image.Image, float, np.random.Generator, Color], Image.Image]] = {
    _ROTATE: _rotate,
    _SHEAR_X: _shear_x,
    _POSTERIZE: lambda picture, strength, rng, fill: ImageOps.posterize(picture, 4 + int(4 * strength)),
    _SOLARIZE: lambda picture, strength, rng, fill: ImageOps.solarize(picture, int(256 * strength)),
    _AUTOCONTRAST: lambda picture, strength, rng, fill: ImageOps.autocontrast(picture),
    _EQUALIZE: lambda picture, strength, rng, fill: ImageOps.equalize(picture),
    _INVERT: lambda picture, strength, rng, fill: ImageOps.invert(picture),
    _COLOR: _enhanced(ImageEnhance.Color),
    _CONTRAST: _enhanced(ImageEnhance.Contrast),
    _SHARPNESS: _enhanced(ImageEnhance.Sharpness),
}
"""Name -> change of a picture at a strength from 0 to 1."""

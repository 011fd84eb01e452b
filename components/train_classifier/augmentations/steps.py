"""Build the transforms that steps of a configuration name."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, get_type_hints

import numpy as np
from pydantic import BaseModel, ConfigDict, create_model

from components.shared.options import parse_options
from components.train_classifier.augmentations import color, erasing, filters, geometry
from components.train_classifier.augmentations.auto_augment import auto_augment
from components.train_classifier.augmentations.ranges import Pixels
from components.train_classifier.config.augmentation import StepSpec
from serving.runtime.card import Normalization

Transform = Callable[[Pixels, np.random.Generator], Pixels]

TRANSFORMS: dict[str, Callable[..., Pixels]] = {
    "AutoAugment": auto_augment,
    "Blur": filters.blur,
    "CLAHE": color.clahe,
    "CoarseDropout": erasing.coarse_dropout,
    "ColorJitter": color.color_jitter,
    "GaussNoise": filters.gauss_noise,
    "GridDistortion": geometry.grid_distortion,
    "HorizontalFlip": geometry.horizontal_flip,
    "HueSaturationValue": color.hue_saturation_value,
    "MotionBlur": filters.motion_blur,
    "NormalizedNoise": filters.normalized_noise,
    "OpticalDistortion": geometry.optical_distortion,
    "Perspective": geometry.perspective,
    "RGBShift": color.rgb_shift,
    "RandomBrightnessContrast": color.random_brightness_contrast,
    "RandomErasing": erasing.random_erasing,
    "RandomGamma": color.random_gamma,
    "Rotate": geometry.rotate,
    "ShiftScaleRotate": geometry.shift_scale_rotate,
}
"""Name -> function of a picture, uint8 (h,w,3) RGB, and a generator; it returns a new picture of the same size.

The keyword arguments are what a configuration may set, except `normalization`, which is that of the training.
"""


@dataclass(frozen=True, slots=True)
class RandomApply:
    """Applies `transform` with probability `p`."""

    p: float
    transform: Transform

    def __call__(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the picture, transformed or not."""
        return self.transform(pixels, rng) if rng.random() < self.p else pixels


@dataclass(frozen=True, slots=True)
class OneOf:
    """Applies one of `transforms`, chosen with probabilities that are proportional to `weights`."""

    weights: tuple[float, ...]
    transforms: tuple[Transform, ...]

    def __call__(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the transformed picture."""
        sums = np.cumsum(self.weights)
        chosen = int(np.searchsorted(sums, rng.random() * sums[-1], side="right"))
        return self.transforms[chosen](pixels, rng)


@dataclass(frozen=True, slots=True)
class Compose:
    """Applies all transforms, one after the other."""

    transforms: tuple[Transform, ...]

    def __call__(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the transformed picture."""
        for transform in self.transforms:
            pixels = transform(pixels, rng)
        return pixels


def make_steps(steps: Sequence[StepSpec], normalization: Normalization) -> Compose:
    """Return the transform that applies `steps` in order. Raises InputError naming a step's wrong argument."""
    return Compose(tuple(RandomApply(step.p, _transform(step, normalization)) for step in steps))


def _transform(step: StepSpec, normalization: Normalization) -> Transform:
    if step.steps:
        weights = tuple(part.p for part in step.steps)
        return OneOf(weights, tuple(_transform(part, normalization) for part in step.steps))
    function = TRANSFORMS[step.name]
    arguments = dict(parse_options(_schema(step.name), step.arguments, f"augmentation step '{step.name}'"))
    if "normalization" in inspect.signature(function).parameters:
        arguments["normalization"] = normalization
    return partial(function, **arguments)


@cache
def _schema(name: str) -> type[BaseModel]:
    """The arguments of a transform as a pydantic model, made from the types of its keyword parameters."""
    function = TRANSFORMS[name]
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {
        parameter.name: (hints[parameter.name], parameter.default)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name != "normalization"
    }
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)

"""From the steps that a user or a preset names to functions that make them."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, get_type_hints

import numpy as np
from pydantic import BaseModel, ConfigDict, create_model

from components.shared.options import parse_options
from components.train_classifier.augmentations.auto_augment import auto_augment
from components.train_classifier.augmentations.blur import blur, motion_blur
from components.train_classifier.augmentations.color import (
    color_jitter,
    hue_saturation_value,
    random_brightness_contrast,
    random_gamma,
    rgb_shift,
)
from components.train_classifier.augmentations.geometry import (
    grid_distortion,
    horizontal_flip,
    optical_distortion,
    perspective,
    rotate,
    shift_scale_rotate,
)
from components.train_classifier.augmentations.holes import coarse_dropout, random_erasing
from components.train_classifier.augmentations.local_contrast import clahe
from components.train_classifier.augmentations.noise import gauss_noise, normalized_noise
from components.train_classifier.augmentations.ranges import Pixels
from components.train_classifier.config.augmentation import StepSpec
from serving.runtime.card import Normalization

Change = Callable[[Pixels, np.random.Generator], Pixels]

TRANSFORMS: dict[str, Callable[..., Pixels]] = {
    "AutoAugment": auto_augment,
    "Blur": blur,
    "CLAHE": clahe,
    "CoarseDropout": coarse_dropout,
    "ColorJitter": color_jitter,
    "GaussNoise": gauss_noise,
    "GridDistortion": grid_distortion,
    "HorizontalFlip": horizontal_flip,
    "HueSaturationValue": hue_saturation_value,
    "MotionBlur": motion_blur,
    "NormalizedNoise": normalized_noise,
    "OpticalDistortion": optical_distortion,
    "Perspective": perspective,
    "RGBShift": rgb_shift,
    "RandomBrightnessContrast": random_brightness_contrast,
    "RandomErasing": random_erasing,
    "RandomGamma": random_gamma,
    "Rotate": rotate,
    "ShiftScaleRotate": shift_scale_rotate,
}
"""Name -> function of a picture, uint8 (h,w,3) RGB, and a generator; it returns one of the same size.

The keyword arguments are what a configuration may set, except `normalization`, which is the training's.
"""


@dataclass(frozen=True, slots=True)
class Sometimes:
    """Makes `change` with probability `p`."""

    p: float
    change: Change

    def __call__(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the picture, changed or not."""
        return self.change(pixels, rng) if rng.random() < self.p else pixels


@dataclass(frozen=True, slots=True)
class OneOf:
    """Makes one of `changes`, chosen with probabilities that are proportional to `weights`."""

    weights: tuple[float, ...]
    changes: tuple[Change, ...]

    def __call__(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the picture, changed."""
        sums = np.cumsum(self.weights)
        chosen = int(np.searchsorted(sums, rng.random() * sums[-1], side="right"))
        return self.changes[chosen](pixels, rng)


@dataclass(frozen=True, slots=True)
class InTurn:
    """Makes all changes, one after the other."""

    changes: tuple[Change, ...]

    def __call__(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the picture, changed."""
        for change in self.changes:
            pixels = change(pixels, rng)
        return pixels


def make_steps(steps: Sequence[StepSpec], normalization: Normalization) -> InTurn:
    """Return the function that makes `steps` in turn. Raises InputError naming a step's wrong argument."""
    return InTurn(tuple(Sometimes(step.p, _change(step, normalization)) for step in steps))


def _change(step: StepSpec, normalization: Normalization) -> Change:
    if step.steps:
        return OneOf(tuple(part.p for part in step.steps), tuple(_change(part, normalization) for part in step.steps))
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

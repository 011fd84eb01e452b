"""AutoAugment with the policy for ImageNet (Cubuk et al., 2019), for uint8 (h,w,3) RGB pictures."""

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np

from components.train_classifier.augmentations.color import look_up, scale_contrast, scale_saturation
from components.train_classifier.augmentations.geometry import rotation, warp
from components.train_classifier.augmentations.ranges import Color, Pixels

Operation = tuple[str, float, int | None]  # name, probability, magnitude from 0 to 10 where it has one

_LEVELS = np.arange(256)
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
_UNCHANGED = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]])


def auto_augment(pixels: Pixels, rng: np.random.Generator, *, fill: Color = (124, 116, 104)) -> Pixels:
    """Apply the two operations of a random entry, each with its probability; empty corners get the color `fill`."""
    policy = imagenet_policy()
    for name, probability, magnitude in policy[int(rng.integers(len(policy)))]:
        if rng.random() < probability:
            pixels = operate(name, pixels, (magnitude or 0) / 10, rng, fill)
    return pixels


@cache
def imagenet_policy() -> Sequence[Sequence[Operation]]:
    """Return the published policy as torchvision has it: pairs of operations, applied one after the other."""
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy  # not above: it imports torch

    return tuple(AutoAugment(AutoAugmentPolicy.IMAGENET).policies)


def operate(name: str, pixels: Pixels, strength: float, rng: np.random.Generator, fill: Color) -> Pixels:
    """Apply an operation of the policy at a strength from 0 to 1; the sign of rotations and shears is drawn."""
    factor = 0.1 + 1.8 * strength
    match name:
        case "Rotate":
            return warp(pixels, rotation(pixels, 30 * strength * _sign(rng)), fill)
        case "ShearX":
            shear = 0.3 * strength * _sign(rng)
            return warp(pixels, np.array([[1, -shear, -shear / 2], [0, 1, 0]]), fill)
        case "Posterize":
            dropped = 4 - int(4 * strength)
            return look_up(pixels, _LEVELS >> dropped << dropped)
        case "Solarize":
            return look_up(pixels, np.where(int(256 * strength) > _LEVELS, _LEVELS, 255 - _LEVELS))
        case "Invert":
            return look_up(pixels, 255 - _LEVELS)
        case "AutoContrast":
            ranges = [cv2.minMaxLoc(channel)[:2] for channel in cv2.split(pixels)]
            return look_up(pixels, *((_LEVELS - low) * (255 / (high - low or 255)) for low, high in ranges))
        case "Equalize":
            return np.asarray(cv2.merge([cv2.equalizeHist(channel) for channel in cv2.split(pixels)]), np.uint8)
        case "Color":
            return scale_saturation(pixels, factor)
        case "Contrast":
            return scale_contrast(pixels, factor)
        case "Sharpness":
            return np.asarray(cv2.filter2D(pixels, -1, (1 - factor) * _SMOOTH + factor * _UNCHANGED), np.uint8)
    raise ValueError(f"AutoAugment has no operation '{name}'")


def _sign(rng: np.random.Generator) -> int:
    return 1 if rng.random() < 0.5 else -1

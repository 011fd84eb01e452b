"""Pictures to augment, and a function that applies one step."""

from typing import Any

import numpy as np
from PIL import Image

from components.train_classifier.augmentations.build import make_steps
from components.train_classifier.config.augmentation import StepSpec
from serving.runtime.card import Normalization

NORMALIZATION = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def noise(height: int = 40, width: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height: int = 40, width: int = 32, seed: int = 0) -> np.ndarray:
    return np.array(Image.fromarray(noise(5, 4, seed)).resize((width, height), Image.Resampling.BICUBIC))


def apply(name: str, seed: int, pixels: np.ndarray, p: float = 1.0, **arguments: Any) -> np.ndarray:
    transform = make_steps([StepSpec(name=name, p=p, arguments=arguments)], NORMALIZATION)
    return transform(pixels, np.random.default_rng(seed))

"""The transforms of the augmentation presets on one core, against those of torchvision."""

from collections.abc import Callable
from functools import partial
from statistics import median

import cv2
import numpy as np
import torch
from torchvision.transforms import v2

from benchmarks.benchmark import Benchmark, cpu_seconds, own_process
from benchmarks.photos import HEIGHT, WIDTH, draw_photo
from components.train_classifier.augmentations.build import Compose, make_augmentation
from components.train_classifier.augmentations.ranges import Pixels
from components.train_classifier.config.augmentation import AugmentationSpec, presets
from components.train_classifier.config.training import IMAGENET
from serving.runtime.card import InputSize

PICTURES = 40
REPEATS = 5

_affine = partial(v2.RandomAffine, interpolation=v2.InterpolationMode.BILINEAR)
TORCHVISION: dict[str, list[Callable[[torch.Tensor], torch.Tensor]]] = {
    "face": [v2.ColorJitter(0.3, 0.3, 0.3), v2.RandomErasing(0.25, (0.02, 0.2))],
    "AutoAugmentation": [v2.AutoAugment(interpolation=v2.InterpolationMode.BILINEAR)],
    "BaseAugmentation_512": [
        v2.RandomApply([_affine(20, (0.02, 0.02), (0.9, 1.1))], 0.5),
        v2.RandomHorizontalFlip(),
        v2.RandomApply([v2.GaussianBlur(3)], 0.5),
        v2.RandomApply([v2.ColorJitter(0.1, 0.1)], 0.5),
    ],
    "CustomAugmentation": [
        v2.ColorJitter(0.1, 0.1, 0.1, 0.1),
        v2.ToDtype(torch.float32, True),
        v2.GaussianNoise(0, 0.2),
    ],
    "Aug0": [
        v2.RandomHorizontalFlip(),
        v2.RandomApply([_affine(15, (0.1, 0.1), (0.9, 1.1))], 0.75),
        v2.RandomApply([v2.ColorJitter(0.2, 0.2, hue=0.04)], 0.75),
    ],
    "poster_v2_affectnet_7": [v2.RandomHorizontalFlip(), v2.RandomErasing(1, (0.05, 0.05))],
}
"""Presets of which torchvision has the same steps, or steps of the same kind: on uint8 tensors (3,h,w)."""


def augmentation_presets() -> list[Benchmark]:
    """Pictures of 384 x 512 pixels through the steps of every preset that has some, without decoding and resizing.

    The rates are per second of CPU time, in a process of its own that has one thread; both sides take turns.
    """
    with own_process() as process:
        return process.submit(measure).result()


def measure() -> list[Benchmark]:
    """Measure in this process, which keeps one thread from then on."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    torch.manual_seed(0)
    photo = draw_photo(np.random.default_rng(0))
    planes = torch.from_numpy(photo).permute(2, 0, 1).contiguous()
    results = []
    for name in ("face", *_distinct_presets()):
        steps = _steps(name)
        ours, label = partial(_all_seeds, steps, photo), f"preset {name}"
        if name not in TORCHVISION:
            (rate,) = _rates(ours)
            results.append(Benchmark.absolute(label, rate, "images/s", "", True))
            continue
        here, there = _rates(ours, partial(_many, v2.Compose(TORCHVISION[name]), planes))
        results.append(Benchmark.compared(label, here, there, "images/s", 1))
    return results


def _distinct_presets() -> list[str]:
    """Return the presets that have steps, the first name of each."""
    names = {name: (preset.photo_steps, preset.steps) for name, preset in presets().items() if preset.steps}
    return [name for number, name in enumerate(names) if names[name] not in list(names.values())[:number]]


def _steps(name: str) -> Compose:
    """Return all transforms of a preset; the random cut of `face` is measured by `input_pipeline`."""
    augmentation = make_augmentation(AugmentationSpec(name=name), InputSize(height=HEIGHT, width=WIDTH), IMAGENET)
    assert isinstance(augmentation.transform, Compose)
    if augmentation.photo_transform is None:
        return augmentation.transform
    return Compose((augmentation.photo_transform, *augmentation.transform.transforms))


def _all_seeds(steps: Compose, photo: Pixels) -> None:
    for seed in range(PICTURES):
        steps(photo, np.random.default_rng(seed))


def _many(transform: Callable[[torch.Tensor], torch.Tensor], planes: torch.Tensor) -> None:
    for _ in range(PICTURES):
        transform(planes)


def _rates(*passes: Callable[[], None]) -> tuple[float, ...]:
    """Return pictures per second of CPU time for each: medians of passes that take turns, after one to warm up."""
    turns = [[cpu_seconds(one) for one in passes] for _ in range(1 + REPEATS)][1:]
    return tuple(PICTURES / median(times) for times in zip(*turns, strict=True))

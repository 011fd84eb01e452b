"""Splits by image, ignoring identity; and everything into train."""

import math
from fractions import Fraction

import numpy as np

from components.shared.dataset.annotations import Image
from components.split.division import Division, Task


def divide_images(task: Task) -> Division:
    """Divide the images of every class by the ratios: persons are in several splits, so scores will be too good.

    Of n images of a class floor(n * r) go to train, where r is what val and test leave; floor(n * val_ratio) go to val
    when there is a test split to take the rest, else val has the rest. A ratio is taken as it is written: 0.29 of 100
    is 29. The class of an image is that of its first face. A val or test set that came with the data stays as it is.
    """
    existing, requested, pool = task.requested()
    shares = {name: Fraction(str(ratio)) for name, ratio in requested.items() if ratio > 0}
    parts = [("train", 1 - sum(shares.values())), *shares.items()]
    splits = {image.id: image.split for image in task.labeled if image.split in existing}
    for images in shuffled_by_class(pool, task).values():
        start = 0
        for index, (name, share) in enumerate(parts, start=1):
            end = len(images) if index == len(parts) else start + math.floor(len(images) * share)
            splits.update({image.id: name for image in images[start:end]})
            start = end
    return Division(splits, details={"given": existing, "asked": requested}, leaks=True)


def all_into_train(task: Task) -> Division:
    """Put everything into train but a test set that came with the data."""
    splits = {image.id: "test" if image.split == "test" else "train" for image in task.labeled}
    return Division(splits, details={"given": task.existing("test")})


def shuffled_by_class(pool: list[Image], task: Task) -> dict[int, list[Image]]:
    """Return the images of every class, shuffled. The order of the images in the pool does not matter."""
    classes: dict[int, list[Image]] = {}
    for image in sorted(pool, key=lambda image: image.file_name):
        classes.setdefault(task.classes[image.id][0], []).append(image)
    shuffled = {}
    for label, images in sorted(classes.items()):
        order = np.random.default_rng([task.seed, label]).permutation(len(images))
        shuffled[label] = [images[index] for index in order.tolist()]
    return shuffled

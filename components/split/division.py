"""The input and the result of a split mode."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.shared.dataset.annotations import Image
from components.shared.dataset.face_classes import FaceClasses
from components.shared.dataset.label_spaces import LabelSpace
from components.split.options import SplitOptions
from serving.runtime.errors import InputError


@dataclass(frozen=True, slots=True)
class Task:
    """A data set to divide, and how.

    Attributes:
        path: the annotations file, for messages.
        images: all images.
        labeled: the images with a class in the label space; the others get no split.
        classes: the classes of the faces of every image, by image id; empty for an image without a label.
        space: the label space.
        ratios: requested shares of val and test.
        seed: of every random choice.
        options: the mode's own.
    """

    path: Path
    images: list[Image]
    labeled: list[Image]
    classes: Mapping[int, list[int]]
    space: LabelSpace
    ratios: Mapping[str, float]
    seed: int
    options: SplitOptions

    def requested(self) -> tuple[list[str], dict[str, float], list[Image]]:
        """Return the splits of val and test that the data came with, the ratios of the others, the images to divide.

        Raises InputError when no image is left to divide.
        """
        existing = self.existing("val", "test")
        pool = [image for image in self.labeled if image.split not in existing]
        if not pool:
            raise InputError(f"{self.path}: no image to divide: all labeled in '{self.space.name}' have a split")
        return existing, {name: ratio for name, ratio in self.ratios.items() if name not in existing}, pool

    def existing(self, *splits: str) -> list[str]:
        """Return which of the splits the data came with, sorted."""
        return sorted({image.split for image in self.labeled if image.split in splits})


@dataclass(slots=True)
class Division:
    """The result of a mode.

    Attributes:
        splits: by image id; likewise `folds`.
        details: for `info.split`.
        leaks: whether the mode leaks by itself.
        unlabeled: ids among which unlabeled images may go to train; None for all.
    """

    splits: dict[int, str]
    folds: dict[int, int] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    leaks: bool = False
    unlabeled: set[int] | None = None


Mode = Callable[[Task], Division]


def classes_of_images(images: Iterable[Image], space: LabelSpace, path: Path) -> dict[int, list[int]]:
    """Return the classes of the faces of every image, by image id; faces without one are left out.

    Raises InputError naming the annotations file `path` and the image when an attribute is invalid.
    """
    class_of = FaceClasses(space)
    try:
        return {image.id: list(class_of.of_image(image)) for image in images}
    except InputError as error:
        raise InputError(f"{path}: {error}") from error

"""What a mode gets, and what it decides."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.shared.dataset.annotations import Image
from components.shared.dataset.label_spaces import LabelSpace
from components.split.options import SplitOptions
from serving.runtime.errors import InputError


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be divided.

    Attributes:
        path: the annotations file, for messages.
        images: all images.
        labelled: the images with a class in the label space; the others get no split.
        classes: the classes of the faces of every image, by image id; empty for an image without a label.
        space: the label space.
        ratios: shares asked for val and test.
        seed: of every random choice.
        options: the mode's own.
    """

    path: Path
    images: list[Image]
    labelled: list[Image]
    classes: Mapping[int, list[int]]
    space: LabelSpace
    ratios: Mapping[str, float]
    seed: int
    options: SplitOptions

    def given(self, *splits: str) -> list[str]:
        """Return which of the splits came with the data, sorted."""
        return sorted({image.split for image in self.labelled if image.split in splits})


@dataclass(slots=True)
class Division:
    """Splits and folds by image id, facts for the annotations, and whether the mode leaks by itself."""

    splits: dict[int, str]
    folds: dict[int, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    leaks: bool = False


Mode = Callable[[Task], Division]


class FaceClasses:
    """The classes of an image's faces in a label space, looked up once per combination of facts."""

    def __init__(self, space: LabelSpace, path: Path) -> None:
        self._space = space
        self._path = path
        self._known: dict[tuple[str | None, ...], int | None] = {}

    def __call__(self, image: Image) -> list[int]:
        """Return the class of every face that has one. Raises InputError naming the image of a fact that is none."""
        found = []
        for face in image.faces:
            facts = map(face.attributes.get, self._space.attributes)
            key = tuple(None if fact is None else str(fact) for fact in facts)
            if key not in self._known:
                try:
                    indices = self._space.encode(face.attributes)
                except InputError as error:
                    raise InputError(f"{self._path}: image '{image.file_name}': {error}") from error
                self._known[key] = None if indices is None else self._space.class_index(indices)
            label = self._known[key]
            if label is not None:
                found.append(label)
        return found

"""What a data set consists of: counts of images, faces, classes, attributes, persons and files."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.shared.dataset.annotations import Image
from components.shared.dataset.face_classes import FaceClasses
from components.shared.dataset.label_spaces import LabelSpace, canonical_value, label_space
from components.shared.dataset.persons import by_person, splits_of_persons
from serving.runtime.errors import InputError

SPLITS = ("train", "val", "test", None)
EXAMPLES = 3

# Known attributes come first; votes have a section of their own.
_ORDER = ("mask", "gender", "age", "emotion", "label", "uploader", "background")
_NOT_COUNTED = frozenset({"votes"})

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """A split, or the images without one (`name` is None). An image of nobody known counts as a person."""

    name: str | None
    images: int
    faces: int
    persons: int


@dataclass(frozen=True)
class Classes:
    """Faces per class and split.

    Attributes:
        labels: the classes of the label space.
        counts: (classes, splits), the splits being those of `Facts.parts`.
        unlabeled: (splits,), faces that lack an attribute the label space reads.
        unreadable: (splits,), faces with a value that it does not know; `examples` names some.
    """

    labels: tuple[str, ...]
    counts: Counts
    unlabeled: Counts
    unreadable: Counts
    examples: tuple[str, ...]

    @property
    def totals(self) -> Counts:
        """Faces per class."""
        totals: Counts = self.counts.sum(axis=1)
        return totals

    @property
    def imbalance(self) -> float:
        """Largest class over the smallest one that has a face; 0 when no face has a class."""
        present = self.totals[self.totals > 0]
        return float(present.max() / present.min()) if len(present) else 0.0


@dataclass(frozen=True)
class Attribute:
    """Faces per value of an attribute and split; `absent` (splits,) counts the faces without it."""

    name: str
    values: tuple[str, ...]
    counts: Counts
    absent: Counts


@dataclass(frozen=True)
class Persons:
    """Images per person, most first, and the persons that are in several splits."""

    names: tuple[str, ...]
    images: Counts
    images_without: int
    crossing: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Facts:
    """Everything about a data set that its annotations tell.

    Attributes:
        classes_of: the class of every face that has one, by face id.
        several_faces: images with more than one face.
        not_trainable: images kept out of training.
        folds: images per fold, when there are folds.
        extensions: images per file extension, lower case, most first.
    """

    images: int
    faces: int
    parts: tuple[Part, ...]
    classes: Classes
    classes_of: dict[int, int]
    attributes: tuple[Attribute, ...]
    ages: Counts
    persons: Persons
    several_faces: int
    not_trainable: int
    folds: dict[int, int]
    extensions: dict[str, int]


def collect(images: Sequence[Image], space: LabelSpace) -> Facts:
    """Count. The order of the images changes nothing but which examples are named."""
    groups = {name: [image for image in images if image.split == name] for name in SPLITS}
    parts = tuple(
        Part(name, len(group), sum(len(image.faces) for image in group), len(by_person(group)))
        for name, group in groups.items()
        if group
    )
    column = {part.name: at for at, part in enumerate(parts)}
    classes, classes_of = _classes(images, space, column)
    return Facts(
        images=len(images),
        faces=sum(part.faces for part in parts),
        parts=parts,
        classes=classes,
        classes_of=classes_of,
        attributes=tuple(_attributes(images, column)),
        ages=np.array(_ages(images), dtype=np.int64),
        persons=_persons(images),
        several_faces=sum(len(image.faces) > 1 for image in images),
        not_trainable=sum(not image.trainable for image in images),
        folds=dict(sorted(Counter(image.fold for image in images if image.fold is not None).items())),
        extensions=_most_first(Counter(_extension(image.file_name) for image in images)),
    )


def _classes(
    images: Iterable[Image], space: LabelSpace, column: dict[str | None, int]
) -> tuple[Classes, dict[int, int]]:
    counts = np.zeros((len(space.class_labels), len(column)), dtype=np.int64)
    unlabeled, unreadable = (np.zeros(len(column), dtype=np.int64) for _ in range(2))
    classes_of: dict[int, int] = {}
    examples: list[str] = []
    class_of = FaceClasses(space)
    for image in images:
        at = column[image.split]
        for face in image.faces:
            try:
                found = class_of(face)
            except InputError as error:
                unreadable[at] += 1
                if len(examples) < EXAMPLES:
                    examples.append(f"{image.file_name}: {error}")
                continue
            if found is None:
                unlabeled[at] += 1
            else:
                counts[found, at] += 1
                classes_of[face.id] = found
    return Classes(space.class_labels, counts, unlabeled, unreadable, tuple(examples)), classes_of


def _attributes(images: Sequence[Image], column: dict[str | None, int]) -> Iterable[Attribute]:
    seen: dict[str, Counter[tuple[str, int]]] = {}
    faces = np.zeros(len(column), dtype=np.int64)
    spellings: dict[tuple[str, str], str] = {}
    for image in images:
        at = column[image.split]
        faces[at] += len(image.faces)
        for face in image.faces:
            for name, value in face.attributes.items():
                if value is not None and name not in _NOT_COUNTED:
                    key = (name, repr(value))
                    if key not in spellings:
                        spellings[key] = _spelling(name, value)
                    seen.setdefault(name, Counter())[spellings[key], at] += 1
    for name in sorted(seen, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)):
        totals: Counter[str] = Counter()
        for (value, _), count in seen[name].items():
            totals[value] += count
        values = _ordered(name, totals)
        row = {value: at for at, value in enumerate(values)}
        counts = np.zeros((len(values), len(column)), dtype=np.int64)
        for (value, at), count in seen[name].items():
            counts[row[value], at] = count
        yield Attribute(name, tuple(values), counts, faces - counts.sum(axis=0))


def _spelling(name: str, value: Any) -> str:
    """Return the value as it is counted: an age as its band, a known value in its one spelling."""
    try:
        if name == "age":
            space = label_space("age")
            indices = space.encode({"age": value})
            assert indices is not None
            return space.class_labels[indices[0]]
        return str(canonical_value(_kind(name), value))
    except InputError:
        return str(value)


def _kind(name: str) -> str:
    """Return the attribute whose values this one has: an uploader tells an emotion."""
    return "emotion" if name == "uploader" else name


def _ordered(name: str, totals: Counter[str]) -> list[str]:
    """Return the classes of a known attribute in their order, then other values, most first."""
    kind = _kind(name)
    known = label_space(kind).class_labels if kind in ("mask", "gender", "age", "emotion") else ()
    return [*(value for value in known if totals[value]), *(v for v in _most_first(totals) if v not in known)]


def _extension(name: str) -> str:
    stem, dot, extension = name.rpartition("/")[2].rpartition(".")
    return f".{extension.lower()}" if stem and dot else ""


def _most_first(counter: Counter[str]) -> dict[str, int]:
    return dict(sorted(counter.items(), key=lambda item: (-item[1], item[0])))


def _ages(images: Iterable[Image]) -> list[int]:
    ages = []
    for image in images:
        for face in image.faces:
            try:
                if (age := face.attributes.get("age")) is not None:
                    ages.append(int(canonical_value("age", age)))
            except InputError:
                continue
    return ages


def _persons(images: Sequence[Image]) -> Persons:
    counter = _most_first(Counter(image.person for image in images if image.person is not None))
    splits = splits_of_persons(images)
    return Persons(
        names=tuple(counter),
        images=np.array(list(counter.values()), dtype=np.int64),
        images_without=sum(image.person is None for image in images),
        crossing=tuple((person, tuple(sorted(seen))) for person, seen in sorted(splits.items()) if len(seen) > 1),
    )

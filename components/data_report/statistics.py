"""Statistics of a data set: images, faces, classes, attributes, persons and files, per split."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from components.shared.dataset.annotations import Image
from components.shared.dataset.face_classes import FaceClasses
from components.shared.dataset.label_spaces import LabelSpace, canonical_value, label_space
from components.shared.dataset.persons import by_person, splits_of_persons
from serving.runtime.errors import InputError

SPLITS = ("train", "val", "test", None)

_EXAMPLES = 3
_ORDER = ("mask", "gender", "age", "emotion", "label", "uploader", "background")
"""Attributes that come first. Votes have a section of their own."""
_NOT_COUNTED = frozenset({"votes"})

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SplitCounts:
    """Counts of one split, or of the images without one (`name` is None).

    Images without a person id count as one person each.
    """

    name: str | None
    images: int
    faces: int
    persons: int


@dataclass(frozen=True)
class ClassCounts:
    """Faces per class and split.

    Attributes:
        labels: the classes of the label space.
        counts: (classes, splits), the splits being those of `Statistics.splits`.
        unlabeled: (splits,), faces that lack an attribute the label space reads.
        invalid: (splits,), faces with a value outside the label space; `examples` has the errors of some.
    """

    labels: tuple[str, ...]
    counts: Counts
    unlabeled: Counts
    invalid: Counts
    examples: tuple[str, ...]

    @property
    def totals(self) -> Counts:
        """Faces per class."""
        totals: Counts = self.counts.sum(axis=1)
        return totals

    @property
    def present(self) -> Counts:
        """Faces of the classes that have any."""
        return self.totals[self.totals > 0]

    @property
    def imbalance(self) -> float:
        """Largest class over the smallest one that has a face; 0 when no face has a class."""
        return float(self.present.max() / self.present.min()) if len(self.present) else 0.0

    @property
    def missing_per_split(self) -> Counts:
        """(splits,), how many of the classes that have faces have none in the split."""
        missing: Counts = (self.counts[self.totals > 0] == 0).sum(axis=0)
        return missing


@dataclass(frozen=True)
class AttributeCounts:
    """Faces per value of an attribute and split; `absent` (splits,) counts the faces without it."""

    name: str
    values: tuple[str, ...]
    counts: Counts
    absent: Counts

    def rows(self, limit: int) -> tuple[list[str], Counts]:
        """Return the values and their counts: rare values beyond the limit as one row, then the faces without any."""
        values, counts = list(self.values), self.counts
        if len(values) > limit:
            counts = np.concatenate([counts[: limit - 1], counts[limit - 1 :].sum(axis=0, keepdims=True)])
            values[limit - 1 :] = [f"{len(values) - limit + 1:,} other values"]
        if self.absent.any():
            values, counts = [*values, "(unknown)"], np.concatenate([counts, self.absent[None]])
        return values, counts


@dataclass(frozen=True)
class PersonCounts:
    """Images per person, most first, and the persons with images in several splits."""

    names: tuple[str, ...]
    images: Counts
    images_without: int
    crossing: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def median(self) -> float:
        """Median of the images per person."""
        return float(np.median(self.images))


@dataclass(frozen=True)
class Statistics:
    """The statistics of a data set that follow from its annotations.

    Attributes:
        classes_of: the class of every face that has one, by face id.
        several_faces: images with more than one face.
        not_trainable: images excluded from training.
        folds: images per fold, when there are folds.
        extensions: images per file extension, lower case, most first.
    """

    images: int
    faces: int
    splits: tuple[SplitCounts, ...]
    classes: ClassCounts
    classes_of: dict[int, int]
    attributes: tuple[AttributeCounts, ...]
    ages: Counts
    persons: PersonCounts
    several_faces: int
    not_trainable: int
    folds: dict[int, int]
    extensions: dict[str, int]


def statistics_of(images: Sequence[Image], space: LabelSpace) -> Statistics:
    """Compute the statistics. The order of the images changes only which examples are named."""
    groups = {name: [image for image in images if image.split == name] for name in SPLITS}
    splits = tuple(
        SplitCounts(name, len(group), sum(len(image.faces) for image in group), len(by_person(group)))
        for name, group in groups.items()
        if group
    )
    column = {split.name: index for index, split in enumerate(splits)}
    classes, classes_of = _classes(images, space, column)
    return Statistics(
        images=len(images),
        faces=sum(split.faces for split in splits),
        splits=splits,
        classes=classes,
        classes_of=classes_of,
        attributes=tuple(_attributes(images, column)),
        ages=np.array(_ages(images), dtype=np.int64),
        persons=_persons(images),
        several_faces=sum(len(image.faces) > 1 for image in images),
        not_trainable=sum(not image.trainable for image in images),
        folds=dict(sorted(Counter(image.fold for image in images if image.fold is not None).items())),
        extensions=largest_first(Counter(PurePosixPath(image.file_name).suffix.lower() for image in images)),
    )


def _classes(
    images: Iterable[Image], space: LabelSpace, column: dict[str | None, int]
) -> tuple[ClassCounts, dict[int, int]]:
    counts = np.zeros((len(space.class_labels), len(column)), dtype=np.int64)
    unlabeled, invalid = (np.zeros(len(column), dtype=np.int64) for _ in range(2))
    classes_of: dict[int, int] = {}
    examples: list[str] = []
    class_of = FaceClasses(space)
    for image in images:
        split = column[image.split]
        for face in image.faces:
            try:
                index = class_of(face)
            except InputError as error:
                invalid[split] += 1
                if len(examples) < _EXAMPLES:
                    examples.append(f"{image.file_name}: {error}")
                continue
            if index is None:
                unlabeled[split] += 1
            else:
                counts[index, split] += 1
                classes_of[face.id] = index
    return ClassCounts(space.class_labels, counts, unlabeled, invalid, tuple(examples)), classes_of


def _attributes(images: Sequence[Image], column: dict[str | None, int]) -> Iterable[AttributeCounts]:
    examples: dict[tuple[str, str], object] = {}
    counter: Counter[tuple[tuple[str, str], int]] = Counter()
    faces = np.zeros(len(column), dtype=np.int64)
    for image in images:
        split = column[image.split]
        faces[split] += len(image.faces)
        for face in image.faces:
            for name, value in face.attributes.items():
                if value is not None and name not in _NOT_COUNTED:
                    key = (name, repr(value))
                    examples[key] = value
                    counter[key, split] += 1
    tables: dict[str, dict[str, Counts]] = {}
    for (key, split), count in counter.items():
        value = _canonical(key[0], examples[key])
        rows = tables.setdefault(key[0], {})
        rows.setdefault(value, np.zeros(len(column), dtype=np.int64))[split] += count
    for name in sorted(tables, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)):
        values = _ordered(name, Counter({value: int(row.sum()) for value, row in tables[name].items()}))
        counts = np.stack([tables[name][value] for value in values])
        yield AttributeCounts(name, tuple(values), counts, faces - counts.sum(axis=0))


def _canonical(name: str, value: Any) -> str:
    """Return the value under which a face is counted: an age as its class, a known value in its one spelling."""
    try:
        if name == "age":
            space = label_space("age")
            indices = space.encode({"age": value})
            assert indices is not None
            return space.class_labels[indices[0]]
        return str(canonical_value(_base(name), value))
    except InputError:
        return str(value)


def _base(name: str) -> str:
    """Return the attribute that has the same values: an uploader's answer is an emotion."""
    return "emotion" if name == "uploader" else name


def _ordered(name: str, totals: Counter[str]) -> list[str]:
    """Return the classes of a known attribute in their order, then other values, most first."""
    base = _base(name)
    classes = label_space(base).class_labels if base in ("mask", "gender", "age", "emotion") else ()
    return [*(value for value in classes if totals[value]), *(v for v in largest_first(totals) if v not in classes)]


def largest_first(counts: Mapping[str, int]) -> dict[str, int]:
    """Return counts by name, the largest first."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _ages(images: Iterable[Image]) -> list[int]:
    ages = []
    for image in images:
        for face in image.faces:
            if (age := face.attributes.get("age")) is not None:
                with suppress(InputError):
                    ages.append(int(canonical_value("age", age)))
    return ages


def _persons(images: Sequence[Image]) -> PersonCounts:
    counter = largest_first(Counter(image.person for image in images if image.person is not None))
    splits = splits_of_persons(images)
    return PersonCounts(
        names=tuple(counter),
        images=np.array(list(counter.values()), dtype=np.int64),
        images_without=sum(image.person is None for image in images),
        crossing=tuple((person, tuple(sorted(seen))) for person, seen in sorted(splits.items()) if len(seen) > 1),
    )

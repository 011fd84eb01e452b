"""Scores of groups of faces that have something in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from components.evaluate.labeled_faces import LabeledFace
from components.shared.dataset.face_classes import FaceClasses
from components.shared.dataset.label_spaces import label_space
from components.shared.metrics.bootstrap import Interval, resampled_counts, score_interval, share_interval
from components.shared.metrics.classification import label_scores
from serving.runtime.errors import InputError

LEAST = 20
"""A group of fewer faces is small: it is shown, and never called the worst."""

_MOST_VALUES = 30
_Bands = tuple[tuple[float, str], ...]
_SIZES: _Bands = ((24, "under 24 px"), (48, "24 to 48 px"), (96, "48 to 96 px"), (np.inf, "96 px and more"))
_LIGHT: _Bands = ((64, "under 64"), (128, "64 to 128"), (192, "128 to 192"), (np.inf, "192 and more"))


@dataclass(frozen=True, slots=True)
class Slice:
    """The faces with one value of a dimension; an interval is None where there are no two persons."""

    dimension: str
    value: str
    faces: int
    persons: int
    accuracy: float
    macro_f1: float
    accuracy_interval: Interval | None
    macro_f1_interval: Interval | None

    @property
    def small(self) -> bool:
        """Whether there are too few faces to judge by."""
        return self.faces < LEAST


@dataclass(frozen=True, slots=True)
class Slices:
    """The groups of all dimensions, and in words which dimensions say nothing, or not of all faces."""

    slices: list[Slice]
    notes: list[str]

    @property
    def worst(self) -> Slice | None:
        """The group of the lowest accuracy among those that are not small; None where there are no two to compare."""
        judged = [one for one in self.slices if not one.small]
        if len({one.accuracy for one in judged}) < 2:
            return None
        return min(judged, key=lambda one: (one.accuracy, one.macro_f1))


@cache
def attribute_value(attribute: str) -> Callable[[LabeledFace], str | None]:
    """Return a function of a face that gives the class of one of its attributes, an age as its band; None for none."""
    space = label_space(attribute)
    class_of = FaceClasses(space)

    def value(subject: LabeledFace) -> str | None:
        try:
            number = class_of(subject.face)
        except InputError:
            return None
        return None if number is None else space.class_labels[number]

    return value


def _source(subject: LabeledFace) -> str | None:
    folders = PurePosixPath(subject.image.source or subject.image.file_name).parts[:-1]
    return folders[0] if folders else None


def _size(subject: LabeledFace) -> str | None:
    """Return the band of the shorter side; a table of class numbers knows no size of a picture."""
    image, box = subject.image, subject.predicted.box
    side = min(box[2:]) if box is not None else min(image.width, image.height)
    return _band(side, _SIZES) if side > 1 else None


def _detector(subject: LabeledFace) -> str | None:
    return subject.image.detection.method if subject.image.detection is not None else None


def _brightness(subject: LabeledFace) -> str | None:
    level = subject.predicted.brightness
    return None if level is None else _band(level, _LIGHT)


def _band(value: float, bands: _Bands) -> str:
    return next(name for below, name in bands if value < below)


_DIMENSIONS: dict[str, tuple[Callable[[LabeledFace], str | None], Sequence[str]]] = {
    "age band": (attribute_value("age"), label_space("age").class_labels),
    "gender": (attribute_value("gender"), label_space("gender").class_labels),
    "mask": (attribute_value("mask"), label_space("mask").class_labels),
    "source": (_source, ()),
    "face size": (_size, [name for _, name in _SIZES]),
    "detector": (_detector, ()),
    "brightness": (_brightness, [name for _, name in _LIGHT]),
}
"""Name -> the value of a face, and the values in order; other values are in the order of the alphabet."""


def slices(
    faces: Sequence[LabeledFace],
    truth: NDArray[np.integer],
    predicted: NDArray[np.integer],
    persons: NDArray[np.integer],
    classes: int,
    *,
    resamples: int,
    seed: int,
) -> Slices:
    """Score the groups of faces by every dimension that has at least two values.

    Args:
        faces: the faces.
        truth: their true classes, (N,).
        predicted: the predicted ones, (N,).
        persons: the numbers of their persons, (N,).
        classes: how many classes there are.
        resamples: how often the persons of a group are drawn for its intervals; 0 for none.
        seed: of the draws.
    """
    result, notes = [], []
    for dimension, (value_of, order) in _DIMENSIONS.items():
        values = [value_of(subject) for subject in faces]
        present = sorted({value for value in values if value is not None}, key=lambda one: (*_rank(one, order), one))
        unknown = values.count(None)
        if dimension == "source" and len(present) > 1 and _of_persons(values, persons):
            notes.append("source: each folder is of one person")
        elif len(present) > _MOST_VALUES:
            notes.append(f"{dimension}: {len(present)} values, more than a table holds")
        elif len(present) < 2:
            only = f"all faces are {present[0]}" if present and not unknown else "the data do not tell"
            notes.append(f"{dimension}: {only if present or unknown else 'no face'}")
        else:
            if unknown:
                notes.append(f"{dimension}: not known of {unknown:,} faces")
            for value in present:
                chosen = np.array([one == value for one in values])
                group = truth[chosen], predicted[chosen], persons[chosen]
                result.append(_scored(dimension, value, *group, classes, resamples, seed))
    return Slices(result, notes)


def _of_persons(values: Sequence[str | None], persons: NDArray[np.integer]) -> bool:
    """Tell whether the faces of each value are those of one person."""
    pairs = set(zip(values, persons.tolist(), strict=True))
    return len(pairs) == len({value for value, _ in pairs})


def _rank(value: str, order: Sequence[str]) -> tuple[int]:
    return (order.index(value) if value in order else len(order),)


def _scored(
    dimension: str,
    value: str,
    truth: NDArray[np.integer],
    predicted: NDArray[np.integer],
    persons: NDArray[np.integer],
    classes: int,
    resamples: int,
    seed: int,
) -> Slice:
    scores = label_scores(truth, predicted, classes)
    _, numbers = np.unique(persons, return_inverse=True)
    count = int(numbers.max()) + 1
    accuracy = macro_f1 = None
    if count > 1 and resamples:
        counts = resampled_counts(numbers, truth, predicted, classes, resamples=resamples, seed=seed)
        accuracy, macro_f1 = share_interval(counts.accuracies(), count), score_interval(counts.macro_f1s())
    return Slice(dimension, value, scores.count, count, scores.accuracy, scores.macro_f1, accuracy, macro_f1)

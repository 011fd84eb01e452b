"""Samples a ratio of the images or persons of every class."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Literal, TypeVar

import numpy as np
from pydantic import Field

from components.curate.operation import Options, Outcome
from components.shared.dataset.annotations import Image
from components.shared.dataset.face_classes import FaceClasses
from components.shared.dataset.label_spaces import label_space
from components.shared.dataset.persons import by_person

T = TypeVar("T")
_SPLITS = ("train", "val", "test")


class SampleOptions(Options):
    """Options of sample.

    Attributes:
        ratio: the share to keep, above 0 and up to 1.
        per: whether images are drawn or whole persons.
        label_space: its classes are the strata. Images without a label are one more stratum.
        splits: the splits to sample. An image without a split counts as train; other splits do not change.
        seed: another seed gives another sample.
    """

    ratio: float = Field(gt=0, le=1)
    per: Literal["class", "person"] = "class"
    label_space: str
    splits: tuple[Literal["train", "val", "test"], ...] = Field(default=("train",), min_length=1)
    seed: int = Field(default=0, ge=0)


def sample(images: Sequence[Image], options: SampleOptions) -> Outcome:
    """Keep floor(n * ratio) of the n images of every class in every chosen split.

    With `per: person`, n counts persons, and a person's class is the most frequent one of their images. The ratio is
    taken as it is written: 0.29 of 100 is 29. The order of the images does not matter, and of two samples with one
    seed the smaller is part of the larger.
    """
    class_of = FaceClasses(label_space(options.label_space))
    outcome = Outcome([])
    kept: set[int] = set()
    for split in sorted(set(options.splits)):
        pool = [image for image in images if (image.split or "train") == split]
        classes = {image.id: next(class_of.of_image(image), None) for image in pool}
        if options.per == "class":
            chosen = _draw(((image.file_name, classes[image.id], image) for image in pool), split, options)
            kept.update(image.id for image in chosen)
        else:
            groups = by_person(pool)
            persons = [(_name(who, group), _main_class(group, classes), group) for who, group in groups.items()]
            kept.update(image.id for group in _draw(persons, split, options) for image in group)
    outcome.drop(
        images, {image.id for image in images if (image.split or "train") in options.splits} - kept, "not_sampled"
    )
    return outcome


def _draw(items: Iterable[tuple[str, int | None, T]], split: str, options: SampleOptions) -> list[T]:
    """Draw from items of (name, class, thing): the share of every class."""
    strata: dict[int, list[tuple[str, T]]] = {}
    for name, label, thing in items:
        strata.setdefault(-1 if label is None else label, []).append((name, thing))
    chosen = []
    for label, members in sorted(strata.items()):
        members.sort(key=lambda member: member[0])
        draw = np.random.default_rng([options.seed, _SPLITS.index(split), label + 1]).permutation(len(members))
        number = math.floor(len(members) * Fraction(str(options.ratio)))
        chosen += [members[index][1] for index in draw[:number].tolist()]
    return chosen


def _name(who: str | int, images: Sequence[Image]) -> str:
    """Return the person, or the file name of an image without one."""
    return who if isinstance(who, str) else images[0].file_name


def _main_class(images: Sequence[Image], classes: dict[int, int | None]) -> int | None:
    """Return the most frequent class of the images, of equal ones the first."""
    counts = Counter(label for image in images if (label := classes[image.id]) is not None)
    return min(counts, key=lambda label: (-counts[label], label), default=None)

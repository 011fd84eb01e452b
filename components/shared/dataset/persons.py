"""Images by person. A person belongs to one split only."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from components.shared.dataset.annotations import Image
from components.shared.dataset.tally import MAX_EXAMPLES
from serving.runtime.errors import InputError
from serving.runtime.validation import nearest

_SHOWN = 10


def by_person(images: Iterable[Image]) -> dict[str | int, list[Image]]:
    """Group images by person, in the order of first appearance.

    The key is the person, or the image's id (an integer) when it has none: it is a group of its own.
    """
    groups: dict[str | int, list[Image]] = {}
    for image in images:
        groups.setdefault(image.id if image.person is None else image.person, []).append(image)
    return groups


def person_numbers(images: Sequence[Image]) -> NDArray[np.int64]:
    """Return the number of the person in each image, (N,), from 0 on: an image without a person is its own group."""
    numbers = {image.id: number for number, members in enumerate(by_person(images).values()) for image in members}
    return np.array([numbers[image.id] for image in images], np.int64)


def splits_of_persons(images: Iterable[Image]) -> dict[str, set[str]]:
    """Return the splits that every person has images in; persons without any are absent."""
    splits: dict[str, set[str]] = {}
    for image in images:
        if image.person is not None and image.split is not None:
            splits.setdefault(image.person, set()).add(image.split)
    return splits


def crossing_persons(images: Iterable[Image]) -> list[str]:
    """Return the persons that have images in more than one split, sorted."""
    return sorted(person for person, seen in splits_of_persons(images).items() if len(seen) > 1)


def refuse_overlap(sides: Mapping[str, set[str]]) -> None:
    """Raise InputError, naming the persons, when some are in two of the splits; `sides` has the persons of each."""
    for first, second in combinations(sides, 2):
        both = sorted(sides[first] & sides[second])
        if both:
            more = ", ..." if len(both) > MAX_EXAMPLES else ""
            raise InputError(
                f"{len(both)} persons are in {first} and in {second}: {', '.join(both[:MAX_EXAMPLES])}{more}; a person "
                "belongs to one split, remove them from one list"
            )


def refuse_unknown(names: Iterable[str], known: Collection[str], what: str) -> None:
    """Raise InputError, naming the names with the nearest known one each, when any is not known; `what` begins it."""
    unknown = sorted(set(names).difference(known))
    if unknown:
        shown = "; ".join(f"'{name}'{nearest(name, known)}" for name in unknown[:_SHOWN])
        more = f"; and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        raise InputError(f"{what} {len(unknown)} of its names: {shown}{more}")

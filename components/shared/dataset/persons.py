"""Which images show one person. A person belongs to one split only."""

from collections.abc import Iterable

from components.shared.dataset.annotations import Image


def by_person(images: Iterable[Image]) -> dict[str | int, list[Image]]:
    """Group images by person, in the order of first appearance.

    The key is the person, or the image's id (an integer) when nobody says who it shows: it is a group of its own.
    """
    groups: dict[str | int, list[Image]] = {}
    for image in images:
        groups.setdefault(image.id if image.person is None else image.person, []).append(image)
    return groups


def crossing_persons(images: Iterable[Image]) -> list[str]:
    """Return the persons that have images in more than one split, sorted."""
    splits: dict[str, set[str]] = {}
    for image in images:
        if image.person is not None and image.split is not None:
            splits.setdefault(image.person, set()).add(image.split)
    return sorted(person for person, seen in splits.items() if len(seen) > 1)

"""The choice of example faces."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from components.shared.dataset.annotations import Face, Image

T = TypeVar("T")

PER_CLASS = 8
FACES = 144
"""The largest number of example faces of all classes together."""


def choose_examples(
    images: Sequence[Image], classes_of: Mapping[int, int], labels: Sequence[str]
) -> list[tuple[str | None, list[tuple[Image, Face]]]]:
    """Choose a few faces of every class, spread evenly over the images and over persons as far as they go.

    Returned are the labels of the classes, None for faces without one, with the faces.

    Args:
        images: all images, in an order that does not change.
        classes_of: the class of every face that has one, by face id.
        labels: the classes, in their order.
    """
    members: dict[int | None, list[tuple[Image, Face]]] = {}
    for image in images:
        for face in image.faces:
            members.setdefault(classes_of.get(face.id), []).append((image, face))
    chosen = [index for index in [*range(len(labels)), None] if index in members][:FACES]
    each = min(PER_CLASS, FACES // max(1, len(chosen)))
    return [(None if index is None else labels[index], _spread(members[index], each)) for index in chosen]


def _spread(faces: Sequence[tuple[Image, Face]], count: int) -> list[tuple[Image, Face]]:
    """Take `count` faces of evenly spaced persons, every time another one of a person's faces."""
    persons: dict[str | int, list[tuple[Image, Face]]] = {}
    for image, face in faces:
        persons.setdefault(image.id if image.person is None else image.person, []).append((image, face))
    chosen = [members[turn % len(members)] for turn, members in enumerate(_evenly([*persons.values()], count))]
    ids = {face.id for _, face in chosen}
    others = [(image, face) for image, face in faces if face.id not in ids] if len(chosen) < count else []
    return chosen + _evenly(others, count - len(chosen))


def _evenly(items: Sequence[T], count: int) -> list[T]:
    count = min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]

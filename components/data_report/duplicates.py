"""Exact and near duplicates of a data set, and those that cross splits or contradict each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.shared.dataset.annotations import Image
from components.shared.dataset.duplicates import across_splits, exact_duplicates, flat_images, near_duplicates

Group = Sequence[Image]


@dataclass(frozen=True)
class Duplicates:
    """Groups of images of the same picture.

    Attributes:
        exact: groups of equal files.
        near: groups that look alike and are not all one file.
        crossing: groups of both kinds with images in several splits, each picture once.
        contradicting: groups of `exact` whose images differ in their classes.
        flat: almost uniform images, which are not compared.
        without_hash: images without digest and fingerprint, which are not compared.
    """

    exact: tuple[Group, ...]
    near: tuple[Group, ...]
    crossing: tuple[Group, ...]
    contradicting: tuple[Group, ...]
    flat: tuple[Image, ...]
    without_hash: int

    def groups(self) -> list[tuple[str, Group]]:
        """Return every group once with its kind, `exact` or `near`: crossing ones first, then the largest."""
        crossing = {group[0].id for group in self.crossing}
        inside = {image.id for group in self.near for image in group}
        groups = [("exact", group) for group in self.exact if group[0].id not in inside]
        groups += [("near", group) for group in self.near]
        return sorted(groups, key=lambda item: (item[1][0].id not in crossing, -len(item[1]), item[1][0].id))


def find_duplicates(images: Sequence[Image], classes_of: Mapping[int, int]) -> Duplicates:
    """Compare all images by their digests and fingerprints.

    Args:
        images: all images.
        classes_of: the class of every face that has one, by face id.

    Raises:
        InputError: a fingerprint is not 32 hex digits.
    """
    exact = exact_duplicates(images)
    near = [group for group in near_duplicates(images) if len({image.sha256 or image.id for image in group}) > 1]
    inside = {image.id for group in near for image in group}
    crossing = across_splits([*near, *(group for group in exact if group[0].id not in inside)])
    return Duplicates(
        exact=tuple(exact),
        near=tuple(near),
        crossing=tuple(crossing),
        contradicting=tuple(group for group in exact if len({_classes(image, classes_of) for image in group}) > 1),
        flat=tuple(flat_images(images)),
        without_hash=sum(image.sha256 is None and image.dhash is None for image in images),
    )


def _classes(image: Image, classes_of: Mapping[int, int]) -> tuple[int | None, ...]:
    return tuple(classes_of.get(face.id) for face in image.faces)

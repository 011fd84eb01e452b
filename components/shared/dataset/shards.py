"""The images of a data set, and those of one shard."""

from collections.abc import Sequence
from pathlib import Path

from components.shared.dataset.annotations import Face, Image, read_annotations
from components.shared.dataset.pictures import Pictures, check_present, find_pictures
from serving.runtime.errors import InputError

ALL = -1
"""In place of the number of a shard."""


def detection_shards(annotations: Path, images_per_shard: int) -> list[int]:
    """Return the numbers of the shards of a data set; one shard for a data set without images.

    Raises InputError when the annotations cannot be read or a shard would hold no image.
    """
    _check(images_per_shard)
    count = len(read_annotations(annotations).images)
    return list(range(max(1, -(-count // images_per_shard))))


def images_of_shard(images: Sequence[Image], shard: int, images_per_shard: int) -> list[Image]:
    """Return the images of a shard by the order of their ids, or ALL of them. Raises InputError for no such shard."""
    _check(images_per_shard)
    ordered = sorted(images, key=lambda image: image.id)
    if shard == ALL:
        return ordered
    shards = max(1, -(-len(ordered) // images_per_shard))
    if not 0 <= shard < shards:
        raise InputError(f"shard: {shard}; {len(ordered)} images are in shards 0 to {shards - 1}, and {ALL} is all")
    return ordered[shard * images_per_shard : (shard + 1) * images_per_shard]


def _check(images_per_shard: int) -> None:
    if images_per_shard < 1:
        raise InputError(f"images_per_shard: must be at least 1, got {images_per_shard}")


def read_data_set(images: Path, annotations: Path | None) -> tuple[Pictures, list[Image]]:
    """Return the pictures of a data set, and its images.

    Without annotations every picture is an image with one face, its box not known, numbered from 1 on by the order of
    names; width and height are 0.

    Raises InputError when there is no picture, or one of the annotations is missing.
    """
    pictures, names = find_pictures(images)
    if annotations is None:
        return pictures, [
            Image(number, name, 0, 0, (Face(number, None, {}),)) for number, name in enumerate(names, start=1)
        ]
    data = read_annotations(annotations)
    check_present(pictures, (image.file_name for image in data.images))
    return pictures, list(data.images)

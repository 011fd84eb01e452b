"""The images of a data set, and the numbers of its shards."""

from pathlib import Path

from components.shared.dataset.annotations import Face, Image, read_annotations
from components.shared.dataset.pictures import Pictures, check_present, find_pictures
from components.shared.dataset.shards import count_shards


def detection_shards(annotations: Path, images_per_shard: int) -> list[int]:
    """Return the numbers of the shards of a data set; one shard for a data set without images.

    Raises InputError when the annotations cannot be read or a shard would hold no image.
    """
    return list(range(count_shards(len(read_annotations(annotations).images), images_per_shard)))


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
